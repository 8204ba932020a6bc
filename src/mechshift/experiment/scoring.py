"""Stage 2: how much does each edge of each model matter on the pooled examples?

Scores are saved chunk by chunk, so a killed run goes on where it stopped; the joined record
replaces the chunks once it is whole.
"""

import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mechshift.artifacts import artifact_hash, is_current, write_artifact
from mechshift.attribution import EdgeScores, attribute, chunk_canvases, concatenate_scores
from mechshift.denoising import Canvas
from mechshift.experiment.pooling import pool_canvases, pooled_task
from mechshift.experiment.settings import AttributionSettings
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
from mechshift.progress import Advance, progress_bar


def score_edges(
    run: Path, pair: ModelPair, settings: AttributionSettings, *, quiet: bool = False
) -> None:
    """Write the edge scores of every member of the pair on every pooled task, where missing.

    Raises:
        ArtifactError: the run has no pool, or holds other scores.
        AttributionError: a batch does not fit in memory, or the method refuses the metric.
    """
    for task_name in pool_manifests(run):
        pool = read_pool(run, task_name, "discovery")
        metric = settings.metric or pooled_task(task_name, pool).metric
        resolved = replace(settings, metric=metric)
        for member, model in pair.members.items():
            folder = scores_folder(run, task_name, member)
            made_from: dict[str, Any] = {
                "stage": SCORES,
                "config": {
                    "task": task_name,
                    "model": model.name,
                    "graph": asdict(model.graph(grouped=settings.grouped)),
                    "attribution": resolved.manifest_config(),
                },
                "inputs": {
                    "pool": artifact_hash(pool_folder(run, task_name)),
                    "weights": model.weights_hash,
                },
            }
            chunks = folder.parent / f"{member}.chunks"
            if not is_current(folder, **made_from):
                canvases = pool_canvases(pool, model)
                title = f"{task_name}: score {member_title(member)}"
                with progress_bar(title, len(canvases), quiet=quiet) as advance:
                    scores = _score_in_chunks(model, canvases, resolved, chunks, made_from, advance)
                write_artifact(folder, **made_from, arrays=scores_arrays(scores))
            shutil.rmtree(chunks, ignore_errors=True)


def _score_in_chunks(
    model: LanguageModel,
    canvases: list[Canvas],
    settings: AttributionSettings,
    chunks: Path,
    made_from: dict[str, Any],
    advance: Advance,
) -> EdgeScores:
    assert settings.metric is not None
    folders = []
    for chunk in chunk_canvases(canvases, settings.chunk_size):
        folder = chunks / f"{chunk[0].example:06d}-{chunk[-1].example:06d}"
        folders.append(folder)
        if is_current(folder, **made_from):
            advance(len(chunk))
            continue
        scores = attribute(
            model,
            chunk,
            metric=settings.metric,
            method=settings.method,
            grouped=settings.grouped,
            batch_size=settings.batch_size,
            progress=advance,
            **settings.options(),
        )
        write_artifact(folder, **made_from, arrays=scores_arrays(scores))
    return concatenate_scores([read_scores(folder) for folder in folders])
