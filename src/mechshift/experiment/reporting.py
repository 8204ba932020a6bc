"""Stage 5: the page that shows a run, and the numbers behind each of its figures."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mechshift.artifacts import Manifest, artifact_hash, read_manifest, write_artifact
from mechshift.experiment.ablation_reporting import reported_ablations
from mechshift.experiment.circuit_reporting import (
    evaluation_config,
    faithfulness_parts,
    per_example_table,
)
from mechshift.experiment.component_reporting import (
    component_config,
    component_facts,
    component_inputs,
    reported_flow,
    reported_semantics,
)
from mechshift.experiment.evidence import task_evidence
from mechshift.experiment.pooling import pooled_task
from mechshift.experiment.stores import (
    KINDS,
    REPORT,
    comparison_folder,
    pool_manifests,
    read_comparison,
    read_pool,
    scored_metric,
    scores_folder,
)
from mechshift.experiment.sweep_reporting import reported_sweep, sweep_inputs
from mechshift.report import (
    VERDICTS_NAME,
    PoolSummary,
    ReportInput,
    RunFacts,
    TaskReport,
    per_example_name,
    render_report,
    report_tables,
    verdicts_json,
)
from mechshift.tasks import CommonPool

REPORT_NAME = "report.html"


def write_report(run: Path) -> Path:
    """Render the report of a run whose tasks are compared, in place of an earlier one.

    Returns:
        The page; its CSV and Parquet files lie beside it.

    Raises:
        ArtifactError: an earlier stage is missing or damaged.
        EvaluationError: faithfulness is undefined for a task.
    """
    pools = pool_manifests(run)
    tasks = list(pools)
    report = ReportInput(
        facts=_facts(run, pools), tasks=tuple(_task_report(run, task) for task in tasks)
    )
    figures = {path: table.write_csv() for path, table in report_tables(report).items()}
    texts = {REPORT_NAME: render_report(report), VERDICTS_NAME: verdicts_json(report)} | figures
    examples = {per_example_name(task): per_example_table(run, task.name) for task in report.tasks}
    # Unlike what it shows, a report costs seconds: an old one makes room.
    shutil.rmtree(run / REPORT, ignore_errors=True)
    write_artifact(
        run / REPORT,
        stage=REPORT,
        config={},
        inputs={task: artifact_hash(comparison_folder(run, task)) for task in tasks}
        | component_inputs(run, tasks)
        | sweep_inputs(run, tasks),
        texts=texts,
        tables=examples,
    )
    return run / REPORT / REPORT_NAME


def _task_report(run: Path, task_name: str) -> TaskReport:
    pool = read_pool(run, task_name, "discovery")
    comparison = read_comparison(run, task_name)
    example = pool.examples[0]
    gap = f"⟨{example.target}⟩{example.suffix}"
    flow = reported_flow(run, task_name, comparison.settings)
    ablations = reported_ablations(run, task_name)
    return TaskReport(
        comparison=comparison,
        evidence=task_evidence(
            run, task_name, comparison, flow, ablations.structures if ablations else None
        ),
        pool=_pool_summary(pool),
        **faithfulness_parts(run, task_name, comparison),
        num_steps=reported_sweep(run, task_name),
        flow=flow,
        semantics=reported_semantics(run, task_name),
        ablations=ablations,
        metric=scored_metric(run, task_name),
        description=pooled_task(task_name, pool).summary,
        example=f"{example.prompt}{gap}",
    )


def _pool_summary(pool: CommonPool) -> PoolSummary:
    both = pool.arm_correct & pool.mdm_correct
    return PoolSummary(
        num_candidates=len(pool.candidate_ids),
        num_arm_correct=int(pool.arm_correct.sum()),
        num_mdm_correct=int(pool.mdm_correct.sum()),
        num_both_correct=int(both.sum()),
        pool_size=len(pool.examples),
        dropped=pool.dropped,
    )


def _facts(run: Path, pools: Mapping[str, Manifest]) -> RunFacts:
    """Settings, versions and weights, from the manifests of the first task."""
    task, pool = next(iter(pools.items()))
    by_kind = {kind: read_manifest(scores_folder(run, task, kind)) for kind in KINDS}
    names = {kind: str(manifest.config["model"]) for kind, manifest in by_kind.items()}
    config: dict[str, Any] = {
        "pair": pool.config["pair"],
        "pool": pool.config["pool"],
        "attribution": by_kind["arm"].config["attribution"],
        "evaluation": evaluation_config(run, task),
        "comparison": read_manifest(comparison_folder(run, task)).config["comparison"],
        "tasks": list(pools),
    }
    config |= component_config(run, list(pools))
    return RunFacts(
        arm_name=names["arm"],
        mdm_name=names["mdm"],
        seed=pool.config["pool"]["seed"],
        attribution=config["attribution"],
        **component_facts(run, list(pools)),
        config=config,
        versions=pool.versions,
        model_hashes={names[kind]: pool.inputs[kind] for kind in KINDS},
    )
