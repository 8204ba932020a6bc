"""What of a run does the verdict on a task rest on?"""

from pathlib import Path

from mechshift.ablation import AblationComparison
from mechshift.artifacts import is_written
from mechshift.attribution import EdgeScores, source_scores
from mechshift.comparison import Comparison, ComparisonSettings, DirectionOfFlow, direction_of_flow
from mechshift.run.circuit_reporting import other_minus_own
from mechshift.run.store import (
    comparison_folder,
    control_folder,
    flow_folder,
    read_control_answers,
    read_control_shift,
    read_flow,
    read_scores,
    scored_members,
    scores_folder,
)
from mechshift.semantics import (
    ComponentMagnitudes,
    SemanticsSettings,
    concentration_shift,
    resample_magnitudes,
)
from mechshift.statistics import Estimate, proportion_interval
from mechshift.verdict import ControlEvidence, Evidence


def task_evidence(
    run: Path,
    task: str,
    comparison: Comparison,
    direction: DirectionOfFlow | None,
    ablation: AblationComparison | None,
) -> Evidence:
    """Everything that was measured on one task and that a rule looks at.

    Raises:
        ArtifactError: an earlier stage is missing or damaged.
        EvaluationError: faithfulness is undefined.
        SemanticsError: no component is attributed anything.
    """
    controls = [
        name
        for name in scored_members(run, task)[2:]
        if is_written(control_folder(run, task, name))
        and is_written(comparison_folder(run, task, name))
    ]
    settings = comparison.settings
    arm, mdm = (_magnitudes(run, task, name, settings) for name in ("arm", "mdm"))
    return Evidence(
        comparison=comparison,
        concentration=concentration_shift(arm, mdm, level=settings.level),
        direction=direction,
        inheritance=other_minus_own(run, task, "mdm", comparison),
        ablation=ablation,
        controls=tuple(_control(run, task, name, arm, settings) for name in controls),
    )


def _control(
    run: Path, task: str, name: str, arm: ComponentMagnitudes, settings: ComparisonSettings
) -> ControlEvidence:
    own = _magnitudes(run, task, name, settings)
    correct = read_control_answers(run, task, name)
    accuracy = proportion_interval(int(correct.sum()), len(correct), settings.level)
    return ControlEvidence(
        name=name,
        accuracy=Estimate(value=float(correct.mean()), interval=accuracy),
        shift=read_control_shift(run, task, name),
        concentration=concentration_shift(arm, own, level=settings.level),
        direction=_direction(run, task, name, settings),
    )


def _direction(
    run: Path, task: str, member: str, settings: ComparisonSettings
) -> DirectionOfFlow | None:
    folders = [flow_folder(run, task, name) for name in ("arm", member)]
    if not all(map(is_written, folders)):
        return None
    arm, other = map(read_flow, folders)
    return direction_of_flow(arm, other, settings)


def _magnitudes(
    run: Path, task: str, member: str, settings: ComparisonSettings
) -> ComponentMagnitudes:
    return component_magnitudes(read_scores(scores_folder(run, task, member)), settings)


def component_magnitudes(scores: EdgeScores, settings: ComparisonSettings) -> ComponentMagnitudes:
    """Of heads and MLPs; `input`, which every circuit has, is left out."""
    resampling = SemanticsSettings(num_resamples=settings.num_resamples, seed=settings.seed)
    return resample_magnitudes(source_scores(scores)[:, 1:], resampling)
