"""Stage 2: how much does each edge of each model matter on the pooled examples?"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from mechshift.artifacts import artifact_hash
from mechshift.attribution import (
    EdgeScores,
    attribute,
    average_over_shards,
    concatenate_scores,
)
from mechshift.denoising import Canvas
from mechshift.experiment.chunks import ChunkedRecord, write_in_chunks
from mechshift.experiment.pooling import pool_canvases, pooled_task
from mechshift.experiment.settings import AttributionSettings
from mechshift.experiment.sharding import check_shards
from mechshift.experiment.stores import (
    SCORES,
    member_title,
    pool_folder,
    pool_manifests,
    read_pool,
    read_scores,
    scores_arrays,
    scores_folder,
)
from mechshift.models import LanguageModel, ModelPair
from mechshift.progress import Advance


def score_edges(
    run: Path, pair: ModelPair, settings: AttributionSettings, *, quiet: bool = False
) -> None:
    """Write the edge scores of every member of the pair on every pooled task, where missing.

    Raises:
        ArtifactError: the run has no pool, or holds other scores.
        ConfigError: shards that do not divide a pool, or are too few.
        AttributionError: a batch does not fit in memory, or the method refuses the metric.
    """
    score_members(run, pair.members, pool_manifests(run), settings, quiet=quiet)


def score_members(
    run: Path,
    members: Mapping[str, LanguageModel],
    tasks: Iterable[str],
    settings: AttributionSettings,
    *,
    quiet: bool = False,
) -> None:
    """The same for some models by the names of their folders, on some pooled tasks.

    Raises:
        ArtifactError: see `score_edges`.
        ConfigError: see `score_edges`.
        AttributionError: see `score_edges`.
    """
    pools = {task_name: read_pool(run, task_name, "discovery") for task_name in tasks}
    for pool in pools.values():
        check_shards(len(pool.examples), settings.examples_per_shard)
    for task_name, pool in pools.items():
        metric = settings.metric or pooled_task(task_name, pool).metric
        resolved = replace(settings, metric=metric)
        for member, model in members.items():
            write_in_chunks(
                scores_folder(run, task_name, member),
                scores_made_from(run, task_name, model, resolved),
                pool_canvases(pool, model),
                scores_record(f"{task_name}: score {member_title(member)}", model, resolved),
                chunk_size=settings.examples_per_chunk,
                quiet=quiet,
            )


def scores_made_from(
    run: Path, task: str, model: LanguageModel, settings: AttributionSettings
) -> dict[str, Any]:
    """What decides the scores of a model on the pool's own schedule, as `is_current` takes it."""
    return {
        "stage": SCORES,
        "config": {
            "task": task,
            "model": model.name,
            "graph": asdict(model.graph(grouped=settings.grouped)),
            "attribution": settings.manifest_config(),
        },
        "inputs": {
            "pool": artifact_hash(pool_folder(run, task)),
            **model.hashes,
        },
    }


def scores_record(
    title: str, model: LanguageModel, settings: AttributionSettings
) -> ChunkedRecord[EdgeScores]:
    """How edge scores are made chunk by chunk, with a metric that is settled.

    No shard lies in two chunks, which `examples_per_chunk` sees to.
    """
    metric = settings.metric
    assert metric is not None

    def make(canvases: list[Canvas], advance: Advance) -> EdgeScores:
        scores = attribute(
            model,
            canvases,
            metric=metric,
            method=settings.method,
            grouped=settings.grouped,
            batch_size=settings.batch_size,
            progress=advance,
            **settings.options(),
        )
        return average_over_shards(scores, settings.examples_per_shard)

    return ChunkedRecord(
        title=title,
        make=make,
        contents=lambda scores: {"arrays": scores_arrays(scores)},
        read=read_scores,
        join=_joined,
    )


def _joined(chunks: Sequence[EdgeScores], scratch: Path) -> EdgeScores:
    """The scores of all examples, in a file: they may not fit in memory where a chunk does."""

    def in_file(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        return np.lib.format.open_memmap(
            scratch / "joined.npy", mode="w+", dtype=dtype, shape=shape
        )

    return concatenate_scores(chunks, allocate=in_file)
