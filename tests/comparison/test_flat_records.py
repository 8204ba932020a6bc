import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pytest
from jaxtyping import Float, Int

from mechshift.comparison import (
    Comparison,
    ComparisonSettings,
    compare,
)
from mechshift.errors import ArtifactError
from mechshift.flat_records import FlatRecord, added_later, from_flat, to_flat
from mechshift.graph import Graph
from mechshift.statistics import Interval

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
    assert json.dumps(again.scalars) == text  # as text, in which NaN equals itself
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


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A number that may have an interval, and must have a place."""

    value: float
    interval: Interval | None
    place: Graph


@pytest.mark.parametrize("interval", [None, Interval(low=0.0, high=1.0, level=0.9)])
def test_a_nested_record_may_be_left_out(interval: Interval | None) -> None:
    reading = Reading(value=0.5, interval=interval, place=GRAPH)
    flat = to_flat(reading)
    assert ("interval" in flat.scalars) == (interval is None)
    text = json.dumps(flat.scalars)
    rebuilt = from_flat(Reading, FlatRecord(arrays=flat.arrays, scalars=json.loads(text)))
    assert rebuilt == reading


def test_a_nested_record_is_never_taken_for_one_that_was_left_out() -> None:
    flat = to_flat(Reading(value=0.5, interval=None, place=GRAPH))
    whole = to_flat(
        Reading(value=0.5, interval=Interval(low=0.0, high=1.0, level=0.9), place=GRAPH)
    )
    without = {name: value for name, value in flat.scalars.items() if name != "interval"}
    with pytest.raises(ArtifactError, match="lacks 'interval.low'"):
        from_flat(Reading, FlatRecord(arrays={}, scalars=without))
    both = {**flat.scalars, **whole.scalars}
    with pytest.raises(ArtifactError, match=r"unknown parts \['interval.high', 'interval.level'"):
        from_flat(Reading, FlatRecord(arrays={}, scalars=both))
    no_place = {n: v for n, v in flat.scalars.items() if not n.startswith("place.")}
    with pytest.raises(ArtifactError, match="lacks 'place.num_layers'"):
        from_flat(Reading, FlatRecord(arrays={}, scalars={**no_place, "place": None}))


@dataclass(frozen=True, kw_only=True, eq=False)
class Visit:
    """A reading with an array of its own, and plain values of every kind."""

    reading: Reading
    weights: np.ndarray
    words: Mapping[str, tuple[int, int]]
    facts: Mapping[str, int | str | list[int]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Journey:
    """Records in a row, and by name."""

    visits: tuple[Visit, ...]
    readings: Mapping[str, Reading]
    ends: tuple[int, float]


def visit(value: float) -> Visit:
    return Visit(
        reading=Reading(value=value, interval=None, place=GRAPH),
        weights=np.array([value, 2.0]),
        words={"z": (0, 3), "a": (4, 5)},
        facts={"numbers": [3, 4], "goal": 7, "order": "ABBA"},
    )


def test_records_in_a_tuple_or_a_mapping_keep_their_order_arrays_and_types() -> None:
    reading = Reading(value=1.0, interval=Interval(low=0.0, high=2.0, level=0.9), place=GRAPH)
    journey = Journey(
        visits=(visit(1.5), visit(2.5)),
        readings={"the last one": reading, "a first": replace(reading, interval=None)},
        ends=(3, 4.0),
    )
    flat = to_flat(journey)
    assert flat.arrays.keys() == {"visits.0.weights", "visits.1.weights"}
    assert [one["reading.value"] for one in flat.scalars["visits"]] == [1.5, 2.5]
    assert flat.scalars["readings"]["a first"]["interval"] is None
    scalars = json.loads(json.dumps(flat.scalars))
    rebuilt = from_flat(Journey, FlatRecord(arrays=flat.arrays, scalars=scalars))
    assert list(rebuilt.readings.items()) == list(journey.readings.items())
    assert rebuilt.ends == (3, 4.0) and type(rebuilt.ends[1]) is float
    for found, expected in zip(rebuilt.visits, journey.visits, strict=True):
        assert found.reading == expected.reading
        assert (found.words, found.facts) == (expected.words, expected.facts)
        np.testing.assert_array_equal(found.weights, expected.weights)


def test_an_empty_row_of_records_is_kept_and_a_damaged_one_is_refused() -> None:
    empty = Journey(visits=(), readings={}, ends=(0, 0.0))
    flat = to_flat(empty)
    rebuilt = from_flat(Journey, flat)
    assert (rebuilt.visits, rebuilt.readings) == ((), {})
    odd = FlatRecord(arrays={"visits.0.weights": np.zeros(2)}, scalars=flat.scalars)
    with pytest.raises(ArtifactError, match=r"Journey holds unknown parts \['visits.0.weights'\]"):
        from_flat(Journey, odd)
    one = to_flat(replace(empty, visits=(visit(1.0),)))
    with pytest.raises(ArtifactError, match="stored Visit lacks 'weights'; delete its folder"):
        from_flat(Journey, FlatRecord(arrays={}, scalars=one.scalars))


ODD = (None, [], ["x"], {}, {"a": 1}, "x", 0, -1, 1.5, 10**400, float("inf"), True, [[[]]])


def test_any_value_in_any_part_is_read_or_refused_in_one_line(comparison: Comparison) -> None:
    journey = Journey(visits=(visit(1.0),), readings={"a": visit(2.0).reading}, ends=(0, 0.5))
    refused = 0
    for record in (journey, comparison):
        flat = to_flat(record)
        for name in list(flat.scalars)[:: 1 if record is journey else 40]:  # each takes a while
            for value in ODD:
                odd = FlatRecord(arrays=flat.arrays, scalars={**flat.scalars, name: value})
                try:
                    from_flat(type(record), odd)
                except ArtifactError as refusal:
                    refused += 1
                    assert "\n" not in str(refusal) and len(str(refusal)) < 600
    assert refused > 50


def test_a_part_of_another_type_is_named_with_what_was_expected() -> None:
    journey = Journey(visits=(visit(1.0),), readings={}, ends=(0, 0.5))
    flat = to_flat(journey)

    def refusal(name: str, value: object) -> str:
        odd = FlatRecord(arrays=flat.arrays, scalars={**flat.scalars, name: value})
        with pytest.raises(ArtifactError) as refused:
            from_flat(Journey, odd)
        return str(refused.value)

    end = "; delete its folder and run its stage again."
    assert refusal("ends", [0, "x"]) == (
        f"stored Journey, 'ends': [1]: expected `float`, got `str`{end}"
    )
    assert refusal("visits", {"0": {}}) == (
        f"stored Journey, 'visits': expected `array`, got `object`{end}"
    )
    (stored,) = flat.scalars["visits"]
    assert refusal("visits", [{**stored, "words": {"z": [0, 3], "a": [4]}}]).startswith(
        "stored Visit, 'words': ['a']: "
    )
    assert refusal("visits", [{**stored, "reading.place.num_layers": 0}]).startswith(
        "stored Graph is damaged: a graph needs at least one layer"
    )


def test_an_array_of_another_kind_is_refused(comparison: Comparison) -> None:
    flat = to_flat(comparison)
    name = "overlap.edges.value"
    for array in (flat.arrays[name].astype(str), flat.arrays[name].astype(bool)):
        odd = FlatRecord(arrays={**flat.arrays, name: array}, scalars=flat.scalars)
        with pytest.raises(ArtifactError, match=f"'{name}': an array of .* is none of .*Float"):
            from_flat(Comparison, odd)


def test_an_axis_that_several_arrays_name_is_as_long_in_all_of_them(comparison: Comparison) -> None:
    """Each record has its own axes: those of two parts of it may differ."""

    @dataclass(frozen=True, kw_only=True)
    class Part:
        scores: Float[np.ndarray, "example step"]
        clusters: Int[np.ndarray, " example"] | None

    @dataclass(frozen=True, kw_only=True)
    class Whole:
        one: Part
        many: tuple[Part, ...]

    def part(examples: int, clusters: int | None) -> Part:
        numbers = None if clusters is None else np.arange(clusters)
        return Part(scores=np.zeros((examples, 2)), clusters=numbers)

    whole = Whole(one=part(3, 3), many=(part(5, 5), part(4, None)))
    rebuilt = from_flat(Whole, to_flat(whole))
    assert [len(one.scores) for one in (rebuilt.one, *rebuilt.many)] == [3, 5, 4]
    for odd in (Whole(one=part(3, 2), many=()), Whole(one=part(3, 3), many=(part(2, 3),))):
        with pytest.raises(
            ArtifactError,
            match=r"stored .*, '.*clusters': an array of int64 \[[23]\] is none of .*'example'\]"
            r".* with axes as long as in the other arrays; delete its folder",
        ):
            from_flat(Whole, to_flat(odd))
    flat = to_flat(comparison)
    short = flat.arrays["overlap.edges.low"][:-1]
    odd_ends = FlatRecord(arrays={**flat.arrays, "overlap.edges.low": short}, scalars=flat.scalars)
    with pytest.raises(ArtifactError, match="'overlap.edges.low': an array of float64"):
        from_flat(Comparison, odd_ends)


def test_only_a_part_that_came_later_may_be_missing() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Part:
        value: float

    @dataclass(frozen=True, kw_only=True)
    class Whole:
        later: Part | None = added_later()
        optional: Part | None = None

    for whole in (Whole(), Whole(later=Part(value=1.5)), Whole(optional=Part(value=0.5))):
        assert from_flat(Whole, to_flat(whole)) == whole
    assert from_flat(Whole, FlatRecord(arrays={}, scalars={"optional": None})) == Whole()
    with pytest.raises(ArtifactError, match="lacks 'optional.value'"):
        from_flat(Whole, FlatRecord(arrays={}, scalars={"later": None}))
