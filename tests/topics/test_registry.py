"""What is said of all topics: verdict, headline, words, and one look for every figure."""

import itertools
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import pytest

from mechshift.page.elements import Row
from mechshift.page.formats import NOT_DECIDED, Cell, estimate_cell, in_words, percentage_cell
from mechshift.page.theme import ARM_COLOUR, MDM_COLOUR, NEUTRAL_COLOUR
from mechshift.statistics import Estimate, Interval
from mechshift.topics import registry  # pytest takes `tests_over` by itself for a test
from mechshift.topics.decisions import decides
from mechshift.topics.depth import EARLY
from mechshift.topics.flow import SHARE
from mechshift.topics.hypotheses import corrected_frame
from mechshift.topics.other_circuit import OtherCircuit
from mechshift.topics.overlap import NOISE_FREE
from mechshift.topics.registry import (
    TOPICS,
    glance,
    headline,
    method,
    not_done,
    quantities,
    rules,
    terms,
    tracked_quantities,
    verdicts,
    verdicts_json,
)
from mechshift.topics.report_page import RunFacts
from mechshift.topics.spread import SHIFT
from mechshift.topics.topic import Measured, MemberResults, TaskResults

AXES = (
    "structure",
    "core",
    "depth",
    "specialisation",
    "direction",
    "inheritance",
    "intervention",
    "cause",
)

INTERVALS = [(-0.4, -0.1), (-0.4, 0.1), (0.0, 0.02), (0.01, 0.04), (0.03, 0.2), (0.06, 0.2)]
"""Below, around, at and above 0 and a twentieth."""

SAME = {
    "front-loaded": "yes, more",
    "back-loaded": "no, less",
    "more distributed": "yes, more distributed",
    "sharper": "no, sharper",
    "reads from the right": "yes",
    "hardly reads from the right": "hardly",
    "suffices": "yes",
    "no longer suffices": "no, it keeps less",
    NOT_DECIDED: NOT_DECIDED,
}
"""The verdict's words -> the finding's."""

Planted = Callable[..., TaskResults]
ControlOf = Callable[[str, str], MemberResults]


def rows_of(*tasks: TaskResults) -> dict[str, Row]:
    groups = headline(tasks, verdicts(tasks))
    return {row.name: row for group in groups for row in group.rows}


def estimate(low: float, high: float) -> Estimate:
    return Estimate(value=(low + high) / 2, interval=Interval(low=low, high=high, level=0.95))


def with_measured(task: TaskResults, **measured: Measured) -> TaskResults:
    """The task with these numbers of the MDM; names have `_` for a space and a hyphen for `__`."""
    named = {name.replace("__", "-").replace("_", " "): one for name, one in measured.items()}
    assert named.keys() <= task.mdm.measured.keys()
    return replace(task, mdm=replace(task.mdm, measured={**task.mdm.measured, **named}))


def with_many_clusters(task: TaskResults) -> TaskResults:
    """The task as if its few examples were of enough clusters for a verdict."""
    pool = replace(task.records["pool"], num_clusters=30, num_held_out_clusters=30)
    return replace(
        task,
        comparison=replace(task.comparison, num_clusters=30),
        records={**task.records, "pool": pool},
    )


def test_names_are_used_once() -> None:
    for names in (
        [topic.name for topic in TOPICS],
        [topic.title for topic in TOPICS],
        [one.name for one in tracked_quantities()],
        [rule.axis for rule in rules()],
        [test.name for topic in TOPICS for test in topic.tests],
        [row.name for topic in TOPICS for row in topic.headline],
        [term.term for topic in TOPICS for term in topic.terms],
    ):
        assert len(set(names)) == len(names) > 0


def test_the_axes_of_the_verdict_stand_in_a_fixed_order() -> None:
    assert tuple(rule.axis for rule in rules()) == AXES


def test_members_are_measured_by_these_quantities_and_checkpoints_by_more() -> None:
    of_members = [
        "noise-free overlap",
        "likeness by weight",
        "core kept",
        "early share shift",
        "centre of mass shift",
        "early share shift, as read",
        "centre of mass shift, as read",
        "effective components shift",
        "right-to-left share",
    ]
    of_checkpoints = ["own circuit", "the ARM's circuit in it", "its circuit in the ARM"]
    assert [one.name for one in quantities("members")] == of_members
    assert [one.name for one in tracked_quantities()] == [
        *of_members,
        *of_checkpoints,
        "accuracy",
    ]
    assert {one.neutral for one in quantities("members")} == {0.0, 1.0}


@pytest.mark.parametrize(
    ("plant", "structure", "depth", "specialisation"),
    [
        ("identical", "retained", "not decided", "not decided"),
        ("moved", "rewired", "front-loaded", "not decided"),
        ("rewired", "rewired", "not decided", "not decided"),
        ("distributed", "rewired", "not decided", "more distributed"),
    ],
)
def test_a_verdict_finds_what_was_planted_and_nothing_else(
    planted: Planted, plant: str, structure: str, depth: str, specialisation: str
) -> None:
    found = verdicts([planted(plant)])[0]
    assert found.of("structure").verdict == structure
    assert found.of("depth").verdict == depth
    assert found.of("specialisation").verdict == specialisation
    for axis in ("direction", "inheritance", "intervention"):
        assert found.of(axis).verdict == "not measured"


def test_nothing_is_explained_that_did_not_shift(planted: Planted, control_of: ControlOf) -> None:
    found = verdicts([planted("rewired", control_of("arm-full", "moved"))])[0]
    assert "cause" not in [one.axis for one in found.statements]


def test_a_paragraph_holds_every_sentence_and_every_axis_has_a_rule(
    planted: Planted, control_of: ControlOf
) -> None:
    found = verdicts([planted("moved", control_of("arm-full", "identical"))])[0]
    assert found.paragraph.startswith("On moved, the top 10 edges overlap by 0.00 [0.00, 0.00] ")
    assert {one.axis for one in found.statements} == set(AXES)
    for statement in found.statements:
        assert statement.axis in [rule.axis for rule in rules()]
        assert statement.sentence[1:] in found.paragraph


@pytest.mark.parametrize(("low", "high"), INTERVALS)
@pytest.mark.parametrize(
    ("axis", "question"),
    [
        ("depth", "rely more on early layers"),
        ("specialisation", "spread over more components"),
        ("direction", "read from its right"),
        ("inheritance", "ARM's circuit serve the MDM"),
    ],
)
def test_where_verdict_and_finding_answer_one_question_they_answer_alike(
    infilling: TaskResults, axis: str, question: str, low: float, high: float
) -> None:
    measured = Measured(estimate=estimate(low, high))
    task = with_measured(
        with_many_clusters(infilling),
        early_share_shift=measured,
        effective_components_shift=measured,
        right__to__left_share=measured,
    )
    record = infilling.records["faithfulness"]
    other = OtherCircuit(minus_own=measured, minus_half=measured, half_minus_own=0.0)
    record = replace(record, mdm=replace(record.mdm, other=other))
    task = replace(task, records={**task.records, "faithfulness": record})
    findings = (one for topic in TOPICS for one in registry.findings(topic, task))
    (found,) = [one.verdict for one in findings if question in one.question]
    assert SAME[verdicts([task])[0].of(axis).by_itself] == found


def test_verdicts_are_stored_with_their_rules_and_tests(
    planted: Planted, control_of: ControlOf
) -> None:
    tasks = (planted("moved", control_of("arm-full", "identical")), planted("rewired"))
    found, tests = verdicts(tasks), registry.tests_over(tasks)
    stored = json.loads(verdicts_json(found, tests))
    assert stored["rules"] == {rule.axis: rule.words for rule in rules()}
    assert tuple(stored["rules"]) == AXES
    assert list(stored["tasks"]) == ["moved", "rewired"]
    for one in found:
        task = stored["tasks"][one.task]
        assert task["paragraph"] == one.paragraph
        assert task["statements"] == [asdict(statement) for statement in one.statements]
    assert stored["tests"] == corrected_frame(tests).to_dicts()
    del stored["rules"]
    for task in stored["tasks"].values():
        task["statements"] = [{**one, "sentence": ""} for one in task["statements"]]
        del task["paragraph"]
    words = json.dumps(stored, ensure_ascii=False)
    assert "−" not in words  # numbers are numbers; only sentences have them as words


def of_tasks(planted: Planted, z: Sequence[float]) -> list[TaskResults]:
    """One circuit on every task, and shifts in depth of so many standard errors."""
    tasks = []
    for number, distance in enumerate(z):
        shift = Estimate(
            value=0.01 * distance,
            interval=Interval(
                low=0.01 * (distance - 1.96), high=0.01 * (distance + 1.96), level=0.95
            ),
        )
        task = with_measured(planted("identical"), early_share_shift=Measured(estimate=shift))
        tasks.append(replace(task, task=f"task {number}"))
    return tasks


def test_verdicts_are_corrected_for_all_that_the_run_decides(planted: Planted) -> None:
    """By hand: Holm's step-down over all p-values of the run, in order."""
    found = verdicts(of_tasks(planted, (2.2, 5.0, 3.9, 0.5)))
    statements = [one for verdict in found for one in verdict.statements if one.p is not None]
    order = sorted(statements, key=lambda one: one.p)
    largest = 0.0
    for place, one in enumerate(order):
        largest = max(largest, min(1.0, one.p * (len(order) - place)))
        assert one.corrected_p == pytest.approx(largest)
        assert decides(one.verdict) == (decides(one.by_itself) and largest <= 0.05)
    depth = [verdict.of("depth") for verdict in found]
    assert [one.by_itself for one in depth] == [*["front-loaded"] * 3, NOT_DECIDED]
    assert [one.verdict for one in depth] == [
        NOT_DECIDED,
        "front-loaded",
        "front-loaded",
        NOT_DECIDED,
    ]
    assert depth[0].sentence.endswith(": not decided (front-loaded by itself).")
    assert f"{len(order)} verdicts" in registry.correction(found)


def test_alone_a_task_decides_what_it_does_not_among_others(planted: Planted) -> None:
    (alone,) = verdicts(of_tasks(planted, (2.9,)))
    among = verdicts(of_tasks(planted, (2.9, *[0.0] * 9)))
    assert alone.of("depth").verdict == "front-loaded"
    assert among[0].of("depth").verdict == NOT_DECIDED


def test_runs_in_which_nothing_moved_rarely_say_that_anything_did(planted: Planted) -> None:
    """Four tasks, 100 runs: by themselves they do in one of five, corrected in one of twenty."""
    draws = np.random.default_rng(0).normal(size=(100, 4))
    single = corrected = 0
    for z in draws:
        depth = [one.of("depth") for one in verdicts(of_tasks(planted, z.tolist()))]
        single += any(decides(one.by_itself) for one in depth)
        corrected += any(decides(one.verdict) for one in depth)
    assert single >= 10  # 1 - 0.95 ** 4 of 100 is 19
    assert corrected <= 5


def test_a_cause_is_no_surer_than_what_it_explains(planted: Planted, control_of: ControlOf) -> None:
    task = planted(
        "moved", control_of("arm-full", "identical"), control_of("arm-continued", "identical")
    )
    (found,) = verdicts([task])
    causes = [one for one in found.statements if one.axis == "cause"]
    assert causes
    for cause in causes:
        assert cause.p >= found.of("depth").p


def test_the_headline_begins_with_the_verdict(ioi: TaskResults, infilling: TaskResults) -> None:
    """A row an axis: its rule, and of each task what was decided and the number behind it."""
    tasks = (infilling, ioi)
    decided = verdicts(tasks)
    first, *others = headline(tasks, decided)
    assert first.name == "Verdict"
    assert [(row.name.lower(), row.explanation) for row in first.rows] == [
        (rule.axis, rule.words) for rule in rules()
    ]
    for row in first.rows[:-1]:
        for cell, one in zip(row.cells, decided, strict=True):
            statement = one.of(row.name.lower())
            assert cell.text == statement.verdict
            shown = "" if statement.estimate is None else in_words(statement.estimate)
            assert cell.interval == shown
    assert [group.name for group in others] == [
        "Behaviour",
        "Shared structure",
        "Depth, by writing layer",
        "Flow and components",
        "What the circuits carry",
        "Single components ablated",
    ]  # of the early layers' heads and MLPs, heads alone were ablated


def test_every_number_of_the_headline_is_the_records_with_its_interval(
    ioi: TaskResults, infilling: TaskResults
) -> None:
    rows = rows_of(infilling, ioi)
    for column, task in enumerate((infilling, ioi)):
        comparison, pool = task.comparison, task.records["pool"]
        index = comparison.overlap.index_of(comparison.circuit_size)
        assert index is not None
        source = comparison.circuit_depth.source
        for name, number in {
            "Edge overlap": comparison.overlap.edges.at(index),
            "… if only layout mattered": comparison.overlap.null.at(index),
            "ARM ceiling": comparison.overlap.ceiling_arm.at(index),
            "MDM ceiling": comparison.overlap.ceiling_mdm.at(index),
            "Noise-free overlap": comparison.noise_free.overlap,
            "Likeness by weight": comparison.by_weight.likeness,
            "Node overlap": comparison.overlap.nodes.at(index),
            "Early share, ARM": source.arm.thirds.at(0),
            "Early share, MDM": source.mdm.thirds.at(0),
        }.items():
            assert number is not None
            assert rows[name].cells[column] == estimate_cell(number)
        assert rows["ARM accuracy"].cells[column] == percentage_cell(pool.arm_accuracy)


def test_what_some_task_has_is_not_measured_in_another(
    planted: Planted, infilling: TaskResults
) -> None:
    rows = rows_of(infilling, planted("moved"))
    size = planted("moved").comparison.circuit_size
    own = rows["MDM, own circuit"].cells
    assert own[0].text != "not measured"
    assert own[1] == Cell(text="not measured", note=f"at {size} edges")
    assert rows["Right-to-left share, MDM"].cells[1] == Cell(text="not measured")


def test_a_headline_without_flow_has_no_rows_for_it(
    planted: Planted, infilling: TaskResults
) -> None:
    of_flow = [name for name in rows_of(infilling) if "ight-to-left" in name]
    assert of_flow
    assert SHARE == "right-to-left share"
    missing = Measured(reason="a stage was left out")
    rows = rows_of(with_measured(planted("moved"), right__to__left_share=missing))
    assert not set(of_flow) & set(rows)


def test_the_headline_shows_the_concentration_of_the_verdict(infilling: TaskResults) -> None:
    measured = Measured(estimate=estimate(0.5, 0.7))
    task = with_many_clusters(infilling)
    rows = rows_of(with_measured(task, effective_components_shift=measured))
    assert rows["Effective number, shift"].cells[0].text == "+0.60"
    assert rows["Specialisation"].cells[0].text == "more distributed"


def test_every_shift_that_is_explained_has_its_cause_in_the_headline(planted: Planted) -> None:
    """Two shifts and no control: one open cause, told once."""
    task = with_measured(
        planted("rewired"),
        early_share_shift=Measured(estimate=estimate(0.1, 0.3)),
        effective_components_shift=Measured(estimate=estimate(0.5, 0.7)),
    )
    causes = [one for one in verdicts([task])[0].statements if one.axis == "cause"]
    assert len(causes) == 2
    assert f"{EARLY} is" in causes[0].sentence and f"{SHIFT} is" in causes[1].sentence
    assert rows_of(task)["Cause"].cells[0] == Cell(text=NOT_DECIDED)
    assert rows_of(planted("rewired"))["Cause"].cells[0] == Cell(text="nothing to explain")


def test_every_task_has_a_point_for_each_quantity_of_the_pair(planted: Planted) -> None:
    tasks = (planted("moved"), planted("identical"))
    figure = glance(tasks).to_plotly()
    assert figure.layout.title.text == "The pair at a glance"
    names = [trace.name for trace in figure.data[1::2]]
    assert names == [NOISE_FREE, EARLY, SHIFT]  # flow was traced on neither
    for points in figure.data[1::2]:
        assert list(points.y) == ["moved", "identical"]
        assert list(points.x) == [
            number.value for task in tasks if (number := task.mdm.estimate(points.name)) is not None
        ]


def test_words_are_explained_that_some_task_needs(
    planted: Planted, ioi: TaskResults, facts: RunFacts
) -> None:
    few, many = ([one.term for one in terms([task])] for task in (planted("moved"), ioi))
    assert [term for term in many if term in few] == few
    for term in ("Edge score", "Overlap, ceiling, null", "Interval"):
        assert term in few
    for term in ("Effective number", "Flow, right to left", "Faithfulness"):
        assert term in many and term not in few


def test_the_definitions_are_those_of_the_run(facts: RunFacts) -> None:
    meanings = " ".join(one.meaning for one in method(facts.settings))
    assert "averaged over 9 points (rule “right”), whichever method" in meanings
    assert "whole interval lies above 0.25;" in meanings
    kept = {name: one for name, one in facts.settings.items() if name not in ("flow", "semantics")}
    bare = method(kept)
    assert "Attention roles" not in [one.term for one in bare]
    assert "whichever method scored the edges" not in " ".join(one.meaning for one in bare)


def test_what_was_not_done_is_said_of_the_tasks_without_it(
    planted: Planted, ioi: TaskResults
) -> None:
    traced = {name: one for name, one in ioi.records.items() if name != "flow"}
    sentence = "Flow between positions was not traced on {}: `mechshift flow RUN` does it."
    assert sentence.format("moved") in not_done([ioi, planted("moved")])
    assert sentence.format("ioi, moved") in not_done(
        [replace(ioi, records=traced), planted("moved")]
    )
    assert not [one for one in not_done([ioi]) if "Flow" in one]


@pytest.fixture(scope="module")
def every_figure(infilling: TaskResults) -> dict[str, go.Figure]:
    """Of a task with several steps; and of the whole pair."""
    shown = [exhibit for topic in TOPICS for exhibit in topic.exhibits(infilling)]
    return {exhibit.name: exhibit.figure.to_plotly() for exhibit in shown} | {
        "glance": glance([infilling]).to_plotly()
    }


def test_a_model_has_the_same_colour_in_every_figure(every_figure: dict[str, go.Figure]) -> None:
    """What is named after one model alone, and what runs one model on the other's circuit.

    Circuits that are neither model's are grey.
    """
    grey = ("random circuits", "edges by activation")
    colours: dict[str, set[str]] = {"ARM": set(), "MDM": set()}
    for figure in every_figure.values():
        for trace in figure.data:
            runs = re.match(r"(?:ceiling: )?(ARM|MDM)", trace.name or "")
            if (trace.name or "").endswith(grey):
                assert trace.line.color == NEUTRAL_COLOUR
            elif runs and trace.type == "scatter" and trace.line.color:
                colours[runs[1]].add(trace.line.color)
        for annotation in figure.layout.annotations:
            if annotation.text in colours:
                colours[annotation.text].add(annotation.font.color)
    assert colours == {"ARM": {ARM_COLOUR}, "MDM": {MDM_COLOUR}}


def test_every_axis_with_a_title_names_its_unit_or_what_it_counts(
    every_figure: dict[str, go.Figure],
) -> None:
    titles = {
        name: {axis.title.text for axis in axes(figure) if axis.title.text}
        for name, figure in every_figure.items()
    }
    assert titles == {
        "circuit-map": {"attention head", "layer"},
        "overlap": {"circuit size K [edges]", "Jaccard overlap", "ratio"},
        "agreement": {"circuit size K [edges]", "agreement"},
        "stability": {"edges, most stable first", "share of resamples", "edges"},
        "depth": {"layer", "share of |score|"},
        "depth-all-edges": {"layer", "share of |score|"},
        "size-sweep": {"circuit size K [edges]"},
        "step-sweep": {"denoising step"},
        "concentration": {"components of 30", "share of |attribution|"},
        "right-to-left": {"layer", "denoising step", "share of |flow|"},
        "span-flow": {"read by span", "read from span"},
        "step-spans": {"denoising step", "read from span"},
        "lens-levels": {"residual stream before layer", "denoising step"},
        "lens-components": {"attention head", "layer"},
        "attention-roles": {"attention beyond uniform"},
        "faithfulness": {"circuit size [edges of 1,108]", "faithfulness (1 = full model)"},
        "examples": {"logit_diff, summed over steps"},
        "ablation-zero": {"drop in logit_diff [logits]", "drop in accuracy"},
        "single-ablations": {"mean drop in logit_diff [logits]", "n = 24 heads", "n = 6 MLPs"},
        "steps": {"denoising step", "reading layer", "logit_diff [logits]"},
        "controls": {"share", "of |score|", "components", "of |flow|"},
        "glance": {"share", "of |score|", "components", "of |flow|"},
    }


def axes(figure: go.Figure) -> list[go.layout.XAxis | go.layout.YAxis]:
    return [*figure.select_xaxes(), *figure.select_yaxes()]


def test_panels_do_not_overlap_in_either_shape(every_figure: dict[str, go.Figure]) -> None:
    for figure in every_figure.values():
        for shape in ("wide", "narrow"):
            domains = {
                name: value
                for name, value in figure.layout.meta[shape].items()
                if name.endswith(".domain")
            }
            numbers = sorted({re.sub(r"[^0-9]", "", name) for name in domains})
            boxes = [(domains[f"xaxis{n}.domain"], domains[f"yaxis{n}.domain"]) for n in numbers]
            for (left, right), (bottom, top) in boxes:
                assert 0 <= left < right <= 1 and 0 <= bottom < top <= 1
            for one, two in itertools.combinations(boxes, 2):
                assert any(a[1] < b[0] or b[1] < a[0] for a, b in zip(one, two, strict=True))


def test_the_page_on_verdicts_lists_every_rule_as_it_is_applied() -> None:
    text = (Path(__file__).parents[2] / "docs" / "verdict.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([a-z]+) \| (.+) \|$", text.partition("## Controls")[0], re.MULTILINE)
    assert rows == [("axis", "rule"), *((rule.axis, rule.words) for rule in rules())]
