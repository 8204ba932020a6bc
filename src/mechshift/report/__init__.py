"""The report: records in, one HTML page and its tables out."""

from mechshift.report.exhibits import Exhibit, exhibits, report_tables
from mechshift.report.html import render_report
from mechshift.report.records import PoolSummary, ReportInput, RunFacts, TaskReport, task_slug

__all__ = [
    "Exhibit",
    "PoolSummary",
    "ReportInput",
    "RunFacts",
    "TaskReport",
    "exhibits",
    "render_report",
    "report_tables",
    "task_slug",
]
