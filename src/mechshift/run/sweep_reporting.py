"""What does the report say of a sweep over numbers of denoising steps?"""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from mechshift.artifacts import artifact_hash
from mechshift.comparison import NumStepsSweep, sweep_over_num_steps
from mechshift.figures import num_steps_sweep_table
from mechshift.run.settings import SweepSettings
from mechshift.run.step_sweep import longest_target
from mechshift.run.store import (
    SWEEP,
    pool_manifests,
    read_pool,
    read_sweep_point,
    sweep_folder,
    swept_num_steps,
)


def reported_sweep(run: Path, task: str) -> NumStepsSweep | None:
    """The models at every number of steps that was asked for; None where the task was not swept.

    Raises:
        ArtifactError: damaged.
        ComparisonError: the points were compared with different settings.
    """
    points = {steps: read_sweep_point(run, task, steps) for steps in swept_num_steps(run, task)}
    if not points:
        return None
    return sweep_over_num_steps(
        {steps: point.shift for steps, point in points.items()},
        {steps: point.concentration.shift.effective_number for steps, point in points.items()},
    )


def sweep_inputs(run: Path, tasks: Sequence[str]) -> dict[str, str]:
    """Hashes of what the report shows of sweeps."""
    return {
        f"{task}.{SWEEP}.{steps}": artifact_hash(sweep_folder(run, task, steps) / "shift")
        for task in tasks
        for steps in swept_num_steps(run, task)
    }


def sweep_notes(run: Path, tasks: Sequence[str]) -> tuple[str, ...]:
    """On which tasks numbers of steps were not compared, and on which there is only one."""
    longest = _longest_targets(run, tasks)
    missing = [
        task for task, length in longest.items() if length > 1 and not swept_num_steps(run, task)
    ]
    single = [task for task, length in longest.items() if length == 1]
    notes = []
    if missing:
        notes.append(
            f"Numbers of denoising steps were not compared on {', '.join(missing)}:"
            " `mechshift sweep RUN` does it."
        )
    if single:
        notes.append(one_token_note(single))
    return tuple(notes)


def one_token_note(tasks: Sequence[str]) -> str:
    """Why there is no sweep on these tasks."""
    return (
        f"The targets of {', '.join(tasks)} are single tokens, so there is one number of denoising"
        " steps, 1, and nothing to sweep over."
    )


def left_out(run: Path, settings: SweepSettings) -> tuple[str, ...]:
    """One line for each reason why a task lacks numbers of steps that were asked for.

    Raises:
        ArtifactError: the run has no pool.
    """
    longest = _longest_targets(run, list(pool_manifests(run)))
    single = [task for task, length in longest.items() if length == 1]
    lines = [one_token_note(single)] if single else []
    for task, length in longest.items():
        beyond = [str(steps) for steps in settings.num_steps if steps > length > 1]
        if beyond:
            lines.append(
                f"The targets of {task} have at most {length} tokens, so it is left out at"
                f" {', '.join(beyond)} steps."
            )
    return tuple(lines)


def sweep_table(run: Path) -> pl.DataFrame:
    """What was measured on each task with each number of steps, as narrow as a terminal.

    Early share (by writing layer, cross-fitted) and effective components are MDM minus ARM.

    Raises:
        ArtifactError: the run has no pool, or a damaged sweep.
    """
    swept = (reported_sweep(run, task) for task in pool_manifests(run))
    tables = [num_steps_sweep_table(sweep) for sweep in swept if sweep is not None]
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


def _longest_targets(run: Path, tasks: Sequence[str]) -> dict[str, int]:
    return {task: longest_target(read_pool(run, task, "discovery").schedule) for task in tasks}
