"""Controls: what mask, training and chance do without diffusion, held against the MDM's shift.

For readers who ask whose doing a shift is. Every quantity of every topic is measured of the
controls as of the MDM, against the same ARM. `causes` holds the rule that reads them, and
`trainings` how several seeds of one control count.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import polars as pl

from mechshift.models import ARM_CONTINUED, SIBLING, control_role
from mechshift.page.elements import Definition, Exhibit, Part
from mechshift.page.figure import Figure, Trace, scatter
from mechshift.page.formats import (
    NOT_MEASURED,
    Cell,
    estimate_cell,
    percentage_cell,
)
from mechshift.page.theme import (
    NEUTRAL_COLOUR,
    PAIR_COLOUR,
    finish,
    panels,
    stacked,
)
from mechshift.statistics import Estimate
from mechshift.topics.causes import ALIKE, causes
from mechshift.topics.decisions import MIN_CLUSTERS
from mechshift.topics.topic import (
    Measured,
    MemberResults,
    Quantity,
    Rule,
    StoredMember,
    TaskResults,
    Topic,
)
from mechshift.topics.trainings import MIN_TRAININGS
from mechshift.topics.trainings_table import (
    TRAININGS,
    QuantitiesTable,
    over_trainings,
    trainings_frame,
    trainings_table,
)

CONTROL_NAMES = {
    "arm-full": "ARM, sees both sides",
    "mdm-causal": "MDM, sees the left only",
    "arm-continued": "ARM, trained on",
    "mdm-other-seed": "MDM, other seed",
    SIBLING: "MDM",
}
"""Names on the page of the controls of a role, in the order of its columns."""

CONTROL_MEANINGS = {
    "arm-full": "the ARM's weights with the MDM's attention and masks",
    "mdm-causal": "the MDM's weights with the ARM's attention",
    "arm-continued": "the ARM after as many steps on the same data, by its own objective",
    "mdm-other-seed": "made from the ARM as the MDM was, with another seed",
    SIBLING: "made from the ARM by another recipe, and read in its own way",
}

ACCURACY = "accuracy"


@runtime_checkable
class Panel(Protocol):
    """Quantity as a panel shows it: `Quantity`, or alike."""

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
    wide |= {"height": height + 150, "margin.b": 58, "margin.l": 144}
    below = 84  # ticks and unit of a panel, title of the next
    drawn = len(shown) * (height + below) - below
    narrow = stacked(len(shown), gap=below / drawn)
    narrow |= {"height": drawn + 150, "margin.b": 58, "margin.l": 144}
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


def control_title(name: str) -> str:
    """How the page calls a control: further trainings by their number, siblings by their pair."""
    role, training = _role(name)
    if role == SIBLING:
        return f"{CONTROL_NAMES[role]} of {name}"
    return CONTROL_NAMES[role] if training == 1 else f"{CONTROL_NAMES[role]} ({training})"


def _role(name: str) -> tuple[str, int]:
    found = control_role(name)
    assert found is not None  # no other member is a control
    return found


def _place(name: str) -> tuple[int, int]:
    """Of a control among the columns."""
    role, training = _role(name)
    return list(CONTROL_NAMES).index(role), training


def member_estimates(member: MemberResults) -> dict[str, Estimate | None]:
    """Each quantity by name; None where it is undefined or was not measured."""
    return {name: one.estimate for name, one in member.measured.items()}


def controls_table(task: TaskResults, quantities: Sequence[Quantity]) -> QuantitiesTable:
    """Every quantity of weights by attention, and of further controls: a column each."""
    by_name = {one.name: one for one in task.controls}
    ordered = sorted(by_name, key=_place)
    without_training = sum(_place(name)[0] < _place(ARM_CONTINUED)[0] for name in ordered)
    members = ["arm", *ordered]
    members.insert(1 + without_training, "mdm")
    titles = {"arm": ("ARM", "as it is"), "mdm": ("MDM", "as it is")}
    titles |= {name: (control_title(name), CONTROL_MEANINGS[_role(name)[0]]) for name in by_name}

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
    return QuantitiesTable(
        name="controls-table",
        corner="Against the ARM",
        columns=tuple(titles[member] for member in members),
        rows=(("solves of what both solve", tuple(map(solved, members))), *numbers),
    )


def _measure_accuracy(member: StoredMember) -> Measured:
    accuracy = member.accuracy()
    if accuracy is None:
        return Measured(reason="it was not asked the held-out examples")
    return Measured(estimate=accuracy)


def _exhibits(task: TaskResults, quantities: Sequence[Quantity]) -> tuple[Exhibit, ...]:
    if not task.controls:
        return ()
    rows = {"MDM": member_estimates(task.mdm)}
    rows |= {control_title(one.name): member_estimates(one) for one in task.controls}
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
    tables = [controls_table(task, quantities)]
    if rows := over_trainings(task, quantities):
        tables.append(trainings_table(rows))
    return tuple(Part(template="quantities.html.j2", content={"table": one}) for one in tables)


def _tables(task: TaskResults, quantities: Sequence[Quantity]) -> Mapping[str, pl.DataFrame]:
    rows = over_trainings(task, quantities)
    return {TRAININGS: trainings_frame(rows)} if rows else {}


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
                f" within {ALIKE} of the shift; with {MIN_TRAININGS} and more trainings with"
                " diffusion and as many without, their means, other trainings in the interval:"
                " diffusion's, or also without diffusion",
                decide=lambda task: causes(task, quantities),
            ),
        ),
        exhibits=lambda task: _exhibits(task, quantities),
        tables=lambda task: _tables(task, quantities),
        terms=(
            Definition(
                term="Trainings",
                meaning="Models of one recipe and other seeds: the MDM and MDMs of other seeds with"
                " diffusion, ARMs trained on without it. Their spread is the standard deviation"
                " between them, less what the noise of examples makes of it. An interval over"
                " trainings says where the difference of two recipes would lie with other examples"
                f" and other seeds; it takes {MIN_TRAININGS} trainings of either.",
            ),
        ),
        parts=lambda task: _parts(task, quantities),
    )
