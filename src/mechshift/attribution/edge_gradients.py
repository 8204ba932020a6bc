"""Edge scores from the metric's gradients at points of the path.

    score(u -> v) = mean over points of  sum over positions of  < D_u , d(-metric) / d in_v >

It is the first-order estimate of what corrupting this edge alone costs; the methods `eap` and
`eap_ig` differ in their points only (`path`). For each batch of canvases:

1. sum the gradients at every destination over the points, in the compact form of
   `destination_gradients`;
2. after each point, subtract the inner products of D with the part of those gradients that lies
   along the inputs of the attention norms at that point;
3. after the last, once for each layer and step, contract the sums:
   [destinations x (position*d)] @ [(position*d) x sources] per row, so every example keeps its own
   score and the batch size changes none.

Differences and gradients at full width exist for a few rows at a time, and only while no graph is
in memory, so that the passes, not the scores, decide how much memory a batch takes.
Memory depends on the batch, neither on the number of examples nor on that of points.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mechshift.attribution.collecting import collect_along_paths
from mechshift.attribution.destination_gradients import DestinationGradients
from mechshift.attribution.edge_scores import EdgeScores
from mechshift.attribution.path import InputPath
from mechshift.attribution.source_differences import written
from mechshift.denoising import Canvas
from mechshift.graph import QUERY, Graph
from mechshift.models import LanguageModel

CONTRACTED_BYTES = 32 * 2**20
"""Memory for the differences of all sources, at full width, of as many rows as fit; of one row,
where one needs more."""


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
    sums = _ScoreSums(path, graph)
    path.add_gradients(points, sums.gradients, after_point=sums.subtract_norm_terms)
    sums.add_directions()
    # The metric falls where the score rises; the sum over points becomes a mean.
    return sums.scores.div_(-len(points))


class _ScoreSums:
    """Inner products of D with the gradient at every destination, summed over points."""

    def __init__(self, path: InputPath, graph: Graph) -> None:
        self._path = path
        self._graph = graph
        self.gradients = DestinationGradients(
            path.model.parts, path.batch, groups=graph.num_key_value_groups
        )
        shape = (path.batch.num_rows, path.batch.num_slots, graph.num_edges)
        self.scores = torch.zeros(shape, dtype=self.gradients.dtype, device=path.model.device)

    @torch.no_grad()
    def subtract_norm_terms(self) -> None:
        """Take in what lies along the inputs of attention norms, while the point is in memory."""
        terms = self.gradients.norm_terms()
        for rows, differences in self._differences():
            c = torch.stack([term.c[rows] for term in terms], dim=-1)
            # Row by row, so that no operand is copied to be reshaped.
            along_c = torch.stack(
                [d.transpose(0, 1) @ at_row for d, at_row in zip(differences, c, strict=True)]
            )
            for layer, term in enumerate(terms):
                first = self._graph.destination_index(QUERY, layer)
                edges, parents = self._block(first, term.factor.shape[-1])
                factor = term.factor[:, rows].transpose(0, 1).mT
                products = factor @ along_c[:, None, :, :parents, layer]
                self.scores[rows, :, edges] -= products.flatten(2)

    @torch.no_grad()
    def add_directions(self) -> None:
        """Take in the sums over all points, once they are complete."""
        for rows, differences in self._differences():
            for slot in range(self.gradients.num_slots):
                first = 0
                for direction in self.gradients.directions(slot, rows):
                    edges, parents = self._block(first, direction.shape[1])
                    products = direction.flatten(2) @ differences[:, :parents].flatten(2).mT
                    self.scores[rows, slot, edges] += products.flatten(1)
                    first += direction.shape[1]

    def _block(self, first: int, num_destinations: int) -> tuple[slice, int]:
        """Edges into so many destinations with the same sources, and the number of these."""
        parents = int(self._graph.num_parents[first])
        start = int(self._graph.edge_offset[first])
        return slice(start, start + num_destinations * parents), parents

    def _differences(self) -> Iterator[tuple[slice, Float[Tensor, "row source position d_model"]]]:
        """D at full width, for as many rows at a time as fit in `CONTRACTED_BYTES`."""
        differences = self._path.differences
        num_rows = self._path.batch.num_rows
        row_bytes = differences.embedding[0].nbytes * self._graph.num_sources
        step = max(1, CONTRACTED_BYTES // row_bytes)
        for start in range(0, num_rows, step):
            rows = slice(start, min(start + step, num_rows))
            yield rows, written(self._path.model.parts, differences.of_rows(rows))
