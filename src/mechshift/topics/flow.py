"""Flow of information through attention: how much of it runs from right to left in the text?

For readers who ask what the MDM makes of seeing the text on its right, which an ARM cannot see.
Between which parts of the text it runs is shown by `spans.py`, from the same record.

Rule: the MDM reads from its right where the interval of its right-to-left share lies above
`MATERIAL_SHARE`; hardly: below it. Not 0: what attention to both sides makes of scores with noise
is never exactly 0.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float

from mechshift.attribution import DIRECTIONS
from mechshift.comparison import (
    RIGHT_TO_LEFT,
    DirectionOfFlow,
    RightToLeft,
    direction_of_flow,
)
from mechshift.page.elements import Definition, Exhibit, Finding
from mechshift.page.figure import Figure, Trace, scatter
from mechshift.page.formats import NOT_MEASURED, Cell, estimate_cell, in_words, number
from mechshift.page.theme import (
    MODEL_COLOURS,
    MODEL_NAMES,
    band,
    finish,
    panels,
    percent,
    stacked,
    thinned,
)
from mechshift.statistics import Estimates
from mechshift.topics.decisions import MATERIAL_SHARE, by_side
from mechshift.topics.topic import (
    HeadlineRow,
    Measured,
    Plain,
    Quantity,
    Rule,
    Statement,
    StoredMember,
    StoredTask,
    TaskResults,
    Topic,
)

SHARE = "right-to-left share"

FLOW_WORDS = "share of |flow| over k and v"


def _conclude(stored: StoredTask) -> DirectionOfFlow | None:
    arm, mdm = stored.flow("arm"), stored.flow("mdm")
    if arm is None or mdm is None:
        return None
    return direction_of_flow(arm, mdm, stored.settings)


def _measure_share(member: StoredMember) -> Measured:
    flows = member.flow()
    if flows is None:
        return Measured(reason="flow between positions was not traced")
    shares = direction_of_flow(*flows, member.settings).mdm
    share = shares.overall.at(RIGHT_TO_LEFT)
    assert share is not None  # direction_of_flow refuses a model in which nothing flows
    return Measured(estimate=share, draws=shares.overall_draws[:, RIGHT_TO_LEFT])


_side_of_reading = partial(
    by_side,
    threshold=MATERIAL_SHARE,
    above="reads from the right",
    below="hardly reads from the right",
    missing=NOT_MEASURED,
)


def _direction(task: TaskResults) -> tuple[Statement, ...]:
    return (
        Statement.of(
            "direction",
            task.mdm.estimate(SHARE),
            _side_of_reading,
            "From right to left runs {} of the MDM's flow",
        ),
    )


def _findings(task: TaskResults) -> tuple[Finding, ...]:
    flow, share = FLOW.of(task), task.mdm.estimate(SHARE)
    if flow is None or share is None:
        return ()
    arm = float(flow.arm.overall.value[RIGHT_TO_LEFT])
    return (
        Finding(
            question="Does the MDM read from its right?",
            verdict=by_side(
                share, MATERIAL_SHARE, above="yes", below="hardly", missing=NOT_MEASURED
            ),
            sentence=f"{in_words(share)} of what flows through the MDM's attention comes from"
            f" further right in the text, and {number(arm)} of the ARM's, whose attention is"
            f" causal. Above {number(MATERIAL_SHARE)} counts as yes.",
        ),
    )


def right_to_left(direction: DirectionOfFlow) -> Figure:
    """Share of the flow whose source lies right of its reader, by layer and by step."""
    figure = Figure(("by layer", "by step"), columns=2, shared_yaxes=True)
    for model in MODEL_NAMES:
        shares = _shares(direction, model)
        x = np.arange(direction.num_layers, dtype=np.float64)
        colour, name = MODEL_COLOURS[model], MODEL_NAMES[model]
        figure.add(band(x, shares.by_layer, colour, group=name), column=1)
        layers = _curve(shares.by_layer, model, "layer")
        figure.add(layers, column=1)
        steps = _curve(shares.by_step, model, "step")
        steps["error_y"] = {
            "type": "data",
            "array": shares.by_step.high - shares.by_step.value,
            "arrayminus": shares.by_step.value - shares.by_step.low,
            "width": 4,
            "thickness": 1.5,
        }
        steps["showlegend"] = False
        figure.add(steps, column=2)
    num_steps = len(direction.step_num_examples)
    figure.set_xaxes(
        tickvals=thinned(direction.num_layers, 8), title="layer", showgrid=False, column=1
    )
    figure.set_xaxes(
        tickvals=thinned(num_steps, 8),
        range=[-0.6, num_steps - 0.4],
        title="denoising step",
        showgrid=False,
        column=2,
    )
    figure.set_yaxes(tickformat=".0%", rangemode="tozero")
    figure.set_yaxes(title="share of |flow|", column=1)
    wide = panels((0.0, 0.48, 0.0, 1.0), (0.52, 1.0, 0.0, 1.0))
    wide |= {"height": 400, "margin.b": 84, "yaxis2.showticklabels": False}
    narrow = stacked(2, gap=0.2)
    narrow |= {"height": 740, "margin.b": 84, "yaxis2.showticklabels": True}
    totals = ", ".join(
        f"{name} {_shares(direction, model).overall.value[0]:.1%}"
        for model, name in MODEL_NAMES.items()
    )
    return finish(
        figure,
        "Flow from right to left",
        f"{FLOW_WORDS}; of all flow: {totals}; n = {direction.num_examples} examples;"
        f" {percent(direction.level)} bootstrap intervals",
        wide=wide,
        narrow=narrow,
    )


def _curve(shares: Estimates, model: str, axis: str) -> Trace:
    return scatter(
        x=np.arange(len(shares.value)),
        y=shares.value,
        mode="lines+markers",
        line={"color": MODEL_COLOURS[model], "width": 2.5},
        marker={"size": 7, "symbol": "circle" if model == "arm" else "diamond"},
        cliponaxis=False,
        hovertemplate=axis + " %{x}: %{y:.2%}<extra>" + MODEL_NAMES[model] + "</extra>",
        name=MODEL_NAMES[model],
        legendgroup=MODEL_NAMES[model],
    )


def right_to_left_table(direction: DirectionOfFlow) -> pl.DataFrame:
    """Both models and their difference: all directions, then right to left, part by part."""
    parts = []
    for model in (*MODEL_NAMES, "shift"):
        shares = _shares(direction, model)
        for of, entries in (
            ("overall", DIRECTIONS),
            ("by_kind", ("k", "v")),
            ("by_layer", tuple(map(str, range(direction.num_layers)))),
            ("by_step", tuple(map(str, range(len(direction.step_num_examples))))),
        ):
            parts.append(
                pl.DataFrame(
                    {
                        "model": "mdm - arm" if model == "shift" else model,
                        "of": of.removeprefix("by_"),
                        "entry": entries,
                        **share_columns(getattr(shares, of)),
                    }
                )
            )
    return pl.concat(parts).fill_nan(None)


def share_columns(estimates: Estimates) -> dict[str, Float[np.ndarray, " entry"]]:
    """Shares with their intervals, entry by entry, as columns of a table."""
    return {
        "share": estimates.value.ravel(),
        "low": estimates.low.ravel(),
        "high": estimates.high.ravel(),
    }


def _shares(direction: DirectionOfFlow, model: str) -> RightToLeft:
    return {"arm": direction.arm, "mdm": direction.mdm, "shift": direction.shift}[model]


def _exhibits(task: TaskResults) -> tuple[Exhibit, ...]:
    flow = FLOW.of(task)
    if flow is None:
        return ()
    return (
        Exhibit(
            name="right-to-left",
            figure=right_to_left(flow),
            table=right_to_left_table(flow),
            reading="Of all that attention carries from one position of the text to another, how"
            " much comes from further right? An ARM cannot see there, so its curve lies on 0.",
        ),
    )


def _cell(task: TaskResults) -> Cell:
    share = task.mdm.estimate(SHARE)
    return Cell(text=NOT_MEASURED) if share is None else estimate_cell(share)


def _method(settings: Mapping[str, Any]) -> tuple[Definition, ...]:
    flow = settings.get("flow")
    if flow is None:
        return ()
    return (
        Definition(
            term="Flow",
            meaning="The score of a head's k or v, cut up by the position that it is read at and"
            " the position whose query takes it up; absolute values, summed over heads, steps and"
            " examples. Gradients are EAP-IG's, averaged over {ig_steps} points (rule “{rule}”),"
            " whichever method scored the edges. Shares are of all flow through k and v, that"
            " within one position included.".format(**flow),
        ),
    )


FLOW: Topic[DirectionOfFlow] = Topic(
    name="flow",
    title="Flow",
    record_type=DirectionOfFlow,
    conclude=_conclude,
    reads=("flow",),
    absent="Flow between positions was not traced on {tasks}: `mechshift flow RUN` does it.",
    quantities=(
        Quantity(
            name=SHARE,
            unit="of |flow|",
            neutral=0.0,
            meaning="share of the k/v flow whose source lies to the right of its reader",
            measure=_measure_share,
            at_a_glance=True,
            limits=(0.0, 1.0),
            mixes=True,
        ),
    ),
    rules=(
        Rule(
            axis="direction",
            quantity=SHARE,
            words=f"share of k/v flow from right to left in the MDM: above {MATERIAL_SHARE}, or"
            " hardly any",
            decide=_direction,
            reads=lambda _, measured: _side_of_reading(measured.estimate),
            plain={
                "reads from the right": Plain(words="reads from its right", moved=True),
                "hardly reads from the right": Plain(
                    words="hardly reads from its right", moved=False
                ),
            },
        ),
    ),
    headline_name="Flow and components",
    headline=(
        HeadlineRow(
            name="Right-to-left share, MDM",
            explanation="of attention's flow; ARM: 0",
            cell=_cell,
        ),
    ),
    findings=_findings,
    exhibits=_exhibits,
    terms=(
        Definition(
            term="Flow, right to left",
            meaning="Attention alone carries information from one place of the text to another."
            " Flow says how much of what matters for the metric it carries from where to where;"
            " right to left is what comes from words that stand later in the text, which an ARM"
            " cannot see.",
        ),
    ),
    method=_method,
)
