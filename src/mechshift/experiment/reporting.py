"""The report of a run: the page that shows it, and the numbers behind each of its figures."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from mechshift.artifacts import read_manifest, write_artifact
from mechshift.experiment.concluding import conclude_run, conclusion_inputs, task_results
from mechshift.experiment.stored import RunTask
from mechshift.experiment.stores import KINDS, REPORT, pool_manifests, scores_folder
from mechshift.topics.report_page import RunFacts, report

REPORT_NAME = "report.html"


def write_report(run: Path, *, quiet: bool = False) -> Path:
    """Render the report of a run whose tasks are compared, in place of an earlier one.

    Returns:
        The page; its CSV and Parquet files lie beside it.

    Raises:
        ArtifactError: an earlier stage is missing or damaged.
        EvaluationError: faithfulness is undefined for a task.
    """
    conclude_run(run, quiet=quiet)
    tasks = list(pool_manifests(run))
    made = report([task_results(run, task) for task in tasks], _facts(run, tasks))
    inputs: dict[str, str] = {}
    for task in tasks:
        inputs |= conclusion_inputs(run, task)
    # Unlike what it shows, a report costs seconds: an old one makes room.
    shutil.rmtree(run / REPORT, ignore_errors=True)
    write_artifact(
        run / REPORT,
        stage=REPORT,
        config={"tasks": tasks},
        inputs=inputs,
        texts={REPORT_NAME: made.page, **made.texts},
        tables=made.tables,
    )
    return run / REPORT / REPORT_NAME


def _facts(run: Path, tasks: Sequence[str]) -> RunFacts:
    """Settings, versions and weights; of a stage, those of the first task that has it."""
    pool = pool_manifests(run)[tasks[0]]
    by_kind = {kind: read_manifest(scores_folder(run, tasks[0], kind)) for kind in KINDS}
    names = {kind: str(manifest.config["model"]) for kind, manifest in by_kind.items()}
    stored = [RunTask(run=run, task=task) for task in tasks]
    settings = {
        "pair": pool.config["pair"],
        "pool": pool.config["pool"],
        "attribution": by_kind["arm"].config["attribution"],
        "tasks": list(tasks),
    }
    for stage, key in STAGE_SETTINGS.items():
        configs = [found for one in stored if (found := one.stage_config(stage)) is not None]
        if configs:
            settings[key] = configs[0][key]
            if stage == "faithfulness":
                settings[key] = {**configs[0][key], "sizes": configs[0]["sizes"]}
    return RunFacts(
        arm_name=names["arm"],
        mdm_name=names["mdm"],
        seed=pool.config["pool"]["seed"],
        settings=settings,
        versions=pool.versions,
        model_hashes={names[kind]: pool.inputs[kind] for kind in KINDS},
    )


STAGE_SETTINGS = {
    "comparison": "comparison",
    "faithfulness": "evaluation",
    "flow": "flow",
    "semantics": "semantics",
    "ablation": "ablation",
}
"""Stage -> under which key its manifest holds its settings."""
