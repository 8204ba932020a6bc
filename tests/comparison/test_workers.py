"""Results come in order and do not depend on how many threads make them."""

import time

import numpy as np
import pytest

from mechshift.comparison import ComparisonSettings, circuit_shift, measuring, workers
from mechshift.comparison.workers import in_order
from mechshift.flat_records import to_flat
from mechshift.testing import Noise, planted_pair


def test_results_are_in_the_order_of_the_items_whichever_is_done_first(monkeypatch) -> None:
    monkeypatch.setattr(workers, "num_workers", lambda: 3)

    def slow_at_first(item: int) -> int:
        time.sleep(0.02 if item % 3 == 0 else 0)
        return item * item

    assert list(in_order(slow_at_first, range(20))) == [item * item for item in range(20)]


def test_items_are_made_as_they_are_needed(monkeypatch) -> None:
    monkeypatch.setattr(workers, "num_workers", lambda: 2)
    made = []

    def items():
        for item in range(50):
            made.append(item)
            yield item

    next(in_order(lambda item: item, items()))
    assert len(made) <= 6


def test_an_error_is_raised_where_it_happened() -> None:
    def refuse(item: int) -> int:
        raise ValueError(f"item {item}")

    with pytest.raises(ValueError, match="item 0"):
        list(in_order(refuse, range(3)))


@pytest.mark.parametrize("taken_apart", [1, 2**14])
def test_a_comparison_has_the_same_bytes_on_any_number_of_threads(monkeypatch, taken_apart) -> None:
    pair = planted_pair("rewired", num_examples=12, noise=Noise(own=2.0))
    settings = ComparisonSettings(
        circuit_size=12,
        num_resamples=20,
        num_splits=4,
        num_splits_per_resample=1,
        num_shuffles=10,
        num_exchanges=10,
    )
    monkeypatch.setattr(measuring, "BLOCK_BYTES", 3 * 8 * pair.arm.graph.num_edges)
    monkeypatch.setattr(measuring, "TAKEN_APART", taken_apart)
    found = []
    for number in (1, 3):
        monkeypatch.setattr(workers, "num_workers", lambda number=number: number)
        found.append(to_flat(circuit_shift("t", pair.arm, pair.mdm, settings)))
    one, three = found
    assert one.scalars == three.scalars
    assert one.arrays.keys() == three.arrays.keys()
    for name, array in one.arrays.items():
        np.testing.assert_array_equal(array, three.arrays[name])
