"""The report of a run: the page that shows it, its verdicts, and the numbers of each figure."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mechshift.artifacts import artifact_hash, is_written, setting_in
from mechshift.flat_records import Files
from mechshift.progress import Advance
from mechshift.run.analysis import (
    analysis_folder,
    analysis_words,
    read_analysis_plan,
)
from mechshift.run.conclusions import CONCLUDE, conclude_run, conclusion_inputs
from mechshift.run.folders import KINDS, REPORT, pool_folder
from mechshift.run.stage import Piece, Stage, Work, write_pieces
from mechshift.run.store import (
    pool_manifests,
    stage_settings,
    stored_comparison_settings,
    stored_name,
)
from mechshift.run.stored import RunTask
from mechshift.tasks import PoolConfig
from mechshift.topics.report_page import RunFacts, report

REPORT_NAME = "report.html"


def write_report(run: Path, *, quiet: bool = False) -> Path:
    """Render the report of a run whose tasks are compared, in place of an earlier one.

    What is missing of its conclusions, or older than what they rest on, is computed first.

    Returns:
        The page; its CSV and Parquet files lie beside it.

    Raises:
        ArtifactError: an earlier stage is missing or damaged.
        EvaluationError: faithfulness is undefined for a task.
    """
    conclude_run(run, quiet=quiet)
    write_pieces(run, REPORT_STAGE, _pieces(run), quiet=True)
    return report_page(run)


def report_page(run: Path) -> Path:
    """Where the page of a run is."""
    return run / REPORT / REPORT_NAME


def _pieces(run: Path) -> Iterator[Piece]:
    tasks = list(pool_manifests(run))
    inputs: dict[str, str] = {}
    for task in tasks:
        inputs |= conclusion_inputs(run, task)
    if is_written(analysis_folder(run)):
        inputs["analysis"] = artifact_hash(analysis_folder(run))
    yield Piece(
        folder=run / REPORT,
        config={"tasks": tasks},
        inputs=inputs,
        prepare=lambda: Work(
            title="write the report", total=1, compute=partial(_files, run, tasks)
        ),
    )


REPORT_STAGE = Stage(
    name=REPORT,
    command="report",
    about="writes the page that shows a run, with verdicts and the numbers behind each figure",
    reads=(CONCLUDE.name,),
    pieces=lambda given: _pieces(given.run),
    remade="always",
)


def _files(run: Path, tasks: Sequence[str], advance: Advance) -> Files:
    """The page, its verdicts and tables."""
    made = report([RunTask(run=run, task=task).results() for task in tasks], _facts(run, tasks))
    advance(1)
    return Files(texts={REPORT_NAME: made.page, **made.texts}, tables=made.tables)


def _facts(run: Path, tasks: Sequence[str]) -> RunFacts:
    """Settings, versions and weights; of a stage, those of the first task that has it."""
    pool, folder = pool_manifests(run)[tasks[0]], pool_folder(run, tasks[0])
    names = {kind: stored_name(run, tasks[0], kind) for kind in KINDS}
    settings: dict[str, Any] = {
        "pair": setting_in(pool, folder, "pair", dict[str, Any]),
        "tasks": list(tasks),
    }
    for task in reversed(tasks):
        settings |= stage_settings(run, task)
    return RunFacts(
        arm_name=names["arm"],
        mdm_name=names["mdm"],
        seed=setting_in(pool, folder, "pool", PoolConfig).seed,
        settings=settings,
        analysis=analysis_words(
            read_analysis_plan(run),
            stored_comparison_settings(run, tasks[0]),
            tuple(tasks),
        ),
        versions=pool.versions,
        model_hashes={names[kind]: pool.inputs[kind] for kind in KINDS},
    )
