"""Neurons of the early MLPs that a task uses: when they fire, and what they write.

1. Attribute every hidden unit of the early layers (`hidden_units`), and take those whose |mean
   score| over examples is largest.
2. Run the clean canvases: where these units fire most, and how selective they are
   (`unit_activations`).
3. Multiply what each writes, in its firing direction, with the final norm's weight and the
   unembedding: the tokens that it promotes and suppresses directly.

The units were chosen because their scores are large on these examples, so their intervals say how
a score would vary, not that it is free of that choice.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mechshift.attribution import path_points
from mechshift.denoising import Canvas, example_clusters
from mechshift.graph import third_of_layers
from mechshift.models import LanguageModel, held
from mechshift.semantics.hidden_units import hidden_unit_scores
from mechshift.semantics.readouts import mean_of_examples
from mechshift.semantics.settings import SemanticsSettings
from mechshift.semantics.unit_activations import (
    Contexts,
    directions,
    selectivity,
    strongest_contexts,
    unit_activations,
)
from mechshift.statistics import Estimates


@dataclass(frozen=True, kw_only=True, eq=False)
class Neurons:
    """The most attributed hidden units, strongest first."""

    layer: Int[np.ndarray, " unit"]
    index: Int[np.ndarray, " unit"]
    """In its MLP."""
    direction: Int[np.ndarray, " unit"]
    """+1 or -1: the sign of activation with which it fires."""
    score: Estimates
    """Mean over examples [units of the metric], summed over steps; positive: corrupting this unit
    hurts."""
    share: Float[np.ndarray, " unit"]
    """|score| as a share of all scored units'."""
    selectivity: Estimates
    """Lifetime sparseness of its firing over tokens, in [0, 1]; NaN where it never fires."""
    contexts: Contexts
    promoted_ids: Int[np.ndarray, "unit top"]
    """Tokens whose logits its firing raises most, relative to the other tokens; best first."""
    suppressed_ids: Int[np.ndarray, "unit top"]
    """Tokens whose logits it lowers most."""
    num_scored: int
    """Hidden units that were scored; 0 for a mixture of experts, of which none are described."""

    @property
    def names(self) -> list[str]:
        """Such as `m0.n17`."""
        return [f"m{layer}.n{index}" for layer, index in zip(self.layer, self.index, strict=True)]


def describe_neurons(
    model: LanguageModel,
    canvases: Sequence[Canvas],
    settings: SemanticsSettings,
    *,
    metric: str,
    layers: Sequence[int] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Neurons:
    """The most attributed hidden units of some layers, by default the early ones.

    For each batch of canvases: `ig_steps` forward passes with a backward pass for each denoising
    step, and three forward passes. A mixture of experts has no hidden units of this kind: then
    nothing is run, and the record holds none.

    Raises:
        AttributionError: no canvases, a missing example or step, or scores that are not finite.
    """
    if not model.parts.num_neurons:
        if progress is not None:
            progress(len(canvases))
        return _no_neurons(settings)
    if layers is None:
        # A single layer is neither early nor late.
        layers = np.flatnonzero(third_of_layers(len(model.parts.layers))[0]).tolist() or [0]
    scores = hidden_unit_scores(
        model,
        canvases,
        layers,
        metric=metric,
        points=path_points("left", settings.ig_steps),
        batch_size=settings.batch_size,
        progress=progress,
    )
    by_unit = scores.reshape(len(scores), -1)
    strength = np.abs(by_unit.mean(axis=0, dtype=np.float64))
    chosen = np.argsort(-strength, kind="stable")[: settings.num_neurons]
    layer, index = np.asarray(layers)[chosen // scores.shape[2]], chosen % scores.shape[2]
    activations = unit_activations(model, canvases, layer, index, settings.batch_size)
    direction = directions(activations)
    total = strength.sum()
    logits = _written_logits(model, layer, index, direction)
    top = min(settings.num_top_tokens, model.vocab_size)
    return Neurons(
        layer=layer,
        index=index,
        direction=direction,
        score=mean_of_examples(
            by_unit[:, chosen].astype(np.float64), example_clusters(canvases), settings
        ),
        share=strength[chosen] / total if total > 0 else np.zeros(len(chosen)),
        selectivity=selectivity(activations, settings),
        contexts=strongest_contexts(activations, settings.num_contexts, settings.context_radius),
        promoted_ids=logits.topk(top).indices.cpu().numpy(),
        suppressed_ids=logits.topk(top, largest=False).indices.cpu().numpy(),
        num_scored=by_unit.shape[1],
    )


def _no_neurons(settings: SemanticsSettings) -> Neurons:
    none = np.zeros(0, dtype=np.int64)
    nothing = Estimates(value=np.zeros(0), low=np.zeros(0), high=np.zeros(0), level=settings.level)
    window = (0, settings.num_contexts, 2 * settings.context_radius + 1)
    return Neurons(
        layer=none,
        index=none,
        direction=none,
        score=nothing,
        share=np.zeros(0),
        selectivity=nothing,
        contexts=Contexts(
            example=none.reshape(window[:2]),
            token_ids=none.reshape(window),
            rates=np.zeros(window),
        ),
        promoted_ids=none.reshape(0, settings.num_top_tokens),
        suppressed_ids=none.reshape(0, settings.num_top_tokens),
        num_scored=0,
    )


@torch.no_grad()
def _written_logits(
    model: LanguageModel,
    layer: Int[np.ndarray, " unit"],
    index: Int[np.ndarray, " unit"],
    direction: Int[np.ndarray, " unit"],
) -> Float[Tensor, "unit vocab"]:
    """What firing adds to the logits, up to the positive divisor of the final norm."""
    parts = model.parts
    columns = [
        sign * parts.layers[at].neuron_map.weight[:, unit]
        for at, unit, sign in zip(layer.tolist(), index.tolist(), direction.tolist(), strict=True)
    ]
    unembedding = held(parts.unembedding, "weight")
    assert unembedding is not None
    written = parts.final_norm.centred(torch.stack(columns)) * parts.final_norm.weight
    return written.to(unembedding.dtype) @ unembedding.T
