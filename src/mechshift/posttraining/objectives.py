"""Objectives: the loss of an ARM, and that of its post-training into an MDM.

Cross-entropy of the tokens that are asked for, each times its weight, over their number: weight 1
for an autoregressive model, and that of `noising` for a masked token of a diffusion model.
"""

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy


def weighted_cross_entropy(
    logits: Float[Tensor, "row position vocab"],
    tokens: Int[Tensor, "row token"],
    weights: Float[Tensor, "row token"],
    *,
    predicted_from: Int[Tensor, " token"],
    num_targets: int,
) -> Float[Tensor, ""]:
    """Sum over tokens of weight times cross-entropy [nats], divided by `num_targets`.

    Args:
        logits: of every position.
        tokens: the clean ones.
        weights: 0 where a token is not asked for.
        predicted_from: the position whose logits predict a token; that of token 0 means nothing
            where logits are shifted, and its weight must be 0.
        num_targets: what the sum is divided by.
    """
    rows, columns = weights.nonzero(as_tuple=True)
    losses = cross_entropy(
        logits[rows, predicted_from[columns]].float(), tokens[rows, columns], reduction="none"
    )
    return (losses * weights[rows, columns]).sum() / num_targets
