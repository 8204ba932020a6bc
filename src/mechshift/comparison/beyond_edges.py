"""Agreement of the two models' circuits beyond their edge sets: are edges weighed and ranked alike?

Node, weighted, rank and sign agreement (`measures.py`) at a few circuit sizes and over all edges,
each with ceilings, ratio, nulls, p-values and intervals as the overlap has them (`overlaps.py`).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from mechshift.comparison.draws import MeasuredDraws, Wanted, draws_over_all_edges, measure_draws
from mechshift.comparison.measures import measures_beyond_edges
from mechshift.comparison.overlaps import (
    AgreementCurve,
    agreement_curve,
    index_of_size,
    notes_on,
    notes_on_fewer_draws,
)
from mechshift.comparison.scores import Unit, check_scores, unit_notes
from mechshift.comparison.settings import ComparisonSettings, agreement_sizes
from mechshift.graph import Graph
from mechshift.statistics import check_shapes


@dataclass(frozen=True, kw_only=True, eq=False)
class Agreement:
    """Agreement of the two models' circuits beyond their edge sets."""

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

    def __post_init__(self) -> None:
        for curve in (self.nodes, self.weighted, self.rank, self.sign):
            check_shapes(curve, self.sizes.shape)

    def index_of(self, size: int) -> int | None:
        """Position of a circuit size in `sizes`; None if it was not measured."""
        return index_of_size(self.sizes, size)


def agreement(
    graph: Graph,
    arm_scores: Float[np.ndarray, "example edge"],
    mdm_scores: Float[np.ndarray, "example edge"],
    settings: ComparisonSettings,
    *,
    unit: Unit = "example",
    clusters: Int[np.ndarray, " example"] | None = None,
    draws: MeasuredDraws | None = None,
) -> Agreement:
    """Node, weighted, rank and sign agreement of the two models; the module says how.

    Args:
        graph: the computation graph of both models.
        arm_scores: score of each edge on each example [metric units], summed over steps.
        mdm_scores: the same for the MDM, on the same examples in the same order.
        settings: circuit size, resamples, level and seed.
        unit: what a row of the scores is.
        clusters: which rows are drawn together; None: each by itself.
        draws: what was measured already, if it was.

    Raises:
        ComparisonError: the arrays do not match, or no agreement exists (all scores zero).
        ConfigError: the circuit size exceeds the graph.
    """
    sizes = agreement_sizes(settings, graph.num_edges)
    if draws is None:
        check_scores(arm_scores, mdm_scores, unit)
        wanted = wanted_for_agreement(graph, settings)
        draws = measure_draws(graph, arm_scores, mdm_scores, settings, wanted, clusters)
    measures = measures_beyond_edges(graph)
    curves = {one.name: agreement_curve(draws, one, sizes, settings.level) for one in measures}
    return Agreement(
        sizes=np.array(sizes),
        num_edges=graph.num_edges,
        **curves,
        unit=unit,
        num_examples=len(arm_scores),
        num_resamples=settings.num_resamples,
        num_splits=settings.num_splits,
        num_shuffles=draws_over_all_edges(graph, settings).num_shuffles,
        num_exchanges=settings.num_exchanges,
        level=settings.level,
        notes=(
            *unit_notes(unit),
            *notes_on_fewer_draws(graph, settings, sizes),
            *(note for one in measures for note in notes_on(one, curves[one.name], sizes)),
        ),
    )


def wanted_for_agreement(graph: Graph, settings: ComparisonSettings) -> Wanted:
    """What `agreement` needs measured."""
    return Wanted(beyond=agreement_sizes(settings, graph.num_edges))
