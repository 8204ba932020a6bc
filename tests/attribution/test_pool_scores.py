import numpy as np
import pytest

from mechshift.attribution import attribute, attribute_pool
from mechshift.circuits import select_top_edges
from mechshift.denoising import build_canvases
from mechshift.errors import AttributionError
from mechshift.models import ModelPair, load_pair
from mechshift.tasks import CommonPool, PoolConfig, Task, build_pool, encode_pool, load_task


@pytest.fixture(scope="module")
def pair() -> ModelPair:
    return load_pair("tiny")


@pytest.fixture(scope="module")
def task() -> Task:
    return load_task("ioi")


@pytest.fixture(scope="module")
def pool(pair: ModelPair, task: Task) -> CommonPool:
    return build_pool(pair, task, "discovery", PoolConfig(num_examples=4, num_others=0))


def test_one_call_scores_what_its_three_steps_score(
    pair: ModelPair, task: Task, pool: CommonPool
) -> None:
    for model in pair.models:
        found = attribute_pool(model, task, pool, ig_steps=2)
        canvases = build_canvases(model, encode_pool(task, pool.examples, model), pool.schedule)
        expected = attribute(model, canvases, metric=task.metric, ig_steps=2)
        np.testing.assert_array_equal(found.values, expected.values)
        assert found.clusters is not None
        np.testing.assert_array_equal(found.clusters, pool.clusters)
    other = attribute_pool(pair.arm, task, pool, metric="log_prob", method="eap")
    assert not np.allclose(other.clean_metric, found.clean_metric)


def test_an_option_that_the_method_lacks_is_refused(
    pair: ModelPair, task: Task, pool: CommonPool
) -> None:
    with pytest.raises(AttributionError, match="ig_steps"):
        attribute_pool(pair.arm, task, pool, method="eap", ig_steps=2)


def test_records_show_themselves_by_a_few_facts(
    pair: ModelPair, task: Task, pool: CommonPool
) -> None:
    """Arrays of megabytes are not printed, nor a model's modules."""
    scores = attribute_pool(pair.arm, task, pool, method="eap")
    circuit = select_top_edges(scores.graph, scores.mean(), k=20)
    for record in (pair, pair.arm, pool, scores, circuit):
        for shown in (repr(record), record._repr_html_()):
            assert 20 < len(shown) < 2000, shown
    assert repr(pair) == "ModelPair(name: tiny, arm: tiny-arm, mdm: tiny-mdm)"
    assert "examples: 4" in repr(pool) and "<td>4</td>" in pool._repr_html_()
    assert repr(circuit).startswith("Circuit(edges: 20 of 1,108, strongest: ")
    table = circuit._repr_html_()
    assert table.count("<tr>") == 11 and "&gt;" in table and "->" not in table
