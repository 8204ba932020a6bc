"""Figures: one function each from a record to a plotly figure, and one to its table."""

from mechshift.figures.agreement import agreement, agreement_table
from mechshift.figures.circuit_map import circuit_map, circuit_map_table
from mechshift.figures.depth_profiles import depth_profiles, depth_profiles_table
from mechshift.figures.depth_sweep import depth_sweep, depth_sweep_table
from mechshift.figures.faithfulness_curves import (
    FaithfulnessSeries,
    faithfulness_curves,
    faithfulness_curves_table,
)
from mechshift.figures.num_steps_sweep import num_steps_sweep, num_steps_sweep_table
from mechshift.figures.overlap_curve import overlap_curve, overlap_curve_table
from mechshift.figures.step_view import step_view, step_view_table

__all__ = [
    "FaithfulnessSeries",
    "agreement",
    "agreement_table",
    "circuit_map",
    "circuit_map_table",
    "depth_profiles",
    "depth_profiles_table",
    "depth_sweep",
    "depth_sweep_table",
    "faithfulness_curves",
    "faithfulness_curves_table",
    "num_steps_sweep",
    "num_steps_sweep_table",
    "overlap_curve",
    "overlap_curve_table",
    "step_view",
    "step_view_table",
]
