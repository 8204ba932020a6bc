"""The figures of one task, each with the table of the numbers that it shows."""

import polars as pl

from mechshift.figures import (
    agreement,
    agreement_table,
    circuit_map,
    circuit_map_table,
    depth_profiles,
    depth_profiles_table,
    faithfulness_curves,
    faithfulness_curves_table,
    metric_distributions,
    metric_distributions_table,
    overlap_curve,
    overlap_curve_table,
    step_view,
    step_view_table,
)
from mechshift.report.ablation_exhibits import ablation_exhibits
from mechshift.report.conclusions import control_exhibits
from mechshift.report.corrected import TESTS_NAME, corrected_frame, corrected_over
from mechshift.report.definitions import ABLATED_EDGES
from mechshift.report.exhibit import Exhibit
from mechshift.report.flow_exhibits import flow_exhibits
from mechshift.report.neurons import neurons_table
from mechshift.report.num_steps_exhibits import num_steps_exhibits
from mechshift.report.records import ReportInput, TaskReport, task_slug
from mechshift.report.semantics_exhibits import semantics_exhibits
from mechshift.report.sweep_exhibits import sweep_exhibits

NEURONS = "neurons"
"""The table that is no figure's."""


def exhibits(task: TaskReport) -> tuple[Exhibit, ...]:
    """All figures of one task, in reading order.

    Faithfulness, flow, components and ablations only if they were measured, steps only if there is
    more than one.
    """
    comparison = task.comparison
    shown = [
        Exhibit(
            name="circuit-map",
            figure=circuit_map(comparison),
            table=circuit_map_table(comparison),
            reading="Each dot is an attention head or, in the last column, an MLP; layers rise"
            " from the embedding to the logits. Larger and brighter: more of the circuit's score"
            " runs through it. An edge enters a head left, at the middle or right: query, key or"
            " value. Hover or tap for names.",
        ),
        Exhibit(
            name="overlap",
            figure=overlap_curve(comparison.overlap),
            table=overlap_curve_table(comparison.overlap),
            reading="The solid green curve is the answer; dashed blue and orange say how high it"
            " could be, grey how high it would be if only layers and edge types mattered. Large"
            " circuits overlap by force.",
        ),
        Exhibit(
            name="agreement",
            figure=agreement(comparison.agreement),
            table=agreement_table(comparison.agreement),
            reading="Two circuits may hold the same edges and still work differently. Do they run"
            " through the same nodes, weigh and rank their edges alike, and push the same way?"
            " Where green lies below blue and orange, they differ; where it lies on grey, layers"
            " and edge types alone would agree as well. The ceilings come from half the examples;"
            " hover for the ratio, which compares like with like.",
        ),
        Exhibit(
            name="depth",
            figure=depth_profiles(comparison.circuit_depth),
            table=depth_profiles_table(comparison.circuit_depth),
            reading="Where the circuit's score is written and where it is read. Mass further left"
            " means earlier layers.",
        ),
        Exhibit(
            name="depth-all-edges",
            figure=depth_profiles(comparison.all_depth),
            table=depth_profiles_table(comparison.all_depth),
            reading="The same over every edge: does the picture depend on the choice of K?",
        ),
        *sweep_exhibits(task),
    ]
    if task.faithfulness:
        shown.append(
            Exhibit(
                name="faithfulness",
                figure=faithfulness_curves(task.faithfulness, ablation=task.ablation),
                table=faithfulness_curves_table(task.faithfulness),
                reading=f"Every edge outside the circuit carries {ABLATED_EDGES[task.ablation]}."
                " Dashed: the model has to live on the other model's circuit. Grey: as many edges"
                " chosen with less knowledge, at random within the same layers and edge types, or"
                " by how far the corruption moves their source.",
            )
        )
    if task.metric_samples:
        shown.append(
            Exhibit(
                name="examples",
                figure=metric_distributions(
                    task.metric_samples,
                    metric=task.metric,
                    circuit_size=comparison.circuit_size,
                    ablation=task.ablation,
                ),
                table=metric_distributions_table(task.metric_samples),
                reading="Faithfulness compares means; here is what they are means of. A single"
                " example has no faithfulness, because its own two ends may lie next to each other."
                f" Every size and step: {per_example_name(task)}.parquet, beside this page.",
            )
        )
    if has_steps(task):
        shown.append(
            Exhibit(
                name="steps",
                figure=step_view(comparison, metric=task.metric),
                table=step_view_table(comparison),
                reading="The MDM fills its masks step by step; the ARM is scored on the same"
                " tokens at the same step. Above: which layers read what matters. Below: how sure"
                " each model is, with the clean and with the corrupted prompt.",
            )
        )
    shown += num_steps_exhibits(task)
    shown += flow_exhibits(task)
    shown += semantics_exhibits(task)
    shown += ablation_exhibits(task)
    shown += control_exhibits(task)
    return tuple(shown)


def has_steps(task: TaskReport) -> bool:
    """Whether either model takes more than one denoising step."""
    profiles = (task.comparison.arm_steps, task.comparison.mdm_steps)
    return any(len(profile.share) > 1 for profile in profiles)


def csv_path(task: TaskReport, exhibit_name: str) -> str:
    """Name of the file beside the report that holds a figure's numbers."""
    return f"{task_slug(task.name)}-{exhibit_name}.csv"


def per_example_name(task: TaskReport) -> str:
    """Name, without suffix, of the table beside the report that holds every example's metrics."""
    return f"{task_slug(task.name)}-per-example"


def report_tables(report: ReportInput) -> dict[str, pl.DataFrame]:
    """The numbers behind every figure, tests and neurons, by the path that the report links to."""
    tables = {
        csv_path(task, exhibit.name): exhibit.table
        for task in report.tasks
        for exhibit in exhibits(task)
    }
    for task in report.tasks:
        if task.semantics is not None:
            tables[csv_path(task, NEURONS)] = neurons_table(task.semantics)
    tables[TESTS_NAME] = corrected_frame(corrected_over(report.tasks))
    return tables
