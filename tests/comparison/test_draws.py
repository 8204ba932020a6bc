"""In a large graph, circuits of all sizes are measured as ever; wide ones on fewer draws."""

from dataclasses import replace

import numpy as np
import pytest

from mechshift.comparison import ComparisonSettings, draws, measuring
from mechshift.comparison.draws import (
    MeasuredDraws,
    Wanted,
    draws_over_all_edges,
    measure_draws,
    wide_sizes,
)
from mechshift.comparison.overlaps import overlap_curve
from mechshift.graph import Graph

GRAPH = Graph(num_layers=3, num_heads=3, num_key_value_groups=3)
SETTINGS = ComparisonSettings(
    circuit_size=6,
    sizes=(3, 6, 20, 60),
    num_resamples=40,
    num_splits=8,
    num_splits_per_resample=4,
    num_shuffles=40,
    num_exchanges=40,
)
WANTED = Wanted(
    edges=(3, 6, 20, 60),
    nodes=(3, 20),
    beyond=(6, GRAPH.num_edges),
    shift=(20,),
    depth=(6, GRAPH.num_edges),
)


@pytest.fixture
def scores() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    strength = generator.standard_t(2, size=GRAPH.num_edges)
    arm, mdm = strength * (1 + generator.normal(size=(2, 16, GRAPH.num_edges)))
    return arm, mdm


@pytest.fixture
def large(monkeypatch) -> None:
    """The graph counts as a large one."""
    for module in (draws, measuring):
        monkeypatch.setattr(module, "TAKEN_APART", 1)


def parts_of(found: MeasuredDraws, size: int) -> dict[str, dict[str, np.ndarray]]:
    """Everything that was measured at a size."""
    several = {"halves of resamples": found.resampled_halves, "crossed": found.crossed}
    one = {
        "pool": found.pool,
        "resampled": found.resampled,
        "exchanged": found.exchanged,
        "halves": found.halves,
    }
    one |= {
        f"{name} {at}": part for name, parts in several.items() for at, part in enumerate(parts)
    }
    return {name: part[size] for name, part in one.items() if size in part}


def test_every_size_is_measured_as_in_a_small_graph_with_as_many_draws(scores, monkeypatch) -> None:
    all_draws = measure_draws(GRAPH, *scores, SETTINGS, WANTED)
    monkeypatch.setattr(draws, "TAKEN_APART", 1)
    few = draws_over_all_edges(GRAPH, SETTINGS)
    found = measure_draws(GRAPH, *scores, SETTINGS, WANTED)
    monkeypatch.setattr(draws, "TAKEN_APART", 10**9)
    few_draws = measure_draws(GRAPH, *scores, few, WANTED)
    monkeypatch.setattr(draws, "TAKEN_APART", 1)
    wide = wide_sizes(GRAPH, SETTINGS, WANTED.sizes)
    assert wide == {20, 60, GRAPH.num_edges}  # 6 is the circuit's size, and so narrow
    for size in WANTED.sizes:
        expected = parts_of(few_draws if size in wide else all_draws, size)
        got = parts_of(found, size)
        assert got.keys() == expected.keys()
        for name, part in got.items():
            for measure, values in part.items():
                np.testing.assert_allclose(values, expected[name][measure], rtol=1e-12)


def test_a_quarter_is_drawn_where_all_edges_are_needed(large) -> None:
    few = draws_over_all_edges(GRAPH, SETTINGS)
    counts = (few.num_resamples, few.num_splits, few.num_splits_per_resample)
    assert counts == (10, 2, 1)
    assert (few.num_shuffles, few.num_exchanges) == (10, 10)
    assert replace(few, **{name: getattr(SETTINGS, name) for name in vars(few)}) == SETTINGS


def test_a_curve_says_which_of_its_sizes_were_measured_on_fewer_draws(scores, large) -> None:
    curve = overlap_curve(GRAPH, *scores, SETTINGS)
    assert "20, 60 edges are measured on 10 resamples and 10 exchanges" in " ".join(curve.notes)
    p_of_few = 1 / (1 + 10)
    assert (curve.noise_p[curve.sizes >= 20] >= p_of_few - 1e-12).all()
    assert np.isfinite(curve.ratio.low).any()


def test_a_curve_of_a_small_graph_says_nothing_of_the_kind(scores) -> None:
    assert "fewer" not in " ".join(overlap_curve(GRAPH, *scores, SETTINGS).notes)
    assert not wide_sizes(GRAPH, SETTINGS, WANTED.sizes)
