"""Answers of controls and checkpoints are their own, on the examples that the pair was asked."""

import json

import numpy as np
import pytest

from mechshift.attribution import PositionFlow
from mechshift.comparison import ComparisonSettings
from mechshift.errors import ArtifactError
from mechshift.flat_records import read_record
from mechshift.models import PAIRS, load_controls, load_pair
from mechshift.models.tokenizers import naming_mask
from mechshift.run import PairOptions, make_pools
from mechshift.run.answers import CHECKPOINT_ANSWERS, checkpoint_answers
from mechshift.run.folders import FLOW
from mechshift.run.stage import write_pieces
from mechshift.run.store import read_pool
from mechshift.run.stored import RunCheckpoint, RunMember, RunTask
from mechshift.tasks import PoolConfig, answer, continuation_ids, load_task

TASK = load_task("infilling")


@pytest.fixture(scope="module")
def pair():
    return load_pair("tiny")


@pytest.fixture
def run(tmp_path, pair):
    config = PoolConfig(num_examples=3, num_held_out=6)
    make_pools(tmp_path, pair, PairOptions(), [TASK], config, quiet=True)
    return tmp_path


def ask(run, model, tokenizer):
    piece = checkpoint_answers(run, TASK, "checkpoint", model, tokenizer=tokenizer)
    write_pieces(run, CHECKPOINT_ANSWERS, [piece], quiet=True)


def test_a_checkpoint_is_asked_what_the_pool_asked_the_pair(run, pair):
    """The MDM under another name answers as it did, whatever its own tokenizer knows."""
    ask(run, pair.mdm, pair.mdm.tokenizer)
    found = RunCheckpoint(
        of=RunTask(run=run, task=TASK.name),
        name="checkpoint",
        with_flow=False,
        compared=ComparisonSettings(),
    ).solved()
    np.testing.assert_array_equal(found, read_pool(run, TASK.name, "held-out").mdm_correct)


def test_candidates_of_other_texts_under_the_same_ids_are_refused(run, pair):
    first = read_pool(run, TASK.name, "held-out").examples[0]
    word = continuation_ids(pair.mdm.tokenizer, first.prompt, first.target)[0]
    other = naming_mask(pair.mdm.tokenizer, word)
    with pytest.raises(ArtifactError, match="cannot be drawn again .*use another run folder"):
        ask(run, pair.mdm, other)


def test_a_control_answers_the_held_out_examples_of_the_pool(small_run, small):
    pair = load_pair("tiny")
    model = load_controls(pair, PAIRS["tiny"]).models["mdm-causal"]
    pool = read_pool(small_run, "infilling", "held-out")
    expected = answer(
        model, load_task("infilling"), pool.examples, PoolConfig(num_examples=12, num_held_out=10)
    )
    found = RunMember(of=RunTask(run=small_run, task="infilling"), name="mdm-causal").solved()
    assert len(found) == len(pool.examples)
    np.testing.assert_array_equal(found, expected.correct)


def test_the_arm_that_was_trained_on_still_solves_its_tasks(small_run):
    for task in ("ioi", "infilling"):
        assert (
            RunMember(of=RunTask(run=small_run, task=task), name="arm-continued").solved().mean()
            >= 0.9
        )


def test_weights_read_causally_carry_nothing_from_right_to_left(small_run):
    for control, zero in (("mdm-causal", True), ("arm-continued", True), ("arm-full", False)):
        flow = read_record(PositionFlow, small_run / "flow" / "infilling" / control, stage=FLOW)
        right_to_left = flow.by_direction[..., 0]
        assert (right_to_left == 0.0).all() == zero


def test_a_control_is_compared_with_the_arm_at_the_compared_size(small_run):
    shift = RunMember(of=RunTask(run=small_run, task="ioi"), name="arm-full").shift()
    arm = RunTask(run=small_run, task="ioi").scores("arm")
    assert shift.overlap.sizes.tolist() == [shift.circuit_size]
    assert shift.graph == arm.graph


def test_verdicts_lie_beside_the_report_with_their_rules_and_numbers(small_run):
    verdicts = json.loads((small_run / "report" / "verdicts.json").read_text(encoding="utf-8"))
    assert set(verdicts["tasks"]) == {"ioi", "infilling"}
    for task in verdicts["tasks"].values():
        axes = [statement["axis"] for statement in task["statements"]]
        assert axes[:7] == [
            "structure",
            "core",
            "depth",
            "specialisation",
            "direction",
            "inheritance",
            "intervention",
        ]
        assert set(axes) <= set(verdicts["rules"])
        measured = [one["estimate"]["interval"] for one in task["statements"] if one["estimate"]]
        assert all(interval["low"] <= interval["high"] for interval in measured)
    page = (small_run / "report" / "report.html").read_text(encoding="utf-8")
    assert "The pair at a glance" in page
    assert "What else could it be?" in page
