"""Spread of the work over heads and MLPs: do a few components carry the task, or many?

For readers who ask whether the MDM became more specialised or more distributed. A component's
weight is |mean score|, its score the sum of its outgoing edges' (`semantics.concentration`);
`input`, which every circuit has, is left out.

Rule: more distributed, or sharper, where the interval of MDM minus ARM (effective number of
components, without noise) leaves out 0. Not decided where one model is more than 1.5 times as noisy
as the other, or where the models say the opposite once both are equally noisy. The entropy of
|mean score|, which the figure shows, grows with noise, and no verdict rests on it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import polars as pl

from mechshift.attribution import EdgeScores, source_scores
from mechshift.comparison import ComparisonSettings
from mechshift.page.elements import Definition, Exhibit, Finding
from mechshift.page.figure import Figure, Trace, bars
from mechshift.page.formats import (
    NOT_DECIDED,
    NOT_MEASURED,
    UNDEFINED,
    Cell,
    estimate_cell,
    in_words,
    number,
    shift_cell,
)
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
    NoiseFreeNumber,
    SemanticsSettings,
    concentration_shift,
    noise_free_number,
    resample_magnitudes,
)
from mechshift.statistics import Estimate, cluster_columns
from mechshift.topics.decisions import by_sign
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

SHIFT = "effective components shift"

SHARES = {
    "gini": "Gini<br>coefficient",
    "top_1_share": "share of<br>largest",
    "top_10_share": "share of ten<br>largest",
}
"""Fields of `Concentration` that lie between 0 and 1, and their labels."""

NUMBER = {"effective_number": "effective<br>number"}


LARGEST_NOISE_RATIO = 1.5
"""Times one model may be as noisy as the other for a verdict on their spread."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Spread:
    """Concentration of both models, as it is and without noise."""

    concentration: ConcentrationShift
    """Of |mean score|, noise included."""
    noise_free: NoiseFreeNumber


def _conclude(stored: StoredTask) -> Spread:
    scores = stored.scores("arm"), stored.scores("mdm")
    arm, mdm = (component_magnitudes(one, stored.settings) for one in scores)
    return Spread(
        concentration=concentration_shift(arm, mdm, level=stored.settings.level),
        noise_free=_noise_free(*scores, stored.settings),
    )


def _measure_shift(member: StoredMember) -> Measured:
    found = _noise_free(*member.scores(), member.settings)
    if found.shift is None:
        return Measured(reason="scores on one half of the examples do not carry over to the other")
    return Measured(estimate=found.shift, draws=found.shift_draws, caution=caution(found))


def caution(found: NoiseFreeNumber) -> str:
    """Why nothing is decided on a shift, in words; empty where something may be."""
    if found.noise_ratio > LARGEST_NOISE_RATIO:
        return (
            f"relative noise is {number(found.arm_noise)} in the ARM and"
            f" {number(found.mdm_noise)} in the other, more than {LARGEST_NOISE_RATIO} times apart"
        )
    if found.shift is not None and found.shift.value * found.shift_at_equal_noise < 0:
        at_equal_noise = number(found.shift_at_equal_noise, signed=True)
        return f"with both models equally noisy the difference is {at_equal_noise}"
    return ""


def _noise_free(
    arm: EdgeScores, other: EdgeScores, settings: ComparisonSettings
) -> NoiseFreeNumber:
    ours, theirs = (source_scores(scores)[:, 1:] for scores in (arm, other))
    return noise_free_number(
        ours, theirs, _resampling(settings), clusters=cluster_columns(arm.drawn)[0]
    )


def _resampling(settings: ComparisonSettings) -> SemanticsSettings:
    return SemanticsSettings(
        num_resamples=settings.num_resamples, seed=settings.seed, level=settings.level
    )


def component_magnitudes(scores: EdgeScores, settings: ComparisonSettings) -> ComponentMagnitudes:
    """Of heads and MLPs, without `input`; on the resamples of the comparison."""
    return resample_magnitudes(source_scores(scores)[:, 1:], scores.drawn, _resampling(settings))


def _decided(measured: Measured, shift: Estimate | None, *, above: str, below: str) -> str:
    if measured.caution:
        return NOT_DECIDED
    return by_sign(shift, above=above, below=below, missing=UNDEFINED)


def _words(measured: Measured, shift: Estimate | None) -> str:
    return _decided(measured, shift, above="more distributed", below="sharper")


def _specialisation(task: TaskResults) -> tuple[Statement, ...]:
    measured = task.mdm.measured[SHIFT]
    words = "The effective number of components changed by {}"
    if measured.caution:
        words += f" ({measured.caution})"
    decide = partial(_words, measured)
    return (Statement.of("specialisation", measured.estimate, decide, words),)


def _findings(task: TaskResults) -> tuple[Finding, ...]:
    found, measured = SPREAD.of(task), task.mdm.measured[SHIFT]
    if found is None or measured.estimate is None:
        return ()
    arm, mdm = (
        UNDEFINED if one is None else in_words(one)
        for one in (found.noise_free.arm, found.noise_free.mdm)
    )
    sentence = (
        f"Without noise its attribution is spread as if over {mdm} equal heads and MLPs of"
        f" {found.concentration.num_components}, the ARM's over {arm}; the difference is"
        f" {in_words(measured.estimate, signed=True)}"
    )
    return (
        Finding(
            question="Is the MDM's work spread over more components?",
            verdict=_decided(
                measured, measured.estimate, above="yes, more distributed", below="no, sharper"
            ),
            sentence=f"{sentence}, but {measured.caution}." if measured.caution else f"{sentence}.",
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
            figure=concentration_bars(found.concentration),
            table=concentration_bars_table(found.concentration),
            reading="Do a few heads and MLPs carry the task, or many? Noise is not taken off here"
            " and makes a model look distributed; the verdict's number is free of it.",
        ),
    )


def _number_cell(side: Literal["arm", "mdm"]) -> Callable[[TaskResults], Cell]:
    def cell(task: TaskResults) -> Cell:
        found = SPREAD.of(task)
        if found is None:
            return Cell(text=NOT_MEASURED)
        one: Estimate | None = getattr(found.noise_free, side)
        return Cell(text=UNDEFINED) if one is None else estimate_cell(one)

    return cell


def _shift_cell(task: TaskResults) -> Cell:
    measured = task.mdm.measured[SHIFT]
    if measured.estimate is None:
        return Cell(text=UNDEFINED)
    if measured.caution:
        return estimate_cell(measured.estimate, signed=True, note=NOT_DECIDED)
    return shift_cell(measured.estimate)


SPREAD: Topic[Spread] = Topic(
    name="spread",
    title="Spread over components",
    record_type=Spread,
    conclude=_conclude,
    quantities=(
        Quantity(
            name=SHIFT,
            unit="components",
            neutral=0.0,
            meaning="number of equal components that would be as concentrated without noise, minus"
            " the ARM's",
            measure=_measure_shift,
            at_a_glance=True,
            explained=True,
        ),
    ),
    rules=(
        Rule(
            axis="specialisation",
            quantity=SHIFT,
            words="effective number of components without noise, MDM minus ARM: above 0 more"
            " distributed, below 0 sharper, if neither model is more than"
            f" {LARGEST_NOISE_RATIO} times as noisy as the other and the sign holds at equal"
            " noise",
            decide=_specialisation,
            reads=lambda _, measured: _words(measured, measured.estimate),
            plain={
                "more distributed": Plain(
                    words="spreads its work over more components", moved=True
                ),
                "sharper": Plain(words="does its work with fewer components", moved=True),
            },
        ),
    ),
    headline_name="Flow and components",
    headline=(
        HeadlineRow(
            name="Effective number, ARM",
            explanation="components, without noise",
            cell=_number_cell("arm"),
        ),
        HeadlineRow(
            name="Effective number, MDM",
            explanation="components, without noise",
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
            " outgoing edges'. In the figure effective number is exp(entropy) of the shares, noise"
            " included. Gini: 0 for equal shares.",
        ),
        Definition(
            term="Effective number without noise",
            meaning="(sum sign(m1) m2)² / sum m1 m2 over the mean scores of two halves of the"
            " examples, mean over halvings: (sum |m|)² / sum m² with what noise adds left out. It"
            " errs towards sharper.",
        ),
    ),
)
