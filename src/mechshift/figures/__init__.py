"""Figures: one function each from a record to a plotly figure, and one to its table."""

from mechshift.figures.ablation_bars import ablation_bars, ablation_bars_table
from mechshift.figures.agreement import agreement, agreement_table
from mechshift.figures.attention_roles import attention_roles, attention_roles_table
from mechshift.figures.circuit_map import circuit_map, circuit_map_table
from mechshift.figures.circuit_scrubber import circuit_scrubber, circuit_scrubber_table
from mechshift.figures.concentration_bars import concentration_bars, concentration_bars_table
from mechshift.figures.depth_over_training import (
    depth_over_training,
    depth_over_training_table,
)
from mechshift.figures.depth_profiles import depth_profiles, depth_profiles_table
from mechshift.figures.depth_sweep import depth_sweep, depth_sweep_table
from mechshift.figures.faithfulness_curves import (
    FaithfulnessSeries,
    faithfulness_curves,
    faithfulness_curves_table,
)
from mechshift.figures.lens_heatmap import component_lens, lens_heatmap, lens_heatmap_table
from mechshift.figures.metric_distributions import (
    MetricSample,
    metric_distributions,
    metric_distributions_table,
)
from mechshift.figures.num_steps_sweep import num_steps_sweep, num_steps_sweep_table
from mechshift.figures.overlap_curve import overlap_curve, overlap_curve_table
from mechshift.figures.position_flow import (
    span_flow,
    span_flow_table,
    step_spans,
    step_spans_table,
)
from mechshift.figures.quantity_panels import quantity_panels, quantity_panels_table
from mechshift.figures.right_to_left import right_to_left, right_to_left_table
from mechshift.figures.single_ablations import single_ablations, single_ablations_table
from mechshift.figures.step_view import step_view, step_view_table
from mechshift.figures.trajectory_curves import trajectory_curves, trajectory_table

__all__ = [
    "FaithfulnessSeries",
    "ablation_bars",
    "ablation_bars_table",
    "MetricSample",
    "attention_roles",
    "attention_roles_table",
    "agreement",
    "agreement_table",
    "circuit_map",
    "circuit_map_table",
    "circuit_scrubber",
    "circuit_scrubber_table",
    "component_lens",
    "concentration_bars",
    "concentration_bars_table",
    "depth_over_training",
    "depth_over_training_table",
    "depth_profiles",
    "depth_profiles_table",
    "depth_sweep",
    "depth_sweep_table",
    "faithfulness_curves",
    "faithfulness_curves_table",
    "lens_heatmap",
    "lens_heatmap_table",
    "metric_distributions",
    "metric_distributions_table",
    "num_steps_sweep",
    "num_steps_sweep_table",
    "overlap_curve",
    "overlap_curve_table",
    "quantity_panels",
    "quantity_panels_table",
    "right_to_left",
    "right_to_left_table",
    "span_flow",
    "span_flow_table",
    "step_spans",
    "step_spans_table",
    "single_ablations",
    "single_ablations_table",
    "step_view",
    "step_view_table",
    "trajectory_curves",
    "trajectory_table",
]
