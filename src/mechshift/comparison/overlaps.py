"""Overlap of the two models' circuits over circuit sizes, with everything needed to read it.

Average each model's scores, summed over denoising steps, over examples; take the K edges of largest
|mean score|. Overlap is the Jaccard of the two sets, over a curve of K. Other measures of likeness
(`measures.py`) are read by the same curves, 1 to 6 (`beyond_edges.py`):

1. Value: the two models' circuits, each from all examples.
2. Ceiling: halve the examples at random, compare the two halves of the *same* model, average over
   halvings. It is what one half agrees with the other when nothing changed.
3. Ratio: the ARM on one half with the MDM on the other half, over the geometric mean of the two
   ceilings. All three use half the examples, so sampling noise lowers them alike and two models
   with the same scores have ratio 1, exactly. (Dividing the value on *all* examples by ceilings of
   *half* of them would exceed 1 there.) It is disattenuation, Spearman 1904.
4. Null of the layout: shuffle the MDM's scores among edges of the same layer pair and edge type:
   what two models share merely because both use, say, layer 2's MLP to layer 4's keys.
   `layout_p`: how often a shuffle is at least as alike as the two models are.
5. Null of no difference: swap the two models' scores on a random half of the examples, after
   bringing both to one scale, and compare the two sides. `noise_p`: how often the sides are at
   most as alike as the two models are. Exact if an example's two scores, once on one scale, could
   as well have come from the other model; the scale is estimated, but a wrong scale multiplies
   both sides alike to first order and no measure sees it.
6. Intervals: bootstrap over examples, the same resample for both models, centred
   (`statistics.centred_estimates`).

Beside the split-half ceilings of overlap stands what a bootstrap makes of them: two resamples of
one model, at the full number of examples, which is where the overlap itself was measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from mechshift.comparison.draws import (
    MeasuredDraws,
    Wanted,
    draws_over_all_edges,
    measure_draws,
    wide_sizes,
)
from mechshift.comparison.measures import Measure, edge_measure, node_measure
from mechshift.comparison.scores import Unit, check_scores, unit_notes
from mechshift.comparison.settings import ComparisonSettings, overlap_sizes
from mechshift.graph import Graph
from mechshift.statistics import Estimates, check_shapes, permutation_p, spread_of_draws


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
        return index_of_size(self.sizes, size)


@dataclass(frozen=True, kw_only=True, eq=False)
class AgreementCurve:
    """One measure; every array has axis `size`."""

    value: Estimates
    """Likeness of the two models."""

    ceiling_arm: Estimates
    """Split-half likeness of the ARM with itself."""

    ceiling_mdm: Estimates
    """Split-half likeness of the MDM with itself."""

    halves: Estimates
    """Likeness of the ARM on one half of the examples with the MDM on the other half."""

    ratio: Estimates
    """`halves` over the geometric mean of the ceilings; 1: as alike as noise lets one see."""

    value_band: Estimates
    """`value`, with intervals that hold all sizes at once."""

    ratio_band: Estimates
    """The same of `ratio`."""

    null: Estimates
    """Likeness after shuffling within layer pair and edge type; low and high over shuffles."""

    layout_p: Float[np.ndarray, " size"]
    """One-sided p-value of: no more alike than edges of the same layers and types are."""

    noise_p: Float[np.ndarray, " size"]
    """One-sided p-value of: no less alike than the two models would be with one circuit."""

    def __post_init__(self) -> None:
        check_shapes(self, self.layout_p.shape)


@dataclass(frozen=True, kw_only=True, eq=False)
class Likeness:
    """One measure at one circuit size, on the pool and on all that is drawn from it."""

    pool: Float[np.ndarray, " one"]
    resampled: Float[np.ndarray, " resample"]

    halves: Float[np.ndarray, " compared"]
    """ARM with itself, MDM with itself, one with the other; mean over halvings of the pool."""

    resampled_halves: Float[np.ndarray, "compared resample"]
    """The same of each resample."""

    shuffled: Float[np.ndarray, " shuffle"]
    exchanged: Float[np.ndarray, " exchange"]

    @classmethod
    def of(cls, draws: MeasuredDraws, name: str, size: int) -> "Likeness":
        """What was measured under this name."""
        halves = [found for found in draws.resampled_halves if size in found]
        return cls(
            pool=draws.pool[size][name][:, 0],
            resampled=draws.resampled[size][name][:, 0],
            halves=_compared(draws.halves[size][name]).mean(axis=1),
            resampled_halves=np.mean([_compared(found[size][name]) for found in halves], axis=0),
            shuffled=draws.shuffled[size][name][:, 0],
            exchanged=draws.exchanged[size][name][:, 0],
        )


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


def wanted_for_overlap(graph: Graph, settings: ComparisonSettings) -> Wanted:
    """What `overlap_curve` needs measured."""
    sizes = overlap_sizes(settings, graph.num_edges)
    return Wanted(edges=sizes, nodes=sizes)


def agreement_curve(
    draws: MeasuredDraws, measure: Measure, sizes: Sequence[int], level: float
) -> AgreementCurve:
    """One measure over circuit sizes: value, ceilings and ratio with intervals, null, p-values."""
    found = [Likeness.of(draws, measure.name, size) for size in sizes]
    bounds = measure.lowest, 1.0
    arm, mdm, cross = (
        estimates_at_points(
            [(one.halves[[at]], one.resampled_halves[at]) for one in found],
            level=level,
            bounds=bounds,
        )
        for at in range(3)
    )
    null = [spread_of_draws(one.shuffled[:, None], level=level) for one in found]
    values = [(one.pool, one.resampled) for one in found]
    value = estimates_at_points(values, level=level, bounds=bounds)
    ratios = [(_ratio(one.halves[:, None]), _ratio(one.resampled_halves)) for one in found]
    of_ratio = (-np.inf if measure.lowest < 0 else 0.0, np.inf)
    ratio = estimates_at_points(ratios, level=level, bounds=of_ratio)
    return AgreementCurve(
        value=value,
        ceiling_arm=arm,
        ceiling_mdm=mdm,
        halves=cross,
        ratio=ratio,
        value_band=at_once(value, values, bounds=bounds),
        ratio_band=at_once(ratio, ratios, bounds=of_ratio),
        null=Estimates.stack(null, level=level).sel(slice(None), 0),
        layout_p=np.concatenate([permutation_p(one.pool, one.shuffled[:, None]) for one in found]),
        noise_p=np.concatenate(
            [permutation_p(-one.pool, -one.exchanged[:, None]) for one in found]
        ),
    )


def notes_on(measure: Measure, curve: AgreementCurve, sizes: tuple[int, ...]) -> list[str]:
    """Why a value or a ratio of a measure, or its interval, is NaN; one line each."""
    name = measure.name
    words = {"edges": "edge overlap", "nodes": "node overlap"}.get(name, f"{name} agreement")
    ratio_words = "ratio to the ceiling" if name == "edges" else f"ratio of {words}"
    return [
        *notes_on_undefined(sizes, curve.value, measure.undefined, words),
        *notes_on_undefined(sizes, curve.ratio, "a split-half ceiling is 0", ratio_words),
    ]


def estimates_at_points(
    found: Sequence[tuple[Float[np.ndarray, " one"], Float[np.ndarray, " _resample"]]],
    *,
    level: float,
    bounds: tuple[float, float],
) -> Estimates:
    """A number at several circuit sizes, or points of a sweep, each on resamples of its own.

    Args:
        found: at each, the number on the pool and on every resample.
        level: of the intervals.
        bounds: range of the number.
    """
    rows = [np.concatenate(one)[:, None] for one in found]
    parts = [Estimates.from_rows(one, level=level, bounds=bounds) for one in rows]
    return Estimates.stack(parts, level=level).sel(slice(None), 0)


def at_once(
    estimates: Estimates,
    found: Sequence[tuple[Float[np.ndarray, " one"], Float[np.ndarray, " _resample"]]],
    *,
    bounds: tuple[float, float],
) -> Estimates:
    """The same with intervals that hold all points at once, and not each by itself.

    Args:
        estimates: `estimates_at_points`.
        found: of which they are; resamples that only some points have do not count.
        bounds: range of the number.
    """
    counts = [len(draws) for _, draws in found if len(draws)]
    if not counts:
        return estimates
    samples = np.full((min(counts), len(found)), np.nan)  # NaN where a point was not measured
    for point, (_, draws) in enumerate(found):
        samples[:, point] = draws[: len(samples)] if len(draws) else np.nan
    return estimates.at_once(samples, bounds=bounds)


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


def notes_on_undefined(
    sizes: tuple[int, ...], estimates: Estimates, reason: str, name: str
) -> list[str]:
    """At which sizes a number or its interval does not exist, and why."""
    missing = np.isnan(estimates.value)
    unsure = np.isnan(estimates.low) & ~missing
    notes = []
    if missing.any():
        notes.append(f"Circuits of {_listed(sizes, missing)} edges: {reason}; no {name}.")
    if unsure.any():
        notes.append(
            f"Circuits of {_listed(sizes, unsure)} edges: {reason} in too many resamples; no"
            f" interval of the {name}."
        )
    return notes


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


def _compared(halves: Float[np.ndarray, "row pair=4"]) -> Float[np.ndarray, "compared=3 row"]:
    """ARM with itself, MDM with itself, and one with the other, the mean of both ways round."""
    arm, mdm, one_way, other_way = halves.T
    return np.stack([arm, mdm, (one_way + other_way) / 2])


def _ratio(halves: Float[np.ndarray, "compared row"]) -> Float[np.ndarray, " row"]:
    """Cross-model over within-model likeness; NaN where a ceiling is not above zero."""
    arm, mdm, cross = halves
    measurable = (arm > 0) & (mdm > 0)
    return cross / np.sqrt(np.where(measurable, arm * mdm, np.nan))


def _listed(sizes: tuple[int, ...], chosen: Bool[np.ndarray, " size"]) -> str:
    return ", ".join(f"{size:,}" for size in np.array(sizes)[chosen])


def index_of_size(sizes: Int[np.ndarray, " size"], size: int) -> int | None:
    """Position of a circuit size among those that were measured; None if it is not there."""
    (found,) = np.nonzero(sizes == size)
    return int(found[0]) if len(found) else None
