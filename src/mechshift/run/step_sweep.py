"""Sweep over numbers of denoising steps S: whether the picture depends on how many the MDM has.

Tasks differ in the length of their targets, and so in their number of steps: a difference between
tasks may be one between numbers of steps. Here one task is denoised in several numbers of steps.

1. Lay the pooled examples out in S steps. The order in which the MDM committed an example's tokens
   is kept, and cut as evenly as possible, the first steps taking the remainder
   (`denoising.schedule`). Tokens that the pool commits in one step are taken from left to right. An
   example of T < S target tokens has T steps.
2. Score the edges of the MDM on these canvases, as the run scored them on its own.
3. Compare with the ARM, with the settings of the run's comparison: overlap and depth of the
   circuits, and over how many components the attribution is spread.

The ARM is not scored again. It is teacher-forced, so a schedule only says under which step each of
its target tokens is booked, and a score that is summed over steps does not depend on it: the metric
is a sum over target tokens, and every method's score is linear in the metric. Nor is the MDM where
the pool itself has S steps.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from mechshift.artifacts import artifact_hash
from mechshift.attribution import EdgeScores
from mechshift.comparison import ComparisonSettings, circuit_shift
from mechshift.denoising import Schedule, schedule_from_orders
from mechshift.errors import ConfigError
from mechshift.flat_records import read_record
from mechshift.models import LanguageModel, ModelPair
from mechshift.progress import Advance
from mechshift.run.folders import COMPARISON, POOL, SCORES, SWEEP, scores_folder, sweep_folder
from mechshift.run.scores import score_config, score_work
from mechshift.run.settings import SweepSettings
from mechshift.run.stage import Piece, Stage, Work, write_pieces
from mechshift.run.store import (
    model_inputs,
    pool_manifests,
    read_pool,
    scored_members,
    scored_settings,
    stored_comparison_settings,
)
from mechshift.run.stored import RunTask
from mechshift.semantics import concentration_shift
from mechshift.tasks import CommonPool
from mechshift.topics.num_steps import concluded_sweep, one_token_note, table_of_sweeps
from mechshift.topics.spread import component_magnitudes
from mechshift.topics.topic import SweepPoint


def sweep_num_steps(
    run: Path, pair: ModelPair, settings: SweepSettings | None = None, *, quiet: bool = False
) -> None:
    """Compare the models with other numbers of denoising steps, where that is missing.

    A task whose targets are single tokens has one number of steps, and nothing is written for it.

    Args:
        run: a run folder that was scored and compared; its settings of both are used.
        pair: the models of the pool.
        settings: which numbers of steps, batch and chunk size.
        quiet: no progress bars.

    Raises:
        ConfigError: a number of steps that no task can have.
        ArtifactError: the run is not scored or compared, or holds other results.
        AttributionError: a batch does not fit in memory.
    """
    write_pieces(run, SWEEP_STAGE, _pieces(run, pair, settings or SweepSettings()), quiet=quiet)


def _pieces(run: Path, pair: ModelPair, settings: SweepSettings) -> Iterator[Piece]:
    pools = {task: read_pool(run, task, "discovery") for task in pool_manifests(run)}
    schedules = {task: pool.schedule for task, pool in pools.items()}
    for task, chosen in chosen_num_steps(schedules, settings).items():
        scored_members(run, task)  # refuses a run that is not scored
        compared = stored_comparison_settings(run, task)
        for num_steps in chosen:
            if not has_num_steps(schedules[task], num_steps):
                yield _scores(run, pools[task], pair.mdm, num_steps, settings)
        for num_steps in chosen:
            yield _shift(run, task, schedules[task], num_steps, compared)


SWEEP_STAGE = Stage(
    name=SWEEP,
    command="sweep",
    about="compares the models with other numbers of denoising steps, all else equal",
    reads=(POOL, SCORES, COMPARISON),
    when="if added",
    pieces=lambda given: _pieces(given.run, given.pair, given.settings.sweep),
)


def chosen_num_steps(
    schedules: Mapping[str, Schedule], settings: SweepSettings
) -> dict[str, list[int]]:
    """Task -> the numbers of steps that it is swept over; tasks of single tokens have none.

    Raises:
        ConfigError: a number of steps that no task can have.
    """
    longest = {task: longest_target(schedule) for task, schedule in schedules.items()}
    impossible = [steps for steps in settings.num_steps if steps > max(longest.values())]
    if impossible:
        targets = ", ".join(f"{task} {length}" for task, length in longest.items())
        raise ConfigError(
            f"no task has {max(impossible)} denoising steps; the longest targets have so many"
            f" tokens: {targets}."
        )
    asked = sorted(set(settings.num_steps))
    return {
        task: [steps for steps in asked or default_num_steps(schedule) if steps <= longest[task]]
        for task, schedule in schedules.items()
        if longest[task] > 1
    }


def sweep_scores_folder(run: Path, task: str, schedule: Schedule, num_steps: int) -> Path:
    """Where the MDM's scores with so many steps are: with the pool's own number, the run's."""
    if has_num_steps(schedule, num_steps):
        return scores_folder(run, task, "mdm")
    return sweep_folder(run, task, num_steps) / "mdm"


def _scores(
    run: Path, pool: CommonPool, mdm: LanguageModel, num_steps: int, settings: SweepSettings
) -> Piece:
    attribution = replace(
        scored_settings(run, pool.task, "mdm"),
        batch_size=settings.batch_size,
        chunk_size=settings.chunk_size,
    )
    return Piece(
        folder=sweep_folder(run, pool.task, num_steps) / "mdm",
        stage=SCORES,
        config=score_config(pool.task, mdm, attribution) | {"num_steps": num_steps},
        inputs=model_inputs(run, pool.task, mdm),
        prepare=partial(
            score_work,
            f"{pool.task}: score MDM, S = {num_steps}",
            mdm,
            pool,
            with_num_steps(pool.schedule, num_steps),
            attribution,
            by_step=False,
        ),
    )


def _shift(
    run: Path, task: str, schedule: Schedule, num_steps: int, settings: ComparisonSettings
) -> Piece:
    folders = {
        "arm": scores_folder(run, task, "arm"),
        "mdm": sweep_scores_folder(run, task, schedule, num_steps),
    }

    def compute(advance: Advance) -> SweepPoint:
        arm, mdm = (read_record(EdgeScores, folder, stage=SCORES) for folder in folders.values())
        point = sweep_point(task, arm, mdm, settings)
        advance(1)
        return point

    return Piece(
        folder=sweep_folder(run, task, num_steps) / "shift",
        config={"task": task, "num_steps": num_steps, "comparison": asdict(settings)},
        inputs={f"{kind}_scores": artifact_hash(folder) for kind, folder in folders.items()},
        prepare=lambda: Work(title=f"{task}: compare, S = {num_steps}", total=1, compute=compute),
    )


def sweep_point(
    task: str, arm: EdgeScores, mdm: EdgeScores, settings: ComparisonSettings
) -> SweepPoint:
    """Compare the ARM with the MDM at one number of steps; every part on the same resamples.

    Raises:
        ComparisonError: the scores do not belong together, or nothing is scored.
        SemanticsError: no component is attributed anything.
    """
    magnitudes = [component_magnitudes(scores, settings) for scores in (arm, mdm)]
    return SweepPoint(
        shift=circuit_shift(task, arm, mdm, settings),
        concentration=concentration_shift(*magnitudes, level=settings.level),
    )


def longest_target(schedule: Schedule) -> int:
    """Tokens of the longest target; more steps than that change nothing."""
    return int(schedule.example_num_targets.max())


def default_num_steps(schedule: Schedule) -> list[int]:
    """1, 2, 4, ... up to the longest target; that, and the schedule's own number of steps."""
    longest = longest_target(schedule)
    powers = [2**power for power in range(longest.bit_length())]
    return sorted({*powers, schedule.num_steps, longest})


def has_num_steps(schedule: Schedule, num_steps: int) -> bool:
    """Whether every example has min(S, T) steps already."""
    wanted = np.minimum(num_steps, schedule.example_num_targets)
    return np.array_equal(schedule.example_num_steps, wanted)


def with_num_steps(schedule: Schedule, num_steps: int) -> Schedule:
    """The same order in S steps; a schedule that has them is returned as it is.

    So the pool's own schedule stays what it is where its sampler commits unevenly many tokens.
    """
    if has_num_steps(schedule, num_steps):
        return schedule
    orders = [
        np.argsort(steps[:length], kind="stable").tolist()
        for steps, length in zip(
            schedule.commit_step, schedule.example_num_targets.tolist(), strict=True
        )
    ]
    return schedule_from_orders(orders, num_steps)


def left_out(run: Path, settings: SweepSettings) -> tuple[str, ...]:
    """One line for each reason why a task lacks numbers of steps that were asked for.

    Raises:
        ArtifactError: the run has no pool.
    """
    longest = {
        task: longest_target(read_pool(run, task, "discovery").schedule)
        for task in pool_manifests(run)
    }
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

    Raises:
        ArtifactError: the run has no pool, or a damaged sweep.
    """
    swept = (concluded_sweep(RunTask(run=run, task=task)) for task in pool_manifests(run))
    return table_of_sweeps([sweep for sweep in swept if sweep is not None])
