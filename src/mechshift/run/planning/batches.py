"""Which batches will the decoder see? The stages' batching, played through with lengths alone.

Canvases are sorted by length and cut into batches as `denoising.batch_canvases` does, and chunk by
chunk as `run.scores` does; drafts are batched as `denoising.decode` does. So numbers of
passes are exact where the lengths are, and padding is counted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from mechshift.denoising.samplers import Sampler, StepState
from mechshift.denoising.schedule import step_sizes
from mechshift.models import Kind
from mechshift.run.planning.lengths import ExampleLengths


@dataclass(frozen=True, kw_only=True)
class Pass:
    """The sizes of one call of the decoder, and of the unembedding after it."""

    rows: int
    positions: int
    """Read by the call, with padding."""
    keys: int
    """Positions that are attended to: more than `positions` where a cache holds earlier ones."""
    readouts: int
    """Positions whose logits are made."""

    @property
    def tokens(self) -> int:
        return self.rows * self.positions


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The sizes of a batch of canvases."""

    rows: int
    positions: int
    slots: int
    """Denoising steps that are scored in one pass: several for an ARM, 1 for an MDM."""
    readouts: int

    @property
    def tokens(self) -> int:
        return self.rows * self.positions

    @property
    def forward(self) -> Pass:
        """One call on the whole batch."""
        return Pass(
            rows=self.rows,
            positions=self.positions,
            keys=self.positions,
            readouts=self.readouts,
        )


@dataclass(frozen=True, kw_only=True)
class _CanvasLength:
    positions: int
    slots: int
    readouts: int


@cache
def commits(sampler: Sampler, num_targets: int, requested: int | None) -> tuple[int, ...]:
    """How many tokens each step of a sampler's loop commits.

    Where only the logits can tell, an even share each: the most steps that may commit something.

    Raises:
        DenoisingError: a number of steps that the sampler cannot have.
    """
    num_steps = sampler.num_steps(num_targets, requested)
    left = num_targets
    counts: list[int] = []
    for step in range(num_steps):
        state = StepState(
            step=step,
            num_steps=num_steps,
            num_targets=num_targets,
            masked=tuple(range(num_targets - left, num_targets)),
        )
        count = sampler.num_commits(state)
        if left and count is None:
            return tuple(step_sizes(num_targets, num_steps))
        counts.append(min(count or 0, left))
        left -= counts[-1]
    return tuple(counts)


def canvas_batches(
    lengths: ExampleLengths,
    kind: Kind,
    sampler: Sampler,
    num_steps: int | None,
    *,
    batch_size: int,
    chunk_size: int | None = None,
) -> Iterator[Batch]:
    """The batches of all canvases of these examples.

    Args:
        lengths: of every example.
        kind: of the model.
        sampler: the order in which the MDM commits tokens, which both models are scored by.
        num_steps: denoising steps that are asked for.
        batch_size: canvases in one batch.
        chunk_size: examples that are batched among themselves; None: all.
    """
    examples = list(zip(lengths.prefix, lengths.target, lengths.suffix, strict=True))
    for start in range(0, len(examples), chunk_size or len(examples)):
        canvases: list[_CanvasLength] = []
        for prefix, target, suffix in examples[start : start + (chunk_size or len(examples))]:
            sizes = [count for count in commits(sampler, int(target), num_steps) if count]
            if kind == "arm":
                length = int(prefix + target) - 1
                canvases.append(
                    _CanvasLength(positions=length, slots=len(sizes), readouts=int(target))
                )
            else:
                length = int(prefix + target + suffix)
                canvases += [
                    _CanvasLength(positions=length, slots=1, readouts=size) for size in sizes
                ]
        canvases.sort(key=lambda canvas: canvas.positions)
        for first in range(0, len(canvases), batch_size):
            yield _stacked(canvases[first : first + batch_size])


def _stacked(canvases: Sequence[_CanvasLength]) -> Batch:
    return Batch(
        rows=len(canvases),
        positions=max(canvas.positions for canvas in canvases),
        slots=max(canvas.slots for canvas in canvases),
        readouts=sum(canvas.readouts for canvas in canvases),
    )


def decoding_passes(
    lengths: ExampleLengths,
    kind: Kind,
    sampler: Sampler,
    num_steps: int | None,
    *,
    batch_size: int,
) -> Iterator[Pass]:
    """Every call of the decoder that `decode` makes for these examples."""
    rows = [
        (0 if kind == "arm" else sampler.num_steps(int(target), num_steps), int(target), int(text))
        for target, text in zip(lengths.target, lengths.prefix + lengths.suffix, strict=True)
    ]
    rows.sort()
    for start in range(0, len(rows), batch_size):
        drafts = [(target, text) for _, target, text in rows[start : start + batch_size]]
        if kind == "arm":
            yield from _writing(drafts)
        else:
            yield from _denoising(drafts, sampler, num_steps)


def _writing(drafts: Sequence[tuple[int, int]]) -> Iterator[Pass]:
    """An ARM reads the prompts, then one token at a time beside its cache."""
    longest = max(text for _, text in drafts)
    for step in range(max(target for target, _ in drafts)):
        positions = 1 if step else longest
        yield Pass(rows=len(drafts), positions=positions, keys=longest + step, readouts=len(drafts))


def _denoising(
    drafts: Sequence[tuple[int, int]], sampler: Sampler, num_steps: int | None
) -> Iterator[Pass]:
    """An MDM reads whole canvases, those that a step may change."""
    counts = [commits(sampler, target, num_steps) for target, _ in drafts]
    for step in range(max(map(len, counts))):
        active = [row for row, own in enumerate(counts) if step < len(own) and own[step]]
        if not active:
            continue
        positions = max(sum(drafts[row]) for row in active)
        left = (
            drafts[row][0] - (0 if sampler.reads_committed else sum(counts[row][:step]))
            for row in active
        )
        yield Pass(rows=len(active), positions=positions, keys=positions, readouts=sum(left))
