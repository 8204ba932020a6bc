"""Comparison: what two models' circuits share, and where in depth they differ."""

from mechshift.comparison.beyond_edges import Agreement, agreement
from mechshift.comparison.by_weight import WeightLikeness, weight_likeness
from mechshift.comparison.candidates import (
    Blocks,
    Candidates,
    Population,
    delete_a_block,
    worst_case,
)
from mechshift.comparison.chosen_edges import top_edges
from mechshift.comparison.comparisons import CircuitShift, Comparison, circuit_shift, compare
from mechshift.comparison.depth import (
    CROSS_FITTED,
    HALF_DISTANCES,
    CrossFitted,
    DepthProfiles,
    LayerProfile,
    ProfileDistance,
    SideProfiles,
    depth_profile,
)
from mechshift.comparison.draws import draws_over_all_edges
from mechshift.comparison.flow_direction import (
    RIGHT_TO_LEFT,
    DirectionOfFlow,
    RightToLeft,
    SpanFlow,
    direction_of_flow,
)
from mechshift.comparison.measures import node_jaccard, node_names, node_scores
from mechshift.comparison.measuring import (
    ARRAYS_OF_BLOCK,
    BLOCK_BYTES,
    MEASURING_BYTES,
    TAKEN_APART,
)
from mechshift.comparison.node_strengths import StrengthNull, strength_null
from mechshift.comparison.noise_free import (
    BRIEF,
    LOWEST_CEILING,
    NOISE_FREE_ROWS,
    NUM_SIMULATED,
    VALUE,
    Effort,
    NoiseFreeOverlap,
    noise_free_overlap,
)
from mechshift.comparison.num_steps import NumStepsSweep, sweep_over_num_steps
from mechshift.comparison.overlaps import AgreementCurve, OverlapCurve, overlap_curve
from mechshift.comparison.resampling import CHUNK_BYTES, mean_scores
from mechshift.comparison.scores import (
    MIN_EXAMPLES,
    Flow,
    Scores,
    Unit,
    drawn_together,
    row_clusters,
    shard_clusters,
    summed_over_steps,
)
from mechshift.comparison.screening import NARROW
from mechshift.comparison.settings import (
    ComparisonSettings,
    agreement_sizes,
    default_sizes,
    overlap_sizes,
)
from mechshift.comparison.single_model import Completeness, StepProfile, completeness, step_profile
from mechshift.comparison.sources import COLUMNS
from mechshift.comparison.stability import CORE, CircuitStability, circuit_stability
from mechshift.comparison.sweeps import (
    DepthSweep,
    ShiftCurve,
    sweep_over_denoising_steps,
    sweep_over_halves,
    sweep_over_sizes,
)
from mechshift.comparison.variance_levels import (
    Groups,
    Regrouped,
    VarianceSplit,
    regrouped,
    variance_split,
)
from mechshift.comparison.workers import num_workers
from mechshift.graph import THIRDS, third_of_layers

__all__ = [
    "summed_over_steps",
    "worst_case",
    "delete_a_block",
    "Population",
    "Candidates",
    "Blocks",
    "ARRAYS_OF_BLOCK",
    "BLOCK_BYTES",
    "BRIEF",
    "CHUNK_BYTES",
    "COLUMNS",
    "CORE",
    "CROSS_FITTED",
    "HALF_DISTANCES",
    "LOWEST_CEILING",
    "MEASURING_BYTES",
    "MIN_EXAMPLES",
    "NARROW",
    "NOISE_FREE_ROWS",
    "NUM_SIMULATED",
    "RIGHT_TO_LEFT",
    "TAKEN_APART",
    "THIRDS",
    "VALUE",
    "Agreement",
    "AgreementCurve",
    "CircuitShift",
    "CircuitStability",
    "Comparison",
    "ComparisonSettings",
    "Completeness",
    "CrossFitted",
    "DepthProfiles",
    "DepthSweep",
    "DirectionOfFlow",
    "Effort",
    "Flow",
    "Groups",
    "LayerProfile",
    "NoiseFreeOverlap",
    "NumStepsSweep",
    "OverlapCurve",
    "ProfileDistance",
    "Regrouped",
    "RightToLeft",
    "Scores",
    "ShiftCurve",
    "SideProfiles",
    "SpanFlow",
    "StepProfile",
    "StrengthNull",
    "Unit",
    "VarianceSplit",
    "WeightLikeness",
    "agreement",
    "agreement_sizes",
    "circuit_shift",
    "circuit_stability",
    "compare",
    "completeness",
    "default_sizes",
    "depth_profile",
    "direction_of_flow",
    "drawn_together",
    "draws_over_all_edges",
    "mean_scores",
    "node_jaccard",
    "node_names",
    "node_scores",
    "num_workers",
    "noise_free_overlap",
    "overlap_curve",
    "overlap_sizes",
    "regrouped",
    "row_clusters",
    "shard_clusters",
    "step_profile",
    "strength_null",
    "sweep_over_denoising_steps",
    "sweep_over_halves",
    "sweep_over_num_steps",
    "sweep_over_sizes",
    "third_of_layers",
    "top_edges",
    "variance_split",
    "weight_likeness",
]
