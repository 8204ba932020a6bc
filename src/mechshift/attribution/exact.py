"""Exact patching: what corrupting one edge costs, which gradient methods estimate.

For an edge u -> v: run the clean input, but let v read the residual stream with u's clean output
replaced by its corrupted one. Everything upstream of v is clean, everything downstream follows.

    score(u -> v) = metric(clean) - metric(clean, with that edge corrupted)

Edges into the same destination are stacked along the batch axis: a forward pass holds every canvas
of a batch once for each of up to `edges_per_pass` edges. `num_forward_passes` says how many passes
that takes; even so, it is for small graphs only.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mechshift.attribution.collecting import ScoreCollector
from mechshift.attribution.edge_scores import EdgeScores
from mechshift.attribution.path import refusing_large_batches
from mechshift.attribution.source_differences import SourceDifferences, written
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
from mechshift.interventions import added_to_destination, recording
from mechshift.models import LanguageModel


def exact_edge_scores(
    model: LanguageModel,
    canvases: Sequence[Canvas],
    *,
    metric: str,
    edges_per_pass: int = 16,
    grouped: bool = False,
    batch_size: int = 16,
    progress: Callable[[int], None] | None = None,
) -> EdgeScores:
    """Corrupt every edge by itself and measure; signs and units as those of `eap_ig`.

    Args:
        model: read through hooks that are gone afterwards; nothing of it changes.
        canvases: all canvases of consecutive examples; the first of them becomes row 0.
        metric: a name in `denoising.METRICS`.
        edges_per_pass: edges of one destination in one forward pass; it does not change a score.
        grouped: one k and v destination per KV head instead of one per query head.
        batch_size: canvases of one batch; a pass holds up to this times `edges_per_pass` rows.
        progress: called with how many canvases more are finished; those of a batch are counted in
            turn as its passes are done, since a batch can take long.

    Raises:
        AttributionError: no canvases, a missing example or step, fewer than one edge in a pass, a
            pass that does not fit in memory, or scores that are not finite.
    """
    if edges_per_pass < 1:
        raise AttributionError(f"edges_per_pass is {edges_per_pass}; it must be at least 1.")
    graph = model.graph(grouped=grouped)
    collector = ScoreCollector(canvases, model.dtype, graph.num_edges)
    remedy = "use a smaller batch size or fewer edges_per_pass"
    passes = list(_edges_by_pass(graph, edges_per_pass))
    for batch in batch_canvases(model, canvases, batch_size):
        with refusing_large_batches(model, batch, remedy):
            told = _telling_of(passes, batch.num_rows, progress)
            _score_batch(model, batch, metric, graph, told, collector)
    return collector.edge_scores(graph)


def num_forward_passes(graph: Graph, edges_per_pass: int) -> int:
    """Forward passes for each batch of canvases: clean, corrupted, and those with an edge changed.

    A metric that compares with the clean run adds one.
    """
    return 2 + sum(1 for _ in _edges_by_pass(graph, edges_per_pass))


def _edges_by_pass(graph: Graph, edges_per_pass: int) -> Iterator[tuple[int, slice]]:
    """Each destination with a run of its edges; edges are stored by destination."""
    for destination in range(graph.num_destinations):
        first, end = (int(edge) for edge in graph.edge_offset[destination : destination + 2])
        for start in range(first, end, edges_per_pass):
            yield destination, slice(start, min(start + edges_per_pass, end))


def _telling_of(
    passes: Sequence[tuple[int, slice]], num_canvases: int, progress: Callable[[int], None] | None
) -> Iterator[tuple[int, slice]]:
    """The passes of a batch; as they are done, the canvases are told one after the other."""
    told = 0
    for done, one_pass in enumerate(passes, start=1):
        yield one_pass
        finished = num_canvases * done // len(passes)
        if progress is not None and finished > told:
            progress(finished - told)
        told = finished


@torch.no_grad()
def _score_batch(
    model: LanguageModel,
    batch: CanvasBatch,
    metric: str,
    graph: Graph,
    passes: Iterable[tuple[int, slice]],
    collector: ScoreCollector,
) -> None:
    reference = clean_reference(metric, model, batch)

    def measure(hidden: Float[Tensor, "row position d_model"]) -> Float[Tensor, "row slot"]:
        return score_readouts(metric, readout_logits(model, hidden, batch), batch, reference)

    differences = SourceDifferences(model.parts, batch.clean_ids.shape, model.dtype)
    with recording(model.parts) as record:
        corrupted_metric = measure(
            model.hidden(batch.corrupted_ids, batch.attention_mask, batch.position_ids)
        )
        differences.add_corrupted(record)
        clean_metric = measure(
            model.hidden(batch.clean_ids, batch.attention_mask, batch.position_ids)
        )
        differences.subtract_clean(record)
    by_source = written(model.parts, differences.outputs)
    scores = clean_metric.new_empty(*clean_metric.shape, graph.num_edges)
    for destination, edges in passes:
        changes = by_source[:, graph.edge_source[edges]].transpose(0, 1)
        with added_to_destination(model.parts, graph, destination, changes.flatten(0, 1)):
            by_edge = _repeated_hidden(model, batch, len(changes))
        scores[..., edges] = torch.stack([clean_metric - measure(h) for h in by_edge], dim=-1)
    collector.add(batch, scores, clean_metric=clean_metric, corrupted_metric=corrupted_metric)


def _repeated_hidden(
    model: LanguageModel, batch: CanvasBatch, times: int
) -> Float[Tensor, "times row position d_model"]:
    """Hidden states of the clean canvases, each of them run so many times in one pass."""
    inputs = (batch.clean_ids, batch.attention_mask, batch.position_ids)
    hidden = model.hidden(*(tensor.repeat(times, 1) for tensor in inputs))
    return hidden.unflatten(0, (times, batch.num_rows))
