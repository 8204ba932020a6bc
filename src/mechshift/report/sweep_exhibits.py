"""The figures that ask whether a shift in depth hangs on a choice, folded away under one line."""

import numpy as np

from mechshift.comparison import DepthSweep
from mechshift.figures import depth_sweep, depth_sweep_table
from mechshift.report.exhibit import Exhibit
from mechshift.report.records import TaskReport

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
"""How to read a sweep, by what differs from point to point."""


def sweep_exhibits(task: TaskReport) -> list[Exhibit]:
    """One figure for each sweep that has a point with a shift; over steps, if there are several."""
    comparison = task.comparison
    shown = [_exhibit("size-sweep", comparison.size_sweep)]
    if np.isfinite(comparison.half_sweep.source.distance.value).any():
        shown.append(_exhibit("half-sweep", comparison.half_sweep))
    if len(comparison.step_sweep.points) > 1:
        shown.append(_exhibit("step-sweep", comparison.step_sweep))
    return shown


def _exhibit(name: str, sweep: DepthSweep) -> Exhibit:
    return Exhibit(
        name=name,
        figure=depth_sweep(sweep),
        table=depth_sweep_table(sweep),
        reading=READINGS[sweep.over],
        fold=FOLD,
    )
