"""What two models' circuits share, and where in depth they differ."""

from mechshift.comparison.agreement import Agreement, agreement
from mechshift.comparison.agreement_curve import AgreementCurve
from mechshift.comparison.circuit_shift import CircuitShift, circuit_shift
from mechshift.comparison.comparison import Comparison, compare
from mechshift.comparison.completeness import Completeness, completeness
from mechshift.comparison.corrections import HYPOTHESES, CorrectedTest, corrected_tests
from mechshift.comparison.depth import (
    CROSS_FITTED,
    DepthProfiles,
    LayerProfile,
    SideProfiles,
    depth_profile,
)
from mechshift.comparison.depth_shift import ShiftCurve
from mechshift.comparison.direction import (
    DirectionOfFlow,
    RightToLeft,
    SpanFlow,
    direction_of_flow,
)
from mechshift.comparison.nodes import node_jaccard, node_names, node_scores
from mechshift.comparison.num_steps import NumStepsSweep, sweep_over_num_steps
from mechshift.comparison.overlap import OverlapCurve, overlap_curve
from mechshift.comparison.profile_distance import HALF_DISTANCES, ProfileDistance
from mechshift.comparison.scores import Scores, Unit
from mechshift.comparison.settings import ComparisonSettings, default_sizes, overlap_sizes
from mechshift.comparison.steps import StepProfile, step_profile
from mechshift.comparison.sweeps import (
    DepthSweep,
    sweep_over_denoising_steps,
    sweep_over_halves,
    sweep_over_sizes,
)
from mechshift.comparison.top_edges import jaccard, top_edges
from mechshift.graph import THIRDS, third_of_layers

__all__ = [
    "CROSS_FITTED",
    "HALF_DISTANCES",
    "HYPOTHESES",
    "THIRDS",
    "Agreement",
    "AgreementCurve",
    "CircuitShift",
    "Comparison",
    "ComparisonSettings",
    "Completeness",
    "CorrectedTest",
    "DepthProfiles",
    "DirectionOfFlow",
    "DepthSweep",
    "LayerProfile",
    "NumStepsSweep",
    "OverlapCurve",
    "RightToLeft",
    "ProfileDistance",
    "Scores",
    "ShiftCurve",
    "SideProfiles",
    "SpanFlow",
    "StepProfile",
    "Unit",
    "agreement",
    "circuit_shift",
    "compare",
    "completeness",
    "corrected_tests",
    "default_sizes",
    "depth_profile",
    "direction_of_flow",
    "jaccard",
    "node_jaccard",
    "node_names",
    "node_scores",
    "overlap_curve",
    "overlap_sizes",
    "step_profile",
    "sweep_over_denoising_steps",
    "sweep_over_halves",
    "sweep_over_num_steps",
    "sweep_over_sizes",
    "third_of_layers",
    "top_edges",
]
