"""Which edges of the circuits are compared, and how much do two such sets share?

The circuit is that of `circuits.select_top_edges`, which keeps exactly K edges. Of these, edges
whose score is exactly zero are not compared: only their index put them there, and both models
would share them by force. `top_edge_masks` says the same for many rows of scores at once.
"""

from collections.abc import Iterator, Sequence

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


def top_edge_masks(
    magnitudes: Float[np.ndarray, "row edge"], sizes: Sequence[int]
) -> Iterator[Bool[np.ndarray, "row edge"]]:
    """For each size in turn, which edges of every row are its `top_edges`.

    One sort per row serves all sizes. Ties at the last place go to the lower index.

    Args:
        magnitudes: |score|, not negative.
        sizes: circuit sizes [edges].

    Raises:
        ComparisonError: a size does not lie between 1 and the number of edges, or a score is NaN.
    """
    num_edges = magnitudes.shape[-1]
    if not sizes or not all(1 <= size <= num_edges for size in sizes):
        raise ComparisonError(
            f"circuit sizes {list(sizes)} do not all lie between 1 and {num_edges} edges."
        )
    if not np.isfinite(magnitudes).all():
        raise ComparisonError("edge scores hold NaN or infinity and cannot be ranked.")
    ranks = [num_edges - size for size in sizes]
    if len(set(ranks)) == 1:
        ordered = np.partition(magnitudes, ranks[0], axis=-1)
    else:  # NumPy sorts a whole row in less time than it takes to find a few places of it
        ordered = np.sort(magnitudes, axis=-1)
    for size, rank in zip(sizes, ranks, strict=True):
        threshold = ordered[:, rank, None]
        mask = (magnitudes >= threshold) & (magnitudes > 0)
        yield _without_surplus_ties(mask, magnitudes, threshold, size)


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
