import jaxtyping
import numpy as np
import pytest

from mechshift.attribution import EdgeScores, concatenate_scores
from mechshift.errors import AttributionError
from mechshift.graph import Graph

GRAPH = Graph(num_layers=1, num_heads=1, num_key_value_groups=1)


def scores_of(values, num_steps, graph=GRAPH, **overrides):
    values = np.asarray(values, dtype=np.float64)
    zeros = np.zeros(values.shape[:2])
    fields = dict(clean_metric=zeros, corrupted_metric=zeros, input_score=zeros)
    return EdgeScores(
        graph=graph, values=values, num_steps=np.asarray(num_steps), **(fields | overrides)
    )


@pytest.fixture
def shapes_unchecked():
    """As it is for users: the record's own checks meet what jaxtyping would refuse in a test."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def test_the_mean_sums_over_steps_and_averages_over_examples():
    values = np.zeros((2, 2, GRAPH.num_edges))
    values[0, :, 3] = 1.0, 2.0
    values[1, 0, 3] = 5.0  # the second example has one step
    assert scores_of(values, [2, 1]).mean().tolist() == [0, 0, 0, 4.0, *[0] * 4]


def test_joined_scores_are_filled_with_zero_steps_on_the_right():
    short = scores_of(np.full((1, 1, 8), 1.0), [1], clean_metric=np.array([[7.0]]))
    long = scores_of(np.full((2, 3, 8), 2.0), [3, 2])
    joined = concatenate_scores([short, long])
    assert joined.values[:, :, 0].tolist() == [[1, 0, 0], [2, 2, 2], [2, 2, 2]]
    assert joined.clean_metric.tolist() == [[7, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert joined.num_steps.tolist() == [1, 3, 2]


def test_scores_of_another_number_of_edges_are_refused():
    with pytest.raises(AttributionError, match="scores of 9 edges do not fit a graph of 8"):
        scores_of(np.zeros((1, 1, 9)), [1])


def test_more_steps_than_the_axis_holds_are_refused():
    with pytest.raises(AttributionError, match="1 examples and 2 steps .* with at most 3 steps"):
        scores_of(np.zeros((1, 2, 8)), [3])


def test_step_counts_of_other_examples_are_refused(shapes_unchecked):
    with pytest.raises(AttributionError, match="2 examples and 1 steps .* counts of 3 examples"):
        scores_of(np.zeros((2, 1, 8)), [1, 1, 1])


def test_joining_nothing_is_refused():
    with pytest.raises(AttributionError, match="no scores to join; score at least one"):
        concatenate_scores([])


def test_joining_scores_of_different_graphs_is_refused():
    other = Graph(num_layers=1, num_heads=2, num_key_value_groups=1)
    chunks = [
        scores_of(np.zeros((1, 1, graph.num_edges)), [1], graph=graph) for graph in (GRAPH, other)
    ]
    with pytest.raises(AttributionError, match="different graphs cannot be joined: .*num_heads=2"):
        concatenate_scores(chunks)


@pytest.mark.parametrize("name", ["clean_metric", "corrupted_metric", "input_score"])
def test_a_metric_of_another_shape_is_refused_by_its_name(name, shapes_unchecked):
    message = rf"{name} has shape \(1, 3\), not \(1, 2\) as its scores"
    with pytest.raises(AttributionError, match=message):
        scores_of(np.zeros((1, 2, 8)), [2], **{name: np.zeros((1, 3))})


def test_scores_of_some_examples_are_theirs_without_steps_that_none_has():
    values = np.arange(4 * 3 * 8, dtype=np.float64).reshape(4, 3, 8)
    metric = np.arange(12, dtype=np.float64).reshape(4, 3)
    scores = scores_of(
        values, [3, 1, 2, 1], clean_metric=metric, clusters=np.array([7, 7, 8, 9])
    ).of_examples(np.array([3, 2]))
    np.testing.assert_array_equal(scores.values, values[[3, 2], :2])
    assert scores.clean_metric.tolist() == [[9, 10], [6, 7]]
    assert scores.corrupted_metric.shape == scores.input_score.shape == (2, 2)
    assert scores.num_steps.tolist() == [1, 2] and scores.clusters.tolist() == [9, 8]
