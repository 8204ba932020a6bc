"""The whole comparison of two models' scores: identity, planted shifts and refusals."""

from dataclasses import replace

import numpy as np
import pytest

from mechshift.circuits import select_top_edges
from mechshift.comparison import ComparisonSettings, compare
from mechshift.errors import ComparisonError
from mechshift.graph import Graph

GRAPH = Graph(num_layers=6, num_heads=2, num_key_value_groups=2)


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(*shape, GRAPH.num_edges))


def moved_one_layer_earlier(scores: np.ndarray) -> np.ndarray:
    """Each edge between two layers takes the score of the edge one layer above it."""
    moved = np.zeros_like(scores)
    for edge in range(GRAPH.num_edges):
        source, _, destination = GRAPH.edge_name(edge).partition("->")
        if source[0] in "am" and destination[0] in "am" and source[1] != "0":
            moved[..., GRAPH.edge_index(f"{one_up(source)}->{one_up(destination)}")] = scores[
                ..., edge
            ]
    return moved


def one_up(node: str) -> str:
    return f"{node[0]}{int(node[1]) - 1}{node[2:]}"


def test_a_model_compared_with_itself_is_alike_in_everything(
    edge_scores, quick: ComparisonSettings
) -> None:
    scores = edge_scores(GRAPH, normal(0, 20, 2))
    found = compare("ioi", scores, scores, quick)
    index = found.overlap.index_of(found.circuit_size)
    assert index is not None
    overlap, ratio = found.overlap.edges.at(index), found.overlap.ratio.at(index)
    assert overlap is not None and (overlap.value, overlap.interval.low) == (1, 1)
    assert ratio is not None and not ratio.excludes(1.0)
    for profiles in (found.circuit_depth, found.all_depth):
        assert not profiles.source.centre_of_mass_shift.excludes(0.0)


def test_a_circuit_that_moved_one_layer_earlier_is_found_to_have_moved(
    edge_scores, quick: ComparisonSettings
) -> None:
    """Between layers 1 and 5 in the ARM, one layer earlier in the MDM, and noise in both."""
    inner = moved_one_layer_earlier(normal(1)) != 0  # ends at layer 4, so it can be moved back
    mdm_truth = np.where(inner, normal(1), 0)
    arm_truth = np.zeros_like(mdm_truth)
    for edge in np.flatnonzero(mdm_truth):
        source, _, destination = GRAPH.edge_name(edge).partition("->")
        down = [f"{node[0]}{int(node[1]) + 1}{node[2:]}" for node in (source, destination)]
        arm_truth[GRAPH.edge_index("->".join(down))] = mdm_truth[edge]
    np.testing.assert_array_equal(moved_one_layer_earlier(arm_truth), mdm_truth)

    arm = edge_scores(GRAPH, arm_truth + 0.1 * normal(2, 20, 1))
    mdm = edge_scores(GRAPH, mdm_truth + 0.1 * normal(3, 20, 1))
    found = compare("ioi", arm, mdm, replace(quick, circuit_size=40))
    for side in (found.circuit_depth.source, found.circuit_depth.destination):
        shift = side.centre_of_mass_shift
        assert shift.value == pytest.approx(-1, abs=0.05)
        assert shift.excludes(0.0)
    assert found.circuit_depth.source.thirds_shift.value[0] > 0


def test_scores_are_summed_over_steps_before_they_are_compared(
    edge_scores, quick: ComparisonSettings
) -> None:
    values = normal(4, 12, 1)
    halved = np.concatenate([values / 2, values / 2], axis=1)
    other = edge_scores(GRAPH, normal(5, 12, 1))
    one_step = compare("ioi", edge_scores(GRAPH, values), other, quick)
    two_steps = compare("ioi", edge_scores(GRAPH, halved), other, quick)
    np.testing.assert_array_equal(one_step.arm_scores, two_steps.arm_scores)
    np.testing.assert_array_equal(one_step.overlap.edges.low, two_steps.overlap.edges.low)
    assert len(two_steps.arm_steps.share) == 2


def test_the_compared_circuit_is_the_selected_one(edge_scores, quick: ComparisonSettings) -> None:
    arm, mdm = edge_scores(GRAPH, normal(6, 12, 2)), edge_scores(GRAPH, normal(7, 12, 2))
    found = compare("ioi", arm, mdm, quick)
    assert found.circuit_size == found.circuit_depth.circuit_size == round(GRAPH.num_edges / 10)
    np.testing.assert_allclose(found.arm_scores, arm.mean())
    circuits = [select_top_edges(GRAPH, scores.mean(), found.circuit_size) for scores in (arm, mdm)]
    shared = len(np.intersect1d(circuits[0].edges, circuits[1].edges))
    index = found.overlap.index_of(found.circuit_size)
    assert index is not None
    assert found.overlap.edges.value[index] == shared / (2 * found.circuit_size - shared)


def test_scores_that_do_not_belong_together_are_refused(
    edge_scores, quick: ComparisonSettings
) -> None:
    arm = edge_scores(GRAPH, normal(8, 12, 1))
    smaller = Graph(num_layers=5, num_heads=2, num_key_value_groups=2)
    other_graph = edge_scores(smaller, np.ones((12, 1, smaller.num_edges)))
    with pytest.raises(ComparisonError, match="6 layers, 2 heads, 2 KV groups.*5 layers, 2 heads"):
        compare("ioi", arm, other_graph, quick)
    with pytest.raises(ComparisonError, match="ARM was scored on 12 examples and the MDM on 11"):
        compare("ioi", arm, edge_scores(GRAPH, normal(8, 11, 1)), quick)


def test_steps_that_no_example_has_are_refused(edge_scores, quick: ComparisonSettings) -> None:
    arm = edge_scores(GRAPH, normal(9, 12, 2))
    shorter = edge_scores(GRAPH, normal(9, 12, 2), num_steps=np.ones(12, dtype=int))
    with pytest.raises(ComparisonError, match="MDM's scores have 2 steps, but no example has more"):
        compare("ioi", arm, shorter, quick)
    stepless = edge_scores(GRAPH, normal(9, 12, 2), num_steps=np.repeat([0, 2], [3, 9]))
    with pytest.raises(ComparisonError, match="3 examples of the ARM have no denoising step"):
        compare("ioi", stepless, arm, quick)
