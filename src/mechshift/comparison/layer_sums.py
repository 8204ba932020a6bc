"""|score| added up by the layer that writes an edge and by the layer that reads it.

Each row of mean scores gives its own circuit, whose edges alone are counted. `input` and `logits`
are no layers and are kept apart.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
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
from mechshift.comparison.top_edges import top_edge_masks
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


def layer_sums(graph: Graph, blocks: Iterable[Chosen], sizes: Sequence[int]) -> list[LayerSums]:
    """What circuits of each size add up to by layer."""
    from_layer, to_layer = by_layer(graph, "source"), by_layer(graph, "destination")
    sources: list[list[np.ndarray]] = [[] for _ in sizes]
    destinations: list[list[np.ndarray]] = [[] for _ in sizes]
    for block in blocks:
        for index, mask in enumerate(top_edge_masks(block.by, sizes)):
            kept = sparse.csr_array(masked(block.added, mask))
            sources[index].append((kept @ from_layer).toarray())
            destinations[index].append((kept @ to_layer).toarray())
    return [
        LayerSums(source=np.concatenate(source), destination=np.concatenate(destination))
        for source, destination in zip(sources, destinations, strict=True)
    ]


def resampled_sums(
    graph: Graph,
    weights: Float[np.ndarray, "resample example"],
    arm_scores: Float[np.ndarray, "example edge"],
    mdm_scores: Float[np.ndarray, "example edge"],
    sizes: Sequence[int],
) -> list[PairSums]:
    """Both models' layer sums by size; row 0 is the pool, the others its resamples."""

    def blocks(scores: Float[np.ndarray, "example edge"]) -> Iterator[Chosen]:
        yield _strongest(pool_mean(scores))
        for rows in chunks(len(weights), graph.num_edges):
            yield _strongest(mean_scores(weights[rows], scores))

    return [
        PairSums(arm=arm, mdm=mdm)
        for arm, mdm in zip(
            layer_sums(graph, blocks(arm_scores), sizes),
            layer_sums(graph, blocks(mdm_scores), sizes),
            strict=True,
        )
    ]


def exchanged_sums(
    graph: Graph,
    swapped: Bool[np.ndarray, "exchange example"],
    arm_scores: Float[np.ndarray, "example edge"],
    mdm_scores: Float[np.ndarray, "example edge"],
    sizes: Sequence[int],
) -> list[PairSums]:
    """Layer sums of the two sides after the models traded examples, by size."""

    def blocks(side: Literal["first", "second"]) -> Iterator[Chosen]:
        for rows in chunks(len(swapped), graph.num_edges):
            means = exchanged_means(swapped[rows], arm_scores, mdm_scores)
            yield _strongest(getattr(means, side))

    return [
        PairSums(arm=arm, mdm=mdm)
        for arm, mdm in zip(
            layer_sums(graph, blocks("first"), sizes),
            layer_sums(graph, blocks("second"), sizes),
            strict=True,
        )
    ]


def half_sums(
    graph: Graph,
    weights: Float[np.ndarray, "row example"],
    first: Bool[np.ndarray, "row example"],
    scores: Float[np.ndarray, "example edge"],
    size: int,
) -> HalfSums:
    """One model's layer sums on the first and on the second half of the weighted examples."""

    def means(rows: slice, in_first: bool) -> Float[np.ndarray, "row edge"]:
        half = first[rows] if in_first else ~first[rows]
        return mean_scores(normalised_rows(weights[rows] * half), scores)

    def own(in_first: bool) -> Iterator[Chosen]:
        for rows in chunks(len(weights), graph.num_edges):
            yield _strongest(means(rows, in_first))

    (one,), (two,) = (layer_sums(graph, own(in_first), [size]) for in_first in (True, False))
    crossed = _cross_fitted(graph, means, len(weights), size)
    return HalfSums(first=one, second=two, cross_fitted=crossed)


def cross_fitted_exchanges(
    graph: Graph,
    swapped: Bool[np.ndarray, "exchange example"],
    halves: Bool[np.ndarray, "split example"],
    arm_scores: Float[np.ndarray, "example edge"],
    mdm_scores: Float[np.ndarray, "example edge"],
    size: int,
) -> PairSums:
    """Cross-fitted layer sums of both sides after exchanges, averaged over the same halvings."""

    def of_side(side: Literal["first", "second"]) -> LayerSums:
        per_split = []
        for half in halves:

            def means(
                rows: slice, in_first: bool, half: Bool[np.ndarray, " example"] = half
            ) -> Float[np.ndarray, "row edge"]:
                chosen = half if in_first else ~half
                found = exchanged_means(
                    swapped[rows][:, chosen], arm_scores[chosen], mdm_scores[chosen]
                )
                means_of_side: Float[np.ndarray, "row edge"] = getattr(found, side)
                return means_of_side

            per_split.append(_cross_fitted(graph, means, len(swapped), size))
        return LayerSums(
            source=np.mean([sums.source for sums in per_split], axis=0),
            destination=np.mean([sums.destination for sums in per_split], axis=0),
        )

    return PairSums(arm=of_side("first"), mdm=of_side("second"))


def _cross_fitted(
    graph: Graph, means: Callable[[slice, bool], np.ndarray], num_rows: int, size: int
) -> LayerSums:
    """Edges and signs from one half, scores from the other; mean of both ways round.

    Args:
        graph: the computation graph.
        means: mean scores [row, edge] of these rows on the first half (True) or on the second.
        num_rows: rows of mean scores.
        size: edges in the circuit.
    """

    def blocks(fitted_on_first: bool) -> Iterator[Chosen]:
        for rows in chunks(num_rows, graph.num_edges):
            fitted, added = means(rows, fitted_on_first), means(rows, not fitted_on_first)
            yield Chosen(by=np.abs(fitted), added=np.sign(fitted) * added)

    (one_way,), (other_way,) = (layer_sums(graph, blocks(way), [size]) for way in (True, False))
    return LayerSums(
        source=(one_way.source + other_way.source) / 2,
        destination=(one_way.destination + other_way.destination) / 2,
    )


def _strongest(scores: Float[np.ndarray, "row edge"]) -> Chosen:
    magnitudes = np.abs(scores)
    return Chosen(by=magnitudes, added=magnitudes)
