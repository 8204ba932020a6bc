"""One example while it is being written, between the sampler and the model."""

from dataclasses import dataclass

from mechshift.denoising.canvas import masked_target
from mechshift.denoising.encoded import EncodedExample
from mechshift.denoising.samplers import Commit, Sampler, StepState
from mechshift.denoising.trace import Trace, TraceStep
from mechshift.errors import DenoisingError
from mechshift.models import LanguageModel


@dataclass(kw_only=True)
class Draft:
    """One example while it is being written; the only record here that changes."""

    example: EncodedExample
    row: int
    """In the pool."""
    sampler: Sampler
    seed: int
    num_steps: int
    tokens: list[int]
    """What is written so far; meaningless where `written` is False."""
    written: list[bool]
    steps: list[TraceStep]

    @property
    def cost(self) -> tuple[int, int, int]:
        example = self.example
        return (
            self.num_steps,
            len(example.target_ids),
            len(example.prefix_ids) + len(example.suffix_ids),
        )

    @property
    def masked(self) -> list[int]:
        return [target for target, written in enumerate(self.written) if not written]

    def offered(self, model: LanguageModel) -> list[int]:
        """The masked positions that this model denoises now: all, or those of its block."""
        first = len(self.example.prefix_ids) - int(model.shift)
        block = model.denoised(self.canvas(model))
        return [target for target in self.masked if first + target in block]

    def read(self, model: LanguageModel) -> list[int]:
        """The target positions whose logits the sampler wants."""
        everything = self.sampler.reads_committed
        return list(range(len(self.tokens))) if everything else self.offered(model)

    def state(self, step: int, model: LanguageModel) -> StepState:
        return StepState(
            step=step,
            num_steps=self.num_steps,
            num_targets=len(self.tokens),
            masked=tuple(self.offered(model)),
            seed=self.seed,
            example=self.row,
        )

    def needs(self, step: int, model: LanguageModel) -> bool:
        """Whether this step may change anything.

        Raises:
            DenoisingError: it commits more tokens than the model denoises at a time.
        """
        if step >= self.num_steps or not self.read(model):
            return False
        state = self.state(step, model)
        commits = self.sampler.num_commits(state)
        if commits is not None and commits > len(state.masked):
            raise DenoisingError(
                f"step {step} of {self.num_steps} writes {commits} tokens of example"
                f" '{self.example.id}' of task '{self.example.task}', and '{model.name}' denoises"
                f" {len(state.masked)} of them at a time, one block; take more denoising steps."
            )
        return commits != 0

    def canvas(self, model: LanguageModel) -> tuple[int, ...]:
        middle = masked_target(model, self.tokens, self.written)
        return self.example.prefix_ids + middle + self.example.suffix_ids

    def apply(self, step: int, commit: Commit) -> None:
        """Write what a sampler committed, and note what that changed."""
        changed = [
            (position, token)
            for position, token in sorted(zip(commit.positions, commit.tokens, strict=True))
            if not (self.written[position] and self.tokens[position] == token)
        ]
        for position, token in changed:
            self.tokens[position], self.written[position] = token, True
        for position in commit.remasked:
            self.written[position] = False
        if changed or commit.remasked:
            self.steps.append(
                TraceStep(
                    step=step,
                    positions=tuple(position for position, _ in changed),
                    tokens=tuple(token for _, token in changed),
                    remasked=tuple(sorted(commit.remasked)),
                )
            )

    def trace(self, sampler: str) -> Trace:
        return Trace(
            sampler=sampler,
            num_steps=self.num_steps,
            num_targets=len(self.tokens),
            steps=tuple(self.steps),
        )


def blank_draft(
    sampler: Sampler, row: int, example: EncodedExample, num_steps: int | None, seed: int
) -> Draft:
    """A draft with a mask at every target position."""
    length = len(example.target_ids)
    return Draft(
        example=example,
        row=row,
        sampler=sampler,
        seed=seed,
        num_steps=sampler.num_steps(length, num_steps),
        tokens=[0] * length,
        written=[False] * length,
        steps=[],
    )
