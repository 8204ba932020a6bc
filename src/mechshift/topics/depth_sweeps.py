"""Sweeps of the shift in depth: does it hang on circuit size, half of the examples or step?

For readers who do not trust a single choice of K. Intervals of sweeps are plain; whether there is a
shift, the cross-fitted one of the topic `depth` says.
"""

from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float

from mechshift.comparison import DepthSweep
from mechshift.page.elements import Exhibit
from mechshift.page.figure import Figure, Trace, scatter
from mechshift.page.theme import (
    DOTTED,
    NEGATIVE_COLOUR,
    PAIR_COLOUR,
    band,
    finish,
    log_ticks,
    panels,
    percent,
    stacked,
)
from mechshift.statistics import Estimates
from mechshift.topics.topic import TaskResults, Topic

FOLD = "Does the shift in depth hang on a choice? Sweeps"

READINGS = {
    "circuit_size": "The size K was chosen, and a fixed K cuts a distributed circuit short. A shift"
    " that keeps its side of 0 from left to right does not hang on that choice; the last point is"
    " all edges. The points share their examples, so they do not confirm each other. Dotted: the"
    " distance that noise alone would put there. Intervals of all sweeps are plain ones, which take"
    " noisier scores for other depths; whether there is a shift, the answers above say.",
    "half": "As if it had been measured twice: the two halves share no example, so a shift that"
    " shows in both is no accident of these prompts. Half the examples make wide intervals.",
    "denoising_step": "Each step by itself, with its own circuits: is the shift there throughout,"
    " or does one step make it? A step with few edges that score is a noisy one.",
}
"""Reading of a sweep, by what differs from point to point."""


PANELS = {
    "early_share": "early share, MDM − ARM",
    "centre_of_mass": "centre of mass, MDM − ARM [layers]",
    "distance": "distance of the profiles [layers]",
}
"""Field of the curve -> title of its panel."""

SIDES = {
    "source": ("by writing layer", PAIR_COLOUR),
    "destination": ("by reading layer", NEGATIVE_COLOUR),
}

AXES = {
    "circuit_size": "circuit size K [edges]",
    "denoising_step": "denoising step",
    "half": "half of the examples",
    "num_steps": "number of denoising steps S",
}
AT_ONCE = {
    "circuit_size": "for all sizes at once",
    "denoising_step": "for all steps at once",
    "half": "for both halves at once",
    "num_steps": "for each number by itself",
}
"""Words for what the intervals of a sweep hold."""

TITLES = {
    "circuit_size": "Shift in depth against circuit size",
    "denoising_step": "Shift in depth step by step",
    "half": "Shift in depth on two disjoint halves",
    "num_steps": "Shift in depth against the number of steps",
}


HALF_OFFSETS = {"source": -0.08, "destination": 0.08}
"""Place of the two sides beside each half, which no line joins to the other."""


def depth_sweep(sweep: DepthSweep) -> Figure:
    """Three panels: early share, centre of mass, and distance beside what noise makes of it."""
    figure = Figure(tuple(PANELS.values()), columns=3)
    x = sweep.points.astype(np.float64)
    for column, quantity in enumerate(PANELS, start=1):
        for side, (name, colour) in SIDES.items():
            curve = getattr(sweep, side)
            estimates = getattr(curve, quantity)
            shown = [_line(sweep, estimates, name, colour) | {"showlegend": column == 1}]
            if quantity == "distance":
                shown.append(
                    _line(sweep, curve.noise_distance, f"noise, {name}", colour, noise=True)
                )
            if sweep.over == "half":
                shown = [_beside_half(trace, side) for trace in shown]
                shown[0]["error_y"] = _bars(estimates)
            else:
                shown.insert(0, band(x, estimates, colour, group=name))
            figure.add(*shown, column=column)
    for column in (1, 2):
        figure.add_hline(0.0, line=DOTTED, column=column)
    figure.set_xaxes(title=AXES[sweep.over], **_ticks(sweep, x))
    figure.set_yaxes(rangemode="tozero", column=3)
    counts = sorted({int(count) for count in sweep.num_examples})
    n = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return finish(
        figure,
        TITLES[sweep.over],
        "early share above 0, centre of mass below 0: the MDM works earlier;"
        f" n = {n} {sweep.unit}s; plain {percent(sweep.level)} bootstrap intervals"
        f" ({sweep.num_resamples:,} resamples), {AT_ONCE[sweep.over]}",
        wide=panels((0.0, 0.28, 0.0, 1.0), (0.36, 0.64, 0.0, 1.0), (0.72, 1.0, 0.0, 1.0))
        | {"height": 430, "margin.b": 110},
        narrow=stacked(3, gap=0.12) | {"height": 1050, "margin.b": 180},
    )


def depth_sweep_table(sweep: DepthSweep) -> pl.DataFrame:
    """One row per side and point."""
    parts = []
    for side in SIDES:
        curve = getattr(sweep, side)
        columns: dict[str, object] = {
            "over": sweep.over,
            "side": side,
            "point": sweep.points,
            "circuit_size": sweep.circuit_sizes,
            "num_examples": sweep.num_examples,
        }
        for field in (*PANELS, "noise_distance"):
            estimates = getattr(curve, field)
            columns[field] = estimates.value
            columns[f"{field}_low"] = estimates.low
            columns[f"{field}_high"] = estimates.high
        parts.append(pl.DataFrame(columns))
    return pl.concat(parts).fill_nan(None)


def _line(
    sweep: DepthSweep, estimates: Estimates, name: str, colour: str, *, noise: bool = False
) -> Trace:
    return scatter(
        x=sweep.points.astype(np.float64),
        y=estimates.value,
        mode="lines+markers",
        line={
            "color": colour,
            "width": 1.5 if noise else 2.5,
            "dash": "dot" if noise else "solid",
        },
        marker={"size": 7, "symbol": "circle-open" if noise else "circle"},
        customdata=np.stack([estimates.low, estimates.high, sweep.num_examples], axis=-1),
        text=[f"{point:,}" for point in sweep.points],
        hovertemplate="%{text}: %{y:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}],"
        " n = %{customdata[2]}<extra>" + name + "</extra>",
        cliponaxis=False,
        name=name,
        legendgroup=name,
    )


def _beside_half(trace: Trace, side: str) -> Trace:
    return trace | {"x": trace["x"] + HALF_OFFSETS[side], "mode": "markers"}


def _bars(estimates: Estimates) -> dict[str, object]:
    return {
        "type": "data",
        "array": estimates.high - estimates.value,
        "arrayminus": estimates.value - estimates.low,
        "width": 4,
        "thickness": 1.5,
    }


def _ticks(sweep: DepthSweep, x: Float[np.ndarray, " point"]) -> dict[str, Any]:
    """A log axis for sizes, which span orders of magnitude; whole numbers for the rest."""
    if sweep.over == "circuit_size":
        return {"type": "log", **log_ticks(sweep.points)}
    shown = sweep.points[:: max(1, len(sweep.points) // 8)]
    return {
        "tickvals": shown.tolist(),
        "range": [float(x.min()) - 0.4, float(x.max()) + 0.4],
        "showgrid": False,
    }


def _exhibits(task: TaskResults) -> tuple[Exhibit, ...]:
    """One figure for each sweep that has a point with a shift; over steps, if there are several."""
    comparison = task.comparison
    shown = [_exhibit("size-sweep", comparison.size_sweep)]
    if np.isfinite(comparison.half_sweep.source.distance.value).any():
        shown.append(_exhibit("half-sweep", comparison.half_sweep))
    if len(comparison.step_sweep.points) > 1:
        shown.append(_exhibit("step-sweep", comparison.step_sweep))
    return tuple(shown)


def _exhibit(name: str, sweep: DepthSweep) -> Exhibit:
    return Exhibit(
        name=name,
        figure=depth_sweep(sweep),
        table=depth_sweep_table(sweep),
        reading=READINGS[sweep.over],
        fold=FOLD,
    )


def _notes(task: TaskResults) -> tuple[str, ...]:
    comparison = task.comparison
    sweeps = (comparison.size_sweep, comparison.half_sweep, comparison.step_sweep)
    return tuple(note for sweep in sweeps for note in sweep.notes)


DEPTH_SWEEPS: Topic[None] = Topic(
    name="depth-sweeps",
    title="Depth, swept",
    exhibits=_exhibits,
    notes=_notes,
)
