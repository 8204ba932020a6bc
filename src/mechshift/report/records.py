"""What a report is made from: plain records that the experiment fills in."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from mechshift.ablation import AblationComparison, AblationSettings, SingleEffects
from mechshift.comparison import Comparison, DirectionOfFlow, NumStepsSweep
from mechshift.errors import ReportError
from mechshift.evaluation import AblationName
from mechshift.figures import FaithfulnessSeries, MetricSample
from mechshift.semantics import (
    AttentionRoles,
    ConcentrationShift,
    Explanations,
    LensProfile,
    Neurons,
    SemanticsSettings,
    SemanticsShift,
)
from mechshift.statistics import Estimate, Estimates, proportion_interval
from mechshift.verdict import Evidence


@dataclass(frozen=True, kw_only=True)
class PoolSummary:
    """How the common-correct pool of one task came about."""

    num_candidates: int
    """Examples that both models were asked."""

    num_arm_correct: int
    num_mdm_correct: int
    num_both_correct: int

    pool_size: int
    """Examples that were scored."""

    dropped: Mapping[str, int] = field(default_factory=dict)
    """Further reasons why examples were left out, and how many each removed."""

    level: float = 0.95

    def __post_init__(self) -> None:
        correct = (self.num_arm_correct, self.num_mdm_correct)
        if self.num_candidates < 1 or not (
            0 <= self.pool_size <= self.num_both_correct <= min(correct)
            and max(correct) <= self.num_candidates
        ):
            raise ReportError(
                f"a pool of {self.pool_size} from {self.num_both_correct} examples that both"
                f" models got right, {self.num_arm_correct} (ARM) and {self.num_mdm_correct} (MDM)"
                f" of {self.num_candidates}, does not add up."
            )

    @property
    def arm_accuracy(self) -> Estimate:
        return self._share(self.num_arm_correct)

    @property
    def mdm_accuracy(self) -> Estimate:
        return self._share(self.num_mdm_correct)

    def _share(self, num_correct: int) -> Estimate:
        interval = proportion_interval(num_correct, self.num_candidates, self.level)
        return Estimate(value=num_correct / self.num_candidates, interval=interval)


@dataclass(frozen=True, kw_only=True)
class BaselineComparison:
    """A model's own circuit against circuits of its size that know less."""

    model: Literal["arm", "mdm"]
    advantage: Estimate
    """Faithfulness of the own circuit minus the mean of random ones that match it by layers and
    edge types, at the circuit size."""

    num_draws: int
    num_forced: int
    """Edges that every matched draw must have, because the circuit holds all of their kind."""

    num_live_by_activation: int
    """Of as many edges by activation, those on a path from input to logits."""


@dataclass(frozen=True, kw_only=True)
class OtherCircuit:
    """A model on the other model's circuit against itself on its own."""

    model: Literal["arm", "mdm"]
    difference: Estimate
    """Faithfulness on the other's circuit minus that on its own, at the circuit size; on the same
    resamples."""


@dataclass(frozen=True, kw_only=True)
class ModelSemantics:
    """What the components of one model do."""

    lens: LensProfile
    roles: AttentionRoles
    neurons: Neurons
    explanations: Explanations | None = None
    """Sentences on some of the neurons, written by a model and so not to be trusted; None if none
    were asked for."""


@dataclass(frozen=True, kw_only=True)
class TaskSemantics:
    """What the components of both models do, and how that differs."""

    arm: ModelSemantics
    mdm: ModelSemantics
    shift: SemanticsShift
    tokens: Mapping[int, str]
    """The text of every token that the neurons name; from the tokenizer, so not to be trusted."""


@dataclass(frozen=True, kw_only=True)
class OwnAnswers:
    """How often the answers that one model writes itself are right under ablations."""

    plans: tuple[str, ...]
    """Structures and pooled controls."""
    replacements: tuple[str, ...]
    accuracy: Estimates
    """[plan, replacement], in [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class TaskAblations:
    """What both models lose without some structures, and without single components."""

    structures: AblationComparison
    single: SingleEffects
    arm_agreement: Estimate
    """Rank correlation of single ablations with attribution, in [-1, 1]."""
    mdm_agreement: Estimate
    arm_answers: OwnAnswers | None = None
    """None if the models did not write their own answers."""
    mdm_answers: OwnAnswers | None = None


@dataclass(frozen=True, kw_only=True)
class TaskReport:
    """Everything the report says about one task."""

    comparison: Comparison
    pool: PoolSummary
    faithfulness: tuple[FaithfulnessSeries, ...]
    """Own, cross-model and baseline curves, in any order; empty if none were measured."""

    other_circuits: tuple[OtherCircuit, ...] = ()
    """One for each model that ran both circuits at the circuit size."""

    baselines: tuple[BaselineComparison, ...] = ()
    """One for each model that ran random circuits."""

    metric_samples: tuple[MetricSample, ...] = ()
    """Metrics of single examples at the circuit size; empty if they are not shown."""

    ablation: AblationName = "resample"
    """What edges outside a circuit carry where faithfulness was measured."""

    num_steps: NumStepsSweep | None = None
    """None if numbers of denoising steps were not compared, or there is only one."""

    flow: DirectionOfFlow | None = None
    """None if flow between positions was not traced."""

    semantics: TaskSemantics | None = None
    """None if components were not analysed."""

    ablations: TaskAblations | None = None
    """None if no structures were ablated."""

    evidence: Evidence | None = None
    """What the verdict rests on; None where there is to be no verdict."""

    metric: str
    """Name of the metric, such as `logit_diff`."""

    description: str = ""
    """What the task asks, in a sentence."""

    example: str = ""
    """One clean prompt with its target, as the models see it."""

    @property
    def name(self) -> str:
        return self.comparison.task

    @property
    def concentration(self) -> ConcentrationShift | None:
        """What the verdict looks at; without evidence, what the analysis of components found.

        The two can be resampled by different settings, and a page should decide once.
        """
        if self.evidence is not None:
            return self.evidence.concentration
        return None if self.semantics is None else self.semantics.shift.concentration


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """How the numbers were made, so that somebody else can make them again."""

    arm_name: str
    mdm_name: str
    seed: int
    attribution: Mapping[str, Any]
    """How edges were scored, from the manifest of the scores: `method` and what it was asked."""

    flow: Mapping[str, Any] | None = None
    """How flow was traced, from its manifest; None if it was not."""

    semantics: SemanticsSettings | None = None
    """How components were read; None if they were not."""

    ablation: AblationSettings | None = None
    """How structures were ablated; None if they were not."""

    config: Mapping[str, Any]
    """The run's configuration, as JSON values."""

    versions: Mapping[str, str]
    """Package -> version, `python` included."""

    model_hashes: Mapping[str, str]
    """Model name -> sha256 over its weights."""

    not_done: tuple[str, ...] = ()
    """Sentences on what a reader might expect and this run did not do."""


@dataclass(frozen=True, kw_only=True)
class ReportInput:
    """A run, ready to be shown."""

    facts: RunFacts
    tasks: tuple[TaskReport, ...]
    title: str = "What changed inside the model"

    def __post_init__(self) -> None:
        if not self.tasks:
            raise ReportError("a report needs at least one task with a comparison.")
        slugs = [task_slug(task.name) for task in self.tasks]
        if len(set(slugs)) != len(slugs):
            raise ReportError(
                f"tasks {[task.name for task in self.tasks]} would share file names"
                f" ({sorted(slugs)}); rename one."
            )


def task_slug(name: str) -> str:
    """A task's name as it appears in file names and anchors: letters, digits, `_` and `-`."""
    return re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-") or "task"
