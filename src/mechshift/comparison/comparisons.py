"""Everything that is compared between two models on one task, in one record.

A control is there to hold a shift against: of its circuits and the ARM's, what sums a shift up is
measured, as in `compare` and at the compared size alone, and the rest is not.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from mechshift.comparison.beyond_edges import Agreement, agreement, wanted_for_agreement
from mechshift.comparison.by_weight import WeightLikeness, weight_likeness
from mechshift.comparison.depth import DepthProfiles, depth_profile, wanted_for_depth
from mechshift.comparison.draws import measure_draws
from mechshift.comparison.node_strengths import StrengthNull, strength_null
from mechshift.comparison.noise_free import Effort, NoiseFreeOverlap, noise_free_overlap
from mechshift.comparison.overlaps import OverlapCurve, overlap_curve, wanted_for_overlap
from mechshift.comparison.scores import (
    Scores,
    Unit,
    check_same_examples,
    check_scores,
    drawn_rows,
    row_clusters,
    summed_over_steps,
    unit_of,
)
from mechshift.comparison.settings import ComparisonSettings
from mechshift.comparison.single_model import (
    Completeness,
    StepProfile,
    completeness,
    step_profile,
)
from mechshift.comparison.sweeps import (
    DepthSweep,
    sweep_over_denoising_steps,
    sweep_over_halves,
    sweep_over_sizes,
    wanted_for_sizes,
)
from mechshift.graph import Graph
from mechshift.statistics import Estimate, bootstrap_weights, num_clusters
from mechshift.summaries import Summarised


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Comparison(Summarised):
    """The circuits of an ARM and an MDM on one task, side by side."""

    task: str
    graph: Graph
    unit: Unit
    num_examples: int
    """Rows of scores: examples, or shards of them (`unit`)."""
    num_clusters: int
    """Clusters of rows, which are resampled, halved and exchanged as a whole."""
    examples_per_shard: int
    """Examples that a row of scores is the mean of."""
    settings: ComparisonSettings

    arm_scores: Float[np.ndarray, " edge"]
    """Mean score of each edge in the ARM [metric units]: summed over steps, mean of examples."""

    mdm_scores: Float[np.ndarray, " edge"]
    """The same in the MDM."""

    overlap: OverlapCurve
    noise_free: NoiseFreeOverlap
    """Overlap of the circuits extrapolated to scores without noise."""
    by_weight: WeightLikeness
    """Likeness of all edges by weight, without noise."""
    strength_null: StrengthNull
    """Overlap of the circuits if they had node strengths and layout in common, and nothing else."""
    agreement: Agreement
    circuit_depth: DepthProfiles
    """Depth of each model's top `circuit_size` edges."""

    all_depth: DepthProfiles
    """Depth of all edges."""

    size_sweep: DepthSweep
    """Shift in depth against circuit size."""

    half_sweep: DepthSweep
    """Shift in depth on two disjoint halves of the examples."""

    step_sweep: DepthSweep
    """Shift in depth at each denoising step."""

    arm_steps: StepProfile
    mdm_steps: StepProfile
    arm_completeness: Completeness
    mdm_completeness: Completeness

    def facts(self) -> dict[str, object]:
        """How much was compared, and how alike the circuits are without noise."""
        overlap = self.noise_free.overlap
        return {
            "task": self.task,
            self.unit + "s": self.num_examples,
            "clusters": self.num_clusters,
            "circuit": f"{self.circuit_size:,} of {self.graph.num_edges:,} edges",
            "noise-free overlap": _shown(overlap),
            "likeness by weight": _shown(self.by_weight.likeness),
        }

    @property
    def circuit_size(self) -> int:
        """Edges in each model's circuit."""
        return self.settings.circuit_size_in(self.graph.num_edges)


@dataclass(frozen=True, kw_only=True, eq=False)
class CircuitShift:
    """The circuits of the ARM and another model on one task; fields call the other `mdm`."""

    task: str
    graph: Graph
    settings: ComparisonSettings
    overlap: OverlapCurve
    """At one size, that of the circuits."""
    noise_free: NoiseFreeOverlap
    by_weight: WeightLikeness
    circuit_depth: DepthProfiles

    @property
    def circuit_size(self) -> int:
        """Edges in each model's circuit."""
        return self.settings.circuit_size_in(self.graph.num_edges)


def _shown(estimate: Estimate | None) -> str:
    if estimate is None:
        return "undefined"
    interval = estimate.interval
    return f"{estimate.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]"


def compare(
    task: str,
    arm: Scores,
    mdm: Scores,
    settings: ComparisonSettings | None = None,
) -> Comparison:
    """Compare the two models' edge scores on one task.

    Args:
        task: its name, for titles and files.
        arm: scores of the ARM (`mechshift.attribution.EdgeScores` or alike).
        mdm: scores of the MDM on the same examples in the same order.
        settings: circuit size, sizes, resamples, level and seed.

    Raises:
        ComparisonError: the scores do not belong together, or nothing is scored.
        ConfigError: a circuit size exceeds the graph.
    """
    settings = settings or ComparisonSettings()
    check_same_examples(arm, mdm)
    graph, unit, clusters = arm.graph, unit_of(arm), drawn_rows(arm)
    ours, theirs = summed_over_steps(arm), summed_over_steps(mdm)
    check_scores(ours, theirs, unit)
    wanted = wanted_for_overlap(graph, settings) | wanted_for_agreement(graph, settings)
    wanted |= wanted_for_depth(graph, settings, "circuit") | wanted_for_depth(
        graph, settings, "all"
    )
    wanted |= wanted_for_sizes(graph, settings)
    draws = measure_draws(graph, ours, theirs, settings, wanted, clusters)
    arm_mean, mdm_mean = (mean[0] for mean in draws.means)
    sums = [found[graph.num_edges]["layers"] for found in (draws.pool, draws.resampled)]
    arm_sums, mdm_sums = np.moveaxis(np.concatenate(sums), 1, 0)
    return Comparison(
        task=task,
        graph=graph,
        unit=unit,
        num_examples=len(ours),
        num_clusters=num_clusters(row_clusters(arm)),
        examples_per_shard=arm.examples_per_shard,
        settings=settings,
        arm_scores=arm_mean,
        mdm_scores=mdm_mean,
        overlap=overlap_curve(graph, ours, theirs, settings, unit=unit, draws=draws),
        noise_free=noise_free_overlap(
            ours,
            theirs,
            settings.circuit_size_in(graph.num_edges),
            clusters=clusters,
            level=settings.level,
            seed=settings.seed,
        ),
        by_weight=_by_weight(ours, theirs, settings, clusters),
        strength_null=strength_null(
            graph,
            arm_mean,
            mdm_mean,
            settings.circuit_size_in(graph.num_edges),
            num_shuffles=settings.num_shuffles,
            level=settings.level,
            seed=settings.seed,
        ),
        agreement=agreement(graph, ours, theirs, settings, unit=unit, draws=draws),
        circuit_depth=depth_profile(
            graph, ours, theirs, settings, scope="circuit", unit=unit, draws=draws
        ),
        all_depth=depth_profile(graph, ours, theirs, settings, scope="all", unit=unit, draws=draws),
        size_sweep=sweep_over_sizes(graph, ours, theirs, settings, unit=unit, draws=draws),
        half_sweep=sweep_over_halves(graph, ours, theirs, settings, unit=unit, clusters=clusters),
        step_sweep=sweep_over_denoising_steps(arm, mdm, settings, unit=unit, draws=draws),
        arm_steps=step_profile(arm, settings, summed=arm_sums),
        mdm_steps=step_profile(mdm, settings, summed=mdm_sums),
        arm_completeness=completeness(arm, settings),
        mdm_completeness=completeness(mdm, settings),
    )


def circuit_shift(
    task: str,
    arm: Scores,
    other: Scores,
    settings: ComparisonSettings | None = None,
    *,
    effort: Effort | None = None,
) -> CircuitShift:
    """Overlap and depth of two models' circuits.

    Args:
        task: its name.
        arm: scores of the ARM.
        other: scores of the other model on the same examples in the same order.
        settings: circuit size, resamples, level and seed.
        effort: how much is drawn for the noise-free overlap; by default all of it.

    Raises:
        ComparisonError: the scores do not belong together, or nothing is scored.
        ConfigError: the circuit size exceeds the graph.
    """
    check_same_examples(arm, other)
    graph, unit, given = arm.graph, unit_of(arm), settings or ComparisonSettings()
    size = given.circuit_size_in(graph.num_edges)
    settings = replace(given, circuit_size=size, sizes=(size,))
    ours, theirs = summed_over_steps(arm), summed_over_steps(other)
    clusters = drawn_rows(arm)
    check_scores(ours, theirs, unit)
    wanted = wanted_for_overlap(graph, settings) | wanted_for_depth(graph, settings, "circuit")
    draws = measure_draws(graph, ours, theirs, settings, wanted, clusters)
    return CircuitShift(
        task=task,
        graph=graph,
        settings=settings,
        overlap=overlap_curve(graph, ours, theirs, settings, unit=unit, draws=draws),
        noise_free=noise_free_overlap(
            ours,
            theirs,
            size,
            clusters=clusters,
            level=settings.level,
            seed=settings.seed,
            effort=effort,
        ),
        by_weight=_by_weight(ours, theirs, settings, clusters),
        circuit_depth=depth_profile(
            graph, ours, theirs, settings, scope="circuit", unit=unit, draws=draws
        ),
    )


def _by_weight(
    arm_scores: Float[np.ndarray, "example edge"],
    mdm_scores: Float[np.ndarray, "example edge"],
    settings: ComparisonSettings,
    clusters: Int[np.ndarray, " example"],
) -> WeightLikeness:
    weights = bootstrap_weights(clusters, settings.num_resamples, settings.seed)
    return weight_likeness(arm_scores, mdm_scores, weights, clusters=clusters, level=settings.level)
