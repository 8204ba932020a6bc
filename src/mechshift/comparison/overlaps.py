"""Overlap and agreement of the two models' circuits: the same edges, weighed and ranked alike?

Average each model's scores, summed over denoising steps, over examples; take the K edges of largest
|mean score|. Overlap is the Jaccard of the two sets, over a curve of K. Agreement goes beyond the
edge sets: node, weighted, rank and sign agreement (`measures.py`), at a few K and over all edges.

`likeness.py` defines ceilings, ratio, nulls, p-values and intervals of both. Beside the split-half
ceilings of overlap stands what a bootstrap makes of them: two resamples of one model, at the full
number of examples, which is where the overlap itself was measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from mechshift.comparison.draws import (
    MeasuredDraws,
    Wanted,
    draws_over_all_edges,
    measure_draws,
    wide_sizes,
)
from mechshift.comparison.likeness import (
    AgreementCurve,
    agreement_curve,
    estimates_at_points,
    notes_on,
    notes_on_undefined,
)
from mechshift.comparison.measures import edge_measure, measures_beyond_edges, node_measure
from mechshift.comparison.scores import Unit, check_scores, unit_notes
from mechshift.comparison.settings import ComparisonSettings, agreement_sizes, overlap_sizes
from mechshift.graph import Graph
from mechshift.statistics import Estimates, check_shapes, spread_of_draws


@dataclass(frozen=True, kw_only=True, eq=False)
class OverlapCurve:
    """Overlap of the two models' circuits against circuit size; every array has axis `size`."""

    sizes: Int[np.ndarray, " size"]
    """Edges asked for in each circuit, ascending."""

    num_edges: int
    """Edges of the graph."""

    edges: Estimates
    """Jaccard of the top-K edge sets, in [0, 1]."""

    nodes: Estimates
    """Weighted Jaccard of head and MLP scores inside the circuits, in [0, 1] (`measures.py`)."""

    ceiling_arm: Estimates
    """Split-half Jaccard of the ARM with itself."""

    ceiling_mdm: Estimates
    """Split-half Jaccard of the MDM with itself."""

    bootstrap_arm: Estimates
    """Jaccard of two bootstrap resamples of the ARM; low and high over pairs of resamples."""

    bootstrap_mdm: Estimates
    """The same of the MDM."""

    halves: Estimates
    """Jaccard of the ARM on one half of the examples with the MDM on the other half."""

    ratio: Estimates
    """`halves` over the geometric mean of the ceilings; 1: as alike as noise lets one see."""

    edges_band: Estimates
    """`edges`, with intervals that hold all sizes at once, so that the curve may be read as one."""

    ratio_band: Estimates
    """The same of `ratio`."""

    null: Estimates
    """Jaccard after shuffling within layer pair and edge type; low and high over shuffles."""

    layout_p: Float[np.ndarray, " size"]
    """One-sided p-value of: no more alike than edges of the same layers and types are."""

    noise_p: Float[np.ndarray, " size"]
    """One-sided p-value of: no less alike than the two models would be with one circuit."""

    unit: Unit
    num_examples: int
    """Rows that were resampled: examples, or shards of them (`unit`)."""
    num_resamples: int
    num_splits: int
    num_shuffles: int
    num_exchanges: int
    level: float

    notes: tuple[str, ...]
    """Why an entry is NaN, or a set smaller than its size; one line each."""

    def __post_init__(self) -> None:
        check_shapes(self, self.sizes.shape)

    def index_of(self, size: int) -> int | None:
        """Position of a circuit size in `sizes`; None if it was not measured."""
        return _index_of(self.sizes, size)


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

    def __post_init__(self) -> None:
        for curve in (self.nodes, self.weighted, self.rank, self.sign):
            check_shapes(curve, self.sizes.shape)

    def index_of(self, size: int) -> int | None:
        """Position of a circuit size in `sizes`; None if it was not measured."""
        return _index_of(self.sizes, size)


def overlap_curve(
    graph: Graph,
    arm_scores: Float[np.ndarray, "example edge"],
    mdm_scores: Float[np.ndarray, "example edge"],
    settings: ComparisonSettings,
    *,
    unit: Unit = "example",
    clusters: Int[np.ndarray, " example"] | None = None,
    draws: MeasuredDraws | None = None,
) -> OverlapCurve:
    """Measure overlap, ceilings, ratio and null at every circuit size; the module says how.

    Args:
        graph: the computation graph of both models.
        arm_scores: score of each edge on each example [metric units], summed over steps.
        mdm_scores: the same for the MDM, on the same examples in the same order.
        settings: sizes, resamples, level and seed.
        unit: what a row of the scores is.
        clusters: which rows are drawn together; None: each by itself.
        draws: what was measured already, if it was.

    Raises:
        ComparisonError: the arrays do not match, or no overlap exists (all scores zero).
        ConfigError: a size exceeds the graph.
    """
    sizes = overlap_sizes(settings, graph.num_edges)
    if draws is None:
        check_scores(arm_scores, mdm_scores, unit)
        wanted = wanted_for_overlap(graph, settings)
        draws = measure_draws(graph, arm_scores, mdm_scores, settings, wanted, clusters)
    edges = agreement_curve(draws, edge_measure(), sizes, settings.level)
    nodes = _node_overlap(draws, sizes, settings.level)
    bootstrap = Estimates.stack(
        [
            spread_of_draws(draws.resampled[size]["neighbours"], level=settings.level)
            for size in sizes
        ],
        level=settings.level,
    )
    return OverlapCurve(
        sizes=np.array(sizes),
        num_edges=graph.num_edges,
        edges=edges.value,
        nodes=nodes,
        ceiling_arm=edges.ceiling_arm,
        ceiling_mdm=edges.ceiling_mdm,
        bootstrap_arm=bootstrap.sel(slice(None), 0),
        bootstrap_mdm=bootstrap.sel(slice(None), 1),
        halves=edges.halves,
        ratio=edges.ratio,
        edges_band=edges.value_band,
        ratio_band=edges.ratio_band,
        null=edges.null,
        layout_p=edges.layout_p,
        noise_p=edges.noise_p,
        unit=unit,
        num_examples=len(arm_scores),
        num_resamples=settings.num_resamples,
        num_splits=settings.num_splits,
        num_shuffles=settings.num_shuffles,
        num_exchanges=settings.num_exchanges,
        level=settings.level,
        notes=(
            *unit_notes(unit),
            *notes_on_fewer_draws(graph, settings, sizes),
            *_notes_on_zeros(sizes, draws.means),
            *notes_on_undefined(sizes, nodes, node_measure(graph).undefined, "node overlap"),
            *notes_on(edge_measure(), edges, sizes),
        ),
    )


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


def wanted_for_overlap(graph: Graph, settings: ComparisonSettings) -> Wanted:
    """What `overlap_curve` needs measured."""
    sizes = overlap_sizes(settings, graph.num_edges)
    return Wanted(edges=sizes, nodes=sizes)


def wanted_for_agreement(graph: Graph, settings: ComparisonSettings) -> Wanted:
    """What `agreement` needs measured."""
    return Wanted(beyond=agreement_sizes(settings, graph.num_edges))


def _node_overlap(draws: MeasuredDraws, sizes: Sequence[int], level: float) -> Estimates:
    """Node overlap over the sizes of the curve; its ceilings are taken at fewer (`agreement`)."""
    found = [
        (draws.pool[size]["nodes"][:, 0], draws.resampled[size]["nodes"][:, 0]) for size in sizes
    ]
    return estimates_at_points(found, level=level, bounds=(0.0, 1.0))


def notes_on_fewer_draws(
    graph: Graph, settings: ComparisonSettings, sizes: Sequence[int]
) -> tuple[str, ...]:
    """Which sizes were measured on fewer draws than the settings say, and why."""
    wide = sorted(wide_sizes(graph, settings, set(sizes)))
    if not wide:
        return ()
    drawn = draws_over_all_edges(graph, settings)
    return (
        f"Circuits of {', '.join(f'{size:,}' for size in wide)} edges are measured on"
        f" {drawn.num_resamples:,} resamples and {drawn.num_exchanges:,} exchanges: each takes all"
        " edges, and nothing is tested there.",
    )


def _notes_on_zeros(
    sizes: Sequence[int], means: Sequence[Float[np.ndarray, "1 edge"]]
) -> list[str]:
    """Which model's circuits are smaller than asked for, by the mean scores of both."""
    return [
        f"{name}: only {num_scored:,} edges have a score other than zero; overlaps of larger"
        " circuits count just these."
        for name, mean in zip(("ARM", "MDM"), means, strict=True)
        if (num_scored := np.count_nonzero(mean)) < sizes[-1]
    ]


def _index_of(sizes: Int[np.ndarray, " size"], size: int) -> int | None:
    (found,) = np.nonzero(sizes == size)
    return int(found[0]) if len(found) else None
