"""Causes: whose doing a shift is, of this checkpoint or over trainings."""

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from mechshift.page.formats import NOT_DECIDED
from mechshift.statistics import Estimate, Estimates, Interval
from mechshift.topics.causes import cause as cause_of
from mechshift.topics.causes import causes
from mechshift.topics.controls import controls_topic
from mechshift.topics.depth import EARLY
from mechshift.topics.registry import quantities
from mechshift.topics.topic import Measured, MemberResults, Statement, TaskResults

QUANTITIES = quantities("members")

CONTROLS = controls_topic(QUANTITIES)

Planted = Callable[..., TaskResults]
ControlOf = Callable[[str, str], MemberResults]


def estimate(value: float, low: float, high: float) -> Estimate:
    return Estimate(value=value, interval=Interval(low=low, high=high, level=0.95))


def cause(task: TaskResults) -> Statement:
    """Of the shift in the early share, which comes first."""
    (rule,) = CONTROLS.rules
    statements = rule.decide(task)
    assert statements == causes(task, QUANTITIES)
    assert {one.axis for one in statements} == {rule.axis} == {"cause"}
    assert "early share shift" in statements[0].sentence
    return statements[0]


def test_a_shift_that_no_control_shares_is_this_checkpoints(
    planted: Planted, control_of: ControlOf
) -> None:
    decided = cause(planted("moved", control_of("arm-continued", "identical")))
    assert decided.verdict == "this checkpoint's"
    assert decided.estimate is None
    assert re.search(
        r"early share shift is beyond a control's by \+0\.\d\d \[\+0\.\d\d, \+0\.\d\d\]"
        r" \(arm-continued\): this checkpoint's\.$",
        decided.sentence,
    )


def test_a_shift_that_training_without_diffusion_shares_is_not(
    planted: Planted, control_of: ControlOf
) -> None:
    controls = (control_of("arm-full", "identical"), control_of("arm-continued", "moved"))
    decided = cause(planted("moved", *controls))
    assert decided.verdict == "also without diffusion (arm-continued)"


def with_shift(member: MemberResults, draws: np.ndarray) -> MemberResults:
    """The member with an early share shift of these draws, which its interval is made from."""
    rows = np.concatenate([[draws.mean()], draws])[:, None]
    measured = Measured(estimate=Estimates.from_rows(rows).at(0), draws=draws)
    return replace(member, measured={**member.measured, EARLY: measured})


@pytest.mark.parametrize(
    ("shared", "own_control", "verdict"),
    [
        (0.10, 0.18, "this checkpoint's"),
        (0.00, 0.18, NOT_DECIDED),
        (0.10, 0.30, "also without diffusion (arm-continued)"),
        (0.00, 0.30, NOT_DECIDED),
    ],
)
def test_a_cause_rests_on_the_paired_difference_and_not_on_two_intervals(
    planted: Planted,
    control_of: ControlOf,
    shared: float,
    own_control: float,
    verdict: str,
) -> None:
    """The MDM shifts by 0.3; both scatter by 0.1, of which `shared` comes from the ARM.

    Shared, it cancels, and a difference of 0.12 excludes 0 though the intervals overlap, or one of
    0 lies within half of 0.3. Not shared, the same two intervals decide nothing: neither that the
    shift is the MDM's alone, nor that training without diffusion does as much.
    """
    generator = np.random.default_rng(0)
    common = generator.normal(size=2000)
    mdm, control = (
        value + shared * common + np.sqrt(0.1**2 - 0.98 * shared**2) * generator.normal(size=2000)
        for value in (0.3, own_control)
    )
    task = planted("moved", with_shift(control_of("arm-continued", "identical"), control))
    task = replace(task, mdm=with_shift(task.mdm, mdm))
    assert cause(task).verdict == verdict


def test_a_control_that_training_never_touched_leaves_the_cause_open(
    planted: Planted, control_of: ControlOf
) -> None:
    """What the mask alone does not do may still be what any training does."""
    assert cause(planted("moved", control_of("arm-full", "identical"))).verdict == NOT_DECIDED


def test_a_control_that_shifts_further_than_the_mdm_leaves_the_cause_open(
    planted: Planted, control_of: ControlOf
) -> None:
    task = planted("moved")
    draws = task.mdm.measured[EARLY].draws
    assert draws is not None
    control = with_shift(control_of("arm-continued", "identical"), 2 * draws)
    assert cause(replace(task, controls=(control,))).verdict == NOT_DECIDED


def test_an_mdm_of_another_seed_reaches_the_shift_and_takes_nothing_from_it(
    planted: Planted, control_of: ControlOf
) -> None:
    controls = (control_of("arm-continued", "identical"), control_of("mdm-other-seed", "moved"))
    decided = cause(planted("moved", *controls))
    assert decided.verdict == "this checkpoint's"
    assert "(mdm-other-seed)" in decided.sentence


def test_a_shift_that_an_mdm_of_another_seed_does_not_reach_is_this_seeds(
    planted: Planted, control_of: ControlOf
) -> None:
    controls = (
        control_of("arm-continued", "identical"),
        control_of("mdm-other-seed", "identical"),
    )
    assert cause(planted("moved", *controls)).verdict == "this seed's"


def test_without_a_control_that_lacks_diffusion_a_cause_is_not_decided(
    planted: Planted, control_of: ControlOf
) -> None:
    task = planted("moved", control_of("mdm-other-seed", "moved"))
    assert cause(task).verdict == "not decided"


def test_a_shift_without_any_control_has_an_open_cause(planted: Planted) -> None:
    decided = cause(planted("moved"))
    assert decided.verdict == "not decided"
    assert "not held against any control that can do the task" in decided.sentence


def test_nothing_is_explained_that_did_not_shift(planted: Planted, control_of: ControlOf) -> None:
    assert causes(planted("rewired", control_of("arm-full", "moved")), QUANTITIES) == ()


def test_a_control_that_cannot_do_the_task_explains_nothing(
    planted: Planted, control_of: ControlOf
) -> None:
    lost = replace(control_of("arm-full", "moved"), accuracy=estimate(0.1, 0.05, 0.2))
    task = planted("moved", lost, control_of("arm-continued", "identical"))
    assert cause(task).verdict == "this checkpoint's"


@pytest.mark.parametrize("name", ["arm-full", "arm-continued", "mdm-other-seed"])
def test_an_undefined_control_proves_nothing(
    planted: Planted, control_of: ControlOf, name: str
) -> None:
    """Not that a shift is this checkpoint's, nor that it is this seed's."""
    defined = control_of(name, "identical")
    undefined = Measured(reason="scores on one half do not carry over to the other half")
    lost = replace(defined, measured={**defined.measured, EARLY: undefined})
    controls = [lost]
    if name == "mdm-other-seed":
        controls.append(control_of("arm-continued", "identical"))
    found = cause(planted("moved", *controls))
    assert found.verdict == ("this checkpoint's" if name == "mdm-other-seed" else NOT_DECIDED)
    assert name not in found.sentence


def test_several_trainings_without_diffusion_must_all_share_a_shift_or_all_fall_short(
    planted: Planted, control_of: ControlOf
) -> None:
    """One of them alone may reach it, or not, by the chance of its seed."""
    shares, falls_short = control_of("arm-continued", "moved"), control_of("x", "identical")
    second = {"name": "arm-continued-2"}
    both = cause(planted("moved", shares, replace(shares, **second)))
    assert both.verdict == "also without diffusion (arm-continued, arm-continued-2)"
    mixed = cause(planted("moved", shares, replace(falls_short, **second)))
    assert mixed.verdict == NOT_DECIDED
    neither = (replace(falls_short, name="arm-continued"), replace(falls_short, **second))
    decided = cause(planted("moved", *neither))
    assert decided.verdict == "this checkpoint's"
    assert (
        "; 1 with diffusion and 2 without are too few to speak of diffusion, which takes 3 each:"
        in decided.sentence
    )


def test_a_shift_is_this_seeds_where_no_other_seed_reaches_it(
    planted: Planted, control_of: ControlOf
) -> None:
    trained_on = control_of("arm-continued", "identical")
    short = control_of("mdm-other-seed", "identical")
    reaches = replace(control_of("mdm-other-seed", "moved"), name="mdm-other-seed-2")
    assert cause(planted("moved", trained_on, short, reaches)).verdict == "this checkpoint's"
    second = replace(short, name="mdm-other-seed-2")
    assert cause(planted("moved", trained_on, short, second)).verdict == "this seed's"


DRAWN = np.random.default_rng(5).normal(size=(7, 400))
"""Noise of examples: of seven members, on 400 resamples."""


def member(name: str, value: float, noise: np.ndarray) -> MemberResults:
    """A member that can do the task, and its number on resamples."""
    draws = value + noise - noise.mean()
    found = Estimates.from_rows(np.concatenate([[value], draws])[:, None]).at(0)
    able = estimate(1.0, 0.9, 1.0)
    measured = {"shift": Measured(estimate=found, draws=draws)}
    return MemberResults(name=name, measured=measured, accuracy=able)


def members(
    mdms: tuple[float, ...], arms: tuple[float, ...], noise: float = 0.1
) -> tuple[MemberResults, list[MemberResults]]:
    """The MDM and other seeds of it, and ARMs trained on, with these numbers."""
    rows = iter(noise * DRAWN)
    names = ("mdm-other-seed", "mdm-other-seed-2")
    first, *others = mdms
    mdm = member("mdm", first, next(rows))
    controls = [member(name, one, next(rows)) for name, one in zip(names, others, strict=False)]
    trained = ("arm-continued", "arm-continued-2", "arm-continued-3")
    controls += [member(name, one, next(rows)) for name, one in zip(trained, arms, strict=False)]
    return mdm, controls


@pytest.mark.parametrize(
    ("mdms", "arms", "verdict"),
    [
        ((2.0, 2.1, 1.9), (0.1, 0.0, -0.1), "diffusion's"),
        ((-2.0, -2.1, -1.9), (0.1, 0.0, -0.1), "diffusion's"),
        ((2.0, 2.1, 1.9), (2.1, 2.0, 1.9), "also without diffusion (3 trainings)"),
        ((2.0, 3.8, 0.2), (0.1, 0.0, -0.1), NOT_DECIDED),  # trainings scatter as far as that
        ((1.0, 1.1, 0.9), (2.1, 2.0, 1.9), NOT_DECIDED),  # the others shift further
        ((2.0, -3.1, -3.2), (0.1, 0.0, -0.1), NOT_DECIDED),  # other seeds shift the other way
        ((2.0, 2.1), (0.1, 0.0, -0.1), "this checkpoint's"),
    ],
)
def test_three_trainings_a_side_say_what_diffusion_does(
    mdms: tuple[float, ...], arms: tuple[float, ...], verdict: str
) -> None:
    decided = cause_of("shift", *members(mdms, arms))
    assert decided.verdict == decided.by_itself == verdict
    assert decided.sentence.endswith(f": {verdict}.")
    assert decided.p is not None
    assert (decided.p < 0.05) == (verdict != NOT_DECIDED)


def test_the_sentence_names_the_trainings_that_count() -> None:
    mdm, controls = members((2.0, 2.1, 1.9), (0.1, 0.0, -0.1))
    sentence = cause_of("shift", mdm, controls).sentence
    assert sentence.startswith(
        "Over 3 trainings with diffusion (mdm, mdm-other-seed, mdm-other-seed-2) and 3 without it"
        " (arm-continued, arm-continued-2, arm-continued-3), other examples and other trainings in"
        " the interval, the mean shift with diffusion is +2.00, beyond that without by +2.00 ["
    )


@pytest.mark.parametrize("lost", ["accuracy", "estimate", "caution"])
def test_a_training_that_proves_nothing_is_no_third(lost: str) -> None:
    """It cannot do the task, or its number is undefined or may not decide: two are left."""
    mdm, controls = members((2.0, 2.1, 1.9), (0.1, 0.0, -0.1))
    last = controls[-1]
    if lost == "accuracy":
        controls[-1] = replace(last, accuracy=estimate(0.1, 0.05, 0.2))
    elif lost == "estimate":
        controls[-1] = replace(last, measured={"shift": Measured(reason="undefined")})
    else:
        cautious = replace(last.measured["shift"], caution="too unlike in noise")
        controls[-1] = replace(last, measured={"shift": cautious})
    decided = cause_of("shift", mdm, controls)
    assert decided.verdict == "this checkpoint's"
    assert "arm-continued-3" not in decided.sentence
    assert "3 with diffusion and 2 without are too few" in decided.sentence


def test_a_mask_that_does_as_much_takes_a_shift_from_diffusion() -> None:
    """And one that does half of it leaves it open; without training it has no seeds to vary."""
    mdm, controls = members((2.0, 2.1, 1.9), (0.1, 0.0, -0.1))
    for value, verdict in (
        (2.0, "also without diffusion (arm-full)"),
        (0.9, "diffusion's"),
        (3.5, NOT_DECIDED),
    ):
        mask = member("arm-full", value, 0.1 * DRAWN[6])
        assert cause_of("shift", mdm, [mask, *controls]).verdict == verdict


def test_the_order_of_trainings_changes_nothing() -> None:
    """The paths may be given in any order; the models are the same under other names."""
    mdm, controls = members((2.0, 2.4, 1.9), (0.4, 0.0, -0.1))
    one = cause_of("shift", mdm, controls)
    for order in ([1, 0, 3, 4, 2], [1, 0, 2, 4, 3]):
        turned = [
            replace(controls[place], name=control.name)
            for place, control in zip(order, controls, strict=True)
        ]
        other = cause_of("shift", mdm, turned)
        assert (other.verdict, other.sentence) == (one.verdict, one.sentence)
        assert other.p == pytest.approx(one.p, rel=1e-6)
