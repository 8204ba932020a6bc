"""The figures of where information flows in one task."""

from mechshift.figures import (
    right_to_left,
    right_to_left_table,
    span_flow,
    span_flow_table,
    step_spans,
    step_spans_table,
)
from mechshift.report.exhibit import Exhibit
from mechshift.report.records import TaskReport

SECTION = "Flow"


def flow_exhibits(task: TaskReport) -> list[Exhibit]:
    """None if flow was not traced; steps only if there is more than one."""
    flow = task.flow
    if flow is None:
        return []
    shown = [
        Exhibit(
            name="right-to-left",
            section=SECTION,
            figure=right_to_left(flow),
            table=right_to_left_table(flow),
            reading="Of all that attention carries from one position of the text to another, how"
            " much comes from further right? An ARM cannot see there, so its curve lies on 0.",
        ),
        Exhibit(
            name="span-flow",
            section=SECTION,
            figure=span_flow(flow),
            table=span_flow_table(flow),
            reading="Which part of the text (rows) reads from which (columns). The task names its"
            " parts; of the answer, committed, scored and later say what the denoising step makes"
            " of a token; rest is everything else.",
        ),
    ]
    if len(flow.step_num_examples) > 1:
        shown.append(
            Exhibit(
                name="step-spans",
                section=SECTION,
                figure=step_spans(flow, into_readers=True),
                table=step_spans_table(flow),
                reading="Where the positions that predict a step's tokens read directly. Each"
                " column adds up to 1. What flows into all positions is in the CSV file.",
            )
        )
    return shown
