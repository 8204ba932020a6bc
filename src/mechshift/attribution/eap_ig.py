"""How much does each edge matter? Edge attribution patching with integrated gradients (inputs).

For an edge u -> v, with D_u the corrupted minus the clean output of u, and e', e the corrupted and
clean embeddings:

    score(u -> v) = mean over k of  sum over positions of  < D_u , d(-metric) / d in_v at e_k >,
    e_k = e' + a_k (e - e')

It is the first-order estimate of what corrupting this edge alone costs, with the gradient averaged
along the path from the corrupted to the clean input. For each batch of canvases:

1. for each k, one forward pass at e_k, and for each denoising step one backward pass to the
   recorded tensors (`interventions.recording`); parameters need no gradient;
2. sum gradients over k in the compact form of `destination_gradients`;
3. run the ends of the path that are not among its points; D of every source
   (`source_differences`);
4. once for each layer and step, contract: [destinations x (position*d)] @ [(position*d) x sources]
   per row, so every example keeps its own score and the batch size changes none.

Memory depends on the batch, not on the number of examples.

Source: Hanna et al. 2024, arXiv:2403.17806; `left` is the rule of their published code.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mechshift.attribution.collecting import ScoreCollector
from mechshift.attribution.destination_gradients import DestinationGradients
from mechshift.attribution.edge_scores import EdgeScores
from mechshift.attribution.source_differences import (
    SourceOutputs,
    source_differences,
    source_outputs,
)
from mechshift.denoising import (
    Canvas,
    CanvasBatch,
    batch_canvases,
    clean_reference,
    readout_logits,
    score_readouts,
)
from mechshift.errors import AttributionError
from mechshift.graph import Graph
from mechshift.interventions import Recording, recording
from mechshift.models import LanguageModel

Rule = Literal["left", "midpoint", "right"]

RULE_OFFSETS: dict[str, float] = {"left": 0.0, "midpoint": 0.5, "right": 1.0}
"""Where in its interval of the path each integration step takes the gradient."""


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


def eap_ig(
    model: LanguageModel,
    canvases: Sequence[Canvas],
    *,
    metric: str,
    ig_steps: int = 5,
    rule: Rule = "left",
    grouped: bool = False,
    batch_size: int = 16,
    progress: Callable[[int], None] | None = None,
) -> EdgeScores:
    """Score every edge of the model on every example and denoising step.

    Args:
        model: read through hooks that are gone afterwards; nothing of it changes.
        canvases: all canvases of consecutive examples; the first of them becomes row 0.
        metric: a name in `denoising.METRICS`.
        ig_steps: points on the path; 5 as in MIB, arXiv:2504.13151.
        rule: `left` includes the corrupted input, `right` the clean one, `midpoint` neither.
        grouped: one k and v destination per KV head instead of one per query head.
        batch_size: canvases in one forward pass; it does not change a score.
        progress: called with the number of canvases that each batch has finished.

    Raises:
        AttributionError: bad settings, no canvases, a missing example or step, a batch that does
            not fit in memory, or scores that are not finite.
    """
    points = path_points(rule, ig_steps)
    graph = model.graph(grouped=grouped)
    collector = ScoreCollector(graph, canvases, model.dtype)
    for batch in batch_canvases(model, canvases, batch_size):
        with recording(model.parts, grouped=grouped) as record:
            clean_logits = clean_reference(metric, model, batch)
            path = _Path(
                model=model, batch=batch, metric=metric, clean_logits=clean_logits, record=record
            )
            scores = _score_or_refuse(path, points, graph)
        clean, corrupted = path.end(1.0).metric, path.end(0.0).metric
        collector.add(batch, scores, clean_metric=clean, corrupted_metric=corrupted)
        if progress is not None:
            progress(batch.num_rows)
    return collector.edge_scores()


@dataclass(frozen=True, kw_only=True, eq=False)
class _End:
    """What the clean or the corrupted run gave."""

    outputs: SourceOutputs
    metric: Float[Tensor, "row slot"]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Path:
    """The straight line from corrupted to clean embeddings of a batch, and runs along it."""

    model: LanguageModel
    batch: CanvasBatch
    metric: str
    clean_logits: Float[Tensor, "readout vocab"] | None
    """From `clean_reference`."""
    record: Recording
    """Filled by each run."""
    _ends: dict[float, _End] = field(default_factory=dict)

    def run(self, point: float) -> Float[Tensor, "row slot"]:
        """The metric at a point, in a graph of the embeddings where gradients are enabled."""
        batch, parts = self.batch, self.model.parts
        with torch.no_grad():
            # lerp is exact at both ends.
            embeddings = torch.lerp(
                parts.embedding(batch.corrupted_ids), parts.embedding(batch.clean_ids), point
            )
        hidden = parts.decoder(
            inputs_embeds=embeddings.requires_grad_(torch.is_grad_enabled()),
            attention_mask=batch.attention_mask,
            position_ids=batch.position_ids,
            use_cache=False,
        ).last_hidden_state
        logits = readout_logits(self.model, hidden, batch)
        metric = score_readouts(self.metric, logits, batch, self.clean_logits)
        if point in (0.0, 1.0):
            self._ends[point] = _End(outputs=source_outputs(self.record), metric=metric.detach())
        return metric

    def end(self, point: float) -> _End:
        """An end of the path, run only if it was not among the points."""
        if point not in self._ends:
            with torch.no_grad():
                self.run(point)
        return self._ends[point]


def _score_or_refuse(
    path: _Path, points: tuple[float, ...], graph: Graph
) -> Float[Tensor, "row slot edge"]:
    try:
        return _score_batch(path, points, graph)
    except torch.OutOfMemoryError as error:
        rows, length = path.batch.clean_ids.shape
        raise AttributionError(
            f"a batch of {rows} canvases of {length} tokens and {path.batch.num_slots} scored steps"
            f" does not fit in the memory of {path.model.device}; use a smaller batch size."
        ) from error


def _score_batch(
    path: _Path, points: tuple[float, ...], graph: Graph
) -> Float[Tensor, "row slot edge"]:
    gradients = _integrate(path, points, graph)
    parts, dtype = path.model.parts, gradients.dtype
    with torch.no_grad():
        differences = source_differences(parts, path.end(0.0).outputs, path.end(1.0).outputs, dtype)
        # The metric falls where the score rises; the sum over points becomes a mean.
        return _contract(gradients, differences, graph).div_(-len(points))


def _integrate(path: _Path, points: tuple[float, ...], graph: Graph) -> DestinationGradients:
    """Sum the metric's gradients at every destination over the points."""
    gradients = DestinationGradients(
        path.model.parts, path.batch, num_points=len(points), groups=graph.num_key_value_groups
    )
    for point in points:
        with torch.enable_grad():
            # Rows do not touch each other, so the gradient of their sum is each row's own.
            totals = path.run(point).sum(dim=0).unbind()
        gradients.begin_point(path.record)
        tensors = gradients.differentiated(path.record)
        for slot, total in enumerate(totals):
            last = slot + 1 == len(totals)
            gradients.add(slot, torch.autograd.grad(total, tensors, retain_graph=not last))
    return gradients


def _contract(
    gradients: DestinationGradients,
    differences: Float[Tensor, "row source position d_model"],
    graph: Graph,
) -> Float[Tensor, "row slot edge"]:
    """Inner products of every destination's gradient with the sources that precede it."""
    rows = len(differences)
    scores = differences.new_empty(rows, gradients.num_slots, graph.num_edges)
    flat_differences = differences.flatten(2)
    for slot in range(gradients.num_slots):
        first = 0
        for direction in gradients.directions(slot):
            parents = int(graph.num_parents[first])
            block = torch.bmm(direction.flatten(2), flat_differences[:, :parents].mT)
            start = int(graph.edge_offset[first])
            scores[:, slot, start : start + block[0].numel()] = block.flatten(1)
            first += direction.shape[1]
    return scores
