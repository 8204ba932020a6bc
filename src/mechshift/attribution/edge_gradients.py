"""How does every edge's score follow from the metric's gradients at points of the path?

    score(u -> v) = mean over points of  sum over positions of  < D_u , d(-metric) / d in_v >

It is the first-order estimate of what corrupting this edge alone costs; the methods `eap` and
`eap_ig` differ in their points only (`path`). For each batch of canvases:

1. sum the gradients at every destination over the points, in the compact form of
   `destination_gradients`;
2. take D of every source (`source_differences`);
3. once for each layer and step, contract: [destinations x (position*d)] @ [(position*d) x sources]
   per row, so every example keeps its own score and the batch size changes none. Differences and
   gradients at full width exist for a few rows at a time, so that the passes, not the scores,
   decide how much memory a batch takes.

Memory depends on the batch, not on the number of examples.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mechshift.attribution.collecting import collect_along_paths
from mechshift.attribution.destination_gradients import DestinationGradients
from mechshift.attribution.edge_scores import EdgeScores
from mechshift.attribution.path import CLEAN, CORRUPTED, InputPath
from mechshift.attribution.source_differences import source_differences
from mechshift.denoising import Canvas
from mechshift.graph import Graph
from mechshift.models import LanguageModel

CONTRACTED_BYTES = 32 * 2**20
"""Memory for the differences of all sources of the rows that are contracted together."""


def score_edges_at(
    points: Sequence[float],
    model: LanguageModel,
    canvases: Sequence[Canvas],
    *,
    metric: str,
    grouped: bool,
    batch_size: int,
    progress: Callable[[int], None] | None,
) -> EdgeScores:
    """Score every edge with the gradients at these points; the rest as in `eap_ig`."""
    graph = model.graph(grouped=grouped)
    collector = collect_along_paths(
        lambda path: _score_batch(path, points, graph),
        (graph.num_edges,),
        model,
        canvases,
        metric=metric,
        grouped=grouped,
        batch_size=batch_size,
        progress=progress,
    )
    return collector.edge_scores(graph)


def _score_batch(
    path: InputPath, points: Sequence[float], graph: Graph
) -> Float[Tensor, "row slot edge"]:
    parts = path.model.parts
    gradients = DestinationGradients(
        parts, path.batch, num_points=len(points), groups=graph.num_key_value_groups
    )
    path.add_gradients(points, gradients)
    with torch.no_grad():
        # The metric falls where the score rises; the sum over points becomes a mean.
        return _contract(path, gradients, graph).div_(-len(points))


def _contract(
    path: InputPath, gradients: DestinationGradients, graph: Graph
) -> Float[Tensor, "row slot edge"]:
    """Inner products of every destination's gradient with the sources that precede it."""
    corrupted, clean = path.end(CORRUPTED).outputs, path.end(CLEAN).outputs
    num_rows, num_positions = path.batch.clean_ids.shape
    scores = clean.embedding.new_empty(
        num_rows, gradients.num_slots, graph.num_edges, dtype=gradients.dtype
    )
    row_bytes = graph.num_sources * num_positions * clean.embedding.shape[-1] * scores.itemsize
    for rows in _row_groups(num_rows, row_bytes):
        differences = source_differences(
            path.model.parts, corrupted.of_rows(rows), clean.of_rows(rows), gradients.dtype
        ).flatten(2)
        for slot in range(gradients.num_slots):
            first = 0
            for direction in gradients.directions(slot, rows):
                parents = int(graph.num_parents[first])
                block = torch.bmm(direction.flatten(2), differences[:, :parents].mT)
                start = int(graph.edge_offset[first])
                scores[rows, slot, start : start + block[0].numel()] = block.flatten(1)
                first += direction.shape[1]
    return scores


def _row_groups(num_rows: int, row_bytes: int) -> Iterator[slice]:
    """Rows that are contracted together: so many that their differences fit `CONTRACTED_BYTES`."""
    step = max(1, CONTRACTED_BYTES // row_bytes)
    for start in range(0, num_rows, step):
        yield slice(start, min(start + step, num_rows))
