"""Choices of tokens and positions from logits, which several samplers share.

Ties go to the lowest token id and the leftmost position; `topk` and `sort` of the published codes
leave them to the device. Random draws use float64 uniforms made on the CPU, so that a seed means
the same on every device; the published codes draw from torch's global generator, whose sequence
is not reproduced, only its distribution.
"""

import math

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mechshift.errors import DenoisingError


def first_argmax(logits: Float[Tensor, "row vocab"]) -> Int64[Tensor, " row"]:
    """The most probable token, and of equally probable ones the lowest id, on every device."""
    ids = torch.arange(logits.shape[-1], device=logits.device)
    best = logits == logits.amax(dim=-1, keepdim=True)
    return torch.where(best, ids, logits.shape[-1]).amin(dim=-1)


def draw_tokens(
    probabilities: Float[Tensor, "row vocab"], generator: np.random.Generator
) -> Int64[Tensor, " row"]:
    """One token per row, with chances proportional to `probabilities`; never one of chance 0."""
    # On the CPU, where a running sum has one order of additions.
    cumulative = probabilities.cpu().double().cumsum(dim=-1)
    total = cumulative[:, -1:]
    uniform = torch.from_numpy(generator.random((len(cumulative), 1)))
    below_total = torch.nextafter(total, torch.zeros_like(total))
    threshold = torch.minimum(uniform * total, below_total)
    drawn = torch.searchsorted(cumulative, threshold, right=True).squeeze(-1)
    return drawn.to(probabilities.device)


def keep_top_p(logits: Float[Tensor, "row vocab"], top_p: float) -> Float[Tensor, "row vocab"]:
    """Rule out what is not needed to exceed probability `top_p`, most probable tokens first."""
    ordered, ids = logits.cpu().sort(dim=-1, descending=True, stable=True)
    exceeded = ordered.softmax(dim=-1).cumsum(dim=-1) > top_p
    # The token that first exceeds top_p is kept.
    dropped = torch.cat([torch.zeros_like(exceeded[:, :1]), exceeded[:, :-1]], dim=-1)
    by_id = torch.zeros_like(dropped).scatter(-1, ids, dropped)
    return logits.masked_fill(by_id.to(logits.device), -torch.inf)


def keep_top_k(logits: Float[Tensor, "row vocab"], top_k: int) -> Float[Tensor, "row vocab"]:
    """Rule out what is less probable than the `top_k`-th token; its equals stay."""
    smallest = logits.topk(min(top_k, logits.shape[-1]), dim=-1).values[:, -1:]
    return logits.masked_fill(logits < smallest, -torch.inf)


def highest(scores: list[float], count: int) -> list[int]:
    """Indices of the `count` highest scores, ascending; of equal ones the leftmost."""
    ranked = sorted(range(len(scores)), key=lambda index: (-scores[index], index))
    return sorted(ranked[:count])


def draw_without_replacement(
    log_weights: list[float], count: int, generator: np.random.Generator
) -> list[int]:
    """`count` indices, ascending, drawn one after another in proportion to the weights left.

    By adding Gumbel noise and taking the highest, which no small weight can make fail.
    """
    noise = generator.gumbel(size=len(log_weights))
    return highest((np.asarray(log_weights) + noise).tolist(), count)


def check_sampling(
    temperature: float, top_p: float | None = None, top_k: int | None = None
) -> None:
    """Refuse a temperature, top_p or top_k that means nothing.

    Raises:
        DenoisingError: one of them is out of range.
    """
    if not (temperature >= 0 and math.isfinite(temperature)):
        raise DenoisingError(f"the temperature is {temperature}; it must be 0 or more.")
    if top_p is not None and not 0 < top_p <= 1:
        raise DenoisingError(f"top_p is {top_p}; it must be above 0 and at most 1.")
    if top_k is not None and top_k < 1:
        raise DenoisingError(f"top_k is {top_k}; it must be at least 1.")
