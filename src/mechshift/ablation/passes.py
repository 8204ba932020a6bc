"""One batch of canvases under one or several ablations, and what becomes of its examples."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from mechshift.ablation.replacements import Substitutes, ablated
from mechshift.ablation.settings import Replacement
from mechshift.denoising import Canvas, CanvasBatch, readout_logits, score_readouts
from mechshift.denoising.samplers.draws import first_argmax
from mechshift.errors import AblationError
from mechshift.interventions import (
    ChosenOutputs,
    ResidualStreams,
    Site,
    begun_at,
    recorded_outputs,
)
from mechshift.models import LanguageModel

Logits = Float[Tensor, "readout vocab"]


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordedRun:
    """Computation of the unchanged model on a batch."""

    logits: Logits
    outputs: Mapping[Site, Tensor]
    """At the sites that were asked for."""


@torch.no_grad()
def recorded_run(
    model: LanguageModel, batch: CanvasBatch, chosen: ChosenOutputs, *, corrupted: bool
) -> RecordedRun:
    """Run the clean or the corrupted tokens, and keep the outputs at the chosen sites."""
    ids = batch.corrupted_ids if corrupted else batch.clean_ids
    with recorded_outputs(model.parts, chosen) as outputs:
        hidden = model.hidden(ids, batch.attention_mask, batch.position_ids)
    return RecordedRun(logits=readout_logits(model, hidden, batch), outputs=outputs)


@torch.no_grad()
def ablated_runs(
    model: LanguageModel,
    batch: CanvasBatch,
    chosen: ChosenOutputs,
    replacement: Replacement,
    substitutes: Substitutes,
    clean: ResidualStreams,
) -> Iterator[Logits]:
    """Logits on the clean tokens under each run's ablation; all runs share one forward pass.

    It begins at the first layer that is ablated in any of them, with what that layer reads in the
    unchanged model on the clean tokens.
    """
    inputs = (batch.clean_ids, batch.attention_mask, batch.position_ids)
    repeated = (tensor.repeat(chosen.num_runs, 1) for tensor in inputs)
    first = chosen.first_layer
    stream = clean[first].repeat(chosen.num_runs, 1, 1)
    with ablated(model, chosen, replacement, substitutes), begun_at(model.parts, first, stream):
        hidden = model.hidden(*repeated)
    for of_run in hidden.unflatten(0, (chosen.num_runs, batch.num_rows)):
        yield readout_logits(model, of_run, batch)


class ExampleSums:
    """Metric and answers of every example under one ablation, filled batch by batch."""

    def __init__(self, num_examples: int) -> None:
        """Start with a metric of zero and every answer right."""
        self.metric: Float64[np.ndarray, " example"] = np.zeros(num_examples)
        self.correct: Bool[np.ndarray, " example"] = np.ones(num_examples, dtype=bool)

    def add(
        self,
        model: LanguageModel,
        batch: CanvasBatch,
        metric: str,
        logits: Logits,
        clean_logits: Logits,
    ) -> None:
        """Add a batch's metric, and mark the examples of which it gets any token wrong.

        Where a task says which tokens are right at a place, as Greater-Than does of all later
        years, each of them is; elsewhere the target alone is.

        Raises:
            AblationError: the metric of an example is not finite.
        """
        scores = score_readouts(metric, logits, batch, clean_logits).sum(dim=1)
        values = scores.double().cpu().numpy()
        if not np.isfinite(values).all():
            example = int(batch.example[~np.isfinite(values)][0])
            raise AblationError(
                f"the metric of example {example} is not a finite number; load the model in"
                " float32."
            )
        np.add.at(self.metric, batch.example, values)
        wrong = ~right_tokens(batch, predicted_tokens(model, logits)).cpu().numpy()
        row = batch.readout_row.cpu().numpy()
        self.correct[batch.example[row[wrong]]] = False


def right_tokens(
    batch: CanvasBatch, predicted: Int64[Tensor, " readout"]
) -> Bool[Tensor, " readout"]:
    """Whether each token answers its place, given that the target's tokens stand before it."""
    right = predicted == batch.target_ids
    if batch.contrast is None:
        return right
    return right | (batch.contrast.gather(1, predicted[:, None])[:, 0] > 0)


def predicted_tokens(model: LanguageModel, logits: Logits) -> Int64[Tensor, " readout"]:
    """The most probable token at each readout; an MDM cannot answer with its mask token."""
    if model.kind == "mdm":
        assert model.mask_token_id is not None
        logits = logits.clone()
        logits[:, model.mask_token_id] = -torch.inf
    return first_argmax(logits)


def check_examples(canvases: Sequence[Canvas]) -> int:
    """How many examples these canvases are of.

    Raises:
        AblationError: no canvases, or an example is missing.
    """
    found = {canvas.example for canvas in canvases}
    if not found:
        raise AblationError("there is nothing to ablate on: no canvases were given.")
    missing = set(range(max(found))) - found
    if missing:
        raise AblationError(
            f"the canvases of examples 0 to {max(found)} lack example {min(missing)}; give those of"
            " every example of the pool."
        )
    return max(found) + 1
