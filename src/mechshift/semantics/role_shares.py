"""Shares of attention that each head gives to the places that a role names.

For a role, some queries have places (keys) where a head with that role would look. A head's share
is its attention to those places, mean over such queries, in [0, 1]; the baseline is the same for
uniform attention over the keys that the query can see. On random sequences the places are those of
`repeated_sequences`. On task canvases, read clean:

    name_mover     from the readout to every earlier or later mention of the target token, counted
                   only where what the head reads there would be copied to the output: the target
                   is among the first of the lens (own norm) of those mentions' values, weighted by
                   attention, times the head's slice of the output projection
    mask_to_clue   from every masked target position to the tokens that corruption changes, which
                   are the ones that decide the answer; MDM only, an ARM has no masks

"Among the first" is the top 5, the limit of Wang et al. 2022 (arXiv:2211.00593, appendix on copy
scores; there of W_OV on an embedding), but never more than 1 % of a small vocabulary.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mechshift.attribution.source_differences import write_heads
from mechshift.denoising import CanvasBatch
from mechshift.models import LanguageModel
from mechshift.semantics._logit_lens import lens_logits, pieces, target_rank
from mechshift.semantics.attention_patterns import attention_pattern
from mechshift.semantics.recorded_run import RecordedRun
from mechshift.semantics.repeated_sequences import (
    RepeatedSequences,
    sequence_places,
    to_device,
)

COPIED_RANK = 5
"""A target at this rank or above in a head's lens counts as copied."""

COPIED_SHARE = 0.01
"""... and within this share of the vocabulary."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RoleShares:
    """Attention to the places of one role, wherever there are such places."""

    sample: Int[np.ndarray, " unit"]
    """Sequence, or pool row, that each measurement belongs to."""
    cluster: Int[np.ndarray, " unit"]
    """Number of the pool row's cluster; the sequence itself."""
    share: Float[np.ndarray, "unit layer head"]
    uniform: Float[np.ndarray, "unit layer"]
    """Share that uniform attention gives."""


def sequence_role_shares(
    run: RecordedRun, sequences: RepeatedSequences, first: int
) -> dict[str, RoleShares]:
    """Shares of every role of `repeated_sequences` in one run of some of the sequences.

    Args:
        run: of consecutive sequences.
        sequences: all of them.
        first: the index of the run's first.
    """
    rows = len(run.attention_mask)
    places = {
        role: to_device(one, run).expand(rows, -1, -1)
        for role, one in sequence_places(sequences).items()
    }
    sequence = np.arange(first, first + rows)
    return _shares(run, places, sequence, sequence)


def mask_to_clue_shares(run: RecordedRun, batch: CanvasBatch) -> RoleShares:
    """Shares from masked targets to the tokens that corruption changes, for each canvas."""
    mask = run.model.mask_token_id
    masked = batch.clean_ids == (-1 if mask is None or run.model.kind == "arm" else mask)
    clue = (batch.clean_ids != batch.corrupted_ids) & batch.attention_mask.bool()
    places = masked[:, :, None] & clue[:, None, :]
    return _shares(run, {"mask_to_clue": places}, batch.example, batch.cluster)["mask_to_clue"]


@torch.no_grad()
def name_mover_shares(run: RecordedRun, batch: CanvasBatch) -> RoleShares:
    """Shares from readouts to mentions of the target that are copied, for each readout."""
    row, position = batch.readout_row, batch.readout_position
    mentions = batch.clean_ids[row] == batch.target_ids[:, None]
    mentions = mentions & batch.attention_mask[row].bool()
    share, uniform = [], []
    for layer in range(len(run.model.parts.layers)):
        pattern = attention_pattern(run, layer)
        looked = pattern.weights[row, :, position] * mentions[:, None]
        copied = _copies(run, batch, layer, looked)
        share.append(looked.sum(dim=-1) * copied)
        uniform.append((pattern.uniform[row, position] * mentions).sum(dim=-1))
    kept = mentions.any(dim=-1).cpu().numpy()
    rows = row.cpu().numpy()[kept]
    return RoleShares(
        sample=batch.example[rows],
        cluster=batch.cluster[rows],
        share=_stacked(share)[kept],
        uniform=_stacked(uniform)[kept],
    )


def join_shares(parts: Iterable[RoleShares]) -> RoleShares:
    """The measurements of several runs."""
    found = list(parts)
    return RoleShares(
        sample=np.concatenate([part.sample for part in found]),
        cluster=np.concatenate([part.cluster for part in found]),
        share=np.concatenate([part.share for part in found]),
        uniform=np.concatenate([part.uniform for part in found]),
    )


@torch.no_grad()
def _shares(
    run: RecordedRun,
    places: dict[str, Bool[Tensor, "row query key"]],
    sample: Int[np.ndarray, " row"],
    cluster: Int[np.ndarray, " row"],
) -> dict[str, RoleShares]:
    """Shares of each row, for rows in which some query has a place."""
    measured: dict[str, tuple[list[Tensor], list[Tensor]]] = {role: ([], []) for role in places}
    for layer in range(len(run.model.parts.layers)):
        pattern = attention_pattern(run, layer)
        for role, (share, uniform) in measured.items():
            share.append(_attended(pattern.weights, places[role]))
            uniform.append(_attended(pattern.uniform[:, None], places[role])[:, 0])
    found = {}
    for role, (share, uniform) in measured.items():
        kept = places[role].any(dim=(1, 2)).cpu().numpy()
        found[role] = RoleShares(
            sample=sample[kept],
            cluster=cluster[kept],
            share=_stacked(share)[kept],
            uniform=_stacked(uniform)[kept],
        )
    return found


def _attended(
    weights: Float[Tensor, "row head query key"], places: Bool[Tensor, "row query key"]
) -> Float[Tensor, "row head"]:
    """Attention to the places, mean over the queries that have any; 0 where a row has none."""
    count = places.any(dim=-1).sum(dim=-1).clamp(min=1)
    return (weights * places[:, None]).sum(dim=(2, 3)) / count[:, None]


def _copies(
    run: RecordedRun, batch: CanvasBatch, layer: int, looked: Float[Tensor, "readout head key"]
) -> Bool[Tensor, "readout head"]:
    """Whether what each head reads at the mentions puts the target first in its lens."""
    parts = run.model.parts
    value = run.record.layers[layer].value.unflatten(-1, (parts.num_heads, -1))
    z = torch.einsum("rhk,rkhd->rhd", looked, value[batch.readout_row].to(looked.dtype))
    # The divisor of a norm behind the heads is left out: a lens reads directions.
    written = write_heads(z.flatten(1)[None], parts.layers[layer], parts.num_heads)[0]
    rows = written.transpose(0, 1).flatten(0, 1)
    targets = batch.target_ids.repeat_interleave(parts.num_heads)
    rank = torch.cat(
        [
            target_rank(lens_logits(run.model, rows[piece]), targets[piece])
            for piece in pieces(len(rows), run.model.vocab_size)
        ]
    )
    return (rank <= _copied_rank(run.model)).unflatten(0, (-1, parts.num_heads))


def _copied_rank(model: LanguageModel) -> int:
    return min(COPIED_RANK, max(1, int(COPIED_SHARE * model.vocab_size)))


def _stacked(layers: list[Tensor]) -> Float[np.ndarray, "unit layer ..."]:
    return torch.stack(layers, dim=1).cpu().double().numpy()
