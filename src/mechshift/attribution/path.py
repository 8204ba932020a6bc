"""The path from the corrupted to the clean input, and what is recorded along it.

Every gradient method scores with D_u, the corrupted minus the clean output of a source u, and the
gradient of the metric at points of the straight line between the embeddings,

    e_k = e' + a_k (e - e'),    e' corrupted, e clean.

EAP takes one end of it, EAP-IG several points. For each batch of canvases:

1. one forward pass for each point, and for each denoising step one backward pass to the recorded
   tensors (`interventions.recording`); parameters need no gradient;
2. each gradient is added to sums over the points as the backward pass makes it (`GradientSums`), so
   memory holds neither all gradients of a pass nor anything of several points;
3. before that, an end that is not among the points is run without gradients. A point that is an end
   comes first. So D is known when the first backward pass ends, for sums that need it then.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from mechshift.attribution.source_differences import SourceDifferences, SourceOutputs
from mechshift.denoising import CanvasBatch, clean_reference, readout_logits, score_readouts
from mechshift.errors import AttributionError
from mechshift.interventions import Recording, gradients_given, recording
from mechshift.models import LanguageModel

CORRUPTED, CLEAN = ENDS = 0.0, 1.0
"""The ends of the path."""

Rule = Literal["left", "midpoint", "right"]

RULE_OFFSETS: dict[str, float] = {"left": 0.0, "midpoint": 0.5, "right": 1.0}
"""Place in its interval of the path at which an integration step takes the gradient."""


def path_points(rule: str, ig_steps: int) -> tuple[float, ...]:
    """Where on the path the gradient is taken: 0 is the corrupted input, 1 the clean one.

    Raises:
        AttributionError: an unknown rule, or fewer than one step.
    """
    if rule not in RULE_OFFSETS:
        raise AttributionError(
            f"unknown integration rule '{rule}'; known: {', '.join(RULE_OFFSETS)}."
        )
    if ig_steps < 1:
        raise AttributionError(f"ig_steps is {ig_steps}; it must be at least 1.")
    return tuple((step + RULE_OFFSETS[rule]) / ig_steps for step in range(ig_steps))


@runtime_checkable
class GradientSums(Protocol):
    """Sums that a method keeps of the gradients over the points of a path."""

    def differentiated(self, record: Recording) -> list[Tensor]:
        """The recorded tensors whose gradients `add` takes, in this order."""

    def begin_point(self, record: Recording) -> None:
        """Keep what all slots of the next point share; `record` is forgotten after it."""

    def add(self, slot: int, index: int, gradient: Tensor) -> None:
        """Add one slot's gradient at the tensor that stands at `index` in `differentiated`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class InputPath:
    """The straight line from corrupted to clean embeddings of a batch, and runs along it."""

    model: LanguageModel
    batch: CanvasBatch
    metric: str
    clean_logits: Float[Tensor, "readout vocab"] | None
    """From `clean_reference`."""
    record: Recording
    """Filled by each run."""
    _differences: SourceDifferences
    _end_metric: dict[float, Float[Tensor, "row slot"]] = field(default_factory=dict)

    def run(self, point: float) -> Float[Tensor, "row slot"]:
        """The metric at a point, in a graph of the embeddings where gradients are enabled."""
        batch, parts = self.batch, self.model.parts
        with torch.no_grad():
            # lerp is exact at both ends.
            embeddings = torch.lerp(
                parts.embedding(batch.corrupted_ids), parts.embedding(batch.clean_ids), point
            )
        hidden = self.model.hidden(
            batch.clean_ids,
            batch.attention_mask,
            batch.position_ids,
            embeddings=embeddings.requires_grad_(torch.is_grad_enabled()),
        )
        logits = readout_logits(self.model, hidden, batch)
        metric = score_readouts(self.metric, logits, batch, self.clean_logits)
        self._keep_end(point, metric.detach())
        return metric

    def add_gradients(
        self,
        points: Sequence[float],
        sums: GradientSums,
        after_point: Callable[[], None] | None = None,
    ) -> None:
        """Add the metric's gradients at every point, slot by slot, to `sums`; run both ends.

        Args:
            points: of them an end, if there is one, is visited first.
            sums: see `GradientSums`.
            after_point: called when all slots of a point have been added and its record is still
                there. `differences` are known by then.
        """
        in_order = sorted(points, key=lambda point: point not in ENDS)
        for end in ENDS:
            if end != in_order[0]:
                self.run_end(end)
        for point in in_order:
            with torch.enable_grad():
                # Rows do not touch each other, so the gradient of their sum is each row's own.
                totals = self.run(point).sum(dim=0).unbind()
            sums.begin_point(self.record)
            for slot, total in enumerate(totals):
                last = slot + 1 == len(totals)
                with gradients_given(sums.differentiated(self.record), partial(sums.add, slot)):
                    # The embedding lies before all of them, so the pass goes by every one.
                    torch.autograd.grad(total, self.record.embedding, retain_graph=not last)
            if after_point is not None:
                after_point()
            # The next point's graph must not find this one's activations still in memory.
            self.record.forget()

    def run_end(self, end: float) -> None:
        """Run an end without gradients, if it has not been run."""
        if end not in self._end_metric:
            with torch.no_grad():
                self.run(end)
            self.record.forget()

    def end_metric(self, end: float) -> Float[Tensor, "row slot"]:
        """The metric at an end that has been run."""
        return self._end_metric[end]

    @property
    def differences(self) -> SourceOutputs:
        """D, in float32 at least; both ends must have been run."""
        assert self._end_metric.keys() == set(ENDS)
        return self._differences.outputs

    def _keep_end(self, point: float, metric: Float[Tensor, "row slot"]) -> None:
        if point not in ENDS or point in self._end_metric:
            return
        self._end_metric[point] = metric
        if point == CORRUPTED:
            self._differences.add_corrupted(self.record)
        else:
            self._differences.subtract_clean(self.record)


@contextmanager
def input_path(
    model: LanguageModel, batch: CanvasBatch, metric: str, *, grouped: bool
) -> Iterator[InputPath]:
    """Hook the model for runs along the path of a batch; nothing stays hooked after the block.

    Raises:
        AttributionError: what is done inside the block does not fit in memory.
    """
    clean_logits = clean_reference(metric, model, batch)
    with refusing_large_batches(model, batch), recording(model.parts, grouped=grouped) as record:
        dtype = torch.promote_types(model.dtype, torch.float32)
        yield InputPath(
            model=model,
            batch=batch,
            metric=metric,
            clean_logits=clean_logits,
            record=record,
            _differences=SourceDifferences(model.parts, batch.clean_ids.shape, dtype),
        )


@contextmanager
def refusing_large_batches(
    model: LanguageModel, batch: CanvasBatch, remedy: str = "use a smaller batch size"
) -> Iterator[None]:
    """Turn running out of memory into a line that says what did not fit, and the remedy."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        rows, length = batch.clean_ids.shape
        raise AttributionError(
            f"a batch of {rows} canvases of {length} tokens and {batch.num_slots} scored steps"
            f" does not fit in the memory of {model.device}; {remedy}."
        ) from error
