"""Numbers of denoising steps: do the models differ as much when the MDM has fewer or more?

For readers who compare tasks, whose answers differ in length and so in their number of steps.
Shifts in depth are cross-fitted, as the verdict takes them; `depth_sweep` of the sweep's `depth`
shows the others, beside the distance that noise makes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float

from mechshift.comparison import (
    CROSS_FITTED,
    NumStepsSweep,
    sweep_over_num_steps,
)
from mechshift.page.elements import Exhibit
from mechshift.page.figure import Figure, Trace, scatter
from mechshift.page.theme import (
    DOTTED,
    NEGATIVE_COLOUR,
    PAIR_COLOUR,
    band,
    finish,
    panels,
    percent,
    stacked,
)
from mechshift.statistics import Estimates
from mechshift.topics.topic import StoredTask, TaskResults, Topic

EARLY, CENTRE = CROSS_FITTED.index("early"), CROSS_FITTED.index("centre_of_mass")


@dataclass(frozen=True, kw_only=True, eq=False)
class NumSteps:
    """With which numbers of steps a task can be denoised, and what was measured with them."""

    longest_target: int
    """Tokens; with more steps than that nothing changes, and with 1 there is nothing to sweep."""
    sweep: NumStepsSweep | None
    """None where targets are single tokens."""


def _conclude(stored: StoredTask) -> NumSteps | None:
    """None where numbers of steps could be compared and were not."""
    longest = int(stored.pool("discovery").schedule.example_num_targets.max())
    sweep = concluded_sweep(stored)
    if sweep is None and longest > 1:
        return None
    return NumSteps(longest_target=longest, sweep=sweep)


def concluded_sweep(stored: StoredTask) -> NumStepsSweep | None:
    """The models at every number of steps that was asked for; None where there is none.

    Raises:
        ArtifactError: damaged.
        ComparisonError: the points were compared with different settings.
    """
    points = stored.swept()
    if not points:
        return None
    return sweep_over_num_steps(
        {steps: point.shift for steps, point in points.items()},
        {steps: point.concentration.shift.effective_number for steps, point in points.items()},
    )


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One line of a panel."""

    field: str
    """Column of the table."""
    name: str
    """In the legend and where one points."""
    colour: str
    dash: str
    estimates: Estimates


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Curves that share an axis."""

    title: str
    neutral: float
    """Where the curves would lie if the models did not differ."""
    curves: tuple[Curve, ...]


def num_steps_sweep(sweep: NumStepsSweep) -> Figure:
    """Overlap and its ratio to the ceiling, both shifts in depth, and that in concentration."""
    shown = _panels(sweep)
    titles = tuple(panel.title for panel in shown)
    figure = Figure(titles, columns=2)
    points = sweep.depth.points
    legend: set[str] = set()
    for index, panel in enumerate(shown):
        place = {"row": 1 + index // 2, "column": 1 + index % 2}
        for curve in panel.curves:
            x = points.astype(np.float64)
            figure.add(band(x, curve.estimates, curve.colour, group=curve.name), **place)
            line = _line(x, curve, sweep.noise_p if panel is shown[0] else None)
            figure.add(line | {"showlegend": curve.name not in legend}, **place)
            legend.add(curve.name)
        figure.add_hline(panel.neutral, line=DOTTED, **place)
    figure.set_xaxes(
        type="log",
        title="number of denoising steps S",
        tickvals=points.tolist(),
        ticktext=[f"{point}" for point in points],
    )
    figure.set_yaxes(rangemode="tozero", row=1, column=1)
    top, bottom = (0.6, 1.0), (0.0, 0.4)
    grid = [(0.0, 0.44, *top), (0.56, 1.0, *top), (0.0, 0.44, *bottom), (0.56, 1.0, *bottom)]
    return finish(
        figure,
        f"The models against the number of steps, {sweep.task}",
        f"top {sweep.depth.circuit_sizes[0]:,} edges; n = {sweep.depth.num_examples.min()}"
        f" {sweep.depth.unit}s; bands:"
        f" {percent(sweep.depth.level)} bootstrap intervals; dotted: no difference",
        wide=panels(*grid[: len(shown)]) | {"height": 720, "margin.b": 110},
        narrow=stacked(len(shown), gap=0.09) | {"height": 330 * len(shown), "margin.b": 180},
    )


def num_steps_sweep_table(sweep: NumStepsSweep) -> pl.DataFrame:
    """One row per number of steps."""
    columns: dict[str, object] = {"task": sweep.task, "num_steps": sweep.depth.points}
    for panel in _panels(sweep):
        for curve in panel.curves:
            columns[curve.field] = curve.estimates.value
            columns[f"{curve.field}_low"] = curve.estimates.low
            columns[f"{curve.field}_high"] = curve.estimates.high
    return pl.DataFrame(columns | {"noise_p": sweep.noise_p}).fill_nan(None)


def _panels(sweep: NumStepsSweep) -> list[Panel]:
    found = [
        Panel(
            title="overlap of the circuits",
            neutral=1.0,
            curves=(
                Curve(
                    field="overlap",
                    name="edge overlap (Jaccard)",
                    colour=PAIR_COLOUR,
                    dash="solid",
                    estimates=sweep.overlap,
                ),
                Curve(
                    field="ratio",
                    name="ratio to its ceiling",
                    colour=PAIR_COLOUR,
                    dash="dash",
                    estimates=sweep.ratio,
                ),
            ),
        ),
        _depth_panel(sweep, "early share, MDM minus ARM", "early_share", EARLY),
        _depth_panel(sweep, "centre of mass, MDM minus ARM [layers]", "centre_of_mass", CENTRE),
    ]
    if sweep.effective_number is not None:
        curve = Curve(
            field="effective_number",
            name="effective components",
            colour=PAIR_COLOUR,
            dash="dashdot",
            estimates=sweep.effective_number,
        )
        title = "effective components, MDM minus ARM"
        found.append(Panel(title=title, neutral=0.0, curves=(curve,)))
    return found


def _depth_panel(sweep: NumStepsSweep, title: str, field: str, index: int) -> Panel:
    sides = (
        ("source", "by writing layer", PAIR_COLOUR, "solid"),
        ("destination", "by reading layer", NEGATIVE_COLOUR, "solid"),
    )
    return Panel(
        title=title,
        neutral=0.0,
        curves=tuple(
            Curve(
                field=f"{side}_{field}",
                name=name,
                colour=colour,
                dash=dash,
                estimates=getattr(sweep, side).sel(slice(None), index),
            )
            for side, name, colour, dash in sides
        ),
    )


def _line(
    x: Float[np.ndarray, " point"], curve: Curve, p: Float[np.ndarray, " point"] | None
) -> Trace:
    estimates = curve.estimates
    columns = [estimates.low, estimates.high, *([] if p is None else [p])]
    says_p = "" if p is None else ", p of no difference %{customdata[2]:.3f}"
    return scatter(
        x=x,
        y=estimates.value,
        mode="lines+markers",
        line={"color": curve.colour, "width": 2.5, "dash": curve.dash},
        marker={"size": 7, "symbol": "circle" if curve.dash == "solid" else "circle-open"},
        customdata=np.stack(columns, axis=-1),
        hovertemplate="%{x} steps: %{y:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}]"
        f"{says_p}<extra>{curve.name}</extra>",
        cliponaxis=False,
        name=curve.name,
        legendgroup=curve.name,
    )


def table_of_sweeps(sweeps: Iterable[NumStepsSweep]) -> pl.DataFrame:
    """What was measured on each task with each number of steps, as narrow as a terminal.

    Early share (by writing layer, cross-fitted) and effective components are MDM minus ARM.
    """
    tables = [num_steps_sweep_table(sweep) for sweep in sweeps]
    if not tables:
        return pl.DataFrame()
    return pl.concat(tables).select(
        pl.col("task"),
        pl.col("num_steps").alias("steps"),
        pl.col("overlap"),
        pl.col("ratio").alias("of ceiling"),
        pl.col("source_early_share").alias("early share"),
        pl.col("effective_number").alias("components"),
    )


def one_token_note(tasks: Sequence[str]) -> str:
    """Why there is no sweep on these tasks."""
    return (
        f"The targets of {', '.join(tasks)} are single tokens, so there is one number of denoising"
        " steps, 1, and nothing to sweep over."
    )


def _notes(task: TaskResults) -> tuple[str, ...]:
    record = NUM_STEPS.of(task)
    single = record is not None and record.longest_target == 1
    return (one_token_note([task.task]),) if single else ()


def _exhibits(task: TaskResults) -> tuple[Exhibit, ...]:
    record = NUM_STEPS.of(task)
    if record is None or record.sweep is None:
        return ()
    return (
        Exhibit(
            name="num-steps",
            figure=num_steps_sweep(record.sweep),
            table=num_steps_sweep_table(record.sweep),
            reading="The same examples, with the same answers, filled in by the MDM in fewer or"
            " more steps. A shift that keeps its sign along the whole axis does not come from the"
            " number of steps. The ARM is the same at every point: it has no steps, and its score"
            " is a sum over the answer's tokens.",
        ),
    )


NUM_STEPS: Topic[NumSteps] = Topic(
    name="num-steps",
    title="Number of steps",
    record_type=NumSteps,
    conclude=_conclude,
    reads=("sweep",),
    absent="Numbers of denoising steps were not compared on {tasks}: `mechshift sweep RUN` does"
    " it.",
    exhibits=_exhibits,
    notes=_notes,
)
