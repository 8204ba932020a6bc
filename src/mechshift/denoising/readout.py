"""How well does one forward pass predict the tokens that a canvas scores?

1. Gather the hidden states (after the final norm) at the scored positions only.
2. Unembed those: the logits of the other positions are never made.
3. Apply the metric to each, and sum within each slot of each row.
"""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from mechshift.denoising.canvas import CanvasBatch
from mechshift.errors import DenoisingError
from mechshift.metrics import log_prob, logit_diff, prob_diff
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


def score_readouts(
    metric: str, logits: Float[Tensor, "readout vocab"], batch: CanvasBatch
) -> Float[Tensor, "batch slot"]:
    """The metric of every row and slot: the sum over the tokens committed at that step.

    Differentiable; 0 at slots that a row does not have. Each score lands in a cell of its own
    before the sum, so the result does not depend on the order in which a GPU adds.

    Raises:
        DenoisingError: an unknown metric, or `prob_diff` without contrasts.
    """
    values = metric_function(metric)(logits, batch)
    shape = (batch.num_rows, batch.num_slots, int(batch.readout_target.max()) + 1)
    cells = (batch.readout_row, batch.readout_slot, batch.readout_target)
    return values.new_zeros(shape).index_put(cells, values).sum(dim=-1)


Metric = Callable[[Float[Tensor, "readout vocab"], CanvasBatch], Float[Tensor, " readout"]]


def _prob_diff(
    logits: Float[Tensor, "readout vocab"], batch: CanvasBatch
) -> Float[Tensor, " readout"]:
    if batch.contrast is None:
        raise DenoisingError(
            "the metric 'prob_diff' needs right and wrong tokens for every target token, and"
            " these examples have none; use 'logit_diff' or give the examples contrasts."
        )
    return prob_diff(logits, batch.contrast)


METRICS: dict[str, Metric] = {
    "logit_diff": lambda logits, batch: logit_diff(logits, batch.target_ids, batch.distractor_ids),
    "prob_diff": _prob_diff,
    "log_prob": lambda logits, batch: log_prob(logits, batch.target_ids),
}


def metric_function(name: str) -> Metric:
    """The metric of that name, from logits at the readouts and their batch."""
    if name not in METRICS:
        raise DenoisingError(f"unknown metric '{name}'; known: {', '.join(METRICS)}.")
    return METRICS[name]
