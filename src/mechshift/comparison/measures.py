"""In which sense are two circuits alike? One number a row for each sense.

- `edges`: Jaccard of the two edge sets.
- `nodes`: weighted Jaccard of head and MLP scores inside the circuits (`nodes.py`).
- `weighted`: weighted Jaccard of |score| over the union of the two circuits, each model's |score|
  divided by its sum there: sum of minima over sum of maxima.
- `rank`: Spearman's correlation of |score| over the union. The union is chosen by size in either
  model, so two unrelated models correlate negatively in it: read it against its null.
- `sign`: share of the edges in both circuits whose scores have the same sign.

With all edges in the circuit the last three compare the models edge by edge, without a choice of K.
None depends on the scale of a model's metric; all but `sign` ignore its orientation.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from mechshift.comparison.mean_rows import CircuitRows
from mechshift.comparison.nodes import masked, node_jaccard, node_scores
from mechshift.comparison.top_edges import mask_jaccard
from mechshift.graph import Graph


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A kind of likeness, at most 1."""

    name: str
    of: Callable[[CircuitRows, CircuitRows], Float[np.ndarray, " row"]]
    lowest: float
    """Smallest possible value."""

    undefined: str
    """When a row has no value (NaN)."""


def edge_measure() -> Measure:
    """Jaccard of the edge sets, which always exists."""
    return Measure(name="edges", of=_edges, lowest=0.0, undefined="both circuits are empty")


def node_measure(graph: Graph) -> Measure:
    """Weighted Jaccard of head and MLP scores."""

    def nodes(first: CircuitRows, second: CircuitRows) -> Float[np.ndarray, " row"]:
        return node_jaccard(
            *(
                node_scores(graph, masked(circuit.rows.magnitudes, circuit.members), circuit.edges)
                for circuit in (first, second)
            )
        )

    return Measure(
        name="nodes", of=nodes, lowest=0.0, undefined="a circuit holds no head and no MLP"
    )


def measures_beyond_edges(graph: Graph) -> tuple[Measure, ...]:
    """Node, weighted, rank and sign agreement."""
    return (
        node_measure(graph),
        Measure(name="weighted", of=_weighted, lowest=0.0, undefined="no edge has a score"),
        Measure(name="rank", of=_rank, lowest=-1.0, undefined="all edges are equally strong"),
        Measure(name="sign", of=_sign, lowest=0.0, undefined="the circuits share no edge"),
    )


def _edges(first: CircuitRows, second: CircuitRows) -> Float[np.ndarray, " row"]:
    return mask_jaccard(first.members, second.members)


def _weighted(first: CircuitRows, second: CircuitRows) -> Float[np.ndarray, " row"]:
    union = first.members | second.members
    one, two = (_shares(circuit.rows.magnitudes, union) for circuit in (first, second))
    shared: Float[np.ndarray, " row"] = np.minimum(one, two).sum(axis=1)
    return shared / np.maximum(one, two).sum(axis=1)


def _shares(
    magnitudes: Float[np.ndarray, "row edge"], chosen: Bool[np.ndarray, "row edge"]
) -> Float[np.ndarray, "row edge"]:
    kept = np.where(chosen, magnitudes, 0.0)
    return _ratio(kept, kept.sum(axis=1, keepdims=True))


def _rank(first: CircuitRows, second: CircuitRows) -> Float[np.ndarray, " row"]:
    union = first.members | second.members
    num_edges = union.sum(axis=1, keepdims=True)
    # The ranks of n edges have mean (n + 1) / 2, tied or not.
    one, two = (
        np.where(union, circuit.rows.ranks_within(union) - (num_edges + 1) / 2, 0.0)
        for circuit in (first, second)
    )
    spread = np.sqrt((one**2).sum(axis=1) * (two**2).sum(axis=1))
    return _ratio((one * two).sum(axis=1), spread)


def _sign(first: CircuitRows, second: CircuitRows) -> Float[np.ndarray, " row"]:
    common = first.members & second.members
    alike = common & (np.sign(first.rows.scores) == np.sign(second.rows.scores))
    return _ratio(alike.sum(axis=1).astype(np.float64), common.sum(axis=1).astype(np.float64))


def _ratio(
    part: Float[np.ndarray, "..."], whole: Float[np.ndarray, "..."]
) -> Float[np.ndarray, "..."]:
    """`part / whole`, NaN where the whole is 0."""
    whole = np.broadcast_to(whole, part.shape)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
