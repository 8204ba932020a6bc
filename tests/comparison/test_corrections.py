from dataclasses import replace

import numpy as np
import pytest

from mechshift.comparison import HYPOTHESES, ComparisonSettings, compare, corrected_tests
from mechshift.errors import ComparisonError
from mechshift.statistics import holm
from mechshift.testing import planted_pair


def test_every_hypothesis_is_corrected_over_tasks(quick: ComparisonSettings) -> None:
    settings = replace(quick, circuit_size=10, sizes=(10,))
    found = []
    for task, plant in (("same", "identical"), ("other", "rewired"), ("earlier", "moved")):
        pair = planted_pair(plant, num_examples=40)
        found.append(compare(task, pair.arm, pair.mdm, settings))
    tests = {test.name: test for test in corrected_tests(found)}
    assert set(tests) == set(HYPOTHESES)
    for test in tests.values():
        assert test.tasks == ("same", "other", "earlier")
        np.testing.assert_array_equal(test.adjusted_p, holm(test.p))
    smallest = 1 / (quick.num_exchanges + 1)
    edges = tests["edges_noise"]
    np.testing.assert_allclose(edges.p[1:], smallest)
    np.testing.assert_allclose(edges.adjusted_p[1:], 3 * smallest)
    centre = found[2].circuit_depth.source.centre_of_mass_p
    assert tests["centre_of_mass"].p[2] == centre


def test_tests_are_corrected_over_different_tasks(quick: ComparisonSettings) -> None:
    pair = planted_pair("identical", num_examples=12)
    one = compare("ioi", pair.arm, pair.mdm, quick)
    with pytest.raises(ComparisonError, match=r"each compared once, not \['ioi', 'ioi'\]"):
        corrected_tests([one, one])
    with pytest.raises(ComparisonError, match=r"not \[\]"):
        corrected_tests([])
