import pytest

from mechshift.statistics import Estimate, Interval
from mechshift.verdict import QUANTITIES, TRACKED, Measured


def test_every_quantity_of_a_verdict_is_followed_over_training():
    by_name = {tracked.name: tracked for tracked in TRACKED}
    assert len(by_name) == len(TRACKED)
    for quantity in QUANTITIES:
        assert by_name[quantity.name].reference == quantity.neutral


def test_a_number_is_there_or_has_a_reason_but_not_both():
    one = Estimate(value=1.0, interval=Interval(low=0.5, high=1.5, level=0.95))
    assert Measured(estimate=one).reason == ""
    assert Measured(reason="too few").estimate is None
    for both_or_neither in ({}, {"estimate": one, "reason": "too few"}):
        with pytest.raises(AssertionError):
            Measured(**both_or_neither)
