"""Does the picture depend on how many denoising steps the MDM is given?

Tasks differ in the length of their targets, and so in their number of steps: a difference between
tasks may be one between numbers of steps. Here one task is denoised in several numbers of steps S.

1. Lay the pooled examples out in S steps, in the pool's order (`step_counts`).
2. Score the edges of the MDM on these canvases, as the run scored them on its own.
3. Compare with the ARM, with the settings of the run's comparison: overlap and depth of the
   circuits, and over how many components the attribution is spread.

The ARM is not scored again. It is teacher-forced, so a schedule only says under which step each of
its target tokens is booked, and a score that is summed over steps does not depend on it: the metric
is a sum over target tokens, and every method's score is linear in the metric. Nor is the MDM where
the pool itself has S steps.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mechshift.artifacts import artifact_hash, is_current, read_manifest, write_artifact
from mechshift.attribution import EdgeScores
from mechshift.comparison import ComparisonSettings, circuit_shift
from mechshift.denoising import Schedule, build_canvases
from mechshift.errors import ConfigError
from mechshift.experiment.chunks import write_in_chunks
from mechshift.experiment.pooling import pooled_examples
from mechshift.experiment.scoring import scores_made_from, scores_record
from mechshift.experiment.settings import AttributionSettings, SweepSettings
from mechshift.experiment.step_counts import (
    default_num_steps,
    has_num_steps,
    longest_target,
    with_num_steps,
)
from mechshift.experiment.stores import (
    SWEEP,
    pool_manifests,
    read_pool,
    read_record,
    read_scores,
    record_contents,
    scored_members,
    scores_folder,
    stored_comparison_settings,
    sweep_folder,
)
from mechshift.models import LanguageModel, ModelPair
from mechshift.progress import progress_bar
from mechshift.semantics import concentration_shift
from mechshift.tasks import CommonPool
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
    settings = settings or SweepSettings()
    pools = {task: read_pool(run, task, "discovery") for task in pool_manifests(run)}
    schedules = {task: pool.schedule for task, pool in pools.items()}
    for task, chosen in chosen_num_steps(schedules, settings).items():
        scored_members(run, task)  # refuses a run that is not scored
        compared = stored_comparison_settings(run, task)
        for num_steps in chosen:
            _score(run, pools[task], pair.mdm, num_steps, settings, quiet)
        title = f"{task}: compare numbers of steps"
        with progress_bar(title, len(chosen), quiet=quiet) as advance:
            for num_steps in chosen:
                _compare(run, task, schedules[task], num_steps, compared)
                advance(1)


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


def read_sweep_point(run: Path, task: str, num_steps: int) -> SweepPoint:
    """What the models share with so many denoising steps.

    Raises:
        ArtifactError: missing or damaged.
    """
    return read_record(SweepPoint, sweep_folder(run, task, num_steps) / "shift", stage=SWEEP)


def sweep_scores_folder(run: Path, task: str, schedule: Schedule, num_steps: int) -> Path:
    """Where the MDM's scores with so many steps are: with the pool's own number, the run's."""
    if has_num_steps(schedule, num_steps):
        return scores_folder(run, task, "mdm")
    return sweep_folder(run, task, num_steps) / "mdm"


def _score(
    run: Path,
    pool: CommonPool,
    mdm: LanguageModel,
    num_steps: int,
    settings: SweepSettings,
    quiet: bool,
) -> None:
    folder = sweep_scores_folder(run, pool.task, pool.schedule, num_steps)
    if folder == scores_folder(run, pool.task, "mdm"):
        return
    attribution = AttributionSettings(
        **read_manifest(scores_folder(run, pool.task, "mdm")).config["attribution"],
        batch_size=settings.batch_size,
        chunk_size=settings.chunk_size,
    )
    made_from = scores_made_from(run, pool.task, mdm, attribution)
    made_from["config"]["num_steps"] = num_steps
    schedule = with_num_steps(pool.schedule, num_steps)
    write_in_chunks(
        folder,
        made_from,
        build_canvases(mdm, pooled_examples(pool, mdm), schedule),
        scores_record(f"{pool.task}: score MDM, S = {num_steps}", mdm, attribution),
        chunk_size=attribution.examples_per_chunk,
        quiet=quiet,
    )


def _compare(
    run: Path, task: str, schedule: Schedule, num_steps: int, settings: ComparisonSettings
) -> None:
    folders = {
        "arm": scores_folder(run, task, "arm"),
        "mdm": sweep_scores_folder(run, task, schedule, num_steps),
    }
    made_from: dict[str, Any] = {
        "stage": SWEEP,
        "config": {"task": task, "num_steps": num_steps, "comparison": asdict(settings)},
        "inputs": {f"{kind}_scores": artifact_hash(folder) for kind, folder in folders.items()},
    }
    folder = sweep_folder(run, task, num_steps) / "shift"
    if not is_current(folder, **made_from):
        arm, mdm = map(read_scores, folders.values())
        point = sweep_point(task, arm, mdm, settings)
        write_artifact(folder, **made_from, **record_contents(point))


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
