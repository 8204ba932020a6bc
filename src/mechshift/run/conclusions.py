"""Conclusions of a run: every topic's record and every member's quantities, computed once.

RUN/conclusions/TASK/TOPIC   the record of a topic, made from what earlier stages stored
RUN/quantities/TASK/MEMBER   each quantity of the MDM or a control: value, interval, and its draws,
                             on the same resamples for every member, so that a difference of two
                             members is a subtraction

They cost seconds: where an earlier stage was added or made anew, they are made anew.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mechshift.artifacts import artifact_hash, is_written
from mechshift.progress import Advance
from mechshift.run.folders import (
    COMPARISON,
    CONCLUSIONS,
    CONTROLS,
    FAITHFULNESS,
    FLOW,
    POOL,
    QUANTITIES,
    SCORES,
    comparison_folder,
    conclusion_folder,
    pool_folder,
    quantities_folder,
)
from mechshift.run.stage import Piece, Stage, Work, write_pieces
from mechshift.run.store import pool_manifests, stored_hashes
from mechshift.run.stored import RunMember, RunTask
from mechshift.topics.registry import TOPICS, quantities
from mechshift.topics.topic import MemberResults, StoredMember

ALWAYS_READ = (POOL, SCORES, COMPARISON)


def conclude_run(run: Path, *, quiet: bool = False) -> None:
    """Write every conclusion that is missing or older than what it rests on.

    Raises:
        ArtifactError: an earlier stage is missing or damaged.
        EvaluationError: faithfulness is undefined.
    """
    write_pieces(run, CONCLUDE, _pieces(run), quiet=quiet)


def _pieces(run: Path) -> Iterator[Piece]:
    measured = [one.name for one in quantities("members")]
    for task in pool_manifests(run):
        stored = RunTask(run=run, task=task)
        for topic in TOPICS:
            if topic.conclude is not None:
                yield _piece(
                    conclusion_folder(run, task, topic.name),
                    {"task": task},
                    stored_hashes(run, task, (*ALWAYS_READ, *topic.reads)),
                    f"{task}: conclude {topic.name}",
                    partial(topic.conclude, stored),
                )
        for name in stored.members():
            yield _piece(
                quantities_folder(run, task, name),
                {"task": task, "quantities": measured},
                stored_hashes(run, task, (*ALWAYS_READ, FLOW, CONTROLS)),
                f"{task}: measure {name}",
                partial(measure_member, RunMember(of=stored, name=name)),
                stage=QUANTITIES,
            )


def _piece(
    folder: Path,
    config: dict[str, Any],
    inputs: dict[str, str],
    title: str,
    make: Callable[[], Any],
    *,
    stage: str = "",
) -> Piece:
    def compute(advance: Advance) -> Any:
        record = make()
        advance(1)
        return record

    return Piece(
        folder=folder,
        config=config,
        inputs=inputs,
        prepare=lambda: Work(title=title, total=1, compute=compute),
        stage=stage,
    )


CONCLUDE = Stage(
    name=CONCLUSIONS,
    command="conclude",
    about="computes every topic's numbers, and every quantity of the MDM and the controls, once",
    reads=(POOL, SCORES, FAITHFULNESS, COMPARISON),
    pieces=lambda given: _pieces(given.run),
    remade="when stale",
    together="conclude",
)


def measure_member(member: StoredMember) -> MemberResults:
    """Every quantity of the MDM or of a control, on the resamples of the comparison.

    Raises:
        ArtifactError: an earlier stage is missing or damaged.
        SemanticsError: no component is attributed anything.
    """
    return MemberResults(
        name=member.name,
        measured={one.name: one.measure(member) for one in quantities("members")},
        accuracy=member.accuracy(),
    )


def conclusion_inputs(run: Path, task: str) -> dict[str, str]:
    """Hashes of all that `RunTask.results` reads, by folder."""
    folders: Sequence[Path] = [
        pool_folder(run, task),
        comparison_folder(run, task),
        *(quantities_folder(run, task, name) for name in RunTask(run=run, task=task).members()),
        *(conclusion_folder(run, task, topic.name) for topic in TOPICS),
    ]
    return {
        folder.relative_to(run).as_posix(): artifact_hash(folder)
        for folder in folders
        if is_written(folder)
    }
