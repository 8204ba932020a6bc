"""Beyond the edge sets: do the two circuits weigh, rank and sign their edges alike?

Node, weighted, rank and sign agreement (`measures.py`), each with ceilings, ratio, nulls and
p-values (`agreement_curve.py`), at a few circuit sizes and over all edges.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from mechshift.circuits.edge_groups import edge_groups
from mechshift.comparison.agreement_curve import AgreementCurve, agreement_curves
from mechshift.comparison.measured_pair import MeasuredPair
from mechshift.comparison.measures import measures_beyond_edges
from mechshift.comparison.resampling import check_scores
from mechshift.comparison.scores import Unit, unit_notes
from mechshift.comparison.settings import ComparisonSettings, agreement_sizes
from mechshift.graph import Graph


@dataclass(frozen=True, kw_only=True, eq=False)
class Agreement:
    """How the two models' circuits agree beyond their edge sets."""

    sizes: Int[np.ndarray, " size"]
    """Edges in each circuit, ascending; the last is all edges of the graph."""

    num_edges: int

    nodes: AgreementCurve
    """Weighted Jaccard of head and MLP scores inside the circuits, in [0, 1]."""

    weighted: AgreementCurve
    """Weighted Jaccard of |score| over the union of the two circuits, in [0, 1]."""

    rank: AgreementCurve
    """Spearman's correlation of |score| over the union of the two circuits, in [-1, 1]."""

    sign: AgreementCurve
    """Share of the edges in both circuits whose scores have the same sign, in [0, 1]."""

    unit: Unit
    num_examples: int
    """Rows that were resampled: examples, or shards of them (`unit`)."""
    num_resamples: int
    num_splits: int
    num_shuffles: int
    num_exchanges: int
    level: float
    notes: tuple[str, ...]
    """Why an entry is NaN; one line each."""

    def index_of(self, size: int) -> int | None:
        """Position of a circuit size in `sizes`; None if it was not measured."""
        (found,) = np.nonzero(self.sizes == size)
        return int(found[0]) if len(found) else None


def agreement(
    graph: Graph,
    arm_scores: Float[np.ndarray, "example edge"],
    mdm_scores: Float[np.ndarray, "example edge"],
    settings: ComparisonSettings,
    *,
    unit: Unit = "example",
) -> Agreement:
    """Node, weighted, rank and sign agreement of the two models; see the module.

    Args:
        graph: the computation graph of both models.
        arm_scores: score of each edge on each example [metric units], summed over steps.
        mdm_scores: the same for the MDM, on the same examples in the same order.
        settings: circuit size, resamples, level and seed.
        unit: what a row of the scores is.

    Raises:
        ComparisonError: the arrays do not match, or no agreement exists (all scores zero).
        ConfigError: the circuit size exceeds the graph.
    """
    check_scores(arm_scores, mdm_scores, unit)
    sizes = agreement_sizes(settings, graph.num_edges)
    pair = MeasuredPair(
        arm_scores=arm_scores,
        mdm_scores=mdm_scores,
        sizes=sizes,
        measures=measures_beyond_edges(graph),
    )
    found = agreement_curves(pair, edge_groups(graph), settings)
    return Agreement(
        sizes=np.array(sizes),
        num_edges=graph.num_edges,
        **found.by_measure,
        unit=unit,
        num_examples=len(arm_scores),
        num_resamples=settings.num_resamples,
        num_splits=settings.num_splits,
        num_shuffles=settings.num_shuffles,
        num_exchanges=settings.num_exchanges,
        level=settings.level,
        notes=(*unit_notes(unit), *found.notes),
    )
