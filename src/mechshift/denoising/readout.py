"""Readouts: how well one forward pass predicts the tokens that a canvas scores.

1. Gather the hidden states (after the final norm) at the scored positions only.
2. Unembed those: the logits of the other positions are never made.
3. Apply the metric to each, and sum within each slot of each row. So the log-probability of a
   target of several tokens is the sum over its tokens.

A metric that compares with the clean run (`kl`) also needs that run's logits; every caller asks
`clean_reference` for them and passes on what it gets, so all metrics take the same way.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from mechshift.denoising.canvas import CanvasBatch
from mechshift.errors import DenoisingError
from mechshift.metrics import log_prob, logit_diff, negative_kl, prob_diff
from mechshift.models import LanguageModel


def readout_hidden(
    hidden: Float[Tensor, "batch position d_model"], batch: CanvasBatch
) -> Float[Tensor, "readout d_model"]:
    """The hidden states whose logits are scored."""
    return hidden[batch.readout_row, batch.readout_position]


def readout_logits(
    model: LanguageModel, hidden: Float[Tensor, "batch position d_model"], batch: CanvasBatch
) -> Float[Tensor, "readout vocab"]:
    """The logits that are scored, from hidden states after the final norm."""
    return model.parts.unembedding(readout_hidden(hidden, batch))


@torch.no_grad()
def clean_reference(
    metric: str, model: LanguageModel, batch: CanvasBatch
) -> Float[Tensor, "readout vocab"] | None:
    """The logits of the clean run, for a metric that needs them; None, and no run, for others."""
    if metric not in COMPARED_WITH_CLEAN:
        return None
    hidden = model.hidden(batch.clean_ids, batch.attention_mask, batch.position_ids)
    return readout_logits(model, hidden, batch)


def score_readouts(
    metric: str,
    logits: Float[Tensor, "readout vocab"],
    batch: CanvasBatch,
    clean_logits: Float[Tensor, "readout vocab"] | None = None,
) -> Float[Tensor, "batch slot"]:
    """The metric of every row and slot: the sum over the tokens committed at that step.

    Differentiable; 0 at slots that a row does not have. Each score lands in a cell of its own
    before the sum, so the result does not depend on the order in which a GPU adds.

    Args:
        metric: a name in `METRICS`.
        logits: at the readouts of the batch.
        batch: says which tokens these logits predict.
        clean_logits: what `clean_reference` gave for this metric and batch.

    Raises:
        DenoisingError: an unknown metric, `prob_diff` without contrasts, or `kl` without
            `clean_logits`.
    """
    values = metric_function(metric)(logits, batch, clean_logits)
    shape = (batch.num_rows, batch.num_slots, int(batch.readout_target.max()) + 1)
    cells = (batch.readout_row, batch.readout_slot, batch.readout_target)
    return values.new_zeros(shape).index_put(cells, values).sum(dim=-1)


Metric = Callable[
    [Float[Tensor, "readout vocab"], CanvasBatch, Float[Tensor, "readout vocab"] | None],
    Float[Tensor, " readout"],
]


def _prob_diff(
    logits: Float[Tensor, "readout vocab"],
    batch: CanvasBatch,
    _clean_logits: Float[Tensor, "readout vocab"] | None,
) -> Float[Tensor, " readout"]:
    if batch.contrast is None:
        raise DenoisingError(
            "the metric 'prob_diff' needs right and wrong tokens for every target token, and"
            " these examples have none; use 'logit_diff' or give the examples contrasts."
        )
    return prob_diff(logits, batch.contrast)


def _kl(
    logits: Float[Tensor, "readout vocab"],
    _batch: CanvasBatch,
    clean_logits: Float[Tensor, "readout vocab"] | None,
) -> Float[Tensor, " readout"]:
    if clean_logits is None:
        raise DenoisingError(
            "the metric 'kl' compares with the clean run and was not given its logits; pass what"
            " `clean_reference` returns, or use 'logit_diff'."
        )
    return negative_kl(logits, clean_logits)


METRICS: dict[str, Metric] = {
    "logit_diff": lambda logits, batch, _: logit_diff(
        logits, batch.target_ids, batch.distractor_ids
    ),
    "prob_diff": _prob_diff,
    "log_prob": lambda logits, batch, _: log_prob(logits, batch.target_ids),
    "kl": _kl,
}
"""Higher is better for all of them: `kl` is minus the divergence from the clean run."""

COMPARED_WITH_CLEAN = frozenset({"kl"})
"""Metrics that need the logits of the clean run."""


def metric_function(name: str) -> Metric:
    """The metric of that name, from logits at the readouts, their batch and the clean logits."""
    if name not in METRICS:
        raise DenoisingError(f"unknown metric '{name}'; known: {', '.join(METRICS)}.")
    return METRICS[name]
