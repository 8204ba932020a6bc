"""Metrics: how strongly logits prefer the target, one number for each scored position.

Every function works in float32 at least, whatever the precision of the model.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def logit_diff(
    logits: Float[Tensor, "readout vocab"],
    target_ids: Int64[Tensor, " readout"],
    distractor_ids: Int64[Tensor, " readout"],
) -> Float[Tensor, " readout"]:
    """Logit of the target minus logit of the distractor [logits], unbounded.

    Zero where target and distractor are the same token.
    """
    logits = _at_least_float32(logits)
    return _pick(logits, target_ids) - _pick(logits, distractor_ids)


def prob_diff(
    logits: Float[Tensor, "readout vocab"], contrast: Float[Tensor, "readout vocab"]
) -> Float[Tensor, " readout"]:
    """Softmax mass of the right tokens minus that of the wrong ones [probability], in [-1, 1].

    Args:
        logits: over the whole vocabulary; tokens outside the contrast take their share.
        contrast: +1 at right tokens, -1 at wrong ones, 0 elsewhere.

    Source: the Greater-Than metric of Hanna et al. 2023, arXiv:2305.00586.
    """
    probabilities = _at_least_float32(logits).softmax(dim=-1)
    return (probabilities * contrast.to(probabilities.dtype)).sum(dim=-1)


def log_prob(
    logits: Float[Tensor, "readout vocab"], target_ids: Int64[Tensor, " readout"]
) -> Float[Tensor, " readout"]:
    """Log-probability of the target [nats], at most 0."""
    return _pick(_at_least_float32(logits).log_softmax(dim=-1), target_ids)


def negative_kl(
    logits: Float[Tensor, "readout vocab"], clean_logits: Float[Tensor, "readout vocab"]
) -> Float[Tensor, " readout"]:
    """Minus KL(clean || current) [nats], summed over the vocabulary: at most 0, and 0 at clean.

    Its gradient at the clean logits is zero, because that is where it is largest. A method that
    takes the gradient at the clean input alone (EAP, or EAP-IG with one step of rule `right`) would
    score every edge 0; take it at the corrupted input, or integrate.

    Args:
        logits: of the current run.
        clean_logits: of the clean run at the same readouts; no gradient flows to them.
    """
    clean = _at_least_float32(clean_logits.detach()).log_softmax(dim=-1)
    current = _at_least_float32(logits).log_softmax(dim=-1)
    return (clean.exp() * (current - clean)).sum(dim=-1)


def _pick(
    values: Float[Tensor, "readout vocab"], ids: Int64[Tensor, " readout"]
) -> Float[Tensor, " readout"]:
    return values.gather(-1, ids[:, None]).squeeze(-1)


def _at_least_float32(
    logits: Float[Tensor, "readout vocab"],
) -> Float[Tensor, "readout vocab"]:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
