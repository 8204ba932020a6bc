"""Components of a run's models: their lenses, concentration, roles and neurons.

The ARM and the MDM are read, not the controls. How much a node matters is taken from the stored
edge scores, so the models are not differentiated a second time, except for their neurons, and for
the experts of mixtures where they are asked for.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerBase

from mechshift.artifacts import artifact_hash
from mechshift.attribution import EdgeScores, source_scores
from mechshift.errors import ConfigError, ModelError
from mechshift.flat_records import read_record
from mechshift.models import LanguageModel, ModelPair, pair_shape
from mechshift.progress import Advance
from mechshift.run.folders import POOL, SCORES, SEMANTICS, scores_folder, semantics_folder
from mechshift.run.pools import pool_canvases
from mechshift.run.records import ComponentReadings
from mechshift.run.settings import RunSettings
from mechshift.run.stage import Piece, Stage, Work, write_pieces
from mechshift.run.store import (
    model_inputs,
    pool_manifests,
    read_pool,
    scored_metric,
)
from mechshift.semantics import NO_TOKEN, Semantics, SemanticsSettings, analyse_semantics
from mechshift.tasks import CommonPool

SPACE_PIECE = "\N{LOWER ONE EIGHTH BLOCK}"
"""Character that SentencePiece writes for a space."""


def analyse_pair(
    run: Path,
    pair: ModelPair,
    settings: SemanticsSettings,
    *,
    experts: bool = False,
    quiet: bool = False,
) -> None:
    """Write what the components of both models do on every pooled task, where missing.

    With `experts` also what the experts of their mixtures do.

    Raises:
        ArtifactError: scores are missing, or the run holds other semantics.
        SemanticsError: no component is attributed anything, or the vocabulary is too small.
        AttributionError: experts are asked for, and a model has none.
    """
    write_pieces(run, ANALYSE, _pieces(run, pair, settings, experts), quiet=quiet)


def _pieces(
    run: Path, pair: ModelPair, settings: SemanticsSettings, experts: bool
) -> Iterator[Piece]:
    for task in pool_manifests(run):
        pool = read_pool(run, task, "discovery")
        for model in pair.models:
            scores = scores_folder(run, task, model.kind)
            metric = scored_metric(run, task, model.kind)
            config = asdict(settings)
            del config["batch_size"]  # changes time and memory, not results
            if experts:  # else the folder is one of before there were any
                config["experts"] = True
            yield Piece(
                folder=semantics_folder(run, task, model.kind),
                config={
                    "task": task,
                    "model": model.name,
                    "metric": metric,
                    "semantics": config,
                },
                inputs=model_inputs(run, task, model) | {"scores": artifact_hash(scores)},
                prepare=partial(_work, pool, model, scores, settings, metric, experts),
            )


def _check_experts(settings: RunSettings) -> None:
    """Refuse experts of models that are known to have none, before hours are spent on them.

    Raises:
        ConfigError: both layers of the pair hold one MLP each.
    """
    if not settings.graph.experts:
        return
    entry = settings.models.entry()
    try:
        shape = pair_shape(entry)
    except ModelError:
        return  # known once it is loaded, which says what is wrong
    if not (shape.arm.num_experts and shape.mdm.num_experts):
        raise ConfigError(
            f"--graph.experts: the layers of pair '{entry.name}' hold one MLP each, and no experts;"
            " leave it out."
        )


ANALYSE = Stage(
    name=SEMANTICS,
    command="analyse",
    about="reads what the components of both models do: lenses, concentration, roles, neurons",
    reads=(POOL, SCORES),
    when="unless skipped",
    pieces=lambda given: _pieces(
        given.run, given.pair, given.settings.semantics, given.settings.graph.experts
    ),
    check=_check_experts,
)


def _work(
    pool: CommonPool,
    model: LanguageModel,
    scores: Path,
    settings: SemanticsSettings,
    metric: str,
    experts: bool,
) -> Work:
    canvases = pool_canvases(pool, model)

    def compute(advance: Advance) -> ComponentReadings:
        semantics = analyse_semantics(
            model,
            canvases,
            source_scores(read_record(EdgeScores, scores, stage=SCORES)),
            settings,
            metric=metric,
            experts=experts,
            progress=advance,
        )
        tokens = token_texts(model.tokenizer, _named_tokens(semantics))
        return ComponentReadings(
            semantics=semantics, tokens={str(token): text for token, text in tokens.items()}
        )

    title = f"{pool.task}: analyse {model.kind.upper()}"
    return Work(title=title, total=(2 + experts) * len(canvases), compute=compute)


def token_texts(tokenizer: PreTrainedTokenizerBase, ids: Iterable[int]) -> dict[int, str]:
    """The text of each token, as it stands inside a sentence, by id; ids ascend."""
    return {token: _text(tokenizer, token) for token in sorted(set(ids) - {NO_TOKEN})}


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
