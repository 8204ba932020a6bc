"""|score| added up by the layer that writes an edge and by the layer that reads it.

Each row of mean scores gives its own circuit, whose edges alone are counted. `input` and `logits`
are no layers and are kept apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from scipy import sparse

from mechshift.comparison.nodes import masked
from mechshift.comparison.resampling import (
    chunks,
    exchanged_means,
    mean_scores,
    normalised_rows,
    pool_mean,
)
from mechshift.comparison.top_edges import held_edges
from mechshift.graph import Graph


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerSums:
    """|score| of one model by layer, in circuits of one size; below 0 only if cross-fitted."""

    source: Float[np.ndarray, "row layer_or_end"]
    """By writing layer; column 0 is `input`."""

    destination: Float[np.ndarray, "row layer_or_end"]
    """By reading layer; the last column is `logits`."""

    def of_layers(self, side: Literal["source", "destination"]) -> Float[np.ndarray, "row layer"]:
        """One side without its end."""
        return self.source[:, 1:] if side == "source" else self.destination[:, :-1]


@dataclass(frozen=True, kw_only=True, eq=False)
class PairSums:
    """Layer sums of both models in circuits of one size."""

    arm: LayerSums
    mdm: LayerSums


@dataclass(frozen=True, kw_only=True, eq=False)
class HalfSums:
    """Layer sums of one model on the two halves of each row's examples."""

    first: LayerSums
    second: LayerSums

    cross_fitted: LayerSums
    """Edges and signs from one half, scores from the other; mean of both ways round."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Chosen:
    """Rows of mean scores that choose a circuit, and what is added up over it."""

    by: Float[np.ndarray, "row edge"]
    """|score| by which edges are chosen."""

    added: Float[np.ndarray, "row edge"]


@lru_cache(maxsize=8)
def by_layer(graph: Graph, side: Literal["source", "destination"]) -> sparse.csr_array:
    """[edge, layer_or_end]: 1 where an edge is written (or read) by that layer or end."""
    if side == "source":
        layer = graph.source_layer[graph.edge_source] + 1
    else:
        layer = graph.destination_layer[graph.edge_destination]
    entries = (np.ones(graph.num_edges), (np.arange(graph.num_edges), layer))
    return sparse.csr_array(entries, shape=(graph.num_edges, graph.num_layers + 1))


def layer_sums(graph: Graph, chosen: Chosen, sizes: Sequence[int]) -> list[LayerSums]:
    """What circuits of each size add up to by layer."""
    sums = {}
    for held in held_edges([chosen.by], sizes):
        edges = held.edges if len(held.edges) < graph.num_edges else slice(None)
        kept = masked(chosen.added[:, edges], held.members[0])
        sums[held.size] = LayerSums(
            source=kept @ by_layer(graph, "source")[edges],
            destination=kept @ by_layer(graph, "destination")[edges],
        )
    return [sums[size] for size in sizes]


def resampled_sums(
    graph: Graph,
    weights: Float[np.ndarray, "resample example"],
    arm_scores: Float[np.ndarray, "example edge"],
    mdm_scores: Float[np.ndarray, "example edge"],
    sizes: Sequence[int],
) -> list[PairSums]:
    """Both models' layer sums by size; row 0 is the pool, the others its resamples."""

    def of_model(scores: Float[np.ndarray, "example edge"]) -> list[LayerSums]:
        parts = [layer_sums(graph, _strongest(pool_mean(scores)), sizes)]
        for rows in chunks(len(weights), graph.num_edges):
            means = mean_scores(weights[rows], scores)
            parts.append(layer_sums(graph, _strongest(means), sizes))
        return _joined_by_size(parts)

    return _paired(of_model(arm_scores), of_model(mdm_scores))


def exchanged_sums(
    graph: Graph,
    swapped: Bool[np.ndarray, "exchange example"],
    arm_scores: Float[np.ndarray, "example edge"],
    mdm_scores: Float[np.ndarray, "example edge"],
    sizes: Sequence[int],
) -> list[PairSums]:
    """Layer sums of the two sides after the models traded examples, by size."""
    first, second = [], []
    for rows in chunks(len(swapped), graph.num_edges):
        means = exchanged_means(swapped[rows], arm_scores, mdm_scores)
        first.append(layer_sums(graph, _strongest(means.first), sizes))
        second.append(layer_sums(graph, _strongest(means.second), sizes))
    return _paired(_joined_by_size(first), _joined_by_size(second))


def half_sums(
    graph: Graph,
    weights: Float[np.ndarray, "row example"],
    first: Bool[np.ndarray, "row example"],
    scores: Float[np.ndarray, "example edge"],
    size: int,
) -> HalfSums:
    """One model's layer sums on the first and on the second half of the weighted examples."""
    ones, twos, crossed = [], [], []
    for rows in chunks(len(weights), graph.num_edges):
        one, two = (
            mean_scores(normalised_rows(weights[rows] * half), scores)
            for half in (first[rows], ~first[rows])
        )
        ones += layer_sums(graph, _strongest(one), [size])
        twos += layer_sums(graph, _strongest(two), [size])
        crossed.append(_cross_fitted(graph, one, two, size))
    return HalfSums(first=_joined(ones), second=_joined(twos), cross_fitted=_joined(crossed))


def cross_fitted_exchanges(
    graph: Graph,
    swapped: Bool[np.ndarray, "exchange example"],
    halves: Bool[np.ndarray, "split example"],
    arm_scores: Float[np.ndarray, "example edge"],
    mdm_scores: Float[np.ndarray, "example edge"],
    size: int,
) -> PairSums:
    """Cross-fitted layer sums of both sides after exchanges, averaged over the same halvings."""
    firsts, seconds = [], []
    for half in halves:
        first, second = [], []
        for rows in chunks(len(swapped), graph.num_edges):
            one, two = (
                exchanged_means(swapped[rows][:, chosen], arm_scores[chosen], mdm_scores[chosen])
                for chosen in (half, ~half)
            )
            first.append(_cross_fitted(graph, one.first, two.first, size))
            second.append(_cross_fitted(graph, one.second, two.second, size))
        firsts.append(_joined(first))
        seconds.append(_joined(second))
    return PairSums(arm=_mean(firsts), mdm=_mean(seconds))


def _cross_fitted(
    graph: Graph,
    one: Float[np.ndarray, "row edge"],
    two: Float[np.ndarray, "row edge"],
    size: int,
) -> LayerSums:
    """Edges and signs from one half's mean scores, scores from the other's; mean of both ways."""
    ways = []
    for fitted, added in ((one, two), (two, one)):
        chosen = Chosen(by=np.abs(fitted), added=np.sign(fitted) * added)
        ways += layer_sums(graph, chosen, [size])
    return _mean(ways)


def _strongest(scores: Float[np.ndarray, "row edge"]) -> Chosen:
    magnitudes = np.abs(scores)
    return Chosen(by=magnitudes, added=magnitudes)


def _paired(arm: Sequence[LayerSums], mdm: Sequence[LayerSums]) -> list[PairSums]:
    return [PairSums(arm=one, mdm=other) for one, other in zip(arm, mdm, strict=True)]


def _joined_by_size(parts: Sequence[Sequence[LayerSums]]) -> list[LayerSums]:
    return [_joined(of_size) for of_size in zip(*parts, strict=True)]


def _joined(parts: Sequence[LayerSums]) -> LayerSums:
    """Their rows, one after the other."""
    return LayerSums(
        source=np.concatenate([sums.source for sums in parts]),
        destination=np.concatenate([sums.destination for sums in parts]),
    )


def _mean(parts: Sequence[LayerSums]) -> LayerSums:
    """Their mean, row by row."""
    return LayerSums(
        source=np.mean([sums.source for sums in parts], axis=0),
        destination=np.mean([sums.destination for sums in parts], axis=0),
    )
