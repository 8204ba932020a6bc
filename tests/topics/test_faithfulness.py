"""What circuits carry: a case solved by hand, the run's own numbers, and rules on set intervals."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from mechshift.comparison import ComparisonSettings
from mechshift.evaluation import (
    NUM_FOLDS,
    Baselines,
    CircuitMetrics,
    Rediscovery,
    inheritance,
    random_curve,
)
from mechshift.page.formats import NOT_DECIDED, NOT_MEASURED, Cell, entry_cell
from mechshift.run.stored import RunTask
from mechshift.statistics import Estimate, Interval, num_clusters
from mechshift.topics.faithfulness import (
    ABLATED_EDGES,
    FAITHFULNESS,
    INHERITED,
    OWN,
    RETURNED,
    Faithfulness,
)
from mechshift.topics.other_circuit import OtherCircuit
from mechshift.topics.topic import Measured, StoredMember, StoredTask, TaskResults

NUM_EDGES = 20
SETTINGS = ComparisonSettings(num_resamples=200, circuit_size=3)

SCALE = np.linspace(1.0, 2.0, 10)[:, None]
"""What the full model scores on ten examples of one step; the empty circuit scores nothing."""


def metrics_keeping(*shares: float, sizes: tuple[int, ...] = (3, NUM_EDGES)) -> CircuitMetrics:
    """Circuits that keep these shares of every example's metric, so of the metric of any resample.

    Shares of further draws follow those of the first.
    """
    draws = len(shares) // len(sizes)
    return CircuitMetrics(
        sizes=np.array(sizes * draws),
        live_sizes=np.array(sizes * draws) - 1,
        num_edges=NUM_EDGES,
        metric=np.array(shares)[:, None, None] * SCALE,
        full=SCALE,
        empty=0 * SCALE,
        num_steps=np.ones(10, dtype=np.int64),
    )


@dataclass
class ByHand(StoredTask):
    """A task on which both models keep 0.75 on their own, 0.5 on the other's circuit of 3 edges."""

    task: str = "by hand"
    settings: ComparisonSettings = field(default=SETTINGS)
    sizes: tuple[int, ...] = (3, NUM_EDGES)
    num_draws: int = 20
    rediscover: bool = True
    num_clusters: int | None = 30

    def circuit_metrics(self, kind):
        shares = {owner: 0.75 if owner == kind else 0.5 for owner in ("arm", "mdm")}
        return {
            owner: metrics_keeping(share, 1.0, sizes=self.sizes) for owner, share in shares.items()
        }

    def baselines(self, kind):
        """Draws keep 0.25 and 0.125 in turn; edges by activation keep nothing."""
        random = metrics_keeping(*[0.25, 0.125] * 10, sizes=self.sizes[:1])
        return Baselines(
            random=random.subset(slice(0, self.num_draws)),
            activation=metrics_keeping(0.0, sizes=self.sizes[:1]),
            num_forced=np.array([1] if self.num_draws else [], dtype=np.int64),
        )

    def rediscovery(self, kind):
        """Without any fold circuits keep what they keep, and own ones of halves 0.7 and 0.65."""
        if not self.rediscover or self.num_clusters is None:
            return None
        shares = {owner: 0.75 if owner == kind else 0.5 for owner in ("arm", "mdm")}
        return Rediscovery(
            without_fold={
                owner: metrics_keeping(*[share] * NUM_FOLDS, sizes=(3,))
                for owner, share in shares.items()
            },
            halves=metrics_keeping(0.7, 0.65, sizes=(3,)),
            shared_by_halves={"arm": 0.9, "mdm": 0.9},
            shared_by_quarters={"arm": 0.8, "mdm": 0.8},
            num_clusters=self.num_clusters,
        )

    def stage_settings(self, name):
        assert name == "evaluation"
        return {"ablation": "mean", "rediscover": self.rediscover}


def concluded(**changes) -> Faithfulness:
    assert FAITHFULNESS.conclude is not None
    record = FAITHFULNESS.conclude(ByHand(**changes))
    assert record is not None
    return record


def with_record(task: TaskResults, **changes: object) -> TaskResults:
    """The task with these fields of both models' faithfulness."""
    record = FAITHFULNESS.of(task)
    assert record is not None
    record = replace(record, arm=replace(record.arm, **changes), mdm=replace(record.mdm, **changes))
    return replace(task, records={**task.records, "faithfulness": record})


def without(task: TaskResults) -> TaskResults:
    records = {name: one for name, one in task.records.items() if name != "faithfulness"}
    return replace(task, records=records)


def measured(low: float, high: float) -> Measured:
    interval = Interval(low=low, high=high, level=0.95)
    return Measured(estimate=Estimate(value=(low + high) / 2, interval=interval))


def finding(task: TaskResults, words: str):
    (found,) = [one for one in FAITHFULNESS.findings(task) if words in one.question]
    return found


def inheritance_of(task: TaskResults):
    (rule,) = FAITHFULNESS.rules
    (statement,) = rule.decide(task)
    assert statement.axis == rule.axis == "inheritance"
    return statement


def test_a_case_solved_by_hand() -> None:
    record = concluded()
    assert (record.ablation, record.circuit_size) == ("mean", 3)
    labels = [(one.model, one.circuit) for one in record.series]
    assert labels == [
        (model, circuit)
        for model in ("arm", "mdm")
        for circuit in ("arm", "mdm", "random", "activation")
    ]
    for model, other in (("arm", "mdm"), ("mdm", "arm")):
        own = record.find(model, model)
        assert own is not None and own.sizes.tolist() == [3, 20]
        np.testing.assert_allclose(own.estimates.value, [0.75, 1.0])
        np.testing.assert_allclose([own.estimates.low, own.estimates.high], [[0.75, 1.0]] * 2)
        cross, random = record.at_size(model, other), record.at_size(model, "random")
        assert cross is not None and random is not None
        assert cross.value == pytest.approx(0.5)
        assert random.value == pytest.approx(0.1875)
        # Draws are resampled too: of the seventeen in each resample 5 to 12 are of the one kind.
        few, many = (0.125 + 0.125 * count / 17 for count in (5, 12))
        assert (random.interval.low, random.interval.high) == pytest.approx((few, many), abs=1e-3)
        found = record.of(model)
        difference, half = found.other.minus_own.estimate, found.other.minus_half.estimate
        assert difference is not None and half is not None
        for value in (difference.value, difference.interval.low, difference.interval.high):
            assert value == pytest.approx(-0.25)
        # The own circuits of halves keep 0.675; they are 0.05 apart, and nothing else varies.
        assert half.value == pytest.approx(-0.175)
        assert half.interval.high - half.value == pytest.approx(0.025 * 2.365, rel=1e-3)
        assert found.other.half_minus_own == pytest.approx(-0.075)
        assert found.advantage.estimate is not None
        assert found.advantage.estimate.value == pytest.approx(0.5625)
        assert (found.num_draws, found.num_forced, found.num_live_by_activation) == (20, 1, 2)


def test_where_the_compared_size_was_not_run_there_is_no_difference_and_a_reason() -> None:
    record = concluded(sizes=(5, NUM_EDGES))
    assert record.at_size("arm", "arm") is None
    assert record.mdm.other.minus_own.reason == "no circuit of 3 edges was run"
    assert record.mdm.advantage.reason == "no random circuit of 3 edges was run"
    assert record.mdm.num_forced is None and record.mdm.num_live_by_activation is None
    assert record.mdm.num_draws == 20


def test_fewer_than_twenty_draws_are_a_mean_that_decides_nothing(ioi: TaskResults) -> None:
    record = concluded(num_draws=5)
    random = record.find("mdm", "random")
    assert random is not None and record.at_size("mdm", "random") is None
    np.testing.assert_allclose(random.estimates.value, [0.2])
    assert record.mdm.advantage.estimate is None
    task = replace(ioi, records={**ioi.records, "faithfulness": record})
    found = finding(task, "Is the MDM's circuit better than random")
    assert found.verdict == "too few random circuits (5)"
    assert "types 0.20 no interval (mean of 5 draws). 1 of the edges" in found.sentence
    rows = {row.name: row.cell(task) for row in FAITHFULNESS.headline}
    assert rows["MDM, random circuit"].text == NOT_MEASURED  # K of this run is another


def test_without_random_draws_there_is_no_curve_of_them() -> None:
    record = concluded(num_draws=0)
    assert record.find("arm", "random") is None
    assert record.find("arm", "activation") is not None
    assert record.arm.num_draws == 0
    assert record.arm.advantage.reason == "no random circuit of 3 edges was run"


def test_a_run_says_what_its_curves_say_by_themselves(small_run, ioi: TaskResults) -> None:
    """Curves, difference and advantage are those of `evaluation`, resample by resample."""
    stored, record = RunTask(run=small_run, task="ioi"), FAITHFULNESS.of(ioi)
    assert record is not None
    given = {"num_resamples": stored.settings.num_resamples, "seed": stored.settings.seed}
    size = record.circuit_size
    assert size == ioi.comparison.circuit_size
    for model, other in (("arm", "mdm"), ("mdm", "arm")):
        metrics = stored.circuit_metrics(model)
        own, cross = metrics[model].curve(), metrics[other].curve()
        random = random_curve(stored.baselines(model).random)
        for origin, curve in ((model, own), (other, cross), ("random", random)):
            shown, wanted = record.find(model, origin), curve.interval(**given)
            assert shown is not None
            np.testing.assert_array_equal(shown.sizes, curve.sizes)
            for part in ("value", "low", "high"):
                np.testing.assert_array_equal(getattr(shown.estimates, part), getattr(wanted, part))
        found, at = record.of(model), own.sizes.tolist().index(size)
        better = own.resampled(**given)[:, at] - random.resampled(**given)[:, 0]
        np.testing.assert_array_equal(found.advantage.draws, better)
        assert found.advantage.estimate is not None
        kept = own.faithfulness[at] - random.faithfulness[0]
        assert found.advantage.estimate.value == pytest.approx(kept, abs=1e-12)
        interval = found.advantage.estimate.interval
        assert [interval.low, interval.high] == pytest.approx(np.percentile(better, [2.5, 97.5]))
        difference = found.other.minus_own.estimate
        assert difference is not None
        lacks = float(cross.faithfulness[at] - own.faithfulness[at])
        assert difference.value == pytest.approx(lacks, abs=1e-12)
        rediscovered = stored.rediscovery(model)
        assert rediscovered is not None
        at_size = {owner: one.subset(slice(at, at + 1)) for owner, one in metrics.items()}
        served = inheritance(at_size, rediscovered, model, **given)
        assert difference == served.other_minus_own
        drawn = (cross.resampled(**given) - own.resampled(**given))[:, at]
        count = num_clusters(len(cross.full) if cross.clusters is None else cross.clusters)
        # A resample draws three clusters fewer than there are, which a standard error does not.
        error = drawn.std(ddof=1) * np.sqrt((count - 3) / (count - 1))
        assert served.held_out_error == pytest.approx(error)
        # Twelve examples, so at most twelve clusters.
        words = f"the circuits rest on {rediscovered.num_clusters} clusters of discovery examples"
        assert found.other.minus_own.caution == words
        assert rediscovered.num_clusters == ioi.comparison.num_clusters


def with_other(task: TaskResults, low: float, high: float, **changes) -> TaskResults:
    """The task with this interval of the difference, and a null far above it."""
    found = OtherCircuit(
        minus_own=measured(low, high), minus_half=measured(-0.9, -0.8), half_minus_own=-0.01
    )
    return with_record(task, other=replace(found, **changes))


@pytest.mark.parametrize(
    ("low", "high", "answer", "verdict"),
    [
        (-0.4, -0.1, "no, it keeps less", "no longer suffices"),
        (-0.4, -0.04, NOT_DECIDED, NOT_DECIDED),
        (-0.03, 0.3, "yes", "suffices"),
        (-0.2, 0.1, NOT_DECIDED, NOT_DECIDED),
    ],
)
def test_the_other_circuit_serves_or_falls_short_by_more_than_a_home_advantage(
    ioi: TaskResults, low: float, high: float, answer: str, verdict: str
) -> None:
    """Finding and verdict decide alike; the two intervals by themselves are not asked."""
    task = with_other(ioi, low, high)
    record = FAITHFULNESS.of(task)
    assert record is not None
    for words, model, other in (
        ("ARM's circuit serve the MDM", "mdm", "arm"),
        ("MDM's circuit serve the ARM", "arm", "mdm"),
    ):
        found = finding(task, words)
        assert found.verdict == answer
        own, cross = record.at_size(model, model), record.at_size(model, other)
        assert own is not None and cross is not None
        assert f"keeps {cross.value:.2f} [" in found.sentence
        assert f"and {own.value:.2f} [" in found.sentence and "on its own" in found.sentence
        assert f"[{low:+.2f}, {high:+.2f}]".replace("-", "−") in found.sentence
        assert "keep −0.01 compared with the one from all; the other's keeps −0.85 [" in (
            found.sentence
        )
    statement = inheritance_of(task)
    assert statement.verdict == verdict
    assert statement.estimate == record.mdm.other.minus_own.estimate
    numbers = f"{(low + high) / 2:.2f} [{low:.2f}, {high:.2f}]".replace("-", "−")
    assert numbers in statement.sentence


def test_a_caution_is_said_and_decides_nothing(ioi: TaskResults) -> None:
    few = replace(measured(-0.4, -0.1), caution="the circuits rest on 12 clusters")
    task = with_other(ioi, -0.4, -0.1, minus_own=few)
    statement = inheritance_of(task)
    assert statement.verdict == NOT_DECIDED
    assert "(the circuits rest on 12 clusters): not decided." in statement.sentence
    found = finding(task, "ARM's circuit serve the MDM")
    assert found.verdict == NOT_DECIDED
    assert found.sentence.endswith(" But the circuits rest on 12 clusters.")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"rediscover": False}, "no circuit was found on parts of the examples"),
        ({"num_clusters": None}, "the examples are in fewer than 8 clusters"),
    ],
)
def test_without_circuits_found_anew_the_interval_is_of_held_out_examples_and_says_so(
    ioi: TaskResults, changes, why: str
) -> None:
    record = concluded(**changes)
    found = record.mdm.other
    assert found.minus_own.estimate is not None
    assert found.minus_own.estimate.value == pytest.approx(-0.25)
    np.testing.assert_allclose(found.minus_own.draws, np.full(200, -0.25))
    assert found.caution == f"the interval leaves out the noise of discovery: {why}"
    task = replace(ioi, records={**ioi.records, "faithfulness": record})
    assert inheritance_of(task).verdict == NOT_DECIDED
    assert why in inheritance_of(task).sentence


def test_findings_on_the_mdm_come_first_and_those_on_random_circuits_after(
    ioi: TaskResults,
) -> None:
    assert [one.question for one in FAITHFULNESS.findings(ioi)] == [
        "Does the ARM's circuit serve the MDM as its own does?",
        "Does the MDM's circuit serve the ARM as its own does?",
        "Is the ARM's circuit better than random ones?",
        "Is the MDM's circuit better than random ones?",
    ]


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.1, 0.6, "yes"), (-0.6, -0.1, "no, worse"), (-0.1, 0.6, NOT_DECIDED)],
)
@pytest.mark.parametrize("model", ["arm", "mdm"])
def test_a_circuit_is_better_than_random_ones_where_the_difference_excludes_zero(
    ioi: TaskResults, model, low: float, high: float, verdict: str
) -> None:
    record = concluded()
    own = replace(
        record.of(model),
        advantage=measured(low, high),
        num_forced=4,
        num_live_by_activation=2,
    )
    record = replace(record, **{model: own})
    task = replace(ioi, records={**ioi.records, "faithfulness": record})
    found = finding(task, f"Is the {model.upper()}'s circuit better than random")
    assert found.verdict == verdict
    assert f"On its own 3 edges the {model.upper()} keeps 0.75 [0.75, 0.75]" in found.sentence
    assert "0.19 [0.16, 0.21] (mean of 20 draws)" in found.sentence
    assert "4 of the edges are in every draw." in found.sentence
    assert "0.00 [0.00, 0.00]; 2 of them lie on a path" in found.sentence


def test_draws_that_are_all_chance_have_no_edges_in_common_to_tell_of(ioi: TaskResults) -> None:
    task = with_record(ioi, num_forced=0)
    assert "every draw" not in finding(task, "ARM's circuit better").sentence


def test_nothing_is_said_of_circuits_that_were_not_run(ioi: TaskResults) -> None:
    task = without(ioi)
    assert FAITHFULNESS.findings(task) == FAITHFULNESS.exhibits(task) == ()
    assert inheritance_of(task).verdict == NOT_MEASURED
    assert inheritance_of(task).sentence == "Inheritance: not measured."
    size = ioi.comparison.circuit_size
    for row in FAITHFULNESS.headline:
        assert row.cell(task) == Cell(text=NOT_MEASURED, note=f"at {size} edges")
    records = {**ioi.records, "faithfulness": concluded(sizes=(5, NUM_EDGES))}
    assert FAITHFULNESS.findings(replace(ioi, records=records)) == ()


def test_the_headline_reads_faithfulness_at_the_circuits_size(ioi: TaskResults) -> None:
    record, size = FAITHFULNESS.of(ioi), ioi.comparison.circuit_size
    assert record is not None
    rows = {row.name: row for row in FAITHFULNESS.headline}
    for name, model, circuit in (
        ("ARM, own circuit", "arm", "arm"),
        ("ARM, random circuit", "arm", "random"),
        ("MDM, own circuit", "mdm", "mdm"),
        ("MDM, random circuit", "mdm", "random"),
        ("MDM on the ARM's circuit", "mdm", "arm"),
        ("ARM on the MDM's circuit", "arm", "mdm"),
    ):
        series = record.find(model, circuit)
        assert series is not None
        index = series.sizes.tolist().index(size)
        assert rows[name].cell(ioi) == entry_cell(series.estimates, index)
    assert len(rows) == 6


def test_the_figure_is_read_by_what_ablated_edges_carry(ioi: TaskResults) -> None:
    record = FAITHFULNESS.of(ioi)
    assert record is not None and record.ablation == "resample"
    for ablation, words in ABLATED_EDGES.items():
        records = {**ioi.records, "faithfulness": replace(record, ablation=ablation)}
        (exhibit,) = FAITHFULNESS.exhibits(replace(ioi, records=records))
        assert exhibit.name == "faithfulness"
        assert f"outside the circuit carries {words}." in exhibit.reading
        defined = FAITHFULNESS.method({"evaluation": {"ablation": ablation}})
        assert any(words in one.meaning for one in defined)


@dataclass
class Checkpoint(StoredMember):
    """A checkpoint of which circuits were exchanged."""

    exchanged: Mapping[str, CircuitMetrics]
    name: str = "mdm-step-000032"
    settings: ComparisonSettings = field(default=SETTINGS)

    def crossed(self) -> Mapping[str, CircuitMetrics]:
        return self.exchanged


def quantity(name: str):
    (found,) = [one for one in FAITHFULNESS.quantities if one.name == name]
    return found


def test_a_checkpoint_is_measured_on_each_exchanged_circuit() -> None:
    shares = {OWN: 0.75, INHERITED: 0.5, RETURNED: 0.25}
    checkpoint = Checkpoint(
        {name: metrics_keeping(share, sizes=(3,)) for name, share in shares.items()}
    )
    for name, share in shares.items():
        asked = quantity(name)
        assert (asked.of, asked.unit, asked.neutral) == ("checkpoints", "faithfulness", 1.0)
        found = asked.measure(checkpoint)
        assert found.reason == "" and found.estimate is not None
        assert found.estimate.value == pytest.approx(share)
        np.testing.assert_allclose(found.draws, np.full(200, share))


def rippled(circuit: float, full: float, empty: float) -> CircuitMetrics:
    """One circuit of three edges on ten examples of one step, all alike but for a ripple."""
    ripple = np.linspace(-0.1, 0.1, 10)[:, None]
    return replace(
        metrics_keeping(0.0, sizes=(3,)),
        metric=(circuit + ripple)[None],
        full=full + ripple,
        empty=empty + ripple,
    )


def test_faithfulness_is_measured_where_full_and_empty_differ_and_explained_where_not() -> None:
    good = quantity(OWN).measure(Checkpoint({OWN: rippled(3.0, 4.0, 0.0)}))
    assert good.reason == "" and good.estimate is not None
    np.testing.assert_allclose(good.estimate.value, 0.75)
    none = quantity(OWN).measure(Checkpoint({OWN: rippled(3.0, 1.0, 1.0)}))
    assert none.estimate is none.draws is None
    assert "on 10 examples the full model's metric minus the empty circuit's is 0 to 0" in (
        none.reason
    )


def test_a_full_model_no_better_than_its_empty_circuit_has_a_reason_and_no_interval() -> None:
    noisy = rippled(0.0, 0.0, 0.0)
    alternating = np.where(np.arange(10) % 2, 1.0, -0.9)[:, None]
    found = quantity(OWN).measure(Checkpoint({OWN: replace(noisy, full=noisy.empty + alternating)}))
    assert found.estimate is None
    assert "which includes 0. Use more examples or another metric." in found.reason
