"""Spread of the work over heads and MLPs: do a few components carry the task, or many?

For readers who ask whether the MDM became more specialised or more distributed. A component's
weight is |mean score|, its score the sum of its outgoing edges' (`semantics.concentration`);
`input`, which every circuit has, is left out.

Rule: more distributed, or sharper, where the interval of MDM minus ARM (effective number of
components) leaves out 0.
"""

from collections.abc import Callable
from typing import Literal

import polars as pl

from mechshift.attribution import EdgeScores, source_scores
from mechshift.comparison import ComparisonSettings
from mechshift.page.elements import Definition, Exhibit, Finding
from mechshift.page.figure import Figure, Trace, bars
from mechshift.page.formats import NOT_MEASURED, Cell, estimate_cell, in_words, shift_cell
from mechshift.page.theme import (
    MODEL_COLOURS,
    MODEL_NAMES,
    finish,
    panels,
    percent,
    stacked,
)
from mechshift.semantics import (
    ComponentMagnitudes,
    ConcentrationShift,
    SemanticsSettings,
    concentration_shift,
    resample_magnitudes,
)
from mechshift.semantics._concentration import effective_number
from mechshift.statistics import Estimate
from mechshift.topics.decisions import by_sign
from mechshift.topics.topic import (
    HeadlineRow,
    Measured,
    Quantity,
    Rule,
    Statement,
    StoredMember,
    StoredTask,
    TaskResults,
    Topic,
)

SHIFT = "effective components shift"

SHARES = {
    "gini": "Gini<br>coefficient",
    "top_1_share": "share of<br>largest",
    "top_10_share": "share of ten<br>largest",
}
"""Fields of `Concentration` that lie between 0 and 1, and their labels."""

NUMBER = {"effective_number": "effective<br>number"}


def _conclude(stored: StoredTask) -> ConcentrationShift:
    arm, mdm = (
        component_magnitudes(stored.scores(name), stored.settings) for name in ("arm", "mdm")
    )
    return concentration_shift(arm, mdm, level=stored.settings.level)


def _measure_shift(member: StoredMember) -> Measured:
    arm, own = (component_magnitudes(scores, member.settings) for scores in member.scores())
    return Measured(
        estimate=concentration_shift(arm, own, level=member.settings.level).shift.effective_number,
        draws=effective_number(own.resamples) - effective_number(arm.resamples),
    )


def component_magnitudes(scores: EdgeScores, settings: ComparisonSettings) -> ComponentMagnitudes:
    """Of heads and MLPs, without `input`; on the resamples of the comparison."""
    resampling = SemanticsSettings(num_resamples=settings.num_resamples, seed=settings.seed)
    return resample_magnitudes(source_scores(scores)[:, 1:], scores.drawn, resampling)


def _specialisation(task: TaskResults) -> tuple[Statement, ...]:
    shift = task.mdm.estimate(SHIFT)
    return (
        Statement.of(
            "specialisation",
            by_sign(shift, above="more distributed", below="sharper"),
            shift,
            "The effective number of components changed by {}",
        ),
    )


def _findings(task: TaskResults) -> tuple[Finding, ...]:
    found, shift = SPREAD.of(task), task.mdm.estimate(SHIFT)
    if found is None or shift is None:
        return ()
    return (
        Finding(
            question="Is the MDM's work spread over more components?",
            verdict=by_sign(shift, above="yes, more distributed", below="no, sharper"),
            sentence=f"Its attribution is spread as if over"
            f" {in_words(found.mdm.effective_number)} equal heads and MLPs of"
            f" {found.num_components}, the ARM's over {in_words(found.arm.effective_number)}; the"
            f" difference is {in_words(shift, signed=True)}.",
        ),
    )


def concentration_bars(found: ConcentrationShift) -> Figure:
    """Two panels: the shares, where higher is sharper, and the effective number of components."""
    figure = Figure(("sharper is higher", "sharper is lower"), columns=2)
    for column, labels in enumerate((SHARES, NUMBER), start=1):
        for model in MODEL_NAMES:
            figure.add(_bars(found, model, labels, column == 1), column=column)
    figure.set_layout(barmode="group", bargap=0.35)
    figure.set_xaxes(showgrid=False)
    figure.set_yaxes(rangemode="tozero")
    figure.set_yaxes(title="share of |attribution|", range=[0, 1.02], column=1)
    figure.set_yaxes(title=f"components of {found.num_components}", column=2)
    wide = panels((0.0, 0.62, 0.0, 1.0), (0.76, 1.0, 0.0, 1.0)) | {"height": 400, "margin.b": 92}
    narrow = stacked(2, gap=0.2) | {"height": 700, "margin.b": 92}
    level = found.arm.gini.interval.level
    return finish(
        figure,
        "Sharp or distributed",
        f"concentration of |attribution| over heads and MLPs; bars: {percent(level)} bootstrap"
        " intervals",
        wide=wide,
        narrow=narrow,
    )


def _bars(found: ConcentrationShift, model: str, labels: dict[str, str], in_legend: bool) -> Trace:
    estimates: list[Estimate] = [getattr(getattr(found, model), name) for name in labels]
    shifts: list[Estimate] = [getattr(found.shift, name) for name in labels]
    return bars(
        x=list(labels.values()),
        y=[estimate.value for estimate in estimates],
        error_y={
            "type": "data",
            "array": [estimate.interval.high - estimate.value for estimate in estimates],
            "arrayminus": [estimate.value - estimate.interval.low for estimate in estimates],
            "width": 4,
            "thickness": 1.5,
        },
        marker={"color": MODEL_COLOURS[model]},
        customdata=[[shift.value, shift.interval.low, shift.interval.high] for shift in shifts],
        hovertemplate="%{y:.3f}<br>MDM - ARM: %{customdata[0]:.3f} (%{customdata[1]:.3f} to"
        " %{customdata[2]:.3f})<extra>" + MODEL_NAMES[model] + "</extra>",
        name=MODEL_NAMES[model],
        legendgroup=MODEL_NAMES[model],
        showlegend=in_legend,
    )


def concentration_bars_table(found: ConcentrationShift) -> pl.DataFrame:
    """One row per measure, for `arm`, `mdm` and the paired `shift`."""
    rows = []
    for measure in (*SHARES, *NUMBER):
        for side in ("arm", "mdm", "shift"):
            estimate: Estimate = getattr(getattr(found, side), measure)
            rows.append(
                {
                    "measure": measure,
                    "side": side,
                    "value": estimate.value,
                    "low": estimate.interval.low,
                    "high": estimate.interval.high,
                }
            )
    return pl.DataFrame(rows)


def _exhibits(task: TaskResults) -> tuple[Exhibit, ...]:
    found = SPREAD.of(task)
    if found is None:
        return ()
    return (
        Exhibit(
            name="concentration",
            figure=concentration_bars(found),
            table=concentration_bars_table(found),
            reading="Do a few heads and MLPs carry the task, or many? Hover for the paired"
            " difference, which is more certain than two overlapping intervals suggest.",
        ),
    )


def _number_cell(side: Literal["arm", "mdm"]) -> Callable[[TaskResults], Cell]:
    def cell(task: TaskResults) -> Cell:
        found = SPREAD.of(task)
        if found is None:
            return Cell(text=NOT_MEASURED)
        return estimate_cell(getattr(found, side).effective_number)

    return cell


def _shift_cell(task: TaskResults) -> Cell:
    shift = task.mdm.estimate(SHIFT)
    return Cell(text=NOT_MEASURED) if shift is None else shift_cell(shift)


SPREAD: Topic[ConcentrationShift] = Topic(
    name="spread",
    title="Spread over components",
    record_type=ConcentrationShift,
    conclude=_conclude,
    quantities=(
        Quantity(
            name=SHIFT,
            unit="components",
            neutral=0.0,
            meaning="number of equal components that would be as concentrated, minus the ARM's",
            measure=_measure_shift,
            at_a_glance=True,
            explained=True,
        ),
    ),
    rules=(
        Rule(
            axis="specialisation",
            words="effective number of components, MDM minus ARM: above 0 more distributed,"
            " below 0 sharper",
            decide=_specialisation,
        ),
    ),
    headline_name="Flow and components",
    headline=(
        HeadlineRow(
            name="Effective number, ARM",
            explanation="components the work is spread over",
            cell=_number_cell("arm"),
        ),
        HeadlineRow(
            name="Effective number, MDM",
            explanation="components the work is spread over",
            cell=_number_cell("mdm"),
        ),
        HeadlineRow(
            name="Effective number, shift",
            explanation="above 0: more distributed",
            cell=_shift_cell,
        ),
    ),
    findings=_findings,
    exhibits=_exhibits,
    terms=(
        Definition(
            term="Effective number",
            meaning="Over how many equal components the work would have to be shared to be as"
            " spread out as it is. 1: one component does all of it.",
        ),
    ),
    method=lambda _: (
        Definition(
            term="Concentration",
            meaning="Of |mean score| over heads and MLPs, a component's score being the sum of its"
            " outgoing edges'. Effective number: exp(entropy) of the shares. Gini: 0 for equal"
            " shares.",
        ),
    ),
)
