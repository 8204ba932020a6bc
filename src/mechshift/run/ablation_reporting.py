"""What of a run's ablations stands in the report?"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mechshift.ablation import (
    AblationRun,
    AblationSettings,
    compare_ablations,
    compare_single_ablations,
    rank_agreement,
)
from mechshift.artifacts import is_written, read_manifest
from mechshift.attribution import source_scores
from mechshift.models import Kind
from mechshift.report import OwnAnswers, TaskAblations
from mechshift.run.store import (
    ABLATION,
    KINDS,
    ablation_folder,
    read_ablations,
    read_scores,
    scores_folder,
)
from mechshift.statistics import Estimate


def reported_ablations(run: Path, task: str) -> TaskAblations | None:
    """What ablations cost both models, and the differences; None where not both were ablated.

    Raises:
        ArtifactError: damaged, or the scores are missing.
        AblationError: the models were not ablated alike.
    """
    folders = [ablation_folder(run, task, kind) for kind in KINDS]
    if not all(map(is_written, folders)):
        return None
    settings = stored_settings(read_manifest(folders[0]).config[ABLATION])
    arm, mdm = (read_ablations(run, task, kind) for kind in KINDS)
    return TaskAblations(
        structures=compare_ablations(arm.table, mdm.table, settings),
        single=compare_single_ablations(arm.single, mdm.single, settings),
        arm_agreement=_agreement(run, task, "arm", arm, settings),
        mdm_agreement=_agreement(run, task, "mdm", mdm, settings),
        arm_answers=_own_answers(arm, settings),
        mdm_answers=_own_answers(mdm, settings),
    )


def stored_settings(config: Mapping[str, Any]) -> AblationSettings:
    """The settings that a manifest holds; JSON has no tuples."""
    tuples = {name: tuple(config[name]) for name in ("kinds", "replacements")}
    return AblationSettings(**{**config, **tuples})


def _agreement(
    run: Path, task: str, kind: Kind, ablated: AblationRun, settings: AblationSettings
) -> Estimate:
    """Ablations are of held-out examples, scores of those for discovery."""
    scores = source_scores(read_scores(scores_folder(run, task, kind)))
    return rank_agreement(ablated.single, scores[:, 1:], settings, same_examples=False)


def _own_answers(ablated: AblationRun, settings: AblationSettings) -> OwnAnswers | None:
    decoded = ablated.decoded
    if decoded is None:
        return None
    return OwnAnswers(
        plans=tuple(decoded.labels.rows_by_group()),
        replacements=decoded.replacements,
        accuracy=decoded.accuracy(settings),
    )
