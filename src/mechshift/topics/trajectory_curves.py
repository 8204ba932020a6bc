"""Curves over training: every tracked number of every task against training steps.

They answer when the mechanism shifts, and whether the control shifts with it.

Training steps are laid out evenly in their logarithm. Checkpoints are kept at steps that grow by a
factor, and the first of them all is the parent, at step 0, which a logarithm does not have. It
stands left of the others by the usual gap between them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from textwrap import wrap
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float

from mechshift.page.figure import Figure, Trace, scatter
from mechshift.page.theme import NEUTRAL_COLOUR, Patch, band, finish, log_ticks, panels, percent
from mechshift.statistics import Estimates, simultaneous_estimates
from mechshift.topics.topic import Quantity
from mechshift.topics.trajectory import (
    TRAINING_KINDS,
    Training,
    Trajectory,
    TrajectoryPoint,
    training_colour,
    training_kind,
    training_title,
)

PANEL_HEIGHT, GAP_HEIGHT = 112, 56
"""Of a panel, and of what lies between two: ticks of the upper, title of the lower [pixels]."""

GAP_WIDTH = 0.035
"""Between columns, in parts of the figure."""

FAITHFULNESS = "faithfulness"
"""Unit of the numbers of which only so much is drawn."""

SHOWN_FAITHFULNESS = (-0.5, 1.5)
"""Bounds of the axis. Where a model hardly profits from its edges, faithfulness is a quotient of
small numbers: values beyond this range would flatten all others."""

FALLBACK_GAP = 0.3
"""Between 0 and the only other step [decades]."""


@dataclass(frozen=True, kw_only=True)
class StepAxis:
    """Places of training steps; a linear axis in plotly's eyes."""

    steps: tuple[int, ...]
    """All that are shown, ascending."""

    @classmethod
    def over(cls, steps: Iterable[int]) -> "StepAxis":
        return cls(steps=tuple(sorted(set(steps))))

    @property
    def _positive(self) -> Float[np.ndarray, " step"]:
        return np.log10([step for step in self.steps if step > 0])

    @property
    def _zero(self) -> float:
        logs = self._positive
        gaps = np.diff(logs)
        return float(logs[0] - (np.median(gaps) if len(gaps) else FALLBACK_GAP))

    def place(self, step: int) -> float:
        """Where a step stands [decades]."""
        return float(np.log10(step)) if step > 0 else self._zero

    def _round_steps(self) -> list[int]:
        """1, 10, 100, ...; where fewer than two of them lie on the axis, what lies between too."""
        positive = np.array([step for step in self.steps if step > 0])
        ticks: list[int] = log_ticks(positive)["tickvals"]
        powers = [tick for tick in ticks if set(str(tick)) <= {"0", "1"}]
        return powers if len(powers) > 1 else ticks

    def layout(self) -> dict[str, Any]:
        """Attributes of the axis: its range, and ticks at 0 and at round steps."""
        ticks = [0, *self._round_steps()]
        left, right = self.place(self.steps[0]), self.place(self.steps[-1])
        margin = 0.06 * max(right - left, FALLBACK_GAP)
        return {
            "tickvals": [self.place(tick) for tick in ticks],
            "ticktext": [short(tick) for tick in ticks],
            "range": [left - margin, right + margin],
        }


def short(step: int) -> str:
    """A step in as little room as a small panel has: `300`, `2k`, `30k`."""
    return f"{step // 1000}k" if step and step % 1000 == 0 else f"{step}"


def trajectory_figure(trajectories: Sequence[Trajectory], tracked: Sequence[Quantity]) -> Figure:
    """Small multiples: a row a number, a column a task, a line a training, bands its intervals.

    Further trainings of a kind are thin lines without a band: they show how far seeds scatter, and
    what holds over them is tested in `trajectory_trainings`.
    """
    num_rows, num_columns = len(tracked), len(trajectories)
    figure = Figure(
        # Every panel has a title to place; the patches say what it is.
        ["panel"] * (num_rows * num_columns),
        columns=num_columns,
        shared_yaxes=True,
    )
    axis = StepAxis.over(point.step for trajectory in trajectories for point in trajectory.points)
    named: set[Training] = set()
    for row, quantity in enumerate(tracked, start=1):
        for column, trajectory in enumerate(trajectories, start=1):
            for trace in _panel(trajectory, quantity, axis, named):
                figure.add(trace, row=row, column=column)
        figure.set_yaxes(title=quantity.unit or "ratio", row=row, column=1)
        figure.set_yaxes(range=_shown_range(trajectories, quantity), row=row)
    figure.set_yaxes(nticks=4)
    figure.set_xaxes(**axis.layout(), showgrid=False)
    tasks = [trajectory.task for trajectory in trajectories]
    for name in tasks:
        figure.annotate(name)
    figure.set_annotations(align="left")
    rows = [quantity.name for quantity in tracked]
    any_one = trajectories[0]
    return finish(
        figure,
        "The mechanism over training",
        f"each checkpoint against its parent; n = {any_one.num_examples} scored,"
        f" {any_one.num_held_out} for circuits; bands: {percent(any_one.level)} intervals over"
        " examples, for all checkpoints at once; dashed: as the parent, or fully faithful;"
        f"{_about_seeds(trajectories)} crosses: undefined;"
        f" faithfulness beyond {SHOWN_FAITHFULNESS[0]:g} to {SHOWN_FAITHFULNESS[1]:g} is not drawn",
        wide=_grid(rows, tasks, num_columns, each_named=False)
        | _headers(num_rows, tasks, shown=True),
        narrow=_grid(rows, tasks, min(2, num_columns), each_named=True)
        | _headers(num_rows, tasks, shown=False),
    )


def _about_seeds(trajectories: Sequence[Trajectory]) -> str:
    several = any(
        training not in TRAINING_KINDS
        for trajectory in trajectories
        for training in trajectory.trainings
    )
    return " thin: further seeds;" if several else ""


def trajectory_table(
    trajectories: Sequence[Trajectory], tracked: Sequence[Quantity]
) -> pl.DataFrame:
    """One row for each task, training, step and number; `reason` says why one has no value.

    `low` and `high` are of a checkpoint by itself, the band is what the figure shows.
    """
    rows = [
        {
            "task": trajectory.task,
            "training": point.training,
            "step": point.step,
            "quantity": quantity.name,
            "unit": quantity.unit,
            "value": None if one.estimate is None else one.estimate.value,
            "low": None if one.estimate is None else one.estimate.interval.low,
            "high": None if one.estimate is None else one.estimate.interval.high,
            "band_low": float(bands[quantity.name].low[place]),
            "band_high": float(bands[quantity.name].high[place]),
            "level": trajectory.level,
            "reason": one.reason,
        }
        for trajectory in trajectories
        for training in trajectory.trainings
        for points in [trajectory.of(training)]
        for bands in [{one.name: _bands(points, one, trajectory.level) for one in tracked}]
        for place, point in enumerate(points)
        for quantity in tracked
        for one in [point.measured[quantity.name]]
    ]
    numbers = ("value", "low", "high", "band_low", "band_high", "level")
    return pl.DataFrame(rows, schema_overrides=dict.fromkeys(numbers, pl.Float64)).fill_nan(None)


def _panel(
    trajectory: Trajectory, quantity: Quantity, axis: StepAxis, named: set[Training]
) -> list[Trace]:
    traces = []
    if quantity.neutral is not None:
        traces.append(_reference(quantity.neutral, axis))
    for training in trajectory.trainings:
        points = trajectory.of(training)
        x = np.array([axis.place(point.step) for point in points])
        estimates = _bands(points, quantity, trajectory.level)
        group = training_title(training_kind(training))
        if training in TRAINING_KINDS:
            traces.append(band(x, estimates, training_colour(training), group=group))
        line = _line(points, x, estimates, training)
        shown = training in TRAINING_KINDS and training not in named
        traces.append(line | {"showlegend": shown, "legendgroup": group})
        named.add(training)
        missing = [
            place for place, point in enumerate(points) if point.measured[quantity.name].reason
        ]
        if missing:
            traces.append(_missing(points, x, missing, quantity, training))
    return traces


def _shown_range(trajectories: Sequence[Trajectory], quantity: Quantity) -> tuple[float, float]:
    """All intervals of a number, and what it is read against, with a margin."""
    bands = [
        _bands(trajectory.of(training), quantity, trajectory.level)
        for trajectory in trajectories
        for training in trajectory.trainings
    ]
    bounds = np.concatenate([bound for one in bands for bound in (one.low, one.high)])
    found = bounds[np.isfinite(bounds)].tolist()
    found.append(0.0 if quantity.neutral is None else quantity.neutral)
    low, high = min(found), max(found)
    if quantity.unit == FAITHFULNESS:
        low, high = max(low, SHOWN_FAITHFULNESS[0]), min(high, SHOWN_FAITHFULNESS[1])
    margin = 0.08 * ((high - low) or 1.0)
    return low - margin, high + margin


def _bands(points: Sequence[TrajectoryPoint], quantity: Quantity, level: float) -> Estimates:
    """One number along a training, with intervals that hold for all points at once.

    From its draws, or where a number has none, by Bonferroni's inequality; NaN where undefined.
    """
    found = [point.measured[quantity.name] for point in points]
    strict = 1 - (1 - level) / len(points)
    bands = Estimates.stack(
        [None if one.estimate is None else one.estimate.at_level(strict) for one in found],
        level=level,
    )
    drawn = [place for place, one in enumerate(found) if one.estimate and one.draws is not None]
    if not drawn:
        return bands
    draws = np.stack(
        [draws for place in drawn if (draws := found[place].draws) is not None], axis=1
    )
    together = simultaneous_estimates(bands.value[drawn], draws, level=level)
    known = np.isfinite(together.low)
    for bounds, of_known in ((bands.low, together.low), (bands.high, together.high)):
        bounds[np.array(drawn)[known]] = of_known[known]
    return bands


def _line(
    points: Sequence[TrajectoryPoint],
    x: Float[np.ndarray, " point"],
    estimates: Estimates,
    training: Training,
) -> Trace:
    name, first = training_title(training), training in TRAINING_KINDS
    return scatter(
        x=x,
        y=estimates.value,
        mode="lines+markers",
        line={"color": training_colour(training), "width": 2 if first else 1},
        marker={
            "size": 5 if first else 3,
            "symbol": "diamond" if training_kind(training) == "diffusion" else "circle",
        },
        customdata=np.stack(
            [[point.step for point in points], estimates.low, estimates.high], axis=-1
        ),
        hovertemplate="after %{customdata[0]:,} steps: %{y:.3f}"
        " [%{customdata[1]:.3f}, %{customdata[2]:.3f}]<extra>" + name + "</extra>",
        name=name,
    )


def _missing(
    points: Sequence[TrajectoryPoint],
    x: Float[np.ndarray, " point"],
    missing: Sequence[int],
    quantity: Quantity,
    training: Training,
) -> Trace:
    """A cross at every checkpoint without this number, which tells why on hovering."""
    level = 0.0 if quantity.neutral is None else quantity.neutral
    return scatter(
        x=x[list(missing)],
        y=[level] * len(missing),
        mode="markers",
        marker={
            "symbol": "x-thin",
            "size": 8,
            "line": {"width": 2, "color": training_colour(training)},
        },
        text=[_wrapped(points[place].measured[quantity.name].reason) for place in missing],
        customdata=[points[place].step for place in missing],
        hovertemplate="after %{customdata:,} steps: undefined<br>%{text}<extra></extra>",
        showlegend=False,
        name=f"{training} undefined",
    )


def _wrapped(text: str) -> str:
    """Lines short enough for a hover label; what a name in them holds is no markup."""
    return "<br>".join(wrap(escape(text, quote=False), 60))


def _reference(value: float, axis: StepAxis) -> Trace:
    """A trace and not a shape, so that the axis always reaches it."""
    return scatter(
        x=[axis.place(axis.steps[0]), axis.place(axis.steps[-1])],
        y=[value, value],
        mode="lines",
        line={"color": NEUTRAL_COLOUR, "width": 1, "dash": "dash"},
        hoverinfo="skip",
        showlegend=False,
        name="reference",
    )


def _grid(
    quantities: Sequence[str], tasks: Sequence[str], columns: int, *, each_named: bool
) -> Patch:
    """Panels in so many columns, row by row number by number; `each_named` after its task."""
    rows_each = -(-len(tasks) // columns)
    num_rows = len(quantities) * rows_each
    height = num_rows * PANEL_HEIGHT + (num_rows - 1) * GAP_HEIGHT
    width = (1 - GAP_WIDTH * (columns - 1)) / columns
    rectangles, patch = [], Patch()
    for place in range(len(quantities) * len(tasks)):
        number, task = divmod(place, len(tasks))
        row, column = number * rows_each + task // columns, task % columns
        top = height - row * (PANEL_HEIGHT + GAP_HEIGHT)
        left = column * (width + GAP_WIDTH)
        rectangles.append((left, left + width, max(0.0, top - PANEL_HEIGHT) / height, top / height))
        name = f"<b>{quantities[number]}</b>" if task == 0 else ""
        if each_named:
            name = f"{name}<br>{escape(tasks[task])}".removeprefix("<br>")
        suffix = str(place + 1) if place else ""
        patch[f"yaxis{suffix}.showticklabels"] = column == 0
        patch[f"xaxis{suffix}.title.text"] = "training steps" if row == num_rows - 1 else ""
        patch[f"annotations[{place}].text"] = name
        patch[f"annotations[{place}].xanchor"] = "left"
    patch |= panels(*rectangles)
    for place, (left, *_) in enumerate(rectangles):
        patch[f"annotations[{place}].x"] = left
    return patch | {"height": height + 92 + 110, "margin.b": 110}


def _headers(num_rows: int, tasks: Sequence[str], *, shown: bool) -> Patch:
    """The name of each column above it, where a column is a task."""
    first = num_rows * len(tasks)
    width = (1 - GAP_WIDTH * (len(tasks) - 1)) / len(tasks)
    patch = Patch()
    for index, task in enumerate(tasks):
        header = f"annotations[{first + index}]"
        patch[f"{header}.text"] = f"<b>{escape(task)}</b>" if shown else ""
        patch[f"{header}.x"] = index * (width + GAP_WIDTH) + width
        patch[f"{header}.xanchor"] = "right"
        patch[f"{header}.y"] = 1.0
    return patch
