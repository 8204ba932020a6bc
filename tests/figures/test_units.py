"""A figure says whether its rows are examples or shards of them, as its record does."""

from collections.abc import Callable
from dataclasses import replace

import plotly.graph_objects as go
import pytest
from mechshift.figures import agreement, depth_profiles, depth_sweep, overlap_curve, step_view

from mechshift.comparison import Comparison

DRAWN: dict[str, Callable[[Comparison], go.Figure]] = {
    "overlap": lambda comparison: overlap_curve(comparison.overlap),
    "agreement": lambda comparison: agreement(comparison.agreement),
    "depth": lambda comparison: depth_profiles(comparison.circuit_depth),
    "sweep": lambda comparison: depth_sweep(comparison.size_sweep),
    "steps": step_view,
}


def of_shards(comparison: Comparison) -> Comparison:
    records = {
        name: replace(getattr(comparison, name), unit="shard")
        for name in ("overlap", "agreement", "circuit_depth", "size_sweep")
    }
    return replace(comparison, unit="shard", **records)


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_counts_what_was_resampled(comparison: Comparison, name: str) -> None:
    draw = DRAWN[name]
    assert "n = 12 examples" in draw(comparison).layout.title.subtitle.text
    shards = draw(of_shards(comparison)).layout.title.subtitle.text
    assert "n = 12 shards" in shards and "example" not in shards
