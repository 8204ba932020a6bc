"""Figures: one function each from a record to a plotly figure, and one to its table."""

from mechshift.figures.circuit_map import circuit_map, circuit_map_table
from mechshift.figures.depth_profiles import depth_profiles, depth_profiles_table
from mechshift.figures.faithfulness_curves import (
    FaithfulnessSeries,
    faithfulness_curves,
    faithfulness_curves_table,
)
from mechshift.figures.metric_distributions import (
    MetricSample,
    metric_distributions,
    metric_distributions_table,
)
from mechshift.figures.overlap_curve import overlap_curve, overlap_curve_table
from mechshift.figures.step_view import step_view, step_view_table

__all__ = [
    "FaithfulnessSeries",
    "MetricSample",
    "circuit_map",
    "circuit_map_table",
    "depth_profiles",
    "depth_profiles_table",
    "faithfulness_curves",
    "faithfulness_curves_table",
    "metric_distributions",
    "metric_distributions_table",
    "overlap_curve",
    "overlap_curve_table",
    "step_view",
    "step_view_table",
]
