"""How is a model trained on, with its own objective or into an MDM?

For each step:
1. Draw rows of every task in the stated mixture.
2. `ar`: read them causally. `mdm`: noise the targets, and read them with the attention of the
   annealing schedule (annealing.py).
3. Take one optimizer step on the loss (objectives.py); the rates warm up linearly and then fall
   along a cosine to zero.

The optimizer is AdamW, or Muon for the matrices inside the blocks with AdamW for the rest (Jordan
et al. 2024; torch.optim.Muon), which reaches the same loss in about half the steps here.

Everything random comes from one seeded generator, so a run on one CPU thread count is repeatable.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.optim import AdamW, Muon, Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mechshift.errors import PosttrainingError
from mechshift.models import set_attention
from mechshift.posttraining.annealing import additive_mask, annealing_ratio, visible_positions
from mechshift.posttraining.corpus import Corpus, Mixture, build_corpus, rows_by_weight
from mechshift.posttraining.objectives import (
    mask_targets,
    noise_levels,
    weighted_cross_entropy,
)
from mechshift.progress import progress_bar

Objective = Literal["ar", "mdm"]
OptimizerName = Literal["adamw", "muon"]


@dataclass(frozen=True, kw_only=True)
class PosttrainConfig:
    """How to train; the defaults are those of the embedded pair's MDM."""

    objective: Objective = "mdm"
    """`mdm` makes a masked diffusion model, `ar` trains on with the model's own objective."""
    mixture: tuple[tuple[str, float, int], ...] = (
        ("ioi", 1.0, 8000),
        ("greater-than", 1.0, 8000),
        ("countdown-small", 13.0, 120000),
        ("infilling", 1.0, 8000),
    )
    """For each task its name, its weight in every batch, and how many distinct examples it has."""
    num_steps: int = 1000
    batch_size: int = 192
    optimizer: OptimizerName = "muon"
    """`muon` for the matrices inside the blocks and AdamW for the rest, or `adamw` for all."""
    learning_rate: float = 3e-4
    """Of what AdamW updates."""
    muon_learning_rate: float = 0.02
    """Of what Muon updates."""
    warmup_steps: int = 100
    annealing_steps: int = 300
    """Steps over which attention opens up; only for `mdm`. 0 opens it at once."""
    weight_decay: float = 0.01
    max_gradient_norm: float = 1.0
    seed: int = 0
    log_every: int = 50
    """Steps between lines of `training_log.jsonl`."""

    def __post_init__(self) -> None:
        for name, value, known in (
            ("objective", self.objective, get_args(Objective)),
            ("optimizer", self.optimizer, get_args(OptimizerName)),
        ):
            if value not in known:
                raise PosttrainingError(f"no {name} '{value}'; known are {', '.join(known)}.")
        rates = (self.learning_rate, self.muon_learning_rate)
        if min(self.num_steps, self.batch_size, self.log_every) < 1 or min(rates) <= 0:
            raise PosttrainingError(
                "steps, batch size and learning rates must be positive, not"
                f" {self.num_steps}, {self.batch_size} and {rates}."
            )


def train(
    module: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    config: PosttrainConfig,
    *,
    log_file: Path | None = None,
    quiet: bool = False,
) -> None:
    """Trains `module` in place and leaves its config saying how it attends.

    Args:
        log_file: JSON lines of step, mean loss [nats per target token], share of the peak rates
            and, for `mdm`, the probability that a later position is visible.

    Raises:
        PosttrainingError: the tokenizer has no mask token, or the loss or a weight is not finite.
    """
    if config.objective == "mdm" and tokenizer.mask_token_id is None:
        raise PosttrainingError(
            "the tokenizer has no mask token; set one (tokenizer.mask_token) before post-training."
        )
    generator = torch.Generator().manual_seed(config.seed)
    mixture = _mixture(tokenizer, config, quiet)
    optimizers = _optimizers(module, config)
    schedules = [LambdaLR(o, lambda step: _rate_share(step, config)) for o in optimizers]
    module.train()
    set_attention(module, "causal" if config.objective == "ar" else "full")
    losses: list[float] = []
    with progress_bar(f"train ({config.objective})", config.num_steps, quiet=quiet) as advance:
        for step in range(config.num_steps):
            losses.append(
                _step(module, tokenizer, config, mixture.draw(generator), step, generator)
            )
            torch.nn.utils.clip_grad_norm_(module.parameters(), config.max_gradient_norm)
            for optimizer, schedule in zip(optimizers, schedules, strict=True):
                optimizer.step()
                optimizer.zero_grad()
                schedule.step()
            advance(1)
            if (step + 1) % config.log_every == 0 or step + 1 == config.num_steps:
                _log(log_file, step, losses, config)
                losses = []
    _check_finite(module, config)
    module.eval()


_CALMER = (
    "lower the learning rates ({config.learning_rate} and {config.muon_learning_rate}) or lengthen"
    " the warm-up ({config.warmup_steps} steps)."
)


def _check_finite(module: PreTrainedModel, config: PosttrainConfig) -> None:
    """Refuse weights that the last update, whose loss nobody has seen, has spoilt."""
    for name, parameter in module.named_parameters():
        if not parameter.isfinite().all():
            raise PosttrainingError(
                f"the weights {name} are not finite after the last step;"
                f" {_CALMER.format(config=config)}"
            )


def _optimizers(module: PreTrainedModel, config: PosttrainConfig) -> list[Optimizer]:
    named = list(module.named_parameters())
    matrices = [
        parameter
        for name, parameter in named
        if config.optimizer == "muon" and parameter.ndim == 2 and ".layers." in name
    ]
    inside = {id(parameter) for parameter in matrices}
    rest = [parameter for _, parameter in named if id(parameter) not in inside]
    adamw = AdamW(
        rest, lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=config.weight_decay
    )
    if not matrices:
        return [adamw]
    muon = Muon(matrices, lr=config.muon_learning_rate, weight_decay=config.weight_decay)
    return [muon, adamw]


def _mixture(tokenizer: PreTrainedTokenizerBase, config: PosttrainConfig, quiet: bool) -> Mixture:
    corpora: list[Corpus] = []
    with progress_bar("make examples", len(config.mixture), quiet=quiet) as advance:
        for name, _, num_examples in config.mixture:
            corpora.append(
                build_corpus(
                    name,
                    tokenizer,
                    "arm" if config.objective == "ar" else "mdm",
                    num_examples=num_examples,
                    seed=config.seed,
                )
            )
            advance(1)
    weights = [weight for _, weight, _ in config.mixture]
    return Mixture(corpora=tuple(corpora), rows=rows_by_weight(weights, config.batch_size))


def _step(
    module: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    config: PosttrainConfig,
    parts: list[Corpus],
    step: int,
    generator: torch.Generator,
) -> float:
    """Accumulates the gradient of one step over its parts and returns the loss."""
    num_targets = sum(int(part.is_target.sum()) for part in parts)
    visible = _visible_now(config, parts, step, generator)
    total = 0.0
    for part in parts:
        if config.objective == "ar":
            logits = module(input_ids=part.ids, attention_mask=part.present).logits
            weights = part.is_target.float()
        else:
            logits, weights = _denoise(module, tokenizer, part, visible, generator)
        loss = weighted_cross_entropy(logits, part.ids, weights, num_targets=num_targets)
        loss.backward()
        total += loss.item()
    if not math.isfinite(total):
        raise PosttrainingError(
            f"the loss is {total} at step {step + 1}; {_CALMER.format(config=config)}"
        )
    return total


def _visible_now(
    config: PosttrainConfig, parts: list[Corpus], step: int, generator: torch.Generator
) -> Tensor | None:
    """The step's one draw of visible positions, as wide as its widest part; None once all are."""
    ratio = annealing_ratio(step, config.annealing_steps)
    if config.objective == "ar" or ratio == 1.0:
        return None
    return visible_positions(ratio, max(part.ids.shape[1] for part in parts), generator)


def _denoise(
    module: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    part: Corpus,
    visible: Tensor | None,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Logits over a noised batch, and each token's weight: 1/t where it was masked, else 0."""
    noise = noise_levels(len(part.ids), generator)
    ids, masked = mask_targets(
        part.ids, part.is_target, noise, mask_token_id=tokenizer.mask_token_id, generator=generator
    )
    attention = part.present
    if visible is not None:
        width = ids.shape[1]
        attention = additive_mask(visible[:width, :width], part.present, module.dtype)
    return module(input_ids=ids, attention_mask=attention).logits, masked / noise[:, None]


def _rate_share(step: int, config: PosttrainConfig) -> float:
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, config.num_steps - config.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * done))


def _log(log_file: Path | None, step: int, losses: list[float], config: PosttrainConfig) -> None:
    if log_file is None:
        return
    line = {
        "step": step + 1,
        "loss": round(sum(losses) / len(losses), 5),
        "rate_share": round(_rate_share(step, config), 5),
    }
    if config.objective == "mdm":
        line["mask_ratio"] = round(annealing_ratio(step, config.annealing_steps), 5)
    with log_file.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
