"""Null of node strengths: how much would two circuits overlap if only their strong nodes agreed?

For readers who ask whether two models share edges, or only heads and MLPs that score high wherever
they lead. Shuffles within layers and types (`OverlapCurve.null`) break both.

1. The MDM's log |score| of an edge is the strength of its source, plus that of its destination,
   plus a residual: least squares over all edges that score.
2. Residuals are shuffled among edges of the same layer pair and edge type, and added to the
   strengths again, which stay. Top K edges of the result against the ARM's: one draw of the null.
3. P-value: how often a draw overlaps at least as much as the two models do.

If the residuals of the two models know nothing of each other, shuffling them changes nothing. It
is a test of sharing edges beyond strengths that multiply, and strengths are estimated from the
same scores.

Source: two-way additive model, Tukey 1977; permutation of residuals, Freedman and Lane 1983.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from mechshift.circuits.edge_groups import WithinGroups, edge_groups
from mechshift.comparison.chosen_edges import largest, strongest
from mechshift.comparison.measures import mask_jaccard
from mechshift.comparison.measuring import most_threads
from mechshift.comparison.workers import in_order
from mechshift.graph import Graph
from mechshift.statistics import Estimate, permutation_p, spread_of_draws

FIT_ROUNDS = 50
"""Times that strengths of sources and destinations are fitted in turn; the last of them change
nothing that a float64 shows."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StrengthNull:
    """Overlap of two circuits of one size, where only node strengths and layout agree."""

    size: int
    """Edges in each circuit."""

    overlap: Estimate | None
    """Mean Jaccard and its spread over the draws; None without a draw."""

    p: float
    """One-sided p-value of: no more alike than node strengths and layout make them."""


def strength_null(
    graph: Graph,
    arm_scores: Float[np.ndarray, " edge"],
    mdm_scores: Float[np.ndarray, " edge"],
    size: int,
    *,
    num_shuffles: int,
    level: float = 0.95,
    seed: int = 0,
) -> StrengthNull:
    """Overlap under the null; the module says how.

    Args:
        graph: the computation graph of both models.
        arm_scores: mean score of each edge [metric units].
        mdm_scores: the same of the MDM, which is shuffled.
        size: edges in each circuit.
        num_shuffles: draws of the null.
        level: of the spread.
        seed: of the draws.

    Raises:
        ComparisonError: every score is zero.
    """
    size = min(size, graph.num_edges)
    (arm,) = strongest(np.abs(arm_scores)[None], [size])
    magnitudes = np.abs(mdm_scores).astype(np.float64)
    (mdm,) = strongest(magnitudes[None], [size])
    observed = mask_jaccard(arm, mdm)
    scored = np.flatnonzero(magnitudes)
    log = np.log(magnitudes[scored])
    strength = _strengths(log, graph.edge_source[scored], graph.edge_destination[scored])
    residual = log - strength
    within = WithinGroups.of(edge_groups(graph)[scored])
    num_chosen, in_arm = min(size, len(scored)), arm[0, scored]
    num_in_arm = np.count_nonzero(arm)

    def draw(numbers: Float[np.ndarray, " edge"]) -> float:
        # The largest logarithms are those of the largest scores.
        shuffled = strength + residual[within.order(numbers)]
        num_shared = np.count_nonzero(largest(shuffled[None], num_chosen)[0] & in_arm)
        return float(num_shared / (num_in_arm + num_chosen - num_shared))

    generator = np.random.default_rng(seed)
    numbers = (generator.random(len(scored)) for _ in range(num_shuffles))
    draws = np.array(list(in_order(draw, numbers, most=most_threads(graph.num_edges))))
    return StrengthNull(
        size=size,
        overlap=spread_of_draws(draws[:, None], level=level).at(0),
        p=float(permutation_p(observed, draws[:, None])[0]),
    )


def _strengths(
    log: Float[np.ndarray, " edge"],
    source: Int[np.ndarray, " edge"],
    destination: Int[np.ndarray, " edge"],
) -> Float[np.ndarray, " edge"]:
    """What source and destination of each edge add up to, fitted in turn by least squares."""
    of_destination = np.zeros(destination.max(initial=0) + 1)
    sources, destinations = np.bincount(source), np.bincount(destination)
    for _ in range(FIT_ROUNDS):
        rest = np.bincount(source, weights=log - of_destination[destination])
        of_source = rest / np.maximum(sources, 1)
        rest = np.bincount(destination, weights=log - of_source[source])
        of_destination = rest / np.maximum(destinations, 1)
    fitted: Float[np.ndarray, " edge"] = of_source[source] + of_destination[destination]
    return fitted
