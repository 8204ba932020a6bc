"""Controls: what mask, training and chance do without diffusion, held against the MDM's shift.

For readers who ask whose doing a shift is. Every quantity of every topic is measured of the
controls as of the MDM, against the same ARM.

Rule of causes, for each decided shift that is explained. What the MDM shifts more than a control is
a paired difference: both were measured against one ARM on the same resamples, so it is a
subtraction of their draws.

1. Where that difference from a control without diffusion lies within half of the MDM's shift, the
   shift is there also without diffusion.
2. Where the control that was trained on without diffusion was measured, and the MDM shifts further
   than each control without diffusion, the shift is this checkpoint's; or this seed's, if it shifts
   further than an MDM of another seed as well.
3. Anything else is not decided. A control that cannot do the task, or of which the quantity is
   undefined, proves nothing.

One training a side says nothing on what diffusion does in general, so no verdict here speaks of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import polars as pl

from mechshift.page.elements import Exhibit, Part
from mechshift.page.figure import Figure, Trace, scatter
from mechshift.page.formats import (
    NOT_DECIDED,
    NOT_MEASURED,
    Cell,
    estimate_cell,
    in_words,
    percentage_cell,
)
from mechshift.page.theme import (
    NEUTRAL_COLOUR,
    PAIR_COLOUR,
    finish,
    panels,
    stacked,
)
from mechshift.statistics import Estimate, Estimates
from mechshift.topics.decisions import MIN_CLUSTERS, p_of_decision
from mechshift.topics.topic import (
    Measured,
    MemberResults,
    Quantity,
    Rule,
    Statement,
    StoredMember,
    TaskResults,
    Topic,
)

MIN_ACCURACY = 0.5
"""A control counts that solves this share of what both models solve, up to its interval."""

OTHER_SEED = "mdm-other-seed"
"""The control that diffusion made too; what it does not reach may be chance."""

TRAINED_ON = "arm-continued"
"""The control that was trained as long as the MDM, without diffusion."""

WITHOUT_DIFFUSION = ("arm-full", TRAINED_ON)
"""Controls whose weights never saw a mask."""

ALIKE = 0.5
"""Share of the MDM's shift within which a control's shift is the same; ours."""

CONTROL_NAMES = {
    "arm-full": "ARM, sees both sides",
    "mdm-causal": "MDM, sees the left only",
    "arm-continued": "ARM, trained on",
    "mdm-other-seed": "MDM, other seed",
}
"""How the page calls a control."""

CONTROL_MEANINGS = {
    "arm-full": "the ARM's weights with the MDM's attention and masks",
    "mdm-causal": "the MDM's weights with the ARM's attention",
    "arm-continued": "the ARM after as many steps on the same data, by its own objective",
    "mdm-other-seed": "made from the ARM as the MDM was, with another seed",
}

ACCURACY = "accuracy"


@runtime_checkable
class Panel(Protocol):
    """What a panel shows of a quantity: `Quantity`, or alike."""

    @property
    def name(self) -> str:
        """Title of the panel."""

    @property
    def unit(self) -> str:
        """Of its axis; empty for a share."""

    @property
    def neutral(self) -> float | None:
        """Where no change would lie."""

    @property
    def at_a_glance(self) -> bool:
        """Whether it has a panel."""


Rows = Mapping[str, Mapping[str, Estimate | None]]
"""For each row its quantities by name."""

ROW_HEIGHT = 34
"""Of each row in a panel [pixels]."""


def quantity_panels(
    rows: Rows,
    quantities: Sequence[Panel],
    *,
    title: str,
    subtitle: str,
    undecided: Sequence[str] = (),
) -> Figure:
    """One panel a quantity: value and interval of every row, against what no change would give.

    Those have a panel that are shown at a glance and of which some row has a number.

    Args:
        rows: name -> its quantities.
        quantities: in the order of the panels.
        title: of the figure.
        subtitle: below it.
        undecided: rows of too few clusters, whose points stay hollow whatever their intervals.
    """
    shown = [
        quantity
        for quantity in quantities
        if quantity.at_a_glance and any(found[quantity.name] for found in rows.values())
    ]
    titles = tuple(quantity.name for quantity in shown)
    figure = Figure(titles, columns=len(shown), shared_yaxes=True)
    for column, quantity in enumerate(shown, start=1):
        figure.add(_neutral_line(rows, quantity), column=column)
        figure.add(_points(rows, quantity, undecided), column=column)
        figure.set_xaxes(title=quantity.unit or "share", nticks=4, column=column)
    # Plotly's first category lies at the bottom.
    figure.set_yaxes(
        categoryorder="array",
        categoryarray=list(rows)[::-1],
        range=[-0.6, len(rows) - 0.4],
        showgrid=False,
    )
    height = ROW_HEIGHT * max(2, len(rows))
    across = [index / len(shown) for index in range(len(shown))]
    wide = panels(*((left, left + 0.8 / len(shown), 0.0, 1.0) for left in across))
    wide |= {"height": height + 150, "margin.b": 58, "margin.l": 128}
    below = 84  # ticks and unit of a panel, title of the next
    drawn = len(shown) * (height + below) - below
    narrow = stacked(len(shown), gap=below / drawn)
    narrow |= {"height": drawn + 150, "margin.b": 58, "margin.l": 128}
    for index in range(2, len(shown) + 1):
        wide[f"yaxis{index}.showticklabels"] = False
        narrow[f"yaxis{index}.showticklabels"] = True
    figure.set_layout(showlegend=False)
    return finish(figure, title, subtitle, wide=wide, narrow=narrow)


def quantity_panels_table(rows: Rows, quantities: Sequence[Quantity]) -> pl.DataFrame:
    """Every quantity of every row, those without a panel too."""
    lines = []
    for row, found in rows.items():
        for quantity in quantities:
            one = found[quantity.name]
            lines.append(
                {
                    "row": row,
                    "quantity": quantity.name,
                    "neutral": quantity.neutral,
                    "value": None if one is None else one.value,
                    "low": None if one is None else one.interval.low,
                    "high": None if one is None else one.interval.high,
                }
            )
    numbers = dict.fromkeys(("neutral", "value", "low", "high"), pl.Float64)
    return pl.DataFrame(lines, schema={"row": pl.String, "quantity": pl.String, **numbers})


def _neutral_line(rows: Rows, quantity: Panel) -> Trace:
    """A trace and not a shape, so that the axis always reaches it."""
    return scatter(
        x=[quantity.neutral] * len(rows),
        y=list(rows),
        mode="lines",
        line={"color": NEUTRAL_COLOUR, "width": 1.5, "dash": "dash"},
        hoverinfo="skip",
        name="no change",
    )


def _points(rows: Rows, quantity: Panel, undecided: Sequence[str]) -> Trace:
    known = {row: one for row, found in rows.items() if (one := found[quantity.name]) is not None}
    neutral = quantity.neutral
    assert neutral is not None  # what is shown at a glance has one
    decided = [row not in undecided and one.excludes(neutral) for row, one in known.items()]
    return scatter(
        x=[one.value for one in known.values()],
        y=list(known),
        mode="markers",
        marker={
            "size": 10,
            "color": [PAIR_COLOUR if sure else NEUTRAL_COLOUR for sure in decided],
            "symbol": ["circle" if sure else "circle-open" for sure in decided],
        },
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [one.interval.high - one.value for one in known.values()],
            "arrayminus": [one.value - one.interval.low for one in known.values()],
            "thickness": 1.5,
            "width": 4,
            "color": NEUTRAL_COLOUR,
        },
        customdata=[[one.interval.low, one.interval.high] for one in known.values()],
        hovertemplate="%{y}<br>%{x:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}]"
        f"<extra>{quantity.name}</extra>",
        name=quantity.name,
    )


def member_estimates(member: MemberResults) -> dict[str, Estimate | None]:
    """Each quantity by name; None where it is undefined or was not measured."""
    return {name: one.estimate for name, one in member.measured.items()}


@dataclass(frozen=True, kw_only=True)
class ControlsTable:
    """Weights by attention, and further controls: a column each."""

    columns: tuple[tuple[str, str], ...]
    """Name and meaning."""
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    """Quantity, and a cell for every column."""


def controls_table(task: TaskResults, quantities: Sequence[Quantity]) -> ControlsTable:
    """Every quantity of every control."""
    by_name = {one.name: one for one in task.controls}
    members = ["arm", *(name for name in CONTROL_NAMES if name in by_name)]
    members.insert(1 + members.count("arm-full") + members.count("mdm-causal"), "mdm")
    titles = {"arm": ("ARM", "as it is"), "mdm": ("MDM", "as it is")}
    titles |= {name: (CONTROL_NAMES[name], CONTROL_MEANINGS[name]) for name in by_name}

    def cell(member: str, quantity: Quantity) -> Cell:
        if member == "arm":
            return Cell(text=f"{quantity.neutral:g}", note="by definition")
        found = task.mdm if member == "mdm" else by_name[member]
        estimate = found.estimate(quantity.name)
        return Cell(text=NOT_MEASURED) if estimate is None else estimate_cell(estimate)

    def solved(member: str) -> Cell:
        if member in ("arm", "mdm"):
            return Cell(text="100\N{NO-BREAK SPACE}%", note="by selection")
        accuracy = by_name[member].accuracy
        return Cell(text=NOT_MEASURED) if accuracy is None else percentage_cell(accuracy)

    numbers = [(one.name, tuple(cell(member, one) for member in members)) for one in quantities]
    return ControlsTable(
        columns=tuple(titles[member] for member in members),
        rows=(("solves of what both solve", tuple(map(solved, members))), *numbers),
    )


def causes(task: TaskResults, quantities: Sequence[Quantity]) -> tuple[Statement, ...]:
    """A statement for each decided shift of a quantity that is explained."""
    controls = [
        one
        for one in task.controls
        if one.accuracy is not None and one.accuracy.interval.high >= MIN_ACCURACY
    ]
    return tuple(
        _cause(quantity, task.mdm.measured[quantity.name], controls)
        for quantity in quantities
        if quantity.explained
        and (shift := task.mdm.estimate(quantity.name)) is not None
        and shift.excludes(0.0)
        and not task.mdm.measured[quantity.name].caution
    )


def contrast(mdm: Measured, control: Measured) -> Estimate | None:
    """How much more the MDM shifts than a control; None where one is undefined, or uncertain."""
    if mdm.estimate is None or control.estimate is None or mdm.caution or control.caution:
        return None
    if mdm.draws is None or control.draws is None:
        return None
    value = mdm.estimate.value - control.estimate.value
    rows = np.concatenate([[value], mdm.draws - control.draws])
    return Estimates.from_rows(rows[:, None], level=mdm.estimate.interval.level).at(0)


def _cause(quantity: Quantity, mdm: Measured, controls: Sequence[MemberResults]) -> Statement:
    assert mdm.estimate is not None
    shift = mdm.estimate
    beyond = {
        one.name: found
        for one in controls
        if (found := contrast(mdm, one.measured[quantity.name])) is not None
    }

    def decide(errors: float) -> str:
        if not shift.reaching(errors).excludes(0.0):  # then there is nothing to explain
            return NOT_DECIDED
        wider = {name: one.reaching(errors) for name, one in beyond.items()}
        return _words_for(wider, shift.value)

    decided = _words_for(beyond, shift.value)
    return Statement(
        axis="cause",
        verdict=decided,
        by_itself=decided,
        estimate=None,
        sentence=_shown(quantity, beyond, decided),
        p=p_of_decision(decide, shift.interval.level),
    )


def _words_for(beyond: Mapping[str, Estimate], shift: float) -> str:
    """The cause of the MDM's shift, given how far it lies beyond that of each control."""
    without = {name: found for name, found in beyond.items() if name in WITHOUT_DIFFUSION}
    alike = [name for name, found in without.items() if _alike(found, shift)]
    if alike:
        return f"also without diffusion ({', '.join(alike)})"
    if TRAINED_ON not in without or not all(_further(one, shift) for one in without.values()):
        return NOT_DECIDED
    if OTHER_SEED in beyond and _further(beyond[OTHER_SEED], shift):
        return "this seed's"
    return "this checkpoint's"


def _shown(quantity: Quantity, beyond: Mapping[str, Estimate], decided: str) -> str:
    if not beyond:
        return (
            f"The MDM's {quantity.name} is not held against any control that can do the task:"
            f" {decided}."
        )
    differences = ", ".join(
        f"{in_words(found, signed=True)} ({name})" for name, found in beyond.items()
    )
    return f"The MDM's {quantity.name} is beyond a control's by {differences}: {decided}."


def _alike(difference: Estimate, shift: float) -> bool:
    """Whether the whole interval lies within the margin of the MDM's shift."""
    margin = ALIKE * abs(shift)
    return -margin <= difference.interval.low and difference.interval.high <= margin


def _further(difference: Estimate, shift: float) -> bool:
    """Whether the MDM shifts further than the control, in the direction of its own shift."""
    return difference.excludes(0.0) and difference.value * shift > 0


def _measure_accuracy(member: StoredMember) -> Measured:
    accuracy = member.accuracy()
    if accuracy is None:
        return Measured(reason="it was not asked the held-out examples")
    return Measured(estimate=accuracy)


def _exhibits(task: TaskResults, quantities: Sequence[Quantity]) -> tuple[Exhibit, ...]:
    if not task.controls:
        return ()
    rows = {"MDM": member_estimates(task.mdm)}
    rows |= {CONTROL_NAMES[one.name]: member_estimates(one) for one in task.controls}
    return (
        Exhibit(
            name="controls",
            figure=quantity_panels(
                rows,
                quantities,
                title="What else could it be?",
                subtitle="each model against the ARM; dashed: as the ARM; filled where the interval"
                " excludes it",
                undecided=list(rows) if task.comparison.num_clusters < MIN_CLUSTERS else (),
            ),
            table=quantity_panels_table(rows, quantities),
            reading="A shift that a control shows too needs no diffusion to explain it. What a"
            " control that cannot do the task shows explains little: see its accuracy below.",
        ),
    )


def _parts(task: TaskResults, quantities: Sequence[Quantity]) -> tuple[Part, ...]:
    if not task.controls:
        return ()
    table = controls_table(task, quantities)
    return (Part(template="controls.html.j2", content={"controls": table}),)


def controls_topic(quantities: Sequence[Quantity]) -> Topic[None]:
    """The topic, over the quantities that other topics measure of members."""
    return Topic(
        name="controls",
        title="Controls",
        quantities=(
            Quantity(
                name=ACCURACY,
                unit="of examples",
                neutral=None,
                meaning="share of the held-out examples that the checkpoint solves, of all that"
                " were tried for the pool, solved by the pair or not",
                measure=_measure_accuracy,
                of="checkpoints",
            ),
        ),
        rules=(
            Rule(
                axis="cause",
                words="MDM minus a control that can do the task, on the same resamples: this"
                " checkpoint's where it shifts further than the ARM trained on and every other"
                " control without diffusion; also without diffusion where the difference lies"
                f" within {ALIKE} of the shift",
                decide=lambda task: causes(task, quantities),
            ),
        ),
        exhibits=lambda task: _exhibits(task, quantities),
        parts=lambda task: _parts(task, quantities),
    )
