"""Flow between spans of the text: which part reads from which, and at which denoising step.

For readers who ask what the flow of `flow.py` connects; drawn from its record.
"""

import numpy as np
import polars as pl
from jaxtyping import Float

from mechshift.comparison import DirectionOfFlow, SpanFlow
from mechshift.page.elements import Exhibit
from mechshift.page.figure import Figure, Trace, heat_map
from mechshift.page.theme import (
    MODEL_COLOURS,
    MODEL_NAMES,
    Patch,
    colour_bar,
    colour_bar_below,
    colour_bar_right,
    finish,
    panels,
    percent,
    stacked,
    thinned,
)
from mechshift.topics.flow import FLOW, FLOW_WORDS, share_columns
from mechshift.topics.topic import TaskResults, Topic


def span_flow(direction: DirectionOfFlow) -> Figure:
    """Heat maps of |flow| from span to span, ARM and MDM."""
    figure = Figure(list(MODEL_NAMES.values()), columns=2)
    for column, model in enumerate(MODEL_NAMES, start=1):
        spans = _spans(direction, model)
        trace = _heat_map(spans.share.value, direction.spans, model)
        trace["x"] = np.arange(len(direction.spans))
        trace["customdata"] = np.stack([spans.share.low, spans.share.high, spans.net], axis=-1)
        trace["text"] = np.tile(np.array(direction.spans), (len(direction.spans), 1))
        trace["hovertemplate"] = (
            "%{y} reads from %{text}: %{z:.2%}"
            f"<br>{percent(direction.level)} interval %{{customdata[0]:.2%}} to"
            " %{customdata[1]:.2%}<br>net flow %{customdata[2]:.3g} metric units"
            "<extra>" + MODEL_NAMES[model] + "</extra>"
        )
        figure.add(trace, column=column)
    figure.set_xaxes(
        tickvals=np.arange(len(direction.spans)),
        ticktext=direction.spans,
        title="read from span",
        showgrid=False,
    )
    figure.set_yaxes(title="read by span", column=1)
    return _finish_heat_maps(
        figure,
        "Flow between spans",
        f"{FLOW_WORDS}, each model's adding up to 1; n = {direction.num_examples} examples",
        tick_angle=-40,
    )


def span_flow_table(direction: DirectionOfFlow) -> pl.DataFrame:
    """One row per model, reading span and span that is read from."""
    count = len(direction.spans)
    parts = []
    for model in MODEL_NAMES:
        spans = _spans(direction, model)
        parts.append(
            pl.DataFrame(
                {
                    "model": model,
                    "read_by": np.repeat(direction.spans, count),
                    "read_from": np.tile(direction.spans, count),
                    **share_columns(spans.share),
                    "net": spans.net.ravel(),
                }
            )
        )
    return pl.concat(parts).fill_nan(None)


def step_spans(direction: DirectionOfFlow, *, into_readers: bool = False) -> Figure:
    """Heat maps of the spans that each denoising step reads from, ARM and MDM.

    Args:
        direction: what is shown.
        into_readers: only what flows to the positions whose logits the step scores.
    """
    figure = Figure(list(MODEL_NAMES.values()), columns=2)
    num_steps = len(direction.step_num_examples)
    for column, model in enumerate(MODEL_NAMES, start=1):
        spans = _spans(direction, model)
        shown = spans.into_readers if into_readers else spans.by_step
        trace = _heat_map(shown.T, direction.spans, model)
        trace["x"] = np.arange(num_steps)
        trace["customdata"] = np.tile(direction.step_num_examples, (len(direction.spans), 1))
        trace["hovertemplate"] = (
            "step %{x} reads from %{y}: %{z:.2%}, n = %{customdata}"
            "<extra>" + MODEL_NAMES[model] + "</extra>"
        )
        figure.add(trace, column=column)
    figure.set_xaxes(tickvals=thinned(num_steps, 9), title="denoising step", showgrid=False)
    figure.set_yaxes(title="read from span", column=1)
    where = "into the scored positions" if into_readers else "into all positions"
    return _finish_heat_maps(
        figure,
        "Which step reads from which span",
        f"{FLOW_WORDS}, {where}, each step's adding up to 1; n = {direction.num_examples} examples",
        tick_angle=0,
    )


def step_spans_table(direction: DirectionOfFlow) -> pl.DataFrame:
    """One row per model, denoising step and span that is read from."""
    num_steps, count = len(direction.step_num_examples), len(direction.spans)
    parts = []
    for model in MODEL_NAMES:
        spans = _spans(direction, model)
        parts.append(
            pl.DataFrame(
                {
                    "model": model,
                    "step": np.repeat(np.arange(num_steps), count),
                    "num_examples": np.repeat(direction.step_num_examples, count),
                    "read_from": np.tile(direction.spans, num_steps),
                    "share": spans.by_step.ravel(),
                    "share_into_readers": spans.into_readers.ravel(),
                }
            )
        )
    return pl.concat(parts).fill_nan(None)


def _spans(direction: DirectionOfFlow, model: str) -> SpanFlow:
    return {"arm": direction.arm_spans, "mdm": direction.mdm_spans}[model]


def _heat_map(share: Float[np.ndarray, "span column"], spans: tuple[str, ...], model: str) -> Trace:
    return heat_map(
        y=spans, z=share, coloraxis="coloraxis", xgap=2, ygap=2, name=MODEL_NAMES[model]
    )


def _finish_heat_maps(figure: Figure, title: str, subtitle: str, *, tick_angle: int) -> Figure:
    """Two heat maps of spans on one colour scale, beside or below each other."""
    largest = max(float(np.nanmax(trace["z"])) for trace in figure.data)
    figure.set_layout(coloraxis=colour_bar("share of<br>|flow|", largest))
    # As in a text, the first span is at the top.
    figure.set_yaxes(autorange="reversed", showgrid=False)
    figure.colour_titles(MODEL_COLOURS.values())
    shared: Patch = {"margin.l": 116, "xaxis.tickangle": tick_angle, "xaxis2.tickangle": tick_angle}
    wide = panels((0.0, 0.42, 0.0, 1.0), (0.46, 0.88, 0.0, 1.0)) | colour_bar_right() | shared
    wide |= {"height": 460, "margin.b": 96, "yaxis2.showticklabels": False}
    narrow = stacked(2, gap=0.2, bottom=0.26) | colour_bar_below() | shared
    narrow |= {"height": 980, "margin.b": 64, "yaxis2.showticklabels": True}
    return finish(figure, title, subtitle, wide=wide, narrow=narrow)


def _exhibits(task: TaskResults) -> tuple[Exhibit, ...]:
    """None if flow was not traced; steps only if there is more than one."""
    flow = FLOW.of(task)
    if flow is None:
        return ()
    shown = (
        Exhibit(
            name="span-flow",
            figure=span_flow(flow),
            table=span_flow_table(flow),
            reading="Which part of the text (rows) reads from which (columns). The task names its"
            " parts; of the answer, committed, scored and later say what the denoising step makes"
            " of a token; rest is everything else.",
        ),
    )
    if len(flow.step_num_examples) == 1:
        return shown
    return (
        *shown,
        Exhibit(
            name="step-spans",
            figure=step_spans(flow, into_readers=True),
            table=step_spans_table(flow),
            reading="Where the positions that predict a step's tokens read directly. Each"
            " column adds up to 1. What flows into all positions is in the CSV file.",
        ),
    )


SPANS: Topic[None] = Topic(name="spans", title="Flow between spans", exhibits=_exhibits)
