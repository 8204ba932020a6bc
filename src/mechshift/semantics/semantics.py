"""Semantics of one model on a task, and the shift between two models.

`analyse_semantics` reads one model; `semantics_shift` compares two that were read on the same
examples, on the same bootstrap resamples.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from mechshift.attribution import expert_attribution, path_points
from mechshift.denoising import Canvas, batch_canvases
from mechshift.errors import SemanticsError
from mechshift.flat_records import added_later
from mechshift.models import LanguageModel
from mechshift.semantics._alignment import (
    Alignment,
    AlignmentShift,
    ScoredLens,
    alignment,
    alignment_shift,
)
from mechshift.semantics._attention_roles import (
    TASK_ROLES,
    AttentionRoles,
    habit_shares,
    roles_from_shares,
    task_role_shares,
)
from mechshift.semantics._concentration import (
    Concentration,
    ConcentrationShift,
    concentration,
    concentration_shift,
    resample_magnitudes,
)
from mechshift.semantics._direct_logit_attribution import (
    DirectLogitAttribution,
    direct_logit_attribution,
)
from mechshift.semantics._logit_lens import LogitLens, logit_lens
from mechshift.semantics.experts import ExpertShares, expert_shares
from mechshift.semantics.neurons import Neurons, describe_neurons
from mechshift.semantics.readouts import clusters_of, join_readouts
from mechshift.semantics.recorded_run import clean_run
from mechshift.semantics.role_shares import join_shares
from mechshift.semantics.settings import SemanticsSettings


@dataclass(frozen=True, kw_only=True, eq=False)
class Semantics:
    """Readings of one model's components on the examples of one task."""

    model: str
    kind: str
    """`arm` or `mdm`."""
    settings: SemanticsSettings
    node_scores: Float[np.ndarray, "example source"]
    """As given."""
    lens: LogitLens
    direct: DirectLogitAttribution
    concentration: Concentration
    """Of |mean node score| over heads and MLPs; `input`, which every circuit has, is left out."""
    alignment: Alignment
    roles: AttentionRoles
    neurons: Neurons
    experts: ExpertShares | None = added_later()
    """Of the mixtures; None where they were not asked for."""

    def __post_init__(self) -> None:
        graph, num = self.lens.graph, len(self.lens.readouts.example)
        scored = len(clusters_of(self.lens.readouts)), graph.num_sources
        assert self.node_scores.shape == scored, (
            f"node scores are of {self.node_scores.shape} examples and nodes, not {scored}"
        )
        shapes = self.lens.components.rank.shape, self.lens.levels.rank.shape
        fitting = (num, graph.num_sources), (num, graph.num_layers + 1)
        assert shapes == fitting, f"lenses are of {shapes} readouts and places, not {fitting}"

    @property
    def scored_lens(self) -> ScoredLens:
        """What a shift of alignment is computed from."""
        return ScoredLens(lens=self.lens, scores=self.node_scores)


@dataclass(frozen=True, kw_only=True, eq=False)
class SemanticsShift:
    """Differences of two models' components on the same examples, MDM minus ARM."""

    concentration: ConcentrationShift
    alignment: AlignmentShift


def analyse_semantics(
    model: LanguageModel,
    canvases: Sequence[Canvas],
    node_scores: Float[np.ndarray, "example source"],
    settings: SemanticsSettings,
    *,
    metric: str,
    experts: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Semantics:
    """Lenses, direct attribution, concentration, alignment, roles and neurons of one model.

    For each batch of canvases: one clean forward pass for lenses, direct attribution and the roles
    of the task, and what `describe_neurons` needs (`ig_steps` forward passes with a backward pass
    for each denoising step, and three forward passes). Besides, one forward pass for each batch of
    random sequences, and the unembedding of each component's output, twice for heads.

    Args:
        model: read through hooks that are gone afterwards; nothing of it changes.
        canvases: all canvases of consecutive examples; the first of them is row 0 of the scores.
        node_scores: attribution of each node in graph order, summed over steps, for example
            `node_attribution(...).values.sum(axis=1)`.
        settings: batch size, sizes of what is kept, threshold, resamples and seed.
        metric: a name in `denoising.METRICS`, by which neurons and experts are attributed.
        experts: attribute the experts of the mixtures too, which takes `ig_steps` forward passes
            with a backward pass for each denoising step, and four forward passes.
        progress: called with the number of canvases that each batch has finished; every canvas
            counts twice, once when it is read and once when its neurons are attributed, and once
            more when its experts are.

    Raises:
        SemanticsError: no canvases, scores of other examples or nodes, no attribution at all, or a
            vocabulary too small for the random sequences.
        AttributionError: see `describe_neurons`; experts of a model that has none.
        ModelError: random sequences that are longer than the model can read.
    """
    lenses, direct, roles = [], [], []
    for batch in batch_canvases(model, canvases, settings.batch_size):
        run = clean_run(model, batch)
        lenses.append(logit_lens(run, batch, settings.num_top_tokens))
        direct.append(direct_logit_attribution(run, batch))
        roles.append(task_role_shares(run, batch))
        if progress is not None:
            progress(batch.num_rows)
    scored = ScoredLens(lens=join_readouts(lenses), scores=node_scores)
    shares = {role: join_shares(part[role] for part in roles) for role in TASK_ROLES}
    return Semantics(
        model=model.name,
        kind=model.kind,
        settings=settings,
        node_scores=node_scores,
        lens=scored.lens,
        direct=join_readouts(direct),
        concentration=concentration(
            resample_magnitudes(node_scores[:, 1:], clusters_of(scored.lens.readouts), settings),
            level=settings.level,
        ),
        alignment=alignment(scored, settings),
        roles=roles_from_shares(model.graph(), habit_shares(model, settings) | shares, settings),
        neurons=describe_neurons(model, canvases, settings, metric=metric, progress=progress),
        experts=_experts(model, canvases, settings, metric, progress) if experts else None,
    )


def _experts(
    model: LanguageModel,
    canvases: Sequence[Canvas],
    settings: SemanticsSettings,
    metric: str,
    progress: Callable[[int], None] | None,
) -> ExpertShares:
    scores = expert_attribution(
        model,
        canvases,
        metric=metric,
        points=path_points("left", settings.ig_steps),
        batch_size=settings.batch_size,
        progress=progress,
    )
    return expert_shares(scores, settings)


def semantics_shift(arm: Semantics, mdm: Semantics) -> SemanticsShift:
    """Both models' concentration and alignment, and their paired differences.

    Raises:
        SemanticsError: the models differ in examples, components, vocabulary or settings.
    """
    _check_same_settings(arm, mdm)
    settings = arm.settings
    return SemanticsShift(
        concentration=concentration_shift(
            *(
                resample_magnitudes(
                    one.node_scores[:, 1:], clusters_of(one.lens.readouts), settings
                )
                for one in (arm, mdm)
            ),
            level=settings.level,
        ),
        alignment=alignment_shift(arm.scored_lens, mdm.scored_lens, settings),
    )


def _check_same_settings(arm: Semantics, mdm: Semantics) -> None:
    # A batch that fits one model's memory need not fit the other's, and changes no result.
    if arm.settings != replace(mdm.settings, batch_size=arm.settings.batch_size):
        raise SemanticsError(
            f"'{arm.model}' and '{mdm.model}' were analysed with different settings; a shift needs"
            " the same resamples of both."
        )
    if not np.array_equal(
        np.unique(arm.lens.readouts.example), np.unique(mdm.lens.readouts.example)
    ):
        raise SemanticsError(
            f"'{arm.model}' and '{mdm.model}' were analysed on different examples; a shift needs"
            " the same ones in the same order."
        )
