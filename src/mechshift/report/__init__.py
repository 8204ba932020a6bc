"""The report: records in, one HTML page and its tables out."""

from mechshift.report.exhibit import Exhibit
from mechshift.report.exhibits import exhibits, per_example_name, report_tables
from mechshift.report.html import render_report
from mechshift.report.records import (
    BaselineComparison,
    ModelSemantics,
    PoolSummary,
    ReportInput,
    RunFacts,
    TaskReport,
    TaskSemantics,
    task_slug,
)

__all__ = [
    "Exhibit",
    "PoolSummary",
    "BaselineComparison",
    "ReportInput",
    "ModelSemantics",
    "RunFacts",
    "TaskReport",
    "TaskSemantics",
    "exhibits",
    "per_example_name",
    "render_report",
    "report_tables",
    "task_slug",
]
