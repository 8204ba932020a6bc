"""|score| added up by the layer that writes an edge and by the layer that reads it.

Each row of mean scores gives its own circuit, whose edges alone are counted. `input` and `logits`
are no layers and are kept apart.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
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
    """|score| of one model by layer, in circuits of one size."""

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


def by_layer(graph: Graph, side: Literal["source", "destination"]) -> sparse.csr_array:
    """[edge, layer_or_end]: 1 where an edge is written (or read) by that layer or end."""
    if side == "source":
        layer = graph.source_layer[graph.edge_source] + 1
    else:
        layer = graph.destination_layer[graph.edge_destination]
    entries = (np.ones(graph.num_edges), (np.arange(graph.num_edges), layer))
    return sparse.csr_array(entries, shape=(graph.num_edges, graph.num_layers + 1))


def layer_sums(
    graph: Graph, blocks: Iterable[Float[np.ndarray, "row edge"]], sizes: Sequence[int]
) -> list[LayerSums]:
    """|score| by layer for circuits of each size, from blocks of rows of mean scores."""
    from_layer, to_layer = by_layer(graph, "source"), by_layer(graph, "destination")
    sources: list[list[np.ndarray]] = [[] for _ in sizes]
    destinations: list[list[np.ndarray]] = [[] for _ in sizes]
    for scores in blocks:
        magnitudes = np.abs(scores)
        for index, mask in enumerate(top_edge_masks(magnitudes, sizes)):
            kept = sparse.csr_array(masked(magnitudes, mask))
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

    def blocks(scores: Float[np.ndarray, "example edge"]) -> Iterator[np.ndarray]:
        yield pool_mean(scores)
        for rows in chunks(len(weights), graph.num_edges):
            yield mean_scores(weights[rows], scores)

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

    def blocks(side: Literal["first", "second"]) -> Iterator[np.ndarray]:
        for rows in chunks(len(swapped), graph.num_edges):
            yield getattr(exchanged_means(swapped[rows], arm_scores, mdm_scores), side)

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

    def blocks(half: Bool[np.ndarray, "row example"]) -> Iterator[np.ndarray]:
        for rows in chunks(len(weights), graph.num_edges):
            yield mean_scores(normalised_rows(weights[rows] * half[rows]), scores)

    (one,), (two,) = (layer_sums(graph, blocks(half), [size]) for half in (first, ~first))
    return HalfSums(first=one, second=two)
