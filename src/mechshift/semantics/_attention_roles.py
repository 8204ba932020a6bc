"""Attention roles: heads that reliably attend where a known role says.

1. `role_shares` measures what share s of its attention a head gives to a role's places, and what
   share b uniform attention would give.
2. The excess (s - b) / (1 - b) is the share of what uniform attention gives to other places that
   the head gives to the role's places instead: 1 looks nowhere else, 0 is no better than uniform,
   negative avoids the places. s and b are means over samples (sequences or examples).
3. A head *holds* a role where the whole bootstrap interval of its excess lies at or above the
   threshold. A head may hold several roles, and usually holds none.

Attention shows where a head reads, not what the model uses of it: an ablation does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from mechshift.denoising import Canvas, CanvasBatch, batch_canvases
from mechshift.graph import Graph
from mechshift.models import LanguageModel
from mechshift.semantics.readouts import MIN_EXAMPLES
from mechshift.semantics.recorded_run import RecordedRun, clean_run
from mechshift.semantics.repeated_sequences import repeated_sequences, sequence_runs
from mechshift.semantics.role_shares import (
    RoleShares,
    join_shares,
    mask_to_clue_shares,
    name_mover_shares,
    sequence_role_shares,
)
from mechshift.semantics.settings import SemanticsSettings
from mechshift.statistics import Estimates, bootstrap_weights, centred_estimates

SEQUENCE_ROLES = ("previous_token", "next_token", "duplicate", "induction", "backward_induction")
TASK_ROLES = ("name_mover", "mask_to_clue")
ROLES = (*SEQUENCE_ROLES, *TASK_ROLES)


@dataclass(frozen=True, kw_only=True, eq=False)
class AttentionRoles:
    """Strength of each role in every head: how far it looks where the role says.

    NaN in a role without samples: `mask_to_clue` in an ARM, `name_mover` where no canvas mentions
    its target. Intervals are NaN, and no head holds a role, below 10 samples.
    """

    graph: Graph
    roles: tuple[str, ...]
    share: Estimates
    """[role, layer, head]: attention to the role's places, in [0, 1]."""
    uniform: Float[np.ndarray, "role layer"]
    """What uniform attention gives them, in [0, 1]."""
    excess: Estimates
    """[role, layer, head]: share beyond uniform, at most 1."""
    holds: Bool[np.ndarray, "role layer head"]
    """Whether the interval of `excess` lies at or above the threshold."""
    threshold: float
    num_samples: Int[np.ndarray, " role"]
    """Sequences, or examples, behind each role."""
    level: float

    def __post_init__(self) -> None:
        shape = len(self.roles), self.graph.num_layers, self.graph.num_heads
        shapes = {self.holds.shape, self.share.value.shape, self.excess.value.shape}
        assert shapes == {shape}, f"roles are of {shapes} roles, layers and heads, not {shape}"

    def heads_with(self, role: str) -> list[str]:
        """Names of the heads that hold a role, in graph order."""
        layers, heads = np.nonzero(self.holds[self.roles.index(role)])
        return [
            self.graph.source_name(self.graph.head_source(int(layer), int(head)))
            for layer, head in zip(layers, heads, strict=True)
        ]


def attention_roles(
    model: LanguageModel, canvases: Sequence[Canvas], settings: SemanticsSettings
) -> AttentionRoles:
    """Roles of every head, from one forward pass per batch of canvases and of random sequences.

    Raises:
        SemanticsError: the tokenizer has too few tokens for the sequences.
    """
    parts = [
        task_role_shares(clean_run(model, batch), batch)
        for batch in batch_canvases(model, canvases, settings.batch_size)
    ]
    joined = {role: join_shares(part[role] for part in parts) for role in TASK_ROLES}
    return roles_from_shares(model.graph(), habit_shares(model, settings) | joined, settings)


def habit_shares(model: LanguageModel, settings: SemanticsSettings) -> dict[str, RoleShares]:
    """Shares of the roles that are looked for on random sequences."""
    sequences = repeated_sequences(model, settings)
    parts: list[dict[str, RoleShares]] = []
    for index, run in enumerate(sequence_runs(model, sequences, settings.batch_size)):
        parts.append(sequence_role_shares(run, sequences, index * settings.batch_size))
    return {role: join_shares(part[role] for part in parts) for role in SEQUENCE_ROLES}


def task_role_shares(run: RecordedRun, batch: CanvasBatch) -> dict[str, RoleShares]:
    """Shares of the roles that are looked for on one batch of task canvases."""
    return {
        "name_mover": name_mover_shares(run, batch),
        "mask_to_clue": mask_to_clue_shares(run, batch),
    }


def roles_from_shares(
    graph: Graph, shares: Mapping[str, RoleShares], settings: SemanticsSettings
) -> AttentionRoles:
    """Means over samples, their intervals, and which heads hold which role."""
    measured = [_measure(shares[role], settings) for role in ROLES]
    excess = Estimates.stack([one.excess for one in measured], level=settings.level)
    return AttentionRoles(
        graph=graph,
        roles=ROLES,
        share=Estimates.stack([one.share for one in measured], level=settings.level),
        uniform=np.stack([one.uniform for one in measured]),
        excess=excess,
        holds=excess.low >= settings.role_threshold,  # false where there is no interval
        threshold=settings.role_threshold,
        num_samples=np.array([one.num_samples for one in measured]),
        level=settings.level,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _MeasuredRole:
    share: Estimates
    excess: Estimates
    uniform: Float[np.ndarray, " layer"]
    num_samples: int


def _measure(shares: RoleShares, settings: SemanticsSettings) -> _MeasuredRole:
    share, uniform, clusters = _sample_means(shares)
    count = len(share)
    if count == 0:
        nan = np.full(shares.share.shape[1:], np.nan)
        unknown = Estimates.from_rows(nan[None], level=settings.level)
        return _MeasuredRole(share=unknown, excess=unknown, uniform=nan[:, 0], num_samples=0)
    pool = np.full((1, count), 1 / count)
    weights = bootstrap_weights(clusters, settings.num_resamples, settings.seed)
    rows = np.concatenate([pool, weights])
    shares_by_row = np.tensordot(rows, share, axes=1)
    uniform_by_row = np.tensordot(rows, uniform, axes=1)
    # Where uniform attention has nowhere else to look, there is nothing to exceed.
    elsewhere = np.maximum(1 - uniform_by_row, np.finfo(float).tiny)[..., None]
    excess_by_row = (shares_by_row - uniform_by_row[..., None]) / elsewhere
    return _MeasuredRole(
        share=_estimates(shares_by_row, count, settings.level, (0.0, 1.0)),
        excess=_estimates(excess_by_row, count, settings.level, (-np.inf, 1.0)),
        uniform=uniform_by_row[0],
        num_samples=count,
    )


def _sample_means(
    shares: RoleShares,
) -> tuple[
    Float[np.ndarray, "sample layer head"],
    Float[np.ndarray, "sample layer"],
    Int[np.ndarray, " sample"],
]:
    """Shares and baselines, averaged within each sample: one example counts once; and clusters."""
    samples, first, row, counts = np.unique(
        shares.sample, return_index=True, return_inverse=True, return_counts=True
    )
    share = np.zeros((len(samples), *shares.share.shape[1:]))
    uniform = np.zeros((len(samples), *shares.uniform.shape[1:]))
    np.add.at(share, row, shares.share)
    np.add.at(uniform, row, shares.uniform)
    return share / counts[:, None, None], uniform / counts[:, None], shares.cluster[first]


def _estimates(
    rows: Float[np.ndarray, "row layer head"],
    count: int,
    level: float,
    bounds: tuple[float, float],
) -> Estimates:
    if count < MIN_EXAMPLES:
        return Estimates.from_rows(rows[:1], level=level)
    return centred_estimates(rows[0], rows[1:], level=level, bounds=bounds)
