"""What does corrupting one edge really cost? The ground truth that `eap_ig` estimates.

For an edge u -> v: run the clean input, but let v read the residual stream with u's clean output
replaced by its corrupted one. Everything upstream of v is clean, everything downstream follows.

    score(u -> v) = metric(clean) - metric(clean, with that edge corrupted)

One forward pass for each edge and batch, so for small graphs only.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mechshift.attribution.collecting import ScoreCollector
from mechshift.attribution.edge_scores import EdgeScores
from mechshift.attribution.source_differences import source_differences, source_outputs
from mechshift.denoising import (
    Canvas,
    CanvasBatch,
    batch_canvases,
    clean_reference,
    readout_logits,
    score_readouts,
)
from mechshift.graph import Graph
from mechshift.interventions import added_to_destination, recording
from mechshift.models import LanguageModel


def exact_edge_scores(
    model: LanguageModel,
    canvases: Sequence[Canvas],
    *,
    metric: str,
    grouped: bool = False,
    batch_size: int = 16,
    progress: Callable[[int], None] | None = None,
) -> EdgeScores:
    """Corrupt every edge by itself and measure; signs and units as those of `eap_ig`.

    Args:
        model: read through hooks that are gone afterwards; nothing of it changes.
        canvases: all canvases of consecutive examples; the first of them becomes row 0.
        metric: a name in `denoising.METRICS`.
        grouped: one k and v destination per KV head instead of one per query head.
        batch_size: canvases in one forward pass; it does not change a score.
        progress: called with the number of canvases that each batch has finished.

    Raises:
        AttributionError: no canvases, a missing example or step, or scores that are not finite.
    """
    graph = model.graph(grouped=grouped)
    collector = ScoreCollector(graph, canvases, model.dtype)
    for batch in batch_canvases(model, canvases, batch_size):
        _score_batch(model, batch, metric, graph, collector)
        if progress is not None:
            progress(batch.num_rows)
    return collector.edge_scores()


@torch.no_grad()
def _score_batch(
    model: LanguageModel, batch: CanvasBatch, metric: str, graph: Graph, collector: ScoreCollector
) -> None:
    with recording(model.parts) as record:
        corrupted_metric = _metric(model, batch, batch.corrupted_ids, metric)
        corrupted = source_outputs(record)
        clean_metric = _metric(model, batch, batch.clean_ids, metric)
        clean = source_outputs(record)
    differences = source_differences(model.parts, corrupted, clean, model.dtype)
    scores = clean_metric.new_empty(*clean_metric.shape, graph.num_edges)
    for edge in range(graph.num_edges):
        change = differences[:, graph.edge_source[edge]]
        with added_to_destination(model.parts, graph, int(graph.edge_destination[edge]), change):
            scores[..., edge] = clean_metric - _metric(model, batch, batch.clean_ids, metric)
    collector.add(batch, scores, clean_metric=clean_metric, corrupted_metric=corrupted_metric)


def _metric(
    model: LanguageModel, batch: CanvasBatch, ids: Int64[Tensor, "row position"], metric: str
) -> Float[Tensor, "row slot"]:
    hidden = model.hidden(ids, batch.attention_mask, batch.position_ids)
    return score_readouts(metric, readout_logits(model, hidden, batch), batch)
