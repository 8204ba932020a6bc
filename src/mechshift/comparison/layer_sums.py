"""Sums of |score| by layer: that which writes an edge, and that which reads it.

Each row of mean scores gives its own circuit, whose edges alone are counted. `input` and `logits`
are no layers and are kept apart. From the sums of two models come the numbers of a shift in depth:

- the change of the early, middle and late share of what the layers hold;
- the shift of the centre of mass [layers];
- the Wasserstein-1 distance between the two shares by layer [layers]: how far a unit of |score|
  must travel, on average, to turn one profile into the other.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from mechshift.comparison.chosen_edges import Circuits
from mechshift.comparison.measures import added_by_end
from mechshift.graph import Graph, third_of_layers

Side = Literal["source", "destination"]
"""Of an edge: the layer that writes it, or the layer that reads it."""

SIDES: tuple[Side, ...] = ("source", "destination")

SHIFTS = ("early", "middle", "late", "centre_of_mass", "distance")
"""MDM minus ARM: three shares and the centre of mass [layers]; and the distance [layers]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerSums:
    """|score| of both models by layer, in circuits of one size; below 0 only if cross-fitted."""

    values: Float[np.ndarray, "row model=2 side=2 layer_or_end"]
    """ARM and MDM; by writing layer, after `input`, and by reading layer, before `logits`."""

    def whole(self, side: Side) -> list[Float[np.ndarray, "row layer_or_end"]]:
        """ARM's and MDM's sums of one side, its end included."""
        return [self.values[:, model, SIDES.index(side)] for model in range(2)]

    def layers(self, side: Side) -> list[Float[np.ndarray, "row layer"]]:
        """ARM's and MDM's sums of one side without its end."""
        cut = slice(1, None) if side == "source" else slice(None, -1)
        return [sums[:, cut] for sums in self.whole(side)]


def layer_sums(
    graph: Graph, ends: Float[np.ndarray, "row end"]
) -> Float[np.ndarray, "row side=2 layer_or_end"]:
    """By layer, what `measures.end_sums` added up by source and by destination."""
    by_side = np.split(ends, [graph.num_sources], axis=1)
    layers = (graph.source_layer + 1, graph.destination_layer)  # ascending
    sums = [
        np.add.reduceat(of_side, np.searchsorted(layer, np.arange(graph.num_layers + 1)), axis=1)
        for of_side, layer in zip(by_side, layers, strict=True)
    ]
    return np.stack(sums, axis=1)


def cross_fitted_sums(
    graph: Graph, one: Circuits, two: Circuits
) -> Float[np.ndarray, "row side=2 layer_or_end"]:
    """Edges and signs from one half's circuits, scores from the other's; mean of both ways round.

    Args:
        graph: the computation graph.
        one: circuits of the first half of the examples.
        two: circuits of the second, over the same edges.
    """
    added = np.zeros(one.scores.shape)
    for fitted, other in ((one, two), (two, one)):
        signed = np.copysign(other.scores, other.scores * fitted.scores)
        np.add(added, signed, out=added, where=fitted.members)
    return layer_sums(graph, added_by_end(graph, one.edges, added / 2))


def shift_rows(
    arm: Float[np.ndarray, "row layer"], mdm: Float[np.ndarray, "row layer"]
) -> Float[np.ndarray, "row shift"]:
    """`SHIFTS` between two models' layer sums, row by row; NaN where a circuit touches no layer."""
    thirds = thirds_of(mdm) - thirds_of(arm)
    centre = centre_of(mdm) - centre_of(arm)
    return np.column_stack([thirds, centre, wasserstein(arm, mdm)])


def thirds_of(sums: Float[np.ndarray, "row layer"]) -> Float[np.ndarray, "row third"]:
    """Share of each third of the layers; NaN for a row of zeros."""
    thirds = third_of_layers(sums.shape[1]).astype(np.float64)
    return _over_sum(sums @ thirds.T, sums)


def centre_of(sums: Float[np.ndarray, "row layer"]) -> Float[np.ndarray, " row"]:
    """Mean layer, weighted by |score|; NaN for a row of zeros."""
    return _over_sum((sums @ np.arange(sums.shape[1]))[:, None], sums)[:, 0]


def wasserstein(
    first: Float[np.ndarray, "row layer"], second: Float[np.ndarray, "row layer"]
) -> Float[np.ndarray, " row"]:
    """Wasserstein-1 distance between two rows of |score| by layer [layers]; NaN without any.

    On a line it is the area between the two cumulative shares.
    """
    ascents = [np.cumsum(sums, axis=1) for sums in (first, second)]
    shares = [
        np.divide(a, a[:, -1:], out=np.full(a.shape, np.nan), where=a[:, -1:] > 0) for a in ascents
    ]
    distance: Float[np.ndarray, " row"] = np.abs(shares[0] - shares[1]).sum(axis=1)
    return distance


def _over_sum(
    part: Float[np.ndarray, "row entry"], sums: Float[np.ndarray, "row layer"]
) -> Float[np.ndarray, "row entry"]:
    whole = sums.sum(axis=1, keepdims=True)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
