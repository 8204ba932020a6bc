"""Pools of a run: for each task the examples that both models get right, and how they are read."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import polars as pl

from mechshift.denoising import Canvas, EncodedExample, build_canvases
from mechshift.models import LanguageModel, ModelPair
from mechshift.progress import Advance
from mechshift.run.folders import KINDS, POOL, pool_folder
from mechshift.run.pair_options import PairOptions
from mechshift.run.records import POOL_SPLITS, TaskPools
from mechshift.run.stage import Piece, Stage, Work, write_pieces
from mechshift.run.store import pool_manifests, read_pool
from mechshift.tasks import (
    TASKS,
    CommonPool,
    PoolConfig,
    SolvedBy,
    Task,
    TaskFile,
    build_pool,
    check_templates,
    encode_pool,
)


def make_pools(
    run: Path,
    pair: ModelPair,
    options: PairOptions,
    tasks: Sequence[Task],
    config: PoolConfig,
    *,
    solved_by: SolvedBy = "both",
    quiet: bool = False,
) -> None:
    """Write the pool of every task that has none yet.

    Args:
        run: the run folder.
        pair: loaded from `options`, which later stages load it from again.
        options: which models, and how they are loaded.
        tasks: in the order in which the report shows them.
        config: how many examples, and how they are denoised.
        solved_by: which models must solve an example.
        quiet: no progress bars.

    Raises:
        TaskError: a task that does not fit the tokenizer, or a template that no task has.
        PoolError: too few examples that both models get right.
        ArtifactError: the run folder holds other pools.
    """
    pieces = _pieces(run, pair, options, tasks, config, solved_by)
    write_pieces(run, POOL_STAGE, pieces, quiet=quiet)


def _pieces(
    run: Path,
    pair: ModelPair,
    options: PairOptions,
    tasks: Sequence[Task],
    config: PoolConfig,
    solved_by: SolvedBy = "both",
) -> Iterator[Piece]:
    check_templates(tasks, config.templates)
    # Of pools that both models solve manifests say nothing, as before there were others.
    selected = {} if solved_by == "both" else {"solved_by": solved_by}
    for position, task in enumerate(tasks):
        yield Piece(
            folder=pool_folder(run, task.name),
            config={
                "task": task.name,
                "position": position,
                "pair": asdict(options),
                "pool": asdict(config),
            }
            | selected,
            inputs=pair_inputs(pair.arm) | pair_inputs(pair.mdm) | _task_file(task),
            prepare=partial(_work, pair, task, config, solved_by),
        )


def _work(pair: ModelPair, task: Task, config: PoolConfig, solved_by: SolvedBy) -> Work:
    if isinstance(task, TaskFile):
        task.check(pair.mdm.tokenizer)  # has a bar of its own

    def compute(advance: Advance) -> TaskPools:
        discovery, held_out = (
            build_pool(pair, task, split, config, solved_by=solved_by, progress=advance)
            for split in POOL_SPLITS
        )
        return TaskPools(discovery=discovery, held_out=held_out)

    # A first round asks both models for as many as are wanted; hard tasks take more.
    total = len(KINDS) * (config.num_examples + config.num_held_out)
    return Work(title=f"{task.name}: decode", total=total, compute=compute)


def pair_inputs(model: LanguageModel) -> dict[str, str]:
    """A model's hashes by their names among a pool's inputs: `arm` and `arm_settings`, or `mdm`."""
    return {model.kind: model.weights_hash, f"{model.kind}_settings": model.settings_hash}


def _task_file(task: Task) -> dict[str, str]:
    return {"task_file": task.sha256} if isinstance(task, TaskFile) else {}


POOL_STAGE = Stage(
    name=POOL,
    command="pool",
    about="finds examples that both models get right, for discovery and held out",
    pieces=lambda given: _pieces(
        given.run, given.pair, given.settings.models, given.tasks, given.settings.pool
    ),
)


def pooled_task(name: str, pool: CommonPool) -> Task:
    """The task that a stored pool is of; one from a file is rebuilt without its file."""
    if name in TASKS:
        return TASKS[name]
    lines = enumerate(pool.examples, start=1)
    examples = tuple((line, pool.split, example) for line, example in lines)
    return TaskFile(name=name, path=None, examples=examples)


def pooled_examples(pool: CommonPool, model: LanguageModel) -> list[EncodedExample]:
    """The pool's examples as this model reads them."""
    return encode_pool(pooled_task(pool.task, pool), pool.examples, model)


def pools_with_others(run: Path) -> Iterator[tuple[str, CommonPool]]:
    """Each task of which candidates that not both models solve were kept, and its pool."""
    for task in pool_manifests(run):
        pool = read_pool(run, task, "discovery")
        if pool.others is not None and pool.others.examples:
            yield task, pool


def other_examples(pool: CommonPool, model: LanguageModel) -> list[EncodedExample]:
    """The sample of candidates that not both models solve, as this model reads them."""
    assert pool.others is not None
    return encode_pool(pooled_task(pool.task, pool), pool.others.examples, model)


def other_canvases(pool: CommonPool, model: LanguageModel) -> list[Canvas]:
    """The same, step by step in the order in which the MDM wrote its own answers."""
    assert pool.others is not None
    return build_canvases(model, other_examples(pool, model), pool.others.schedule)


def pool_canvases(pool: CommonPool, model: LanguageModel) -> list[Canvas]:
    """The same, step by step in the pool's order."""
    return build_canvases(model, pooled_examples(pool, model), pool.schedule)


def pool_table(run: Path) -> pl.DataFrame:
    """For each task and split: accuracies, candidates tried, pool size, and what was dropped.

    `spare` were right and not needed; `ARM only`, `MDM only` and `none` say who was right.

    Raises:
        ArtifactError: the run has no pool, or a damaged one.
    """
    reasons = ("spare", "ARM only", "MDM only", "none")  # as wide as a terminal allows
    rows = []
    for task in pool_manifests(run):
        for split in POOL_SPLITS:
            pool = read_pool(run, task, split)
            row = {
                "task": task,
                "split": split,
                "ARM": pool.arm_accuracy,
                "MDM": pool.mdm_accuracy,
                "tried": len(pool.candidate_ids),
                "pool": len(pool.examples),
            }
            rows.append(row | dict(zip(reasons, pool.dropped.values(), strict=True)))
    return pl.DataFrame(rows)
