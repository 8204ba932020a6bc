"""Which edges of the circuits are compared, and how much do two such sets share?

The circuit is that of `circuits.select_top_edges`, which keeps exactly K edges. Of these, edges
whose score is exactly zero are not compared: only their index put them there, and both models
would share them by force. `held_edges` says the same for many rows of scores at once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from mechshift.circuits import select_top_edges
from mechshift.errors import ComparisonError
from mechshift.graph import Graph


def jaccard(first: Int[np.ndarray, " k"], second: Int[np.ndarray, " l"]) -> float:
    """Shared edges over all edges of two edge sets, in [0, 1].

    Raises:
        ComparisonError: both sets are empty, so no share exists.
    """
    union = np.union1d(first, second)
    if not len(union):
        raise ComparisonError("the overlap of two empty edge sets is undefined.")
    return len(np.intersect1d(first, second)) / len(union)


def top_edges(graph: Graph, scores: Float[np.ndarray, " edge"], k: int) -> Int[np.ndarray, " k"]:
    """The `k` edges of largest |score|, strongest first; fewer if fewer are not zero.

    Raises:
        CircuitError: see `select_top_edges`.
    """
    circuit = select_top_edges(graph, scores, k)
    return circuit.edges[circuit.scores != 0]


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldEdges:
    """The circuits of one size in many rows of scores, over the edges that any of them holds."""

    size: int
    edges: Int[np.ndarray, " edge"]
    """Edges of the graph, ascending. In a large graph and a small circuit they are few."""

    members: tuple[Bool[np.ndarray, "row edge"], ...]
    """For each set of rows, which of these edges are each row's `top_edges`."""


def held_edges(
    magnitudes: Sequence[Float[np.ndarray, "row edge"]], sizes: Sequence[int]
) -> Iterator[HeldEdges]:
    """The circuits of several sets of rows, size by size, the largest first.

    Circuits are nested: edges that no circuit of one size holds are not looked at for smaller ones.
    One sort per row serves all sizes. Ties at the last place go to the lower index.

    Args:
        magnitudes: |score|, not negative, for each set of rows.
        sizes: circuit sizes [edges], each once.

    Raises:
        ComparisonError: a size does not lie between 1 and the number of edges, or a score is NaN.
    """
    num_edges = magnitudes[0].shape[-1]
    if not sizes or not all(1 <= size <= num_edges for size in sizes):
        raise ComparisonError(
            f"circuit sizes {list(sizes)} do not all lie between 1 and {num_edges} edges."
        )
    if not all(np.isfinite(rows).all() for rows in magnitudes):
        raise ComparisonError("edge scores hold NaN or infinity and cannot be ranked.")
    thresholds = [_thresholds(rows, sizes) for rows in magnitudes]
    edges = np.arange(num_edges)
    for size in sorted(sizes, reverse=True):
        members = [
            _members(rows, of_sizes[size], size)
            for rows, of_sizes in zip(magnitudes, thresholds, strict=True)
        ]
        held = np.any([mask.any(axis=0) for mask in members], axis=0)
        if not held.all():
            edges = edges[held]
            magnitudes = [rows[:, held] for rows in magnitudes]
            members = [mask[:, held] for mask in members]
        yield HeldEdges(size=size, edges=edges, members=tuple(members))


def _thresholds(
    magnitudes: Float[np.ndarray, "row edge"], sizes: Sequence[int]
) -> dict[int, Float[np.ndarray, "row 1"]]:
    """By size, the |score| of the last edge in each row's circuit."""
    num_edges = magnitudes.shape[-1]
    if len(sizes) == 1:
        ordered = np.partition(magnitudes, num_edges - sizes[0], axis=-1)
    else:  # NumPy sorts a whole row in less time than it takes to find a few places of it
        ordered = np.sort(magnitudes, axis=-1)
    return {size: ordered[:, num_edges - size, None].copy() for size in sizes}


def _members(
    magnitudes: Float[np.ndarray, "row edge"], threshold: Float[np.ndarray, "row 1"], size: int
) -> Bool[np.ndarray, "row edge"]:
    mask = (magnitudes >= threshold) & (magnitudes > 0)
    return _without_surplus_ties(mask, magnitudes, threshold, size)


def _without_surplus_ties(
    mask: Bool[np.ndarray, "row edge"],
    magnitudes: Float[np.ndarray, "row edge"],
    threshold: Float[np.ndarray, "row 1"],
    size: int,
) -> Bool[np.ndarray, "row edge"]:
    """Keep `size` edges a row where a tie at the threshold let in more."""
    surplus = mask.sum(axis=-1) - size
    for row in np.flatnonzero(surplus > 0):
        tied = np.flatnonzero(magnitudes[row] == threshold[row])
        mask[row, tied[-surplus[row] :]] = False
    return mask


def mask_jaccard(
    first: Bool[np.ndarray, "row edge"], second: Bool[np.ndarray, "row edge"]
) -> Float[np.ndarray, " row"]:
    """Row by row, `jaccard` of edge sets given as masks.

    Raises:
        ComparisonError: both sets of a row are empty.
    """
    shared = np.count_nonzero(first & second, axis=-1)
    union = np.count_nonzero(first | second, axis=-1)
    if not union.all():
        raise ComparisonError(
            "the overlap of two empty edge sets is undefined: every edge score is exactly zero."
        )
    return shared / union
