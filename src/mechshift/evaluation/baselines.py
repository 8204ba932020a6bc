"""Baseline circuits: of the same size, chosen with less knowledge than attribution has.

1. Random and matched: the same number of edges in every layer pair and edge type as the circuit
   has, which edges is chance. A circuit that is no better owes its faithfulness to *where* its
   edges lie, not to which they are.
2. By activation: the edges whose source the corruption moves most, whatever reads them. A circuit
   that is no better needed no gradient.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from mechshift.circuits import Circuit, select_top_edges
from mechshift.circuits.circuit import by_strength
from mechshift.circuits.edge_groups import edge_groups, order_within
from mechshift.errors import EvaluationError


@dataclass(frozen=True, kw_only=True, eq=False)
class MatchedCircuit:
    """A random circuit, and how much of it was not left to chance."""

    circuit: Circuit
    """Each edge bears the score of the edge whose place it took."""
    forced_edges: Int[np.ndarray, " forced"]
    """Edges of exhausted groups, those which the given circuit fills: every draw has them."""
    num_exhausted_groups: int

    @property
    def note(self) -> str | None:
        """One line that says what no draw can change; None where everything was left to chance."""
        if not self.num_exhausted_groups:
            return None
        return (
            f"{len(self.forced_edges):,} of {self.circuit.num_edges:,} edges are in every matched"
            f" draw: the circuit holds all edges of {self.num_exhausted_groups:,} groups of one"
            " layer pair and edge type."
        )


def random_matched_circuit(circuit: Circuit, seed: int) -> MatchedCircuit:
    """Draw as many edges as the circuit has in each layer pair and edge type.

    All edges of a group are equally likely, the circuit's own among them.

    Args:
        circuit: what to match.
        seed: the same seed draws the same circuit.
    """
    graph = circuit.graph
    groups = edge_groups(graph)
    order = order_within(groups, np.random.default_rng(seed))
    scores = np.zeros(graph.num_edges, dtype=circuit.scores.dtype)
    scores[circuit.edges] = circuit.scores
    edges = np.flatnonzero(circuit.mask[order])
    drawn = scores[order][edges]
    strongest = by_strength(edges, drawn)
    kept = np.bincount(groups[circuit.edges], minlength=groups.max() + 1)
    exhausted = kept == np.bincount(groups)
    return MatchedCircuit(
        circuit=Circuit(graph=graph, edges=edges[strongest], scores=drawn[strongest]),
        forced_edges=np.flatnonzero(exhausted[groups]),
        num_exhausted_groups=int(exhausted.sum()),
    )


def activation_sized_circuit(
    circuit: Circuit, difference_norms: Float[np.ndarray, " source"]
) -> Circuit:
    """As many edges as the circuit has, those whose source differs most when corrupted.

    All edges of a source rank alike; of those the lower index comes first, which is the earlier
    reader. The scores are the norms.

    Args:
        circuit: gives the graph and the number of edges.
        difference_norms: norm of the corrupted minus the clean output of each source, averaged
            over whatever the caller averages attribution over [residual stream units].

    Raises:
        EvaluationError: norms of another graph, negative ones, or ones that are not finite.
    """
    graph = circuit.graph
    if len(difference_norms) != graph.num_sources:
        raise EvaluationError(
            f"{len(difference_norms)} norms do not fit a graph of {graph.num_sources} sources; give"
            " one for `input` and for each head and MLP."
        )
    odd = np.flatnonzero(~(np.isfinite(difference_norms) & (difference_norms >= 0)))
    if len(odd):
        raise EvaluationError(
            f"a norm is a number from 0 up, and that of '{graph.source_name(odd[0])}' is"
            f" {difference_norms[odd[0]]}."
        )
    return select_top_edges(graph, difference_norms[graph.edge_source], circuit.num_edges)
