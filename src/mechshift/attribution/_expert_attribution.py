"""Expert attribution: a score for each expert of a mixture, as a node that writes by itself.

A mixture writes the sum of what a token's experts return, each times its routing weight. So an
expert is a node whose output is weight times what it returns, and 0 of a token that is not sent to
it; the router is part of each. With D_e its corrupted minus its clean output:

    score(e) = mean over points of  sum over positions of  < D_e , d(-metric) / d out >

out is what the mixture writes, where all experts of a layer write, so they share that gradient, and
their scores add up to the mixture's (`node_attribution`), at the same points exactly. A token that
another expert gets in the corrupted run counts in both: one writes less, the other more.

`exact_expert_scores` estimates nothing: it runs the clean input with one expert's output replaced
by its corrupted one, everywhere, and takes the metric that is lost. One forward pass an expert and
layer, so it is for small models.

Source: NAP and NAP-IG of MIB, arXiv:2504.13151, with the experts as nodes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mechshift.attribution.collecting import ScoreCollector, collect_along_paths
from mechshift.attribution.output_gradients import OutputGradients
from mechshift.attribution.path import (
    CLEAN,
    CORRUPTED,
    ENDS,
    InputPath,
    input_path,
    path_points,
)
from mechshift.attribution.score_record import ScoreRecord
from mechshift.denoising import Canvas, batch_canvases
from mechshift.errors import AttributionError
from mechshift.interventions import Recording, added_to_mlp_output
from mechshift.models import DecoderParts, LanguageModel


@dataclass(frozen=True, kw_only=True, eq=False)
class ExpertScores(ScoreRecord):
    """Scores of every expert of every layer, per example and denoising step."""

    values: Float[np.ndarray, "example step layer expert"]


def expert_attribution(
    model: LanguageModel,
    canvases: Sequence[Canvas],
    *,
    metric: str,
    points: Sequence[float] = path_points("left", 5),
    batch_size: int = 16,
    progress: Callable[[int], None] | None = None,
) -> ExpertScores:
    """Score every expert of the model on every example and denoising step.

    Arguments are those of `node_attribution`.

    Raises:
        AttributionError: a model without mixtures, or see `node_attribution`.
    """
    collector = collect_along_paths(
        lambda path: _score_batch(path, points),
        _axes(model),
        model,
        canvases,
        metric=metric,
        grouped=True,
        batch_size=batch_size,
        progress=progress,
    )
    return ExpertScores(graph=model.graph(), **collector.collected())


def exact_expert_scores(
    model: LanguageModel,
    canvases: Sequence[Canvas],
    *,
    metric: str,
    batch_size: int = 16,
) -> ExpertScores:
    """Corrupt every expert's output by itself and measure; arguments as of `expert_attribution`.

    Raises:
        AttributionError: as there.
    """
    collector = ScoreCollector(canvases, model.dtype, *_axes(model))
    for batch in batch_canvases(model, canvases, batch_size):
        with input_path(model, batch, metric, grouped=True) as path, torch.no_grad():
            scores = _corrupt_each(path)
            clean, corrupted = path.end_metric(CLEAN), path.end_metric(CORRUPTED)
        collector.add(batch, scores, clean_metric=clean, corrupted_metric=corrupted)
    return ExpertScores(graph=model.graph(), **collector.collected())


def _axes(model: LanguageModel) -> tuple[int, int]:
    parts = model.parts
    if not parts.num_experts:
        raise AttributionError(
            f"'{model.name}' has no experts to score: its layers hold one MLP each."
        )
    return len(parts.layers), parts.num_experts


def _score_batch(
    path: InputPath, points: Sequence[float]
) -> Float[Tensor, "row slot layer expert"]:
    gradients = OutputGradients(path.batch.num_slots, select=_mixtures)
    path.add_gradients(points, gradients)
    layers = range(len(path.model.parts.layers))
    totals = [gradients.total(layer).flatten(1, 2) for layer in layers]
    rows, length = path.batch.clean_ids.shape
    scores = totals[0].new_zeros((path.batch.num_slots, rows, *_axes(path.model)))
    with torch.no_grad():
        for end, sign in ((CORRUPTED, -1), (CLEAN, 1)):
            for layer, stream in enumerate(_streams(path, end)):
                for output in path.model.parts.layers[layer].run_experts(stream):
                    at_tokens = totals[layer][:, output.token]
                    products = (output.written.to(at_tokens.dtype) * at_tokens).sum(dim=-1)
                    of_expert = scores[:, :, layer, output.expert]
                    of_expert.index_add_(1, output.token // length, products, alpha=sign)
    return scores.div_(len(points)).transpose(0, 1)


def _corrupt_each(path: InputPath) -> Float[Tensor, "row slot layer expert"]:
    for end in ENDS:
        path.run_end(end)
    parts, clean = path.model.parts, path.end_metric(CLEAN)
    scores = clean.new_zeros((*clean.shape, *_axes(path.model)))
    streams = [_streams(path, end) for end in ENDS]
    for layer in range(len(parts.layers)):
        for expert, change in enumerate(_changes(parts, layer, *(one[layer] for one in streams))):
            with added_to_mlp_output(parts.layers[layer], change):
                lost = clean - path.run(CLEAN)
            scores[:, :, layer, expert] = lost
    return scores


def _changes(
    parts: DecoderParts,
    layer: int,
    corrupted: Float[Tensor, "token d_model"],
    clean: Float[Tensor, "token d_model"],
) -> Float[Tensor, "expert token d_model"]:
    """What each expert writes when it is corrupted, minus what it writes."""
    change = clean.new_zeros((parts.num_experts, *clean.shape))
    for stream, sign in ((corrupted, 1), (clean, -1)):
        for output in parts.layers[layer].run_experts(stream):
            change[output.expert].index_add_(0, output.token, output.written, alpha=sign)
    return change


def _streams(path: InputPath, end: float) -> list[Float[Tensor, "token d_model"]]:
    """What each mixture reads at an end of the path, row after row."""
    path.run(end)
    streams = [layer.mlp_input.flatten(0, 1) for layer in path.record.layers]
    path.record.forget()
    return streams


def _mixtures(record: Recording) -> list[Tensor]:
    return [layer.mlp_output for layer in record.layers]
