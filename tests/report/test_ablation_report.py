"""What the page says of ablations: the rules with intervals set by hand, and the numbers shown."""

from dataclasses import replace

import numpy as np
import pytest

from mechshift.ablation import (
    AblationSettings,
    AblationTable,
    PlanLabels,
    RemovedOutputs,
    SingleAblations,
    compare_ablations,
    compare_single_ablations,
)
from mechshift.graph import Graph
from mechshift.report import (
    OwnAnswers,
    ReportInput,
    TaskAblations,
    TaskReport,
    TaskSemantics,
    exhibits,
    render_report,
    report_tables,
)
from mechshift.report.ablation_definitions import ablation_method
from mechshift.report.ablation_findings import ablation_findings, ablation_notes
from mechshift.report.formats import estimate_cell
from mechshift.report.headline import headline
from mechshift.statistics import Estimate, Estimates, Interval
from mechshift.verdict import NOT_DECIDED, Evidence
from mechshift.verdict import verdict as decide

GRAPH = Graph(num_layers=3, num_heads=2, num_key_value_groups=2)
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
        removed=RemovedOutputs(
            norm=np.arange(5.0),
            share=np.array([0.1, 0.1, 0.1, 0.125 + seed / 8, 0.5]),
            # The largest is a control's, which is not what the guard is about.
            largest_coordinate_share=np.array([0.2, 0.9, 0.1, 0.3 + seed / 10, 0.25]),
        ),
        left_out=("no order came near enough.",) if seed else (),
    )


def single_of(seed: int) -> SingleAblations:
    metric = np.random.default_rng(seed).normal(size=(15, GRAPH.num_sources - 1))
    return SingleAblations(
        graph=GRAPH,
        replacement="resample",
        metric_name="logit_diff",
        metric=metric,
        clean_metric=np.zeros(15),
    )


def estimate(low: float, high: float) -> Estimate:
    return Estimate(value=(low + high) / 2, interval=Interval(low=low, high=high, level=0.95))


def answers_of(value: float) -> OwnAnswers:
    accuracy = np.full((3, 1), value)
    return OwnAnswers(
        plans=("early heads", "early layers", "late mlps"),
        replacements=("zero",),
        accuracy=Estimates(value=accuracy, low=accuracy - 0.1, high=accuracy + 0.1, level=0.95),
    )


@pytest.fixture(scope="module")
def ablations() -> TaskAblations:
    return TaskAblations(
        structures=compare_ablations(table_of(0), table_of(1), SETTINGS),
        single=compare_single_ablations(single_of(0), single_of(1), SETTINGS),
        arm_agreement=estimate(0.5, 0.75),
        mdm_agreement=estimate(0.125, 0.5),
    )


@pytest.fixture
def task(ioi: TaskReport, ablations: TaskAblations) -> TaskReport:
    return replace(ioi, ablations=ablations)


def estimates(low: float, high: float) -> Estimates:
    """The same at every plan and replacement of the comparison."""
    shape = np.ones((5, 2))
    return Estimates(value=shape * (low + high) / 2, low=shape * low, high=shape * high, level=0.95)


def verdict_of(task: TaskReport, words: str) -> str:
    (found,) = [one for one in ablation_findings(task) if words in one.question]
    return found.verdict


@pytest.mark.parametrize(
    ("difference", "excess", "verdict"),
    [
        ((0.1, 0.3), (0.2, 0.4), "yes, and more than random ones"),
        ((0.1, 0.3), (-0.1, 0.4), NOT_DECIDED),
        ((-0.1, 0.3), (0.2, 0.4), NOT_DECIDED),
        ((-0.3, -0.1), (0.2, 0.4), "no, less"),
        ((-0.3, -0.1), (-0.4, -0.2), "no, less"),
    ],
)
def test_early_structures_matter_more_where_both_the_arm_and_chance_lose_less(
    task: TaskReport, semantics: TaskSemantics, difference, excess, verdict
) -> None:
    structures = task.ablations.structures
    changed = replace(
        structures,
        share_lost_difference=estimates(*difference),
        mdm=replace(structures.mdm, share_excess=estimates(*excess)),
    )
    task = replace(task, ablations=replace(task.ablations, structures=changed))
    (found,) = [one for one in ablation_findings(task) if "early heads" in one.question]
    assert found.verdict == verdict
    assert f"[{difference[0]:+.2f}, {difference[1]:+.2f}]".replace("-", "−") in found.sentence
    assert f"[{excess[0]:+.2f}, {excess[1]:+.2f}]".replace("-", "−") in found.sentence
    evidence = Evidence(
        comparison=task.comparison,
        concentration=semantics.shift.concentration,
        ablation=changed,
    )
    said = {
        "yes, and more than random ones": "MDM depends more on early heads",
        "no, less": "MDM depends less on early heads",
        NOT_DECIDED: NOT_DECIDED,
    }
    assert decide(evidence).of("intervention").verdict == said[verdict]


def test_one_control_that_costs_as_much_leaves_it_undecided(task: TaskReport) -> None:
    """The second row is the control by number, the third that by norm."""
    structures = task.ablations.structures
    excess = estimates(0.2, 0.4)
    excess.low[2] = -0.1
    changed = replace(
        structures,
        share_lost_difference=estimates(0.1, 0.3),
        mdm=replace(structures.mdm, share_excess=excess),
    )
    task = replace(task, ablations=replace(task.ablations, structures=changed))
    assert verdict_of(task, "early heads") == NOT_DECIDED


def test_without_a_control_a_loss_is_no_evidence(task: TaskReport) -> None:
    structures = replace(task.ablations.structures, share_lost_difference=estimates(0.1, 0.3))
    task = replace(task, ablations=replace(task.ablations, structures=structures))
    (found,) = [one for one in ablation_findings(task) if "early layers" in one.question]
    assert found.verdict == NOT_DECIDED
    assert "There is no random control to hold the MDM's loss against." in found.sentence


def test_a_metric_that_cannot_be_lost_is_replaced_by_accuracy(task: TaskReport) -> None:
    structures = replace(
        task.ablations.structures,
        share_lost_difference=estimates(np.nan, np.nan),
        accuracy_drop_difference=estimates(-0.3, -0.1),
    )
    task = replace(task, ablations=replace(task.ablations, structures=structures))
    (found,) = [one for one in ablation_findings(task) if "early heads" in one.question]
    assert found.verdict == "no, less"
    assert "of its accuracy" in found.sentence


def test_the_norm_that_is_removed_stands_beside_the_loss(task: TaskReport) -> None:
    (found,) = [one for one in ablation_findings(task) if "early layers" in one.question]
    assert "they hold 25.0\N{NO-BREAK SPACE}% in the MDM and 12.5" in found.sentence


@pytest.mark.parametrize(
    ("arm", "mdm", "verdict"),
    [
        ((0.2, 0.6), (0.1, 0.5), "yes"),
        ((0.2, 0.6), (-0.1, 0.5), "only in the ARM"),
        ((-0.6, -0.2), (-0.1, 0.5), NOT_DECIDED),
    ],
)
def test_attribution_ranks_as_ablation_where_the_correlation_is_above_zero(
    task: TaskReport, arm, mdm, verdict
) -> None:
    changed = replace(task.ablations, arm_agreement=estimate(*arm), mdm_agreement=estimate(*mdm))
    assert verdict_of(replace(task, ablations=changed), "rank heads") == verdict


def test_controls_that_do_not_exist_are_named_where_scores_are_doubted(
    task: TaskReport, report: ReportInput
) -> None:
    assert ablation_notes(task) == ("MDM, ablation: no order came near enough.",)
    page = render_report(replace(report, tasks=(task,)))
    assert "MDM, ablation: no order came near enough." in page


def test_every_replacement_has_its_figure_and_numbers_and_single_components_theirs(
    task: TaskReport, report: ReportInput
) -> None:
    shown = {one.name: one for one in exhibits(task) if one.section == "Ablation"}
    assert list(shown) == ["ablation-zero", "ablation-resample", "single-ablations"]
    tables = report_tables(replace(report, tasks=(task,)))
    assert set(tables["ioi-ablation-resample.csv"]["replacement"]) == {"resample"}
    assert len(tables["ioi-single-ablations.csv"]) == 2 * (GRAPH.num_sources - 1)
    guard = shown["ablation-zero"].reading
    assert "30.0\N{NO-BREAK SPACE}% in the ARM (early layers)" in guard
    assert "40.0\N{NO-BREAK SPACE}% in the MDM (early layers)" in guard
    assert "0.62 [0.50, 0.75], MDM 0.31 [0.12, 0.50]" in shown["single-ablations"].reading


def test_the_headline_tells_of_early_layers_that_write_nothing(
    task: TaskReport, countdown: TaskReport
) -> None:
    groups = {group.name: group.rows for group in headline((countdown, task))}
    rows = {row.name: row for row in groups["Early layers ablated"]}
    structures = task.ablations.structures
    place = structures.arm.labels.names.index("early layers"), 0
    for model in ("arm", "mdm"):
        effects = getattr(structures, model)
        for name, found in (
            ("Accuracy lost", effects.accuracy_drop),
            ("Metric lost", effects.share_lost),
        ):
            cells = rows[f"{name}, {model.upper()}"].cells
            assert cells[0].text == "not measured"
            assert cells[1] == estimate_cell(found.at(*place))
    difference = rows["Metric lost, difference"].cells[1]
    wanted = structures.share_lost_difference.at(*place)
    note = "" if wanted.excludes(0.0) else NOT_DECIDED
    assert difference == estimate_cell(wanted, signed=True, note=note)
    assert not [name for name in rows if name.startswith("Own answers")]
    single = {row.name: row.cells[1] for row in groups["Single components ablated"]}
    assert single["Rank agreement, MDM"] == estimate_cell(task.ablations.mdm_agreement)


def test_own_answers_are_shown_where_the_models_wrote_them(task: TaskReport) -> None:
    changed = replace(task.ablations, arm_answers=answers_of(0.75), mdm_answers=answers_of(0.25))
    task = replace(task, ablations=changed)
    rows = {row.name: row for group in headline((task,)) for row in group.rows}
    assert rows["Own answers right, MDM"].cells[0].text == "0.25"
    (zero,) = [one.table for one in exhibits(task) if one.name == "ablation-zero"]
    answered = zero.drop_nulls("own_accuracy")
    assert answered["plan"].to_list() == ["early heads", "early layers", "late mlps"] * 2
    assert answered["own_accuracy"].to_list() == [0.75] * 3 + [0.25] * 3


def test_without_ablations_the_page_says_nothing_of_them(ioi: TaskReport, report) -> None:
    assert ablation_findings(ioi) == ablation_notes(ioi) == ()
    assert not [group for group in headline((ioi,)) if "ablated" in group.name]
    page = render_report(report)
    assert "Ablating a structure" not in page and "Single ablations" not in page


def test_the_page_defines_what_was_done_with_this_runs_settings(
    task: TaskReport, report: ReportInput
) -> None:
    settings = replace(SETTINGS, num_examples=12, num_control_draws=4)
    facts = replace(report.facts, ablation=settings)
    page = render_report(replace(report, facts=facts, tasks=(task,)))
    assert "Ablating a structure" in page
    assert "zero: nothing; resample: what they write on the corrupted prompt" in page
    assert "the first 12 of the held-out examples" in page
    assert "4 random sets each" in page and "to 5%" in page
    everything = ablation_method(replace(SETTINGS, num_examples=None))[0].meaning
    assert everything.endswith("Measured on all of the held-out examples.")
