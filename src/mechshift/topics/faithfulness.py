"""Faithfulness of the circuits: how much of its behaviour does a model keep on some edges alone?

For readers who ask whether a circuit explains a model, and whether the ARM's still explains the
MDM. Every difference is of one model on two circuits, on the same resamples.

Rules:

1. inheritance, and whether the other model's circuit serves as the own one does: by the difference
   in faithfulness, with the noise of discovery in its interval (`other_circuit`).
2. Better than random circuits: the interval of the difference from their mean, of 20 draws or more,
   excludes 0.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64

from mechshift.comparison import ComparisonSettings
from mechshift.errors import EvaluationError
from mechshift.evaluation import (
    NUM_FOLDS,
    AblationName,
    FaithfulnessCurve,
    RandomCurve,
    random_curve,
)
from mechshift.models import Kind
from mechshift.page.elements import Definition, Exhibit, Finding
from mechshift.page.formats import NOT_MEASURED, Cell, entry_cell, in_words, number
from mechshift.page.theme import MODEL_NAMES
from mechshift.statistics import (
    MIN_DRAWS,
    Estimate,
    percentile_interval,
)
from mechshift.topics.decisions import HOME_ADVANTAGE, by_sign, too_few_draws
from mechshift.topics.faithfulness_figure import (
    FaithfulnessSeries,
    Origin,
    faithfulness_curves,
    faithfulness_curves_table,
)
from mechshift.topics.other_circuit import OTHER, OtherCircuit, other_circuit
from mechshift.topics.topic import (
    KINDS,
    HeadlineRow,
    Measured,
    Plain,
    Quantity,
    Rule,
    Statement,
    StoredMember,
    StoredTask,
    TaskResults,
    Topic,
)

OWN, INHERITED, RETURNED = "own circuit", "the ARM's circuit in it", "its circuit in the ARM"
CROSSED = {
    OWN: "share of the checkpoint's metric that its own circuit keeps; what the next two are to be"
    " held against",
    INHERITED: "share of the checkpoint's metric that the ARM's circuit keeps: does the old circuit"
    " still carry the task?",
    RETURNED: "share of the ARM's metric that the checkpoint's circuit keeps",
}
"""Numbers of a checkpoint's exchanged circuits, and what they mean."""

ABLATED_EDGES: dict[AblationName, str] = {
    "resample": "what it carries on the corrupted prompt",
    "mean": "its source's mean output at that position, over the clean discovery prompts of the"
    " same shape and denoising step",
    "zero": "nothing: its source counts as zero",
}
"""Content of an edge outside a circuit, in words."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelFaithfulness:
    """Faithfulness of one model on circuits; differences at the circuit size."""

    series: tuple[FaithfulnessSeries, ...]
    """On the ARM's, the MDM's, random and by-activation circuits, as far as they were run."""
    other: OtherCircuit
    """On the other model's circuit against its own."""
    advantage: Measured
    """Faithfulness on its own circuit minus the mean of random ones that match it by layers and
    edge types. None where these are too few for an interval."""
    num_draws: int
    """Random circuits of each size; 0: none was run."""
    num_forced: int | None
    """Edges that every matched draw must have, because the circuit holds all of their kind. None
    where no draw of the circuit size was run, as the next."""
    num_live_by_activation: int | None
    """Of as many edges by activation, those on a path from input to logits."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Faithfulness:
    """Faithfulness of both models on circuits."""

    ablation: AblationName
    """What edges outside a circuit carry."""
    circuit_size: int
    """At which circuits are compared [edges]."""
    arm: ModelFaithfulness
    mdm: ModelFaithfulness

    def of(self, model: Kind) -> ModelFaithfulness:
        """One of the two."""
        return {"arm": self.arm, "mdm": self.mdm}[model]

    @property
    def series(self) -> tuple[FaithfulnessSeries, ...]:
        """The ARM's, then the MDM's."""
        return (*self.arm.series, *self.mdm.series)

    def find(self, model: Kind, circuit: Origin) -> FaithfulnessSeries | None:
        """The curve of one model on circuits of one origin, if these were run."""
        for series in self.of(model).series:
            if series.circuit == circuit:
                return series
        return None

    def at_size(self, model: Kind, circuit: Origin) -> Estimate | None:
        """Faithfulness at the circuit size; None where curve, size or interval is missing."""
        series = self.find(model, circuit)
        index = None if series is None else series.index_of(self.circuit_size)
        return None if series is None or index is None else series.estimates.at(index)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Resampled:
    """A curve and its bootstrap, made once for all that is said of it."""

    curve: FaithfulnessCurve | RandomCurve
    value: Float64[np.ndarray, " size"]
    draws: Float64[np.ndarray, "resample size"]

    def at(self, size: int) -> tuple[float, Float64[np.ndarray, " resample"]] | None:
        """Value and draws of circuits of so many edges; None where they were not run."""
        found = np.flatnonzero(self.curve.sizes == size)
        return (float(self.value[found[0]]), self.draws[:, found[0]]) if len(found) else None


def _conclude(stored: StoredTask) -> Faithfulness:
    """Raises EvaluationError where faithfulness is undefined."""
    arm, mdm = (_of_model(stored, model) for model in KINDS)
    settings = stored.stage_settings("evaluation")
    assert settings is not None  # the metrics of both models came from its folder
    return Faithfulness(
        ablation=settings["ablation"],
        circuit_size=stored.settings.circuit_size_in(arm.series[0].num_edges),
        arm=arm,
        mdm=mdm,
    )


def _of_model(stored: StoredTask, model: Kind) -> ModelFaithfulness:
    settings, baselines = stored.settings, stored.baselines(model)
    metrics = stored.circuit_metrics(model)
    curves: dict[Origin, FaithfulnessCurve | RandomCurve] = {
        owner: of_owner.curve() for owner, of_owner in metrics.items()
    }
    random = random_curve(baselines.random) if len(baselines.random.sizes) else None
    if random is not None:
        curves["random"] = random
    curves["activation"] = baselines.activation.curve()
    size = settings.circuit_size_in(metrics[model].num_edges)
    found = {origin: _resampled(curve, settings) for origin, curve in curves.items()}
    place = None
    if random is not None and size in random.sizes and size in metrics[model].sizes:
        place = int((random.sizes == size).argmax())
    return ModelFaithfulness(
        series=tuple(
            FaithfulnessSeries(
                model=model,
                circuit=origin,
                sizes=one.curve.sizes,
                estimates=one.curve.estimates(one.draws, settings.level),
                num_examples=one.curve.num_examples,
                num_edges=one.curve.num_edges,
            )
            for origin, one in found.items()
        ),
        other=other_circuit(stored, model, size),
        advantage=_advantage(found, random, model, size, settings.level),
        num_draws=0 if random is None else len(random.draws),
        num_forced=None if place is None else int(baselines.num_forced[place]),
        num_live_by_activation=None
        if place is None
        else int(baselines.activation.live_sizes[place]),
    )


def _resampled(curve: FaithfulnessCurve | RandomCurve, settings: ComparisonSettings) -> _Resampled:
    draws = curve.resampled(num_resamples=settings.num_resamples, seed=settings.seed)
    return _Resampled(curve=curve, value=curve.faithfulness, draws=draws)


def _advantage(
    found: Mapping[Origin, _Resampled],
    random: RandomCurve | None,
    model: Kind,
    size: int,
    level: float,
) -> Measured:
    own, chance = found[model].at(size), found["random"].at(size) if "random" in found else None
    if random is None or own is None or chance is None:
        return Measured(reason=f"no random circuit of {size:,} edges was run")
    if not random.has_interval:
        return Measured(reason=too_few_draws("circuits", len(random.draws)))
    return _measured(own[0] - chance[0], own[1] - chance[1], level)


def _measured(value: float, draws: Float64[np.ndarray, " resample"], level: float) -> Measured:
    interval = percentile_interval(draws, level)
    return Measured(estimate=Estimate(value=float(value), interval=interval), draws=draws)


def _measure_crossed(name: str) -> Callable[[StoredMember], Measured]:
    """Faithfulness of one of the exchanged circuits, or why it is undefined.

    Early in training a model may gain nothing from its edges: what it scores in full is then no
    different from what it scores with all of them ablated.
    """

    def measure(member: StoredMember) -> Measured:
        crossed, settings = member.crossed(), member.settings
        assert crossed is not None  # asked of checkpoints alone
        try:
            curve = crossed[name].curve()
            draws = curve.resampled(num_resamples=settings.num_resamples, seed=settings.seed)
            return _measured(curve.faithfulness[0], draws[:, 0], settings.level)
        except EvaluationError as error:
            return Measured(reason=str(error))

    return measure


def _exhibits(task: TaskResults) -> tuple[Exhibit, ...]:
    record = FAITHFULNESS.of(task)
    if record is None:
        return ()
    return (
        Exhibit(
            name="faithfulness",
            figure=faithfulness_curves(record.series, ablation=record.ablation),
            table=faithfulness_curves_table(record.series),
            reading=f"Every edge outside the circuit carries {ABLATED_EDGES[record.ablation]}."
            " Dashed: the model has to live on the other model's circuit. Grey: as many edges"
            " chosen with less knowledge, at random within the same layers and edge types, or"
            " by how far the corruption moves their source.",
        ),
    )


def _findings(task: TaskResults) -> tuple[Finding, ...]:
    record = FAITHFULNESS.of(task)
    if record is None:
        return ()
    found = (
        *(_other_circuit(record, model) for model in reversed(KINDS)),
        *(_random_circuits(record, model) for model in KINDS),
    )
    return tuple(one for one in found if one is not None)


def _other_circuit(record: Faithfulness, model: Kind) -> Finding | None:
    """A model's own circuit against the other's at the circuit size."""
    found, size = record.of(model).other, record.circuit_size
    difference = found.minus_own.estimate
    if difference is None:
        return None
    own, cross = (record.at_size(model, circuit) for circuit in (model, OTHER[model]))
    assert own and cross  # the difference is made from these curves
    name, other = MODEL_NAMES[model], MODEL_NAMES[OTHER[model]]
    return Finding(
        question=f"Does the {other}'s circuit serve the {name} as its own does?",
        verdict=found.decides(suffices="yes", falls_short="no, it keeps less"),
        sentence=f"With {size:,} edges the {name} keeps {in_words(cross)} of its behaviour on the"
        f" {other}'s circuit and {in_words(own)} on its own; the difference is"
        f" {in_words(difference, signed=True)}.{_half(found)}",
    )


def _half(found: OtherCircuit) -> str:
    """What circuits of half of the examples say of noise, and why nothing is decided."""
    words, half = "", found.minus_half.estimate
    if half is not None and found.half_minus_own is not None:
        words = (
            " Its own circuits from half of the discovery examples keep"
            f" {number(found.half_minus_own, signed=True)} compared with the one from all; the"
            f" other's keeps {in_words(half, signed=True)} compared with those."
        )
    return f"{words} But {found.caution}." if found.caution else words


def _random_circuits(record: Faithfulness, model: Kind) -> Finding | None:
    """The own circuit against random ones at the circuit size."""
    found, name, size = record.of(model), MODEL_NAMES[model], record.circuit_size
    if found.num_forced is None:
        return None
    own, activation = record.at_size(model, model), record.at_size(model, "activation")
    random = record.find(model, "random")
    assert own and activation and random  # of all of them a circuit of this size was run
    chance = entry_cell(random.estimates, random.index_of(size))
    advantage, verdict = found.advantage.estimate, found.advantage.reason
    difference = ""
    if advantage is not None:
        verdict = by_sign(advantage, above="yes", below="no, worse")
        difference = f"; the difference is {in_words(advantage, signed=True)}"
    forced = ""
    if found.num_forced:
        forced = f" {found.num_forced:,} of the edges are in every draw."
    return Finding(
        question=f"Is the {name}'s circuit better than random ones?",
        verdict=verdict,
        sentence=f"On its own {size:,} edges the {name} keeps {in_words(own)} of its behaviour, on"
        f" random ones of the same layers and types {chance.text} {chance.interval or chance.note}"
        f" (mean of {found.num_draws} draws){difference}.{forced} As many edges by activation keep"
        f" {in_words(activation)}; {found.num_live_by_activation:,} of them lie on a path from"
        " input to logits.",
    )


def _inheritance(task: TaskResults) -> tuple[Statement, ...]:
    record = FAITHFULNESS.of(task)
    if record is None:
        return (Statement.of("inheritance", None, lambda _: NOT_MEASURED, ""),)
    found = record.mdm.other
    words = "On the ARM's circuit instead of its own the MDM's faithfulness changes by {}"
    if found.caution:
        words += f" ({found.caution})"

    def decide(minus_own: Estimate | None) -> str:
        """At the level of this one's interval."""
        at_level = found if minus_own is None else found.at_level(minus_own.interval.level)
        return at_level.decides(suffices="suffices", falls_short="no longer suffices")

    return (Statement.of("inheritance", found.minus_own.estimate, decide, words),)


def _cell(model: Kind, circuit: Origin) -> Callable[[TaskResults], Cell]:
    def cell(task: TaskResults) -> Cell:
        record, size = FAITHFULNESS.of(task), task.comparison.circuit_size
        series = None if record is None else record.find(model, circuit)
        index = None if series is None else series.index_of(size)
        if series is None or index is None:
            return Cell(text=NOT_MEASURED, note=f"at {size:,} edges")
        return entry_cell(series.estimates, index)

    return cell


def _method(settings: Mapping[str, Any]) -> tuple[Definition, ...]:
    ablation: AblationName = settings["evaluation"]["ablation"]
    return (
        Definition(
            term="Faithfulness",
            meaning="(m(circuit) − m(empty)) / (m(full) − m(empty)), a ratio of means over"
            " examples; edges outside the circuit are ablated.",
        ),
        Definition(
            term="Ablation",
            meaning=f"Every edge outside the circuit carries {ABLATED_EDGES[ablation]}; edges out"
            " of the input are no exception. m(empty) is the metric with every edge ablated.",
        ),
        Definition(
            term="The other model's circuit",
            meaning="The interval of its difference from the own circuit adds two variances: of a"
            " bootstrap over held-out examples, and of a jackknife that chooses both circuits"
            f" without each of {NUM_FOLDS} folds of the discovery examples. It no longer suffices"
            f" where that interval lies below −{HOME_ADVANTAGE}, and where it keeps less than own"
            " circuits found on half of the examples, which are as noisy or noisier. It suffices"
            f" where the interval, less what the own circuit loses to half, lies above"
            f" −{HOME_ADVANTAGE}.",
        ),
        Definition(
            term="Random circuits, and edges by activation",
            meaning="Random: as many edges in every pair of layers and edge type as the model's own"
            " circuit has; faithfulness is the mean over draws, its interval resamples draws and"
            f" examples; fewer than {MIN_DRAWS} draws have none. By activation: as many edges,"
            " those whose source's output the corruption moves most (norm of the difference,"
            " summed over positions and steps, mean over the discovery examples).",
        ),
    )


FAITHFULNESS: Topic[Faithfulness] = Topic(
    name="faithfulness",
    title="What the circuits carry",
    rests_on="held-out",
    record_type=Faithfulness,
    conclude=_conclude,
    reads=("faithfulness",),
    quantities=tuple(
        Quantity(
            name=name,
            unit="faithfulness",
            neutral=1.0,
            meaning=meaning,
            measure=_measure_crossed(name),
            of="checkpoints",
        )
        for name, meaning in CROSSED.items()
    ),
    rules=(
        Rule(
            axis="inheritance",
            words="faithfulness of the MDM on the ARM's circuit minus on its own, examples for"
            f" discovery varied too: more than {HOME_ADVANTAGE} below, and below own circuits from"
            f" half of these, no longer suffices; at most {HOME_ADVANTAGE} below, suffices",
            decide=_inheritance,
            plain={
                "suffices": Plain(
                    words="works as well on the ARM's circuit as on its own", moved=False
                ),
                "no longer suffices": Plain(
                    words="works less well on the ARM's circuit than on its own", moved=True
                ),
            },
        ),
    ),
    headline_name="What the circuits carry",
    headline=(
        HeadlineRow(
            name="ARM, own circuit", explanation="faithfulness at K", cell=_cell("arm", "arm")
        ),
        HeadlineRow(
            name="ARM, random circuit",
            explanation="same layers and types",
            cell=_cell("arm", "random"),
        ),
        HeadlineRow(
            name="MDM, own circuit", explanation="faithfulness at K", cell=_cell("mdm", "mdm")
        ),
        HeadlineRow(
            name="MDM, random circuit",
            explanation="same layers and types",
            cell=_cell("mdm", "random"),
        ),
        HeadlineRow(
            name="MDM on the ARM's circuit",
            explanation="faithfulness at K",
            cell=_cell("mdm", "arm"),
        ),
        HeadlineRow(
            name="ARM on the MDM's circuit",
            explanation="faithfulness at K",
            cell=_cell("arm", "mdm"),
        ),
    ),
    findings=_findings,
    exhibits=_exhibits,
    terms=(
        Definition(
            term="Faithfulness",
            meaning="What is left of the behaviour when only the circuit may work: 1 is all of it,"
            " 0 no more than without any edge.",
        ),
    ),
    method=_method,
)
