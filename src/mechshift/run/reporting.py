"""Stage 5: the page that shows a run, and the numbers behind each of its figures."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from mechshift.artifacts import Manifest, artifact_hash, read_manifest
from mechshift.progress import Advance
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
from mechshift.run.ablation_reporting import reported_ablations
from mechshift.run.circuit_reporting import (
    evaluation_config,
    faithfulness_parts,
    per_example_table,
)
from mechshift.run.component_reporting import (
    component_config,
    component_facts,
    component_inputs,
    reported_flow,
    reported_semantics,
)
from mechshift.run.evidence import task_evidence
from mechshift.run.pools import pooled_task
from mechshift.run.stage import Piece, Stage, Work, write_pieces
from mechshift.run.store import (
    COMPARISON,
    FAITHFULNESS,
    KINDS,
    POOL,
    REPORT,
    SCORES,
    Files,
    comparison_folder,
    pool_manifests,
    read_comparison,
    read_pool,
    scored_metric,
    scores_folder,
)
from mechshift.run.sweep_reporting import reported_sweep, sweep_inputs
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
    write_pieces(REPORT_STAGE, _pieces(run), quiet=True)
    return report_page(run)


def report_page(run: Path) -> Path:
    """Where the page of a run is."""
    return run / REPORT / REPORT_NAME


def _pieces(run: Path) -> Iterator[Piece]:
    tasks = list(pool_manifests(run))
    yield Piece(
        folder=run / REPORT,
        config={},
        inputs={task: artifact_hash(comparison_folder(run, task)) for task in tasks}
        | component_inputs(run, tasks)
        | sweep_inputs(run, tasks),
        prepare=lambda: Work(
            title="write the report", total=len(tasks), compute=partial(_files, run)
        ),
    )


REPORT_STAGE = Stage(
    name=REPORT,
    command="report",
    about="writes the page that shows a run, with verdicts and the numbers behind each figure",
    reads=(POOL, SCORES, FAITHFULNESS, COMPARISON),
    pieces=lambda given: _pieces(given.run),
    remade=True,
)


def _files(run: Path, advance: Advance) -> Files:
    """The page, its verdicts and tables."""
    pools = pool_manifests(run)
    tasks = []
    for task in pools:
        tasks.append(_task_report(run, task))
        advance(1)
    report = ReportInput(facts=_facts(run, pools), tasks=tuple(tasks))
    figures = {path: table.write_csv() for path, table in report_tables(report).items()}
    texts = {REPORT_NAME: render_report(report), VERDICTS_NAME: verdicts_json(report)} | figures
    examples = {per_example_name(task): per_example_table(run, task.name) for task in report.tasks}
    return Files(texts=texts, tables=examples)


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
