"""What do the components of each model do: lenses, concentration, roles, neurons?

The ARM and the MDM are read, not the controls. How much a node matters is taken from the stored
edge scores, so the models are not differentiated a second time, except for their neurons.
"""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from transformers import PreTrainedTokenizerBase

from mechshift.artifacts import artifact_hash, is_current, read_manifest, write_artifact
from mechshift.attribution import source_scores
from mechshift.experiment.pooling import pool_canvases
from mechshift.experiment.stores import (
    SEMANTICS,
    TOKENS,
    pool_folder,
    pool_manifests,
    read_pool,
    read_scores,
    record_contents,
    scores_folder,
    semantics_folder,
)
from mechshift.models import ModelPair
from mechshift.progress import progress_bar
from mechshift.semantics import NO_TOKEN, Semantics, SemanticsSettings, analyse_semantics

SPACE_PIECE = "\N{LOWER ONE EIGHTH BLOCK}"
"""How SentencePiece writes a space."""


def analyse_pair(
    run: Path, pair: ModelPair, settings: SemanticsSettings, *, quiet: bool = False
) -> None:
    """Write what the components of both models do on every pooled task, where missing.

    Raises:
        ArtifactError: scores are missing, or the run holds other semantics.
        SemanticsError: no component is attributed anything, or the vocabulary is too small.
    """
    for task in pool_manifests(run):
        pool = read_pool(run, task, "discovery")
        for model in pair.models:
            folder = semantics_folder(run, task, model.kind)
            scores = scores_folder(run, task, model.kind)
            metric = read_manifest(scores).config["attribution"]["metric"]
            config = asdict(settings)
            del config["batch_size"]  # changes time and memory, not results
            made_from: dict[str, Any] = {
                "stage": SEMANTICS,
                "config": {
                    "task": task,
                    "model": model.name,
                    "metric": metric,
                    "semantics": config,
                },
                "inputs": {
                    "pool": artifact_hash(pool_folder(run, task)),
                    "scores": artifact_hash(scores),
                    **model.hashes,
                },
            }
            if is_current(folder, **made_from):
                continue
            canvases = pool_canvases(pool, model)
            title = f"{task}: analyse {model.kind.upper()}"
            with progress_bar(title, 2 * len(canvases), quiet=quiet) as advance:
                semantics = analyse_semantics(
                    model,
                    canvases,
                    source_scores(read_scores(scores)),
                    settings,
                    metric=metric,
                    progress=advance,
                )
            texts = token_texts(model.tokenizer, _named_tokens(semantics))
            write_artifact(
                folder, **made_from, **record_contents(semantics), tables={TOKENS: texts}
            )


def token_texts(tokenizer: PreTrainedTokenizerBase, ids: Iterable[int]) -> pl.DataFrame:
    """The text of each token, as it stands inside a sentence, by id."""
    rows = sorted(set(ids) - {NO_TOKEN})
    return pl.DataFrame(
        {"id": rows, "text": [_text(tokenizer, token) for token in rows]},
        schema={"id": pl.Int64, "text": pl.String},
    )


def _text(tokenizer: PreTrainedTokenizerBase, token: int) -> str:
    text = str(tokenizer.decode([token], clean_up_tokenization_spaces=False))
    piece = tokenizer.convert_ids_to_tokens(token)
    # A decoder drops the space before the first token, and here every token is the first.
    starts_word = isinstance(piece, str) and piece.startswith(SPACE_PIECE)
    return f" {text}" if starts_word and not text.startswith(" ") else text


def _named_tokens(semantics: Semantics) -> set[int]:
    """Every token that the record names by its id."""
    neurons, lens = semantics.neurons, semantics.lens
    named = (
        neurons.contexts.token_ids,
        neurons.promoted_ids,
        neurons.suppressed_ids,
        lens.components.top_ids,
        lens.levels.top_ids,
        lens.readouts.target_id,
        lens.readouts.distractor_id,
    )
    return set(np.concatenate([np.unique(ids) for ids in named]).tolist())
