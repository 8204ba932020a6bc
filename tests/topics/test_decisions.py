import pytest

from mechshift.page.formats import NOT_DECIDED, NOT_MEASURED, UNDEFINED
from mechshift.statistics import Estimate, Interval
from mechshift.topics.decisions import by_side, by_sign, structure


def estimate(low: float, high: float) -> Estimate:
    return Estimate(value=(low + high) / 2, interval=Interval(low=low, high=high, level=0.95))


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
