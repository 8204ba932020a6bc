"""The report: records in, one HTML page and its tables out."""

from mechshift.report.conclusions import VERDICTS_NAME, verdicts_json
from mechshift.report.exhibit import Exhibit
from mechshift.report.exhibits import exhibits, per_example_name, report_tables
from mechshift.report.html import render_report
from mechshift.report.records import (
    BaselineComparison,
    ModelSemantics,
    OtherCircuit,
    OwnAnswers,
    PoolSummary,
    ReportInput,
    RunFacts,
    TaskAblations,
    TaskReport,
    TaskSemantics,
    task_slug,
)
from mechshift.report.trajectory import (
    TrajectoryFacts,
    TrajectoryInput,
    render_trajectory,
    trajectory_csvs,
)

__all__ = [
    "VERDICTS_NAME",
    "verdicts_json",
    "Exhibit",
    "PoolSummary",
    "BaselineComparison",
    "ReportInput",
    "ModelSemantics",
    "OtherCircuit",
    "OwnAnswers",
    "RunFacts",
    "TaskAblations",
    "TaskReport",
    "TaskSemantics",
    "TrajectoryFacts",
    "TrajectoryInput",
    "exhibits",
    "per_example_name",
    "render_report",
    "render_trajectory",
    "report_tables",
    "task_slug",
    "trajectory_csvs",
]
