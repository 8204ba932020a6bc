"""Files that are filled in piece by piece hold what safetensors would have written in one go."""

import numpy as np
from safetensors.numpy import load_file, save_file

from mechshift.array_file import ArrayFile, ArrayShape, Rows


def layout(arrays):
    return {name: ArrayShape(str(one.dtype), one.shape) for name, one in arrays.items()}


def drawn_arrays():
    generator = np.random.default_rng(0)
    return {
        "values": generator.normal(size=(5, 3, 7)).astype(np.float32),
        "sums": generator.normal(size=(2, 3, 7)).astype(np.float32),
        "metric": generator.normal(size=(5, 3)),
        "groups": np.arange(5),
        "clusters": np.arange(5) // 2,
    }


def test_pieces_in_any_order_give_the_bytes_of_safetensors_own_file(tmp_path):
    arrays = drawn_arrays()
    save_file(arrays, tmp_path / "whole")
    file = ArrayFile(tmp_path / "folder" / "pieces", layout(arrays))
    file.reserve()
    assert not any(array.any() for array in file.read().values())
    for name, array in arrays.items():
        for first, last in ((2, 5), (0, 1), (1, 2)):
            file.write(name, first, array[first:last]) if first < len(array) else None
    file.flush()
    assert (tmp_path / "folder" / "pieces").read_bytes() == (tmp_path / "whole").read_bytes()
    for name, array in file.read().items():
        np.testing.assert_array_equal(array, arrays[name])


def test_rows_that_are_shorter_than_others_end_in_zeros(tmp_path):
    file = ArrayFile(tmp_path / "file", {"values": ArrayShape("float64", (3, 3, 2))})
    file.reserve()
    file.write("values", 1, np.ones((2, 2, 2)))
    expected = np.zeros((3, 3, 2))
    expected[1:, :2] = 1
    np.testing.assert_array_equal(load_file(tmp_path / "file")["values"], expected)


def test_a_file_of_the_same_layout_is_kept_and_one_of_another_is_made_anew(tmp_path):
    arrays = {"values": ArrayShape("float64", (3, 2))}
    for again in range(2):
        file = ArrayFile(tmp_path / "file", arrays)
        file.reserve()
        assert file.read()["values"].sum() == 2 * again
        file.write("values", 1, np.ones((1, 2)))
    before = file.digest([Rows("values", 0, 1)]), file.digest([Rows("values", 1, 1)])
    assert before[0] != before[1]
    other = ArrayFile(tmp_path / "file", {"values": ArrayShape("float64", (2, 3))})
    other.reserve()
    assert not other.read()["values"].any()
