"""Candidates hold every edge of every circuit, and what is measured on them is what all edges give.

The plain way is as circuits are defined: every row over all edges, and `select_top_edges` of it.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mechshift.circuits import select_top_edges
from mechshift.comparison import measuring
from mechshift.comparison.draws import ACROSS_HALVES, BOTH, MeasuredPair, Measures, Wanted
from mechshift.comparison.measures import edge_measure, measures_beyond_edges
from mechshift.comparison.measuring import measured
from mechshift.comparison.resampling import Drawn, exchanged, halved, resampled
from mechshift.comparison.screening import candidates
from mechshift.comparison.sources import Source
from mechshift.graph import Graph
from mechshift.statistics import exchange_masks, split_halves

GRAPHS = (
    Graph(num_layers=2, num_heads=2, num_key_value_groups=1),
    Graph(num_layers=4, num_heads=3, num_key_value_groups=3),
)
EXAMPLES = 16
"""A power of two, so that weights of resamples and halves are exact."""


@st.composite
def pairs(draw: st.DrawFn, *, exact: bool = False) -> tuple[Graph, np.ndarray]:
    """A graph, and two models' scores on it [model, example, edge]."""
    graph = draw(st.sampled_from(GRAPHS))
    generator = np.random.default_rng(draw(st.integers(0, 10_000)))
    shape = (2, EXAMPLES, graph.num_edges)
    tail = draw(st.sampled_from([1.0, 2.0, 8.0]))
    strength = generator.standard_t(tail, size=graph.num_edges)
    scores = strength * (1 + draw(st.sampled_from([0.0, 0.3, 3.0])) * generator.normal(size=shape))
    scores[..., generator.random(graph.num_edges) < draw(st.sampled_from([0.0, 0.5]))] = 0
    if exact:  # small whole numbers: many ties, and no product of them is rounded
        scores = np.clip(np.round(scores), -6, 6)
    return graph, scores.astype(draw(st.sampled_from([np.float32, np.float64])))


def drawn_from(scores: np.ndarray) -> dict[str, tuple[Drawn, list[Source]]]:
    """Every kind of draw, and what it draws on."""
    sources = [Source(scores=of) for of in scores]
    # As many draws as examples, for the same reason; `bootstrap_weights` draws fewer.
    generator = np.random.default_rng(1)
    weights = generator.multinomial(EXAMPLES, np.full(EXAMPLES, 1 / EXAMPLES), size=12) / EXAMPLES
    first = split_halves(EXAMPLES, 12, seed=2)
    swapped = exchange_masks(EXAMPLES, 12, seed=3)
    sizes = [max(source.size, 1.0) for source in sources]
    return {
        "resamples": (resampled(weights), sources),
        "halves": (halved(np.ones(first.shape), first), sources),
        "exchanges": (exchanged(swapped, *sizes), sources),
    }


@settings(max_examples=25)
@given(pairs(), st.data())
def test_candidates_hold_every_edge_of_every_circuit(
    pair: tuple[Graph, np.ndarray], data: st.DataObject
) -> None:
    graph, scores = pair
    size = data.draw(st.integers(1, graph.num_edges))
    for drawn, sources in drawn_from(scores).values():
        few = candidates(sources, drawn, size)
        assert (np.diff(few) > 0).all()
        for rows in drawn:
            for row in rows.of(list(scores)):
                circuit = select_top_edges(graph, row, size)
                assert np.isin(circuit.edges[circuit.scores != 0], few).all()


def test_candidates_are_few_where_circuits_are() -> None:
    """Else the test above would hold for all edges too."""
    graph = Graph(num_layers=8, num_heads=8, num_key_value_groups=8)
    generator = np.random.default_rng(0)
    strength = generator.standard_t(1.0, size=graph.num_edges)
    scores = strength * (1 + 0.3 * generator.normal(size=(2, EXAMPLES, graph.num_edges)))
    for drawn, sources in drawn_from(scores).values():
        assert len(candidates(sources, drawn, 20)) < 0.05 * graph.num_edges


def measures_of(graph: Graph, size: int, pairs: tuple[tuple[int, int], ...]) -> Measures:
    everything = (edge_measure(), *measures_beyond_edges(graph))
    return Measures(
        graph=graph,
        likeness=tuple((measure, (size,)) for measure in everything),
        pairs=pairs,
        sums=(size,),
        crossed=(size,),
    )


@settings(max_examples=25)
@given(pairs(exact=True), st.data())
def test_on_candidates_all_is_as_on_all_edges_also_among_ties(
    pair: tuple[Graph, np.ndarray], data: st.DataObject
) -> None:
    """No product is rounded here, so members are the same to the edge."""
    graph, scores = pair
    size = data.draw(st.integers(1, graph.num_edges - 1))
    if not scores.any(axis=(1, 2)).all():
        return  # nothing to compare
    for kind, pairs_of_sets in (("resamples", BOTH), ("halves", ACROSS_HALVES)):
        drawn, sources = drawn_from(scores)[kind]
        if any(not row.any() for rows in drawn for row in rows.of(list(scores))):
            return  # an overlap of nothing is refused either way
        assert_taken_apart_is_whole(sources, drawn, measures_of(graph, size, pairs_of_sets))


@settings(max_examples=25)
@given(pairs(), st.data())
def test_on_candidates_all_is_as_on_all_edges_under_heavy_tails(
    pair: tuple[Graph, np.ndarray], data: st.DataObject
) -> None:
    graph, scores = pair
    size = data.draw(st.integers(1, graph.num_edges - 1))
    scores = scores.astype(np.float64)  # a float32 product is rounded too soon to be held to 1e-12
    drawn, sources = drawn_from(scores)["exchanges"]
    if scores.any(axis=(1, 2)).all():
        assert_taken_apart_is_whole(sources, drawn, measures_of(graph, size, BOTH))


def assert_taken_apart_is_whole(sources: list[Source], drawn: Drawn, measures: Measures) -> None:
    whole = measured(sources, drawn, measures)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring, "TAKEN_APART", 1)
        patch.setattr(measuring, "LARGEST_CIRCUIT", 1.0)
        patch.setattr(measuring, "NARROW", 1.0)
        patch.setattr(measuring, "BLOCK_BYTES", 3 * 8 * sources[0].num_edges)
        apart = measured(sources, drawn, measures)
    assert apart.keys() == whole.keys()
    for size, found in whole.items():
        assert apart[size].keys() == found.keys()
        for name, values in found.items():
            np.testing.assert_allclose(apart[size][name], values, rtol=1e-12, atol=1e-12)


def test_sums_over_all_edges_are_those_of_their_ranges(monkeypatch) -> None:
    graph = GRAPHS[1]
    scores = np.random.default_rng(0).normal(size=(2, EXAMPLES, graph.num_edges))
    (half,) = split_halves(EXAMPLES, 1, seed=4)
    swapped = exchange_masks(EXAMPLES, 12, seed=3)
    pair = MeasuredPair.of(
        graph=graph,
        arm_scores=scores[0],
        mdm_scores=scores[1],
        wanted=Wanted(depth=(5, graph.num_edges)),
    )
    whole = pair.on_exchanged_halves(swapped, half)
    monkeypatch.setattr(measuring, "TAKEN_APART", 1)
    monkeypatch.setattr(measuring, "RANGE", 50)
    apart = pair.on_exchanged_halves(swapped, half)
    for size in (5, graph.num_edges):
        np.testing.assert_allclose(
            apart[size]["crossed"], whole[size]["crossed"], rtol=1e-12, atol=1e-12
        )
