"""Topics: what is asked of a pair, one file a topic, from stored results to numbers and figures.

A topic declares, for the stage `conclude` and for the page:

1. a record of its own, made once from what earlier stages stored (`conclude`), and stored;
2. quantities, measured of the MDM, of every control and of every checkpoint on the same resamples,
   and stored with their draws, so that a difference of two models is a subtraction of draws;
3. rules that turn numbers into a verdict, and tests that are corrected over tasks;
4. rows of the headline, answers in words, figures with tables, and the words to read them by.

`registry.py` lists the topics in page order; whatever is said of all of them is a loop over it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, TypeVar, runtime_checkable

import numpy as np
import polars as pl
from jaxtyping import Float

from mechshift.ablation import AblationRun
from mechshift.attribution import EdgeScores, PositionFlow
from mechshift.comparison import CircuitShift, Comparison, ComparisonSettings
from mechshift.evaluation import AlternativeRuns, Baselines, CircuitMetrics, Rediscovery
from mechshift.models import Kind
from mechshift.page.elements import Definition, Exhibit, Finding, Part
from mechshift.page.formats import Cell, in_words
from mechshift.semantics import ConcentrationShift, Explanations, Semantics
from mechshift.statistics import Estimate, Interval
from mechshift.tasks import CommonPool, Split
from mechshift.topics.decisions import p_of_decision

KINDS: tuple[Kind, Kind] = ("arm", "mdm")


@dataclass(frozen=True, kw_only=True, eq=False)
class SweepPoint:
    """The ARM and the MDM on one task, with one number of denoising steps."""

    shift: CircuitShift
    concentration: ConcentrationShift


@dataclass(frozen=True, kw_only=True, eq=False)
class CheckpointScores:
    """A checkpoint of a post-training on one task."""

    training: str
    """The post-training, as `trajectory.training_name` calls it."""
    step: int
    """Training steps since the parent; 0 is the parent itself, read as its checkpoints are."""
    scores: Float[np.ndarray, " edge"]
    """Mean score of each edge [metric units], summed over denoising steps."""


@runtime_checkable
class StoredTask(Protocol):
    """One task as earlier stages stored it. A method returns None where a stage was left out.

    All raise ArtifactError where something is damaged.
    """

    @property
    def task(self) -> str:
        """Its name."""

    @property
    def settings(self) -> ComparisonSettings:
        """Of the comparison: level, resamples and seed of every interval."""

    def pool(self, split: Split) -> CommonPool:
        """Examples, and what both models answered."""

    def comparison(self) -> Comparison:
        """The ARM with the MDM."""

    def scores(self, member: str) -> EdgeScores:
        """Of `arm`, `mdm`, a control or a checkpoint."""

    def others(self) -> Mapping[str, EdgeScores]:
        """Of each member, on candidates that not both models solve; empty where none are scored."""

    def flow(self, member: str) -> PositionFlow | None:
        """Of a member, as `scores`."""

    def other_flows(self) -> Mapping[str, PositionFlow]:
        """Of each member, on the candidates of `others`; empty where none are traced."""

    def semantics(self, kind: Kind) -> Semantics | None:
        """What a model's components do."""

    def token_texts(self, kind: Kind) -> Mapping[int, str]:
        """Texts of the tokens that `semantics` names."""

    def explanations(self, kind: Kind) -> Explanations | None:
        """Sentences on a model's neurons."""

    def circuit_metrics(self, kind: Kind) -> Mapping[Kind, CircuitMetrics]:
        """What a model scores on each owner's circuits."""

    def baselines(self, kind: Kind) -> Baselines:
        """What a model scores on circuits that know less than its own."""

    def rediscovery(self, kind: Kind) -> Rediscovery | None:
        """What a model scores on circuits found on parts of the discovery examples."""

    def ablations(self, kind: Kind) -> AblationRun | None:
        """What a model loses without some structures."""

    def alternatives(self, kind: Kind) -> AlternativeRuns | None:
        """What a model scores on candidates for alternatives to its circuit."""

    def swept(self) -> Mapping[int, SweepPoint]:
        """Number of denoising steps -> how far the MDM is from the ARM."""

    def checkpoints(self) -> tuple[CheckpointScores, ...]:
        """Of the post-trainings that were followed, by training and step; empty where none was."""

    def stage_settings(self, name: str) -> Mapping[str, Any] | None:
        """The settings of a stage under its name in `RunSettings`; None where it was left out."""


@runtime_checkable
class StoredMember(Protocol):
    """One member of the run as earlier stages stored it, held against the ARM."""

    @property
    def name(self) -> str:
        """`mdm`, a control or a checkpoint."""

    @property
    def settings(self) -> ComparisonSettings:
        """As of `StoredTask`."""

    def shift(self) -> Comparison | CircuitShift:
        """Overlap and depth against the ARM."""

    def scores(self) -> tuple[EdgeScores, EdgeScores]:
        """Of the ARM and of the member."""

    def flow(self) -> tuple[PositionFlow, PositionFlow] | None:
        """Of the ARM and of the member; None where one was not traced."""

    def crossed(self) -> Mapping[str, CircuitMetrics] | None:
        """Of a checkpoint: metrics on exchanged circuits; None of others."""

    def accuracy(self) -> Estimate | None:
        """Share of the held-out examples that it solves; None of the MDM, whose pool holds them."""


@dataclass(frozen=True, kw_only=True)
class Scatter:
    """A number as it scatters over samples, before it is brought into its range."""

    value: float
    error: float
    """Its standard error."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One number of one member, or why there is none."""

    estimate: Estimate | None = None
    draws: Float[np.ndarray, " resample"] | None = None
    """The number on every resample, from which the interval was made; None where the interval is
    no bootstrap's."""
    reason: str = ""
    """Why there is no estimate; empty where there is one."""
    caution: str = ""
    """Why nothing is decided on the estimate, whatever its interval; empty where something may
    be."""
    scatter: Scatter | None = None
    """Of an estimate whose interval does not tell it; None: that of the draws, or without draws of
    the interval."""

    def __post_init__(self) -> None:
        assert (self.estimate is None) == bool(self.reason)

    def scattered(self) -> Scatter | None:
        """Value and standard error; None where there is no estimate."""
        if self.estimate is None or self.scatter is not None:
            return self.scatter
        error = self.estimate.error
        if self.draws is not None and np.isfinite(self.draws).sum() > 1:
            error = float(np.nanstd(self.draws, ddof=1))
        return Scatter(value=self.estimate.value, error=error)


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """A number that is measured of every member, and what it would be if nothing had changed."""

    name: str
    unit: str
    neutral: float | None
    """Its value where the member is as the ARM; None: there is no such value."""
    meaning: str
    measure: Callable[[StoredMember], Measured]
    of: Literal["members", "checkpoints"] = "members"
    """`members`: the MDM, controls and checkpoints; `checkpoints`: these alone."""
    at_a_glance: bool = False
    """Whether it has a panel in the figure of the whole pair."""
    explained: bool = False
    """Whether a decided shift of it is held against the controls for a cause."""
    by_template: bool = True
    """Whether it is measured on the examples of each template, and on all candidates: not if fewer
    examples, or noisier means, alone make it another number."""
    limits: tuple[float, float] | None = None
    """Its range; None where it has none, or one that depends on the model."""
    mixes: bool = False
    """Whether it is a share of score, or a difference of two: on a mixture of examples it then lies
    between what it is on the parts, if an example of each carries as much score."""


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One answer of the verdict, with all that it rests on."""

    axis: str
    verdict: str
    """A few words; `not decided` where the interval does not decide."""
    by_itself: str
    """The verdict before it is corrected for the run's other verdicts."""
    estimate: Estimate | None
    """What the rule looked at; None where it was not measured, or for a cause."""
    sentence: str
    """The verdict and its number, to be pasted."""
    p: float | None = None
    """Of the decision by itself (`decisions.p_of_decision`); 1 where nothing is decided, None where
    there is no number to decide on."""
    corrected_p: float | None = None
    """The same, corrected for all verdicts of the run."""
    detectable: float | None = None
    """How far from a threshold of its rule the number must lie for the corrected verdict to be
    decided in 80 % of runs with intervals of this width [unit of the number]."""
    quantity: str = ""
    """Name of the quantity that it rests on; empty where that is none of the MDM's."""
    population: str = ""
    """Of a decided verdict: whether it speaks of the task or of the templates alone (`wording`),
    where templates are told apart; and of all candidates, or of those that both models solve
    (`selection`)."""
    on_all: Estimate | None = None
    """Its number on all candidates; None where that was not measured."""
    bounds_on_all: Interval | None = None
    """Between which the number lies on all candidates, for a share of which no more is known
    (`comparison.worst_case`)."""

    @staticmethod
    def of(
        axis: str,
        estimate: Estimate | None,
        decide: Callable[[Estimate | None], str],
        words: str,
    ) -> "Statement":
        """A statement on one number.

        Args:
            axis: of the verdict.
            estimate: the number.
            decide: the rule's words on it.
            words: with `{}` where the number goes.
        """
        decided = decide(estimate)
        if estimate is None:
            sentence = f"{axis.capitalize()}: {decided}."
            return Statement(
                axis=axis, verdict=decided, by_itself=decided, estimate=None, sentence=sentence
            )
        return Statement(
            axis=axis,
            verdict=decided,
            by_itself=decided,
            estimate=estimate,
            sentence=f"{words.format(in_words(estimate))}: {decided}.",
            p=p_of_decision(
                lambda errors: decide(estimate.reaching(errors)), estimate.interval.level
            ),
        )


@dataclass(frozen=True, kw_only=True)
class MemberResults:
    """Measurements of one member."""

    name: str
    """`mdm` or a control."""
    measured: Mapping[str, Measured]
    """Each quantity of members by name."""
    accuracy: Estimate | None = None
    """Of a control: share of the held-out examples of the pool, which both models solve."""

    def estimate(self, quantity: str) -> Estimate | None:
        """A quantity's number; None where it is undefined or was not measured."""
        return self.measured[quantity].estimate


@dataclass(frozen=True, kw_only=True, eq=False)
class TaskResults:
    """Everything that was concluded on one task: what the page shows and verdicts rest on."""

    task: str
    metric: str
    """Name of the metric, such as `logit_diff`."""
    description: str
    """What the task asks, in a sentence."""
    example: str
    """One clean prompt with its target, as the models see it."""
    comparison: Comparison
    mdm: MemberResults
    controls: tuple[MemberResults, ...]
    records: Mapping[str, Any]
    """Topic -> its record; a topic whose stage was left out is missing."""


@dataclass(frozen=True, kw_only=True)
class Plain:
    """A decided verdict as a person would say it."""

    words: str
    """What the MDM does, as it follows on its name: `kept the ARM's edges`."""
    moved: bool
    """Whether it is then otherwise than the ARM."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Rule by which one axis of the verdict is decided."""

    axis: str
    words: str
    """The rule, in words."""
    quantity: str = ""
    """Name of the quantity on whose interval it rests; empty where that is none of the MDM's."""
    decide: Callable[[TaskResults], tuple[Statement, ...]]
    reads: Callable[[TaskResults, Measured], str] | None = None
    """The words that it has for another measurement of its quantity; None where it has none."""
    plain: Mapping[str, Plain] = field(default_factory=dict)
    """Every verdict that it can decide, in plain words; empty for causes, which speak of other
    axes (`summary`)."""


@dataclass(frozen=True, kw_only=True)
class Test:
    """A hypothesis that is tested on every task, and corrected over tasks."""

    __test__ = False  # pytest takes the name for a test case

    name: str
    title: str
    hypothesis: str
    """What a small p-value speaks against, in words."""
    statistic_name: str
    measure: Callable[[Comparison], tuple[float, float]]
    """Statistic and p-value; NaN where undefined."""


@dataclass(frozen=True, kw_only=True)
class HeadlineRow:
    """A row of the table at the top: one quantity of every task."""

    name: str
    explanation: str
    cell: Callable[[TaskResults], Cell]
    """With the text `NOT_MEASURED` where the task has none."""


def _nothing(_: Any) -> tuple[()]:
    return ()


def _no_tables(_: Any) -> Mapping[str, pl.DataFrame]:
    return {}


Record = TypeVar("Record")


@dataclass(frozen=True, kw_only=True)
class Topic(Generic[Record]):
    """One topic; everything but name and title may be left out."""

    name: str
    """Of its record's folder."""
    title: str
    """Its heading on the page."""
    record_type: type[Record] | None = None
    conclude: Callable[[StoredTask], Record | None] | None = None
    """Make the record; None where a stage that it needs was left out."""
    reads: Sequence[str] = ()
    """Stages whose folders `conclude` reads, besides pool, scores and comparison."""
    absent: str = ""
    """A sentence for tasks without the record, with `{tasks}` in it; empty: nothing is missed."""
    rests_on: Literal["discovery", "held-out"] = "discovery"
    """The examples of whose clusters rules and findings need enough (`decisions.MIN_CLUSTERS`)."""
    quantities: tuple[Quantity, ...] = ()
    rules: tuple[Rule, ...] = ()
    tests: tuple[Test, ...] = ()
    headline_name: str = ""
    """Name of the group of its rows; topics of one name share a group."""
    headline: tuple[HeadlineRow, ...] = ()
    findings: Callable[[TaskResults], Iterable[Finding]] = _nothing
    exhibits: Callable[[TaskResults], Iterable[Exhibit]] = _nothing
    tables: Callable[[TaskResults], Mapping[str, pl.DataFrame]] = _no_tables
    """Name -> a table beside the page that is no figure's (CSV)."""
    examples: Callable[[TaskResults], Mapping[str, pl.DataFrame]] = _no_tables
    """Name -> a table of single examples beside the page (Parquet)."""
    parts: Callable[[TaskResults], Iterable[Part]] = _nothing
    notes: Callable[[TaskResults], Iterable[str]] = _nothing
    """Lines for “Can the scores be trusted?”."""
    terms: tuple[Definition, ...] = ()
    """Words for readers who are new here; shown where some task has the record."""
    method: Callable[[Mapping[str, Any]], tuple[Definition, ...]] = _nothing
    """How it was computed, from the settings of the stages by name; a stage may be missing."""

    def of(self, task: TaskResults) -> Record | None:
        """Its record on a task; None where a stage that it needs was left out."""
        found: Record | None = task.records.get(self.name)
        return found
