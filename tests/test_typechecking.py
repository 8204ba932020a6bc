"""The checks of types and shapes that hold in every other test."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import jaxtyping
import numpy as np
import pytest
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import Float

from mechshift.comparison import ComparisonSettings
from mechshift.statistics import Interval
from mechshift.testing import files_of
from typechecking import ALWAYS, ONE_IN, begin_test, checked

Row = Float[np.ndarray, " edge"]


def product(left: Row, right: Row) -> float:
    return float(left @ right) if left.size else "nothing"  # type: ignore[return-value]


def halves(row: Row) -> Iterator[Row]:
    yield row[::2]
    yield row[1::2]


def largest_of_others(row: Row) -> float:
    """From a generator that has an axis of the same name and another size."""
    others = np.ones(len(row) + 1)
    return float(max(half.max() for half in checked(halves)(others)))


def is_row(value: object) -> bool:
    return isinstance(value, Row)


def finds_rows(row: Row, look: Callable[[object], bool], sizes: range) -> bool:
    return all(look(np.ones(size)) for size in sizes)


@dataclass(frozen=True)
class Pair:
    left: Row
    right: Row


@pytest.mark.parametrize(
    ("left", "right", "shapes"),
    [
        (np.ones((2, 2)), np.ones(2), r"0: \(2, 2\), 1: \(2,\)"),
        (np.ones(2), np.ones(3), r"0: \(2,\), 1: \(3,\)"),
        (np.ones(2, dtype=int), np.ones(2), r"0: \(2,\), 1: \(2,\)"),
        (np.ones(0), np.ones(0), r"0: \(0,\), 1: \(0,\)"),
    ],
    ids=["an axis too many", "sizes that differ", "integers", "what comes out"],
)
def test_what_does_not_fit_is_refused_and_said(left, right, shapes):
    check = checked(product)
    assert check(np.ones(2), np.full(2, 3.0)) == 6.0
    with pytest.raises(BeartypeCallHintViolation) as refused:
        check(left, right)
    (note,) = refused.value.__notes__
    assert re.fullmatch(f"in a call of product, {shapes}", note)
    assert check(np.ones(2), np.ones(2)) == 2.0


def test_a_generator_has_axes_of_its_own():
    assert checked(largest_of_others)(np.zeros(3)) == 1.0
    with pytest.raises(TypeError, match="checking the parameters of"):
        checked(halves)(7)  # before a value is asked for


def test_a_function_that_looks_at_shapes_itself_has_axes_of_its_own_checked_or_not():
    assert checked(finds_rows)(np.ones(3), checked(is_row), range(2 * ALWAYS))


def test_the_package_can_begin_a_context_as_it_does_outside_tests():
    for size in (2, 3):
        with jaxtyping.jaxtyped("context"):
            assert isinstance(np.ones((size, size)), Float[np.ndarray, "a a"])
            assert not isinstance(np.ones(size + 1), Float[np.ndarray, " a"])


def test_a_record_is_checked_when_it_is_made():
    record = checked(Pair)
    assert record(np.ones(2), np.zeros(2)).right.tolist() == [0, 0]
    with pytest.raises(BeartypeCallHintViolation):
        record(np.ones(2), np.ones(3))


def test_the_package_is_checked():
    with pytest.raises(BeartypeCallHintViolation):
        files_of("no path")
    with pytest.raises(BeartypeCallHintViolation):
        Interval(low="0", high=1.0, level=0.95)
    with pytest.raises(BeartypeCallHintViolation):
        ComparisonSettings(num_resamples=50.5)


def test_many_calls_in_one_test_are_checked_now_and_then_and_the_first_of_each_test_always():
    check, wrong = checked(product), np.ones(2, dtype=int)

    def refused():
        try:
            check(wrong, np.ones(2))
        except BeartypeCallHintViolation:
            return True
        return False

    for _ in range(2):
        found = [refused() for _ in range(ALWAYS + 3 * ONE_IN)]
        assert all(found[:ALWAYS]) and sum(found[ALWAYS:]) == 3
        begin_test()
