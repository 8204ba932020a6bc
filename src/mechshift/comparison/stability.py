"""Stability of circuits: in how many resamples of the examples each edge belongs to one.

1. Draw the bootstrap resamples of the examples, the same for both models.
2. In each, take each model's K edges of largest |mean score|.
3. An edge's share is that of the resamples whose circuit holds it. Edges with a share of at least
   `CORE` are the model's core, the others that occur at all are contingent: another pool of
   examples may leave them out.
4. Kept: the share of the ARM's core that the other model's circuit holds. Its bounds count a core
   edge as held that is in the other's circuit in at least `CORE` of the resamples, and as missing
   one that is there in at most 1 - `CORE`; where the examples decide, it is open.

A circuit's edges near its last place come and go with the examples, whatever was trained; its core
does not.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from mechshift.comparison.chosen_edges import Circuits, top_edges
from mechshift.comparison.measuring import Found, blocks_of, measured_blocks, tables
from mechshift.comparison.resampling import resampled
from mechshift.comparison.scores import (
    Scores,
    check_same_examples,
    check_scores,
    drawn_rows,
    summed_over_steps,
    unit_of,
)
from mechshift.comparison.settings import ComparisonSettings
from mechshift.comparison.sources import Source, pool_mean
from mechshift.graph import Graph
from mechshift.statistics import ROUNDING, Estimate, Interval, bootstrap_weights

CORE = 0.95
"""Share of the resamples from which an edge belongs to the core."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CircuitStability:
    """Membership of edges in the circuits of an ARM and another model, called `mdm`."""

    graph: Graph
    circuit_size: int
    num_resamples: int
    edges: Int[np.ndarray, " member"]
    """Edges that belong to some circuit, ascending."""
    arm: Float[np.ndarray, " member"]
    """Share of the resamples in which the ARM's circuit holds the edge, in [0, 1]."""
    mdm: Float[np.ndarray, " member"]
    """The same of the MDM's circuit."""
    kept: Estimate | None
    """Share of the ARM's core that the MDM's circuit holds, with the bounds that the module says,
    at the level `CORE`; None where the ARM has no core."""
    kept_draws: Float[np.ndarray, " resample"]
    """The share held in each resample; NaN where there is no core."""

    @property
    def smaller_core(self) -> float:
        """Edges of the smaller core over those of a circuit, in [0, 1]: how far examples decide."""
        return (
            min(int((shares >= CORE).sum()) for shares in (self.arm, self.mdm)) / self.circuit_size
        )

    @property
    def core_overlap(self) -> float:
        """Jaccard of the two cores; NaN where both are empty."""
        arm, mdm = self.arm >= CORE, self.mdm >= CORE
        either = int((arm | mdm).sum())
        return int((arm & mdm).sum()) / either if either else float("nan")


def circuit_stability(arm: Scores, mdm: Scores, settings: ComparisonSettings) -> CircuitStability:
    """In how many resamples each edge belongs to each model's circuit.

    Args:
        arm: scores of the ARM.
        mdm: scores of the other model on the same examples in the same order.
        settings: circuit size, resamples, level and seed.

    Raises:
        ComparisonError: the scores do not belong together, or nothing is scored.
        ConfigError: the circuit size exceeds the graph.
    """
    check_same_examples(arm, mdm)
    sums = [summed_over_steps(scores) for scores in (arm, mdm)]
    clusters = drawn_rows(arm)
    check_scores(sums[0], sums[1], unit_of(arm))
    graph = arm.graph
    size = settings.circuit_size_in(graph.num_edges)
    weights = bootstrap_weights(clusters, settings.num_resamples, settings.seed)
    found = _members(weights, [Source(scores=scores) for scores in sums], size)
    shares = np.zeros((2, graph.num_edges))
    for part in found:
        for model, members in enumerate((part["arm"], part["mdm"])):
            shares[model, part["edges"]] += members.sum(axis=0)
    shares /= settings.num_resamples
    core = np.flatnonzero(shares[0] >= CORE)
    draws = [part["mdm"][:, np.isin(part["edges"], core)].sum(axis=1) for part in found]
    edges = np.flatnonzero(shares.any(axis=0))
    return CircuitStability(
        graph=graph,
        circuit_size=size,
        num_resamples=settings.num_resamples,
        edges=edges,
        arm=shares[0, edges],
        mdm=shares[1, edges],
        kept=_kept(core, top_edges(graph, pool_mean(sums[1])[0], size), shares[1, core]),
        kept_draws=np.concatenate(draws) / len(core)
        if len(core)
        else np.full(len(weights), np.nan),
    )


@dataclass(frozen=True)
class _Members:
    """Edges that the circuits of one size hold."""

    sizes: tuple[int, ...]
    only_sums = False

    def __call__(self, size: int, circuits: list[Circuits]) -> Found:
        arm, mdm = circuits
        return {"edges": arm.edges, "arm": arm.members, "mdm": mdm.members}


def _members(
    weights: Float[np.ndarray, "resample example"], sources: list[Source], size: int
) -> list[Found]:
    """Members of both models' circuits in each resample, some resamples at a time."""
    measure, drawn = _Members((size,)), resampled(weights)
    (table,) = tables(sources, drawn, measure)
    num_edges = sources[0].num_edges
    blocks = blocks_of(sources, drawn, table.columns)
    return [found[size] for found in measured_blocks(measure, table, blocks, num_edges)]


def _kept(
    core: Int[np.ndarray, " core"], held: Int[np.ndarray, " k"], shares: Float[np.ndarray, " core"]
) -> Estimate | None:
    """The share of the core that a circuit holds, and its bounds from the edges' shares."""
    if not len(core):
        return None
    value = float(np.isin(core, held).mean())
    # The circuit of the pool is no resample's: it may hold an edge that hardly any of them does.
    low = min(value, float((shares >= CORE).mean()))
    high = max(value, 1 - float((shares <= 1 - CORE + ROUNDING).mean()))
    return Estimate(value=value, interval=Interval(low=low, high=high, level=CORE))
