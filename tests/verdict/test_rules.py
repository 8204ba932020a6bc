from dataclasses import replace

import pytest
from mechshift.verdict import RULES, Evidence, verdict
from mechshift.verdict.decisions import structure

from mechshift.statistics import Estimate, Interval


def estimate(value, low, high):
    return Estimate(value=value, interval=Interval(low=low, high=high, level=0.95))


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
    evidence_of, plant, structure, depth, specialisation
):
    found = verdict(evidence_of(plant))
    assert found.of("structure").verdict == structure
    assert found.of("depth").verdict == depth
    assert found.of("specialisation").verdict == specialisation
    for axis in ("direction", "inheritance", "intervention"):
        assert found.of(axis).verdict == "not measured"


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ((0.8, 1.1), "retained"),
        ((0.79, 1.1), "not decided"),
        ((0.5, 0.79), "modest change"),
        ((0.5, 0.8), "not decided"),
        ((0.1, 0.49), "rewired"),
        ((0.1, 0.5), "not decided"),
    ],
)
def test_an_interval_over_two_classes_of_overlap_does_not_decide(interval, expected):
    assert structure(estimate(sum(interval) / 2, *interval)) == expected


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ((-0.4, -0.1), "no longer suffices"),
        ((-0.4, 0.1), "not decided"),
        ((0.1, 0.2), "serves it better"),
    ],
)
def test_inheritance_asks_on_which_side_of_zero_the_difference_lies(
    evidence_of, interval, expected
):
    inheritance = estimate(sum(interval) / 2, *interval)
    found = verdict(evidence_of("identical", inheritance=inheritance)).of("inheritance")
    assert found.verdict == expected
    assert found.estimate == inheritance
    assert f"{inheritance.value:.2f} [{interval[0]:.2f}, {interval[1]:.2f}]" in found.sentence


def test_a_shift_that_no_control_shares_is_diffusions_own(evidence_of, control_of):
    still = control_of("arm-continued", "identical")
    found = verdict(evidence_of("moved", controls=(still,))).of("cause")
    assert found.verdict == "diffusion's own"
    assert "reached by no control" in found.sentence


def test_a_shift_that_training_without_diffusion_shares_is_not(evidence_of, control_of):
    controls = (control_of("arm-full", "identical"), control_of("arm-continued", "moved"))
    found = verdict(evidence_of("moved", controls=controls)).of("cause")
    assert found.verdict == "also without diffusion (arm-continued)"


def test_an_mdm_of_another_seed_reaches_the_shift_and_takes_nothing_from_it(
    evidence_of, control_of
):
    controls = (control_of("arm-continued", "identical"), control_of("mdm-other-seed", "moved"))
    found = verdict(evidence_of("moved", controls=controls)).of("cause")
    assert found.verdict == "diffusion's own"
    assert "reached by mdm-other-seed" in found.sentence


def test_a_shift_that_an_mdm_of_another_seed_does_not_reach_is_this_seeds(evidence_of, control_of):
    controls = (
        control_of("arm-continued", "identical"),
        control_of("mdm-other-seed", "identical"),
    )
    found = verdict(evidence_of("moved", controls=controls)).of("cause")
    assert found.verdict == "this seed's"


def test_without_a_control_that_lacks_diffusion_a_cause_is_not_decided(evidence_of, control_of):
    found = verdict(evidence_of("moved", controls=(control_of("mdm-other-seed", "moved"),)))
    assert found.of("cause").verdict == "not decided"


def test_a_shift_without_any_control_has_an_open_cause(evidence_of):
    found = verdict(evidence_of("moved")).of("cause")
    assert found.verdict == "not decided"
    assert "not held against any control that can do the task" in found.sentence


def test_nothing_is_explained_that_did_not_shift(evidence_of, control_of):
    found = verdict(evidence_of("rewired", controls=(control_of("arm-full", "moved"),)))
    assert "cause" not in [one.axis for one in found.statements]


def test_a_paragraph_holds_every_sentence_and_every_axis_has_a_rule(evidence_of, control_of):
    found = verdict(evidence_of("moved", controls=(control_of("arm-full", "identical"),)))
    assert found.paragraph.startswith("On moved, the top 12 edges agree to ")
    for statement in found.statements:
        assert statement.axis in RULES
        assert statement.sentence[1:] in found.paragraph


def test_an_overlap_that_is_undefined_is_called_so(evidence_of):
    evidence = evidence_of("identical")
    assert isinstance(evidence, Evidence)
    overlap = evidence.comparison.overlap
    undefined = replace(overlap.ratio, value=overlap.ratio.value * float("nan"))
    comparison = replace(evidence.comparison, overlap=replace(overlap, ratio=undefined))
    found = verdict(replace(evidence, comparison=comparison)).of("structure")
    assert found.verdict == "undefined"


def test_a_control_that_cannot_do_the_task_explains_nothing(evidence_of, control_of):
    lost = replace(control_of("arm-full", "moved"), accuracy=estimate(0.1, 0.05, 0.2))
    controls = (lost, control_of("arm-continued", "identical"))
    assert verdict(evidence_of("moved", controls=controls)).of("cause").verdict == "diffusion's own"
