from functools import partial

import pytest
from scipy.stats import norm

from mechshift.page.formats import NOT_DECIDED, NOT_MEASURED, UNDEFINED
from mechshift.statistics import Estimate, Interval
from mechshift.topics.decisions import (
    REWIRED,
    TOO_NOISY,
    by_side,
    by_sign,
    decides,
    p_of_decision,
    structure,
)


def estimate(low: float, high: float) -> Estimate:
    return Estimate(value=(low + high) / 2, interval=Interval(low=low, high=high, level=0.95))


def normal_estimate(value: float, error: float, level: float = 0.95) -> Estimate:
    low, high = norm.interval(level, value, error)
    return Estimate(value=value, interval=Interval(low=low, high=high, level=level))


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
def test_an_interval_over_two_classes_of_overlap_does_not_decide(
    interval: tuple[float, float], expected: str
) -> None:
    assert structure(estimate(*interval)) == expected


@pytest.mark.parametrize(
    ("interval", "expected"),
    [((0.3, 0.4), "over"), ((0.1, 0.15), "under"), ((0.1, 0.3), NOT_DECIDED)],
)
def test_an_interval_that_holds_the_threshold_does_not_decide(
    interval: tuple[float, float], expected: str
) -> None:
    found = by_side(estimate(*interval), 0.2, above="over", below="under", missing=UNDEFINED)
    assert found == expected


def test_what_is_not_there_is_called_undefined_or_not_measured() -> None:
    assert structure(None) == UNDEFINED
    assert by_side(None, 1.0, above="over", below="under", missing=UNDEFINED) == UNDEFINED
    assert by_sign(None, above="more", below="less") == NOT_MEASURED
    assert by_sign(estimate(-0.2, -0.1), above="more", below="less") == "less"


@pytest.mark.parametrize("threshold", [0.0, 0.3])
@pytest.mark.parametrize(("distance", "p"), [(1.959964, 0.05), (2.575829, 0.01), (3.290527, 0.001)])
def test_the_p_value_of_a_decision_is_that_of_its_distance(
    distance: float, p: float, threshold: float
) -> None:
    """In standard errors of a normal estimate, from tables."""
    found = normal_estimate(threshold + 0.1 * distance, 0.1)
    decide = partial(by_side, threshold=threshold, above="above", below="below", missing="")
    of_decision = p_of_decision(lambda errors: decide(found.reaching(errors)), 0.9)
    assert of_decision == pytest.approx(p, rel=1e-4)


def test_a_class_between_two_thresholds_is_as_sure_as_its_nearer_end() -> None:
    found = normal_estimate(0.6, 0.03)
    decided = p_of_decision(lambda errors: structure(found.reaching(errors)), 0.95)
    assert structure(found) == "modest change"
    assert decided == pytest.approx(2 * norm.sf((0.6 - REWIRED) / 0.03), rel=1e-4)


def test_what_is_not_decided_has_no_small_p_value() -> None:
    assert p_of_decision(lambda _: NOT_DECIDED, 0.95) == 1.0
    assert not decides(f"{TOO_NOISY} (undefined in 3 % of the resamples)")


def test_what_no_interval_decides_otherwise_is_as_sure_as_can_be_told() -> None:
    assert 0 < p_of_decision(lambda _: "retained", 0.95) < 1e-200
