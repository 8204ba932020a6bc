"""Conclusions of a run: every topic's record and every member's quantities, computed once.

RUN/conclusions/TASK/TOPIC   the record of a topic, made from what earlier stages stored
RUN/quantities/TASK/MEMBER   each quantity of the MDM or a control: value, interval, and its draws,
                             on the same resamples for every member, so that a difference of two
                             members is a subtraction

They cost seconds: where an earlier stage was added or made anew, they are made anew.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mechshift.artifacts import artifact_hash, is_written, read_manifest, write_artifact
from mechshift.errors import ArtifactError
from mechshift.experiment.pooling import pooled_task
from mechshift.experiment.stored import RunMember, RunTask
from mechshift.experiment.stores import (
    COMPARISON,
    CONTROLS,
    POOL,
    SCORES,
    SWEEP,
    pool_manifests,
    read_record,
    record_contents,
    scored_members,
    scored_metric,
)
from mechshift.progress import progress_bar
from mechshift.statistics import Estimate, proportion_interval
from mechshift.topics.registry import TOPICS, quantities
from mechshift.topics.topic import MemberResults, StoredMember, TaskResults

CONCLUSIONS, QUANTITIES = "conclusions", "quantities"

ALWAYS_READ = (POOL, SCORES, COMPARISON)


def conclude_run(run: Path, *, quiet: bool = False) -> None:
    """Write every conclusion of every task that is missing or older than what it rests on.

    Raises:
        ArtifactError: an earlier stage is missing or damaged.
        EvaluationError: faithfulness is undefined.
    """
    tasks = list(pool_manifests(run))
    concluding = [topic for topic in TOPICS if topic.conclude is not None]
    total = len(tasks) * len(concluding) + sum(len(members(run, task)) for task in tasks)
    with progress_bar("conclude", total, quiet=quiet) as advance:
        for task in tasks:
            stored = RunTask(run=run, task=task)
            for topic in concluding:
                inputs = _inputs(run, task, (*ALWAYS_READ, *topic.reads))
                folder = run / CONCLUSIONS / task / topic.name
                if not _is_current(folder, CONCLUSIONS, task, inputs):
                    record = topic.conclude(stored)
                    if record is not None:
                        _write(folder, CONCLUSIONS, task, inputs, record)
                advance(1)
            for name in members(run, task):
                inputs = _inputs(run, task, (*ALWAYS_READ, "flow", CONTROLS))
                folder = run / QUANTITIES / task / name
                if not _is_current(folder, QUANTITIES, task, inputs):
                    found = measure_member(RunMember(of=stored, name=name))
                    _write(folder, QUANTITIES, task, inputs, found)
                advance(1)


def members(run: Path, task: str) -> list[str]:
    """The MDM, and the controls that were scored, compared and asked."""
    controls = scored_members(run, task)[2:]
    return [
        "mdm",
        *(
            name
            for name in controls
            if is_written(run / CONTROLS / task / name)
            and is_written(run / COMPARISON / task / name)
        ),
    ]


def measure_member(member: StoredMember) -> MemberResults:
    """Every quantity of the MDM or of a control, on the resamples of the comparison.

    Raises:
        ArtifactError: an earlier stage is missing or damaged.
        SemanticsError: no component is attributed anything.
    """
    correct = member.correct()
    accuracy = None
    if correct is not None:
        interval = proportion_interval(int(correct.sum()), len(correct), member.settings.level)
        accuracy = Estimate(value=float(correct.mean()), interval=interval)
    return MemberResults(
        name=member.name,
        measured={one.name: one.measure(member) for one in quantities("members")},
        accuracy=accuracy,
    )


def task_results(run: Path, task: str) -> TaskResults:
    """What was concluded on one task.

    Raises:
        ArtifactError: nothing was concluded, or it is damaged.
    """
    stored = RunTask(run=run, task=task)
    names = members(run, task)
    measured = {
        name: read_record(MemberResults, run / QUANTITIES / task / name, stage=QUANTITIES)
        for name in names
    }
    records = {
        topic.name: read_record(
            topic.record_type, run / CONCLUSIONS / task / topic.name, stage=CONCLUSIONS
        )
        for topic in TOPICS
        if topic.record_type is not None and is_written(run / CONCLUSIONS / task / topic.name)
    }
    pool = stored.pool("discovery")
    example = pool.examples[0]
    return TaskResults(
        task=task,
        metric=scored_metric(run, task),
        description=pooled_task(task, pool).summary,
        example=f"{example.prompt}⟨{example.target}⟩{example.suffix}",
        comparison=stored.comparison(),
        mdm=measured["mdm"],
        controls=tuple(measured[name] for name in names[1:]),
        records=records,
    )


def conclusion_inputs(run: Path, task: str) -> dict[str, str]:
    """Hashes of all that `task_results` reads."""
    folders = [
        *((CONCLUSIONS, topic.name) for topic in TOPICS if topic.conclude is not None),
        *((QUANTITIES, name) for name in members(run, task)),
        (COMPARISON, "mdm"),
    ]
    hashes = {
        f"{task}.{stage}.{name}": artifact_hash(run / stage / task / name)
        for stage, name in folders
        if is_written(run / stage / task / name)
    }
    return hashes | {f"{task}.{POOL}": artifact_hash(run / POOL / task)}


def _inputs(run: Path, task: str, stages: Iterable[str]) -> dict[str, str]:
    """Hashes of everything that these stages stored of a task."""
    found = {}
    for stage in stages:
        depth = 3 if stage == SWEEP else 1
        folders = [run / stage / task]
        for _ in range(depth):
            folders += [f for folder in folders for f in _children(folder)]
        for folder in dict.fromkeys(folders):
            if is_written(folder):
                name = folder.relative_to(run / stage / task).as_posix()
                found[f"{stage}/{name}".removesuffix("/.")] = artifact_hash(folder)
    return found


def _children(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(f for f in folder.iterdir() if f.is_dir() and not f.name.startswith("."))


def _is_current(folder: Path, stage: str, task: str, inputs: dict[str, str]) -> bool:
    if not is_written(folder):
        return False
    try:
        manifest = read_manifest(folder)
    except ArtifactError:
        return False
    return manifest.stage == stage and dict(manifest.inputs) == inputs


def _write(folder: Path, stage: str, task: str, inputs: dict[str, str], record: Any) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    write_artifact(
        folder, stage=stage, config={"task": task}, inputs=inputs, **record_contents(record)
    )
