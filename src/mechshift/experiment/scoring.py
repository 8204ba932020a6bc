"""Stage 2: how much does each edge of each model matter on the pooled examples?

Scores are saved chunk by chunk, so a killed run goes on where it stopped; the joined record
replaces the chunks once it is whole. Memory holds one chunk, never the scores of all examples.
"""

import shutil
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mechshift.artifacts import artifact_hash, is_current, write_artifact
from mechshift.attribution import EdgeScores, chunk_canvases, concatenate_edge_scores, eap_ig
from mechshift.denoising import Canvas
from mechshift.experiment.pooling import pool_canvases, pooled_task
from mechshift.experiment.settings import AttributionSettings
from mechshift.experiment.stores import (
    SCORES,
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
    """Write the edge scores of both models on every pooled task, where they are missing.

    Raises:
        ArtifactError: the run has no pool, or holds other scores.
        AttributionError: a batch does not fit in memory.
    """
    for task_name in pool_manifests(run):
        pool = read_pool(run, task_name, "discovery")
        metric = settings.metric or pooled_task(task_name, pool).metric
        resolved = replace(settings, metric=metric)
        for model in pair.models:
            folder = scores_folder(run, task_name, model.kind)
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
            chunks = folder.parent / f"{model.kind}.chunks"
            if not is_current(folder, **made_from):
                canvases = pool_canvases(pool, model)
                title = f"{task_name}: score {model.kind.upper()} edges"
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
        scores = eap_ig(
            model,
            chunk,
            metric=settings.metric,
            ig_steps=settings.ig_steps,
            rule=settings.rule,
            grouped=settings.grouped,
            batch_size=settings.batch_size,
            progress=advance,
        )
        write_artifact(folder, **made_from, arrays=scores_arrays(scores))
    return concatenate_edge_scores(
        [read_scores(folder) for folder in folders],
        # All scores together may not fit in memory where a chunk does.
        allocate=partial(_zeros_in_file, chunks / "joined.npy"),
    )


def _zeros_in_file(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
