"""Optimizers and learning-rate schedules.

The optimizer is AdamW, or Muon for the matrices inside the blocks with AdamW for the rest (Jordan
et al. 2024; torch.optim.Muon), which reaches the same loss in about half the steps on the embedded
pair. The rates warm up linearly, and then fall along a cosine to zero or stay.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer
from torch.overrides import TorchFunctionMode

from mechshift.posttraining.config import PosttrainConfig

_INSIDE_A_BLOCK = re.compile(r"\.(layers|h)\.\d+\.")
"""Names of parameters in a block: `h` is GPT-2's word for layers."""


def make_optimizers(module: nn.Module, config: PosttrainConfig) -> dict[Optimizer, float]:
    """The optimizers of every parameter that is trained, with the peak of their rate."""
    named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
    matrices = [
        parameter
        for name, parameter in named
        if config.optimizer == "muon" and parameter.ndim == 2 and _INSIDE_A_BLOCK.search(name)
    ]
    inside = {id(parameter) for parameter in matrices}
    rest = [parameter for _, parameter in named if id(parameter) not in inside]
    adamw = AdamW(
        rest, lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=config.weight_decay
    )
    if not matrices:
        return {adamw: config.learning_rate}
    muon = Muon(matrices, lr=config.muon_learning_rate, weight_decay=config.weight_decay)
    return {muon: config.muon_learning_rate, adamw: config.learning_rate}


class Float32Steps(TorchFunctionMode):
    """Under this, optimizers step in the parameters' own type: nothing is turned into bfloat16.

    torch's Muon orthogonalises its updates in bfloat16, which a CPU without such arithmetic
    emulates: a step of the embedded pair takes 1.05 s so, and 0.065 s in float32 (an EPYC's core).
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is Tensor.bfloat16:
            return args[0].clone()  # as a conversion would; what follows writes into it
        return func(*args, **(kwargs or {}))


def rate_share(step: int, config: PosttrainConfig) -> float:
    """Share of the peak rates at a step, counted from 0."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return 1.0
    done = (step - config.warmup_steps) / max(1, config.num_steps - config.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * done))
