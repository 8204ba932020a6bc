"""Ablation of structures: the rules with intervals set by hand, and the numbers shown."""

import json
from dataclasses import replace

import numpy as np
import pytest

from mechshift.ablation import (
    AblationSettings,
    AblationTable,
    PlanLabels,
    RemovedOutputs,
    compare_ablations,
)
from mechshift.flat_records import from_flat, to_flat
from mechshift.page.formats import NOT_DECIDED, NOT_MEASURED, Cell, estimate_cell
from mechshift.statistics import Estimates
from mechshift.topics.ablation import ABLATION, Ablations, OwnAnswers
from mechshift.topics.registry import not_done
from mechshift.topics.topic import TaskResults

SETTINGS = AblationSettings(num_resamples=30, replacements=("zero", "resample"))
PLANS = (
    "early heads",
    "early heads, same number, draw 1",
    "early heads, same norm, draw 1",
    "early layers",
    "late mlps",
)


def table_of(seed: int) -> AblationTable:
    generator = np.random.default_rng(seed)
    return AblationTable(
        labels=PlanLabels(
            names=PLANS,
            roles=("structure", "same number", "same norm", "structure", "structure"),
            of=("early heads",) * 3 + ("early layers", "late mlps"),
            draws=np.array([0, 1, 1, 0, 0]),
            notes=("by hand",) * 5,
            num_heads=np.array([2, 2, 1, 2, 0]),
            num_mlps=np.array([0, 0, 1, 1, 1]),
            num_neurons=np.zeros(5, dtype=np.int64),
        ),
        replacements=("zero", "resample"),
        metric_name="logit_diff",
        metric=generator.normal(2.0, 1.0, size=(5, 2, 15)),
        correct=generator.random((5, 2, 15)) < 0.6,
        clean_metric=generator.normal(4.0, 0.5, size=15),
        clean_correct=np.ones(15, dtype=bool),
        corrupted_metric=generator.normal(-4.0, 0.5, size=15),
        clusters=np.arange(15),
        removed=RemovedOutputs(
            norm=np.arange(5.0),
            share=np.array([0.1, 0.1, 0.1, 0.125 + seed / 8, 0.5]),
            # The largest is a control's, which is not what the guard is about.
            largest_coordinate_share=np.array([0.2, 0.9, 0.1, 0.3 + seed / 10, 0.25]),
        ),
        left_out=("no order came near enough.",) if seed else (),
    )


def answers_of(value: float) -> OwnAnswers:
    accuracy = np.full((3, 1), value)
    return OwnAnswers(
        plans=("early heads", "early layers", "late mlps"),
        replacements=("zero",),
        accuracy=Estimates(value=accuracy, low=accuracy - 0.1, high=accuracy + 0.1, level=0.95),
    )


@pytest.fixture
def of_few_draws(ioi: TaskResults) -> TaskResults:
    """Each control is one draw."""
    structures = compare_ablations(table_of(0), table_of(1), SETTINGS)
    return with_record(ioi, Ablations(structures=structures, arm_answers=None, mdm_answers=None))


@pytest.fixture
def task(of_few_draws: TaskResults) -> TaskResults:
    """As if each control were of so many draws that it has an interval."""
    structures = record_of(of_few_draws).structures
    changed = {}
    for model in ("arm", "mdm"):
        effects = getattr(structures, model)
        labels = replace(effects.labels, num_draws=np.array([1, 20, 20, 1, 1]))
        changed[model] = replace(effects, labels=labels)
    return with_structures(of_few_draws, **changed)


def with_record(task: TaskResults, record: Ablations) -> TaskResults:
    return replace(task, records={**task.records, "ablation": record})


def record_of(task: TaskResults) -> Ablations:
    record = ABLATION.of(task)
    assert record is not None
    return record


def with_structures(task: TaskResults, **changes: object) -> TaskResults:
    record = record_of(task)
    return with_record(task, replace(record, structures=replace(record.structures, **changes)))


def estimates(low: float, high: float) -> Estimates:
    """The same at every plan and replacement of the comparison."""
    shape = np.ones((5, 2))
    return Estimates(value=shape * (low + high) / 2, low=shape * low, high=shape * high, level=0.95)


def finding(task: TaskResults, words: str):
    (found,) = [one for one in ABLATION.findings(task) if words in one.question]
    return found


def decided(task: TaskResults):
    (rule,) = ABLATION.rules
    (statement,) = rule.decide(task)
    assert statement.axis == rule.axis == "intervention"
    return statement


def rows(task: TaskResults) -> dict[str, Cell]:
    return {row.name: row.cell(task) for row in ABLATION.headline}


@pytest.mark.parametrize(
    ("beyond_chance", "verdict"),
    [((0.1, 0.3), "yes, more"), ((-0.1, 0.3), NOT_DECIDED), ((-0.3, -0.1), "no, less")],
)
def test_early_structures_matter_more_or_less_by_what_goes_beyond_chance(
    task: TaskResults, beyond_chance, verdict
) -> None:
    """However much more the MDM loses: it may be fragile to everything."""
    for difference in ((0.2, 0.4), (-0.4, -0.2)):
        changed = with_structures(
            task,
            share_lost_difference=estimates(*difference),
            share_excess_difference=estimates(*beyond_chance),
        )
        found = finding(changed, "early heads")
        assert found.verdict == verdict
        for low, high in (difference, beyond_chance):
            assert f"[{low:+.2f}, {high:+.2f}]".replace("-", "−") in found.sentence
        said = {
            "yes, more": "MDM depends more on early heads",
            "no, less": "MDM depends less on early heads",
            NOT_DECIDED: NOT_DECIDED,
        }
        statement = decided(changed)
        assert statement.verdict == said[verdict]
        assert statement.estimate is not None
        interval = statement.estimate.interval
        assert (interval.low, interval.high) == beyond_chance
        assert "beyond what random ones cost" in statement.sentence


@pytest.mark.parametrize("sign", [1, -1])
def test_one_control_that_costs_as_much_leaves_it_undecided(task: TaskResults, sign: int) -> None:
    """The second row is the control by number, the third that by norm."""
    low, high = sorted((sign * 0.2, sign * 0.4))
    beyond_chance = estimates(low, high)
    beyond_chance.low[2], beyond_chance.value[2], beyond_chance.high[2] = -0.1, 0.1, 0.3
    changed = with_structures(task, share_excess_difference=beyond_chance)
    assert finding(changed, "early heads").verdict == NOT_DECIDED
    statement = decided(changed)
    assert statement.estimate is not None and statement.estimate.value == 0.1


def test_fewer_than_twenty_draws_of_random_structures_decide_nothing(
    of_few_draws: TaskResults,
) -> None:
    found = finding(of_few_draws, "early heads")
    assert found.verdict == "too few random structures (1)"
    assert "Of random ones there are too few draws (1) to hold them against." in found.sentence
    statement = decided(of_few_draws)
    assert statement.verdict == "too few random structures (1)"
    assert statement.estimate is None


def test_without_a_control_a_loss_is_no_evidence(task: TaskResults) -> None:
    for difference in ((0.1, 0.3), (-0.3, -0.1)):
        changed = with_structures(task, share_lost_difference=estimates(*difference))
        found = finding(changed, "early layers")
        assert found.verdict == NOT_DECIDED
        assert "There is no random control to hold these losses against." in found.sentence


def test_a_metric_that_cannot_be_lost_is_replaced_by_accuracy(task: TaskResults) -> None:
    changed = with_structures(
        task,
        share_lost_difference=estimates(np.nan, np.nan),
        accuracy_drop_difference=estimates(-0.3, -0.1),
        accuracy_excess_difference=estimates(-0.3, -0.1),
    )
    found = finding(changed, "early heads")
    assert found.verdict == "no, less"
    assert "of its accuracy" in found.sentence
    assert "a share of its accuracy" in decided(changed).sentence


def test_the_norm_that_is_removed_stands_beside_the_loss(task: TaskResults) -> None:
    found = finding(task, "early layers")
    assert "they hold 25.0\N{NO-BREAK SPACE}% in the MDM and 12.5" in found.sentence


def test_controls_that_do_not_exist_are_named_where_scores_are_doubted(task: TaskResults) -> None:
    assert ABLATION.notes(task) == ("MDM, ablation: no order came near enough.",)
    changed = with_structures(task, only_in_one=("late mlps, same norm",))
    assert ABLATION.notes(changed)[1] == (
        "Controls of one model only are not shown: late mlps, same norm."
    )


def test_every_replacement_has_its_figure_and_numbers(task: TaskResults) -> None:
    shown = {one.name: one for one in ABLATION.exhibits(task)}
    assert list(shown) == ["ablation-zero", "ablation-resample"]
    assert set(shown["ablation-resample"].table["replacement"]) == {"resample"}
    guard = shown["ablation-zero"].reading
    assert "30.0\N{NO-BREAK SPACE}% in the ARM (early layers)" in guard
    assert "40.0\N{NO-BREAK SPACE}% in the MDM (early layers)" in guard


def test_the_headline_tells_of_early_layers_that_write_nothing(
    task: TaskResults, infilling: TaskResults
) -> None:
    cells = rows(task)
    structures = record_of(task).structures
    place = structures.arm.labels.names.index("early layers"), 0
    for model in ("arm", "mdm"):
        effects = getattr(structures, model)
        for name, found in (
            ("Accuracy lost", effects.accuracy_drop),
            ("Metric lost", effects.share_lost),
        ):
            assert cells[f"{name}, {model.upper()}"] == estimate_cell(found.at(*place))
    for name, wanted in (
        ("Accuracy lost, difference", structures.accuracy_drop_difference.at(*place)),
        ("Metric lost, difference", structures.share_lost_difference.at(*place)),
    ):
        assert wanted is not None
        note = "" if wanted.excludes(0.0) else NOT_DECIDED
        assert cells[name] == estimate_cell(wanted, signed=True, note=note)
    assert cells["Own answers right, ARM"] == Cell(text=NOT_MEASURED)
    # The small run ablated heads alone, no whole layers.
    assert set(rows(infilling).values()) == {Cell(text=NOT_MEASURED)}


def test_own_answers_are_shown_where_the_models_wrote_them(task: TaskResults) -> None:
    record = replace(record_of(task), arm_answers=answers_of(0.75), mdm_answers=answers_of(0.25))
    changed = with_record(task, record)
    assert rows(changed)["Own answers right, MDM"].text == "0.25"
    (zero,) = [one.table for one in ABLATION.exhibits(changed) if one.name == "ablation-zero"]
    answered = zero.drop_nulls("own_accuracy")
    assert answered["plan"].to_list() == ["early heads", "early layers", "late mlps"] * 2
    assert answered["own_accuracy"].to_list() == [0.75] * 3 + [0.25] * 3


def test_without_ablations_nothing_is_said_of_them_but_that_they_are_missing(
    ioi: TaskResults,
) -> None:
    task = replace(ioi, records={})
    assert ABLATION.findings(task) == ABLATION.notes(task) == ABLATION.exhibits(task) == ()
    assert set(rows(task).values()) == {Cell(text=NOT_MEASURED)}
    assert decided(task).sentence == "Intervention: not measured."
    assert ABLATION.method({}) == ()
    assert "No structures were ablated on ioi: `mechshift ablate RUN` does it." in not_done((task,))
    assert not [one for one in not_done((ioi,)) if "ablated" in one]


def test_the_method_is_told_with_this_runs_settings() -> None:
    settings = replace(SETTINGS, num_examples=12, num_control_draws=4).manifest_config()
    said = " ".join(one.meaning for one in ABLATION.method({"ablation": settings}))
    assert "zero: nothing; resample: what they write on the corrupted prompt" in said
    assert "the first 12 of the held-out examples" in said
    assert "4 random sets for each early structure, at most 3 for others" in said
    assert "to 5%" in said
    whole = replace(SETTINGS, num_examples=None).manifest_config()
    everything = ABLATION.method({"ablation": whole})[0].meaning
    assert everything.endswith("Measured on all of the held-out examples.")


def test_own_answers_are_stored_with_the_rest(task: TaskResults) -> None:
    record = replace(record_of(task), mdm_answers=answers_of(0.25))
    read = from_flat(Ablations, to_flat(record))
    assert read.arm_answers is None and read.mdm_answers is not None
    np.testing.assert_array_equal(read.mdm_answers.accuracy.value, np.full((3, 1), 0.25))
    assert read.structures.arm.labels.names == record.structures.arm.labels.names


def test_the_method_reads_the_settings_of_ablation_among_those_of_all_stages():
    """As a manifest holds them: JSON has no tuples."""
    asked = AblationSettings(num_examples=12).manifest_config()
    stages = {"pool": {"seed": 0}, "ablation": json.loads(json.dumps(asked))}
    definitions = ABLATION.method(stages)
    assert any("the first 12" in definition.meaning for definition in definitions)
    assert ABLATION.method({"pool": {"seed": 0}}) == ()
