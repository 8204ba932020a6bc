"""Batches: what a model reads in a training step, and what it must predict.

For each step:
1. Draw rows of every source in the stated mixture.
2. `ar`: read them causally, and ask for every target token.
3. `mdm`: draw which later positions are visible, once for the whole step (annealing.py); noise the
   targets (noising.py), and ask for what was masked.

All is drawn on the CPU from one generator, the same in every process, and only then shared out: so
neither the number of processes nor that of rows in a pass changes what a step is.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mechshift.posttraining.annealing import annealing_ratio, visible_positions
from mechshift.posttraining.block_diffusion import (
    block_noise_levels,
    predicted_from,
    visible_in_both,
)
from mechshift.posttraining.config import PosttrainConfig
from mechshift.posttraining.corpus import Mixture
from mechshift.posttraining.corpus_rows import Corpus
from mechshift.posttraining.noising import (
    context_weights,
    inverse_noise,
    mask_targets,
    noise_levels,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Rows that are read in one pass, and the tokens that they are asked for."""

    ids: Int[Tensor, "row position"]
    """What is read; in block diffusion the noised rows, then the clean ones beside them."""
    present: Int[Tensor, "row position"]
    """1 for tokens, 0 for padding."""
    position_ids: Int[Tensor, " position"]
    visible: Bool[Tensor, "position position"] | None
    """Which keys (last axis) each query sees, besides padding; None: as the model attends."""
    tokens: Int[Tensor, "row token"]
    """The clean tokens."""
    weights: Float[Tensor, "row token"]
    """What each counts in the loss; 0: it is not asked for."""
    predicted_from: Int[Tensor, " token"]
    """The position whose logits predict each token."""
    num_targets: int
    """What this batch adds to the number by which the loss is divided."""

    def rows(self, chosen: Int[Tensor, " chosen"]) -> "Batch":
        """Some of the rows, with the number of targets of all."""
        return replace(
            self,
            ids=self.ids[chosen],
            present=self.present[chosen],
            tokens=self.tokens[chosen],
            weights=self.weights[chosen],
        )


def draw_step(
    mixture: Mixture,
    config: PosttrainConfig,
    *,
    step: int,
    mask_token_id: int | None,
    generator: torch.Generator,
) -> list[Batch]:
    """The batches of one training step, one for each source.

    Args:
        mixture: what rows are drawn from.
        config: the recipe.
        step: counted from 0.
        mask_token_id: None only where nothing is masked (`ar`).
        generator: of everything random, on the CPU.
    """
    parts = mixture.draw(generator)
    if mask_token_id is None or config.objective == "ar":
        return [_causal_batch(part, config) for part in parts]
    width = max(part.ids.shape[1] for part in parts)
    ratio = annealing_ratio(step, config.annealing_steps)
    opened = None if ratio == 1.0 else visible_positions(ratio, width, generator)
    make = _block_batch if config.loss == "block" else _denoising_batch
    return [make(part, config, mask_token_id, opened, generator) for part in parts]


def _asked_for(part: Corpus, config: PosttrainConfig) -> Bool[Tensor, "row position"]:
    targets = part.is_target if config.learn_from == "response" else part.present.bool().clone()
    if targets[:, 0].any():
        targets = targets.clone()
        targets[:, 0] = False  # no position predicts it where logits are shifted
    return targets


def _causal_batch(part: Corpus, config: PosttrainConfig) -> Batch:
    targets = _asked_for(part, config)
    width = part.ids.shape[1]
    return Batch(
        ids=part.ids,
        present=part.present,
        position_ids=torch.arange(width),
        visible=None,
        tokens=part.ids,
        weights=targets.float(),
        predicted_from=_single_layout(width, shift=True),
        num_targets=int(targets.sum()),
    )


def _denoising_batch(
    part: Corpus,
    config: PosttrainConfig,
    mask_token_id: int,
    opened: Bool[Tensor, "query key"] | None,
    generator: torch.Generator,
) -> Batch:
    targets = _asked_for(part, config)
    noise = noise_levels(len(part.ids), generator, min_noise=config.min_noise)[:, None]
    noised, masked = mask_targets(
        part.ids, targets, noise, mask_token_id=mask_token_id, generator=generator
    )
    if config.loss == "cart":
        weights = context_weights(masked, part.present, p=config.cart_p)
    else:
        weights = inverse_noise(masked, noise)
    width = part.ids.shape[1]
    return Batch(
        ids=noised,
        present=part.present,
        position_ids=torch.arange(width),
        visible=None if opened is None else opened[:width, :width],
        tokens=part.ids,
        weights=weights,
        predicted_from=_single_layout(width, shift=config.shift),
        num_targets=_normaliser(targets, masked, config),
    )


def _block_batch(
    part: Corpus,
    config: PosttrainConfig,
    mask_token_id: int,
    opened: Bool[Tensor, "query key"] | None,
    generator: torch.Generator,
) -> Batch:
    targets = _asked_for(part, config)
    num_rows, width = part.ids.shape
    noise = block_noise_levels(
        num_rows, width, config.block_length, generator, min_noise=config.min_noise
    )
    noised, masked = mask_targets(
        part.ids, targets, noise, mask_token_id=mask_token_id, generator=generator
    )
    visible = visible_in_both(width, config.block_length)
    if opened is not None:
        # Later positions lie in one's own block only, so nothing else is closed by this.
        visible = visible & opened[:width, :width].repeat(2, 2)
    return Batch(
        ids=torch.cat([noised, part.ids], dim=1),
        present=part.present.repeat(1, 2),
        position_ids=torch.arange(width).repeat(2),
        visible=visible,
        tokens=part.ids,
        weights=inverse_noise(masked, noise),
        predicted_from=predicted_from(width, config.block_length, shift=config.shift),
        num_targets=_normaliser(targets, masked, config),
    )


def _single_layout(width: int, *, shift: bool) -> Int[Tensor, " token"]:
    position = torch.arange(width)
    return (position - 1).clamp(min=0) if shift else position


def _normaliser(
    targets: Bool[Tensor, "row position"],
    masked: Bool[Tensor, "row position"],
    config: PosttrainConfig,
) -> int:
    return int((targets if config.normalise_by == "targets" else masked).sum())
