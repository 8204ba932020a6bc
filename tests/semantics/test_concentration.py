"""Concentration measures: by hand, at their bounds, under scaling; intervals and paired shifts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mechshift.errors import SemanticsError
from mechshift.semantics._concentration import (
    ComponentMagnitudes,
    concentration,
    concentration_shift,
    effective_number,
    gini,
    resample_magnitudes,
    top_share,
)
from mechshift.semantics.settings import SemanticsSettings

MEASURES = {
    "gini": gini,
    "effective number": effective_number,
    "top 1": lambda rows: top_share(rows, 1),
    "top 10": lambda rows: top_share(rows, 10),
}
SETTINGS = SemanticsSettings(num_resamples=300)

magnitudes = st.lists(st.floats(0.01, 100), min_size=1, max_size=15).map(np.array)


def test_shares_of_a_half_a_quarter_and_two_eighths_by_hand():
    """Entropy 7/4 log 2; all pairs |x_i - x_j| of 4, 2, 1, 1 sum to 2 (2 + 3 + 3 + 1 + 1 + 0)."""
    row = np.array([[1.0, 4.0, 1.0, 2.0]])
    assert gini(row)[0] == pytest.approx(20 / (2 * 4 * 8))
    assert effective_number(row)[0] == pytest.approx(2**1.75)
    assert top_share(row, 1)[0] == pytest.approx(0.5)
    assert top_share(row, 2)[0] == pytest.approx(0.75)


@given(magnitudes)
def test_the_gini_coefficient_is_the_mean_difference_of_all_pairs(row):
    pairs = np.abs(row[:, None] - row).sum()
    assert gini(row[None])[0] == pytest.approx(pairs / (2 * len(row) * row.sum()), abs=1e-12)


@given(st.integers(1, 30))
def test_equal_shares_and_a_single_holder_are_the_bounds(count):
    uniform, one_hot = np.ones((1, count)), np.eye(count)[:1]
    assert gini(uniform)[0] == pytest.approx(0, abs=1e-12)
    assert gini(one_hot)[0] == pytest.approx(1 - 1 / count)
    assert effective_number(uniform)[0] == pytest.approx(count)
    assert effective_number(one_hot)[0] == 1
    assert top_share(uniform, 10)[0] == pytest.approx(min(1, 10 / count))
    assert top_share(one_hot, 1)[0] == 1


@given(magnitudes, st.floats(1e-3, 1e3), st.randoms(use_true_random=False))
@pytest.mark.parametrize("name", MEASURES)
def test_neither_the_unit_nor_the_order_of_components_matters(name, row, unit, order):
    shuffled = row.copy()
    order.shuffle(shuffled)
    expected = MEASURES[name](row[None])
    np.testing.assert_allclose(MEASURES[name](unit * shuffled[None]), expected, atol=1e-12)


@given(magnitudes)
def test_every_measure_stays_in_its_range(row):
    count = len(row)
    assert -1e-12 <= gini(row[None])[0] <= 1 - 1 / count + 1e-12
    assert 1 - 1e-9 <= effective_number(row[None])[0] <= count + 1e-9
    assert top_share(row[None], 1)[0] <= top_share(row[None], 10)[0] <= 1 + 1e-12


def test_magnitudes_are_of_the_mean_and_not_means_of_magnitudes():
    scores = np.array([[1.0, 2.0], [-1.0, 4.0]])
    np.testing.assert_array_equal(resample_magnitudes(scores, 2, SETTINGS).pool, [0, 3])


def test_equal_examples_leave_no_uncertainty():
    found = concentration(resample_magnitudes(np.tile([4.0, 2.0, 1.0, 1.0], (20, 1)), 20, SETTINGS))
    assert found.effective_number.value == pytest.approx(2**1.75)
    interval = found.effective_number.interval
    assert interval.low == pytest.approx(interval.high) == pytest.approx(2**1.75)


def test_a_planted_move_to_more_components_is_found_and_the_sign_says_which():
    noise = 0.05 * np.random.default_rng(0).normal(size=(2, 60, 12))
    arm = resample_magnitudes(noise[0] + np.eye(12)[0], 60, SETTINGS)
    mdm = resample_magnitudes(noise[1] + np.repeat([0.25, 0.0], [4, 8]), 60, SETTINGS)
    found = concentration_shift(arm, mdm)
    assert found.num_components == 12
    assert found.shift.effective_number.interval.low > 1
    for sharper in (found.shift.gini, found.shift.top_1_share):
        assert sharper.interval.high < 0
    expected = found.mdm.gini.value - found.arm.gini.value
    assert found.shift.gini.value == pytest.approx(expected)


def test_a_shift_of_a_model_against_itself_is_exactly_zero_because_it_is_paired():
    scores = np.random.default_rng(1).normal(size=(30, 12))
    first, second = (resample_magnitudes(unit * scores, 30, SETTINGS) for unit in (1.0, 4.0))
    shift = concentration_shift(first, second).shift
    for estimate in (shift.gini, shift.effective_number, shift.top_1_share, shift.top_10_share):
        assert (estimate.interval.low, estimate.interval.high) == pytest.approx((0, 0), abs=1e-12)


def test_intervals_of_a_null_shift_hold_zero_at_about_their_level():
    """200 pools of two models that share a distribution; nominal 95 %, three standard errors."""
    generator = np.random.default_rng(2)
    centre = np.linspace(0.2, 2.0, 12)
    settings = SemanticsSettings(num_resamples=200)
    misses = 0
    for _ in range(200):
        arm, mdm = (
            resample_magnitudes(centre + generator.normal(size=(40, 12)), 40, settings)
            for _ in range(2)
        )
        misses += concentration_shift(arm, mdm).shift.effective_number.excludes(0.0)
    assert misses / 200 <= 0.05 + 3 * (0.05 * 0.95 / 200) ** 0.5


def test_magnitudes_that_are_none_are_refused():
    rows = np.ones((2, 3))
    with pytest.raises(SemanticsError, match="some of these are negative or not finite"):
        ComponentMagnitudes(pool=np.array([1.0, -1.0, 0.0]), resamples=rows)
    with pytest.raises(SemanticsError, match="every component's magnitude is zero"):
        ComponentMagnitudes(pool=np.zeros(3), resamples=rows)


def test_a_shift_between_different_components_is_refused():
    arm, mdm = (resample_magnitudes(np.ones((10, count)), 10, SETTINGS) for count in (3, 4))
    with pytest.raises(SemanticsError, match=r"\(300, 3\) and the MDM's \(300, 4\)"):
        concentration_shift(arm, mdm)
