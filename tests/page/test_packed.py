"""Arrays in a page's text: back bit by bit, the same text every time, no way out of the element."""

import re

import numpy as np
import pytest

from mechshift.page.packed import packed, shortened, unpacked, upper_halves

ARRAYS = {
    "half": np.array([1.5, -2.0, np.nan], dtype=np.float16),
    "codes": np.arange(-6, 6, dtype=np.int8).reshape(3, 4),
    "none": np.zeros((0, 3), dtype=np.float32),
    "rank": np.array([1, 4_000_000_000], dtype=np.uint32),
}
VALUES = {"task": "</script><script>alert(1)</script>", "token": " ⟨é⟩\n", "level": 0.95}


def test_what_is_packed_comes_back_bit_by_bit() -> None:
    arrays, values = unpacked(packed(ARRAYS, VALUES))
    assert values == VALUES
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)


def test_the_text_is_the_same_every_time_and_cannot_leave_its_element() -> None:
    text = packed(ARRAYS, VALUES)
    assert text == packed(dict(reversed(ARRAYS.items())), VALUES)
    assert re.fullmatch(r"[A-Za-z0-9+/]+=*", text)


def test_an_array_that_is_a_view_is_packed_as_it_reads() -> None:
    turned = np.arange(6, dtype=np.float32).reshape(2, 3).T
    arrays, _ = unpacked(packed({"turned": turned}, {}))
    np.testing.assert_array_equal(arrays["turned"], turned)


def test_what_json_has_no_word_for_is_refused() -> None:
    """A page's JSON.parse would refuse it, and show nothing at all."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        packed({}, {"score": float("nan")})


def test_shortened_numbers_by_hand() -> None:
    values = np.array([0.0, 1.0, 1.03125, 1.96875, -3.9, 1e-30, np.nan, np.inf])
    found = shortened(values, 2)
    assert found[:5].tolist() == [0.0, 1.0, 1.0, 2.0, -4.0]
    assert np.isnan(found[6]) and np.isinf(found[7])
    assert abs(found[5] / 1e-30 - 1) <= 2**-3  # however small, unlike in float16


def test_shortened_numbers_are_right_to_half_of_their_last_bit() -> None:
    values = np.random.default_rng(0).standard_t(1, size=1000)
    for bits in (5, 7, 15):
        assert (np.abs(shortened(values, bits) / values - 1) <= 2.0 ** -(bits + 1) + 2**-23).all()
    halves = upper_halves(values)
    again = (halves.astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(again, shortened(values, 7))
