"""What two models' circuits share, and where in depth they differ."""

from mechshift.comparison.comparison import Comparison, compare
from mechshift.comparison.completeness import Completeness, completeness
from mechshift.comparison.depth import (
    DepthProfiles,
    LayerProfile,
    SideProfiles,
    depth_profile,
)
from mechshift.comparison.direction import (
    DirectionOfFlow,
    RightToLeft,
    SpanFlow,
    direction_of_flow,
)
from mechshift.comparison.nodes import node_jaccard, node_names, node_scores
from mechshift.comparison.overlap import OverlapCurve, overlap_curve
from mechshift.comparison.scores import Scores
from mechshift.comparison.settings import ComparisonSettings, default_sizes, overlap_sizes
from mechshift.comparison.steps import StepProfile, step_profile
from mechshift.comparison.top_edges import jaccard, top_edges
from mechshift.graph import THIRDS, third_of_layers

__all__ = [
    "THIRDS",
    "Comparison",
    "ComparisonSettings",
    "Completeness",
    "DepthProfiles",
    "DirectionOfFlow",
    "LayerProfile",
    "OverlapCurve",
    "RightToLeft",
    "Scores",
    "SideProfiles",
    "SpanFlow",
    "StepProfile",
    "compare",
    "completeness",
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
    "third_of_layers",
    "top_edges",
]
