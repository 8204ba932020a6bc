import json
from dataclasses import replace

import numpy as np
import pytest

from mechshift.comparison import (
    Comparison,
    ComparisonSettings,
    compare,
)
from mechshift.errors import ArtifactError
from mechshift.flat_records import FlatRecord, from_flat, to_flat
from mechshift.graph import Graph

GRAPH = Graph(num_layers=2, num_heads=2, num_key_value_groups=1)


@pytest.fixture
def comparison(edge_scores, quick: ComparisonSettings) -> Comparison:
    arm, mdm = np.random.default_rng(0).normal(size=(2, 12, 2, GRAPH.num_edges))
    return compare(
        "ioi", edge_scores(GRAPH, arm), edge_scores(GRAPH, mdm), replace(quick, sizes=(2, 5))
    )


def test_a_comparison_survives_json_and_arrays_exactly(comparison: Comparison) -> None:
    flat = to_flat(comparison)
    text = json.dumps(flat.scalars)
    rebuilt = from_flat(Comparison, FlatRecord(arrays=flat.arrays, scalars=json.loads(text)))
    again = to_flat(rebuilt)
    assert again.scalars == flat.scalars
    assert again.arrays.keys() == flat.arrays.keys()
    for name, array in flat.arrays.items():
        assert again.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(again.arrays[name], array)
    assert rebuilt.graph == comparison.graph
    assert rebuilt.settings == comparison.settings
    assert rebuilt.overlap.notes == comparison.overlap.notes
    assert rebuilt.circuit_depth.source.arm.centre_of_mass == (
        comparison.circuit_depth.source.arm.centre_of_mass
    )


def test_every_kind_of_value_is_kept(comparison: Comparison) -> None:
    flat = to_flat(comparison)
    assert flat.scalars["settings.circuit_size"] is None
    assert flat.scalars["settings.sizes"] == [2, 5]
    assert flat.scalars["arm_completeness.relative_gap"] is None
    assert flat.arrays["overlap.edges.value"] is not None
    assert flat.scalars["overlap.edges.level"] == 0.95


def test_parts_that_do_not_make_the_record_are_refused(comparison: Comparison) -> None:
    flat = to_flat(comparison)
    more = FlatRecord(arrays=flat.arrays, scalars={**flat.scalars, "mood": "good"})
    with pytest.raises(ArtifactError, match=r"Comparison holds unknown parts \['mood'\]"):
        from_flat(Comparison, more)
    fewer = {name: value for name, value in flat.arrays.items() if name != "overlap.edges.low"}
    with pytest.raises(ArtifactError, match="lacks 'overlap.edges.low'; delete its folder"):
        from_flat(Comparison, FlatRecord(arrays=fewer, scalars=flat.scalars))
