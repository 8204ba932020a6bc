import json
from dataclasses import asdict

import pytest

from mechshift.comparison import ComparisonSettings, default_sizes, overlap_sizes
from mechshift.errors import ConfigError
from mechshift.evaluation import circuit_sizes


@pytest.mark.parametrize(
    ("num_edges", "size"),
    [
        pytest.param(935_747, 1000, id="Qwen2.5-7B"),
        pytest.param(32_491, 1000, id="GPT-2"),
        pytest.param(10_000, 1000, id="where both rules agree"),
        pytest.param(1_108, 111, id="6 layers of 4 heads"),
        pytest.param(4, 1, id="smallest"),
    ],
)
def test_a_circuit_has_a_thousand_edges_but_at_most_a_tenth_of_the_graph(
    num_edges: int, size: int
) -> None:
    assert ComparisonSettings().circuit_size_in(num_edges) == size


def test_a_small_graphs_circuit_is_one_of_those_whose_faithfulness_is_measured() -> None:
    for num_edges in range(20, 10_000, 37):
        assert ComparisonSettings().circuit_size_in(num_edges) in circuit_sizes(num_edges)


def test_a_circuit_size_that_was_asked_for_is_kept_or_refused() -> None:
    settings = ComparisonSettings(circuit_size=400)
    assert settings.circuit_size_in(500) == 400
    with pytest.raises(ConfigError, match="400 edges does not fit a graph of 399 edges; lower cir"):
        settings.circuit_size_in(399)


def test_the_circuits_own_size_is_always_among_the_sizes_of_the_curve() -> None:
    settings = ComparisonSettings(sizes=(30, 5), circuit_size=12)
    assert overlap_sizes(settings, 100) == (5, 12, 30)
    assert 111 in overlap_sizes(ComparisonSettings(), 1_108)
    with pytest.raises(ConfigError, match="30 edges does not fit a graph of 29 edges; lower sizes"):
        overlap_sizes(settings, 29)


@pytest.mark.parametrize("num_edges", [1, 2, 11, 1_108, 935_747])
def test_default_sizes_ascend_to_half_of_the_graph(num_edges: int) -> None:
    sizes = default_sizes(num_edges)
    assert sizes == tuple(sorted(set(sizes)))
    assert sizes[0] >= 1 and sizes[-1] == max(1, num_edges // 2)
    assert len(sizes) <= 10


def test_settings_can_be_written_as_json() -> None:
    settings = ComparisonSettings(sizes=(5, 10))
    stored = json.loads(json.dumps(asdict(settings)))
    assert ComparisonSettings(**{**stored, "sizes": tuple(stored["sizes"])}) == settings


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"circuit_size": 0}, "circuit_size must be at least 1, not 0"),
        ({"num_resamples": 0}, "num_resamples must be at least 1, not 0"),
        ({"sizes": (4, -1)}, r"sizes\[1\] must be at least 1, not -1"),
        ({"level": 1.0}, "level lies between 0 and 1, not 1.0"),
    ],
)
def test_settings_out_of_range_are_refused(setting: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ComparisonSettings(**setting)
