"""The table of metrics against the plain Hugging Face module, and against the circuit by hand."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from mechshift.circuits import Circuit, select_top_edges, without_dangling
from mechshift.denoising import Schedule, build_canvases, left_to_right
from mechshift.errors import CircuitError, DenoisingError, EvaluationError
from mechshift.evaluation import evaluate_circuits, num_runs
from mechshift.testing import ARCHITECTURES, known_circuit, random_examples, random_language_model

MODELS = [(name, kind) for name in ARCHITECTURES for kind in ("arm", "mdm")]
# One, two and three steps, and targets that are not committed from left to right.
SCHEDULE = Schedule(commit_step=np.array([[1, 0, 2], [0, 1, 1], [0, 0, 0], [2, 1, 0]]))
NUM_EXAMPLES = 4
HAS_STEP = np.array([[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 1]], dtype=bool)


def examples_of(model):
    return random_examples(
        NUM_EXAMPLES,
        kind=model.kind,
        num_targets=3,
        prefix_lengths=(3, 6, 4),
        suffix_length=2,
        contrasts=True,
    )


def random_circuits(graph, *sizes):
    scores = np.random.default_rng(0).normal(size=graph.num_edges)
    return [select_top_edges(graph, scores, k) for k in sizes]


def evaluate(model, circuits, **options):
    canvases = build_canvases(model, examples_of(model), SCHEDULE)
    return evaluate_circuits(model, canvases, circuits, num_examples=NUM_EXAMPLES, **options)


@pytest.fixture(scope="module")
def result():
    model = random_language_model("qwen2", "mdm", dtype=torch.float64)
    return evaluate(model, random_circuits(model.graph(), 40, 60, 80))


# The two ends of the scale.


@torch.no_grad()
def logit_diffs_of_the_stock_module(model, *, corrupted):
    """One example at a time without padding, canvas and shift written out as the field does."""
    table = np.zeros(HAS_STEP.shape)
    for row, example in enumerate(examples_of(model)):
        prefix = example.corrupted_prefix_ids if corrupted else example.prefix_ids
        suffix = example.corrupted_suffix_ids if corrupted else example.suffix_ids
        target = torch.tensor(example.target_ids)
        for step in range(3):
            commit = torch.tensor(SCHEDULE.commit_step[row])
            shown = target
            if model.kind == "mdm":
                shown = torch.where(commit < step, target, model.mask_token_id)
            ids = torch.cat([torch.tensor(prefix), shown, torch.tensor(suffix, dtype=torch.long)])
            logits = model.module(ids[None]).logits[0]
            for position in torch.nonzero(commit == step).flatten().tolist():
                predicting = logits[len(prefix) + position - 1]
                right, wrong = example.target_ids[position], example.distractor_ids[position]
                table[row, step] += float(predicting[right] - predicting[wrong])
    return table


@pytest.mark.parametrize(("architecture", "kind"), MODELS)
def test_full_and_empty_are_the_stock_module_on_clean_and_corrupted_text(architecture, kind):
    model = random_language_model(architecture, kind, dtype=torch.float64)
    result = evaluate(model, [])
    for table, corrupted in ((result.full, False), (result.empty, True)):
        by_hand = logit_diffs_of_the_stock_module(model, corrupted=corrupted)
        np.testing.assert_allclose(table, by_hand, atol=1e-10, rtol=0)
    assert result.metric.shape == (0, NUM_EXAMPLES, 3)


@pytest.mark.parametrize(
    ("dtype", "gain", "tolerance"),
    # The steep default multiplies the rounding of single precision as it does everything else.
    [(torch.float64, 1.5, 1e-10), (torch.float32, 1.0, 1e-5)],
    ids=["float64", "float32"],
)
@pytest.mark.parametrize("metric", ["logit_diff", "prob_diff", "log_prob", "kl"])
@pytest.mark.parametrize(("architecture", "kind"), MODELS)
def test_all_edges_give_full_and_no_edges_give_empty_in_every_metric(
    architecture, kind, metric, dtype, gain, tolerance
):
    model = random_language_model(architecture, kind, dtype=dtype, gain=gain)
    num_edges = model.graph().num_edges
    result = evaluate(model, random_circuits(model.graph(), 0, num_edges), metric=metric)
    np.testing.assert_allclose(result.metric[0], result.empty, atol=tolerance, rtol=0)
    np.testing.assert_allclose(result.metric[1], result.full, atol=tolerance, rtol=0)
    assert (np.abs(result.full - result.empty)[HAS_STEP] > 1e-4).all()


# What must not matter.


@pytest.mark.parametrize(("architecture", "kind"), MODELS)
def test_the_batch_size_changes_nothing(architecture, kind):
    model = random_language_model(architecture, kind, dtype=torch.float64)
    circuits = random_circuits(model.graph(), 15, 40)
    one, three, all_at_once = (
        evaluate(model, circuits, batch_size=batch_size) for batch_size in (1, 3, 99)
    )
    for other in (three, all_at_once):
        for name in ("metric", "full", "empty"):
            np.testing.assert_allclose(
                getattr(other, name), getattr(one, name), atol=1e-10, rtol=0, err_msg=name
            )


def test_the_order_of_the_canvases_changes_nothing():
    model = random_language_model("qwen2", "mdm", dtype=torch.float64)
    canvases = build_canvases(model, examples_of(model), SCHEDULE)
    circuits = random_circuits(model.graph(), 60)
    forward, backward = (
        evaluate_circuits(model, given, circuits, num_examples=NUM_EXAMPLES, batch_size=3)
        for given in (canvases, canvases[::-1])
    )
    np.testing.assert_allclose(backward.metric, forward.metric, atol=1e-10, rtol=0)
    np.testing.assert_allclose(backward.full, forward.full, atol=1e-10, rtol=0)


def test_a_circuit_scores_the_same_whatever_is_evaluated_beside_it(result):
    model = random_language_model("qwen2", "mdm", dtype=torch.float64)
    alone = evaluate(model, random_circuits(model.graph(), 60))
    np.testing.assert_array_equal(alone.metric[0], result.metric[1])


# Bookkeeping.


def test_the_record_says_how_large_every_circuit_is_and_how_many_steps_every_example_has(result):
    graph = random_language_model("qwen2").graph()
    live = [without_dangling(circuit).num_edges for circuit in random_circuits(graph, 40, 60, 80)]
    assert result.sizes.tolist() == [40, 60, 80]
    assert result.live_sizes.tolist() == live and live[0] < 40
    assert result.num_edges == graph.num_edges
    assert result.num_steps.tolist() == [3, 2, 1, 3]


def test_steps_that_an_example_does_not_have_hold_zero(result):
    for table in (result.full, result.empty, *result.metric):
        assert (table[~HAS_STEP] == 0).all() and (table[HAS_STEP] != 0).all()


@pytest.mark.parametrize(("kind", "num_canvases"), [("arm", 4), ("mdm", 9)])
@pytest.mark.parametrize("batch_size", [1, 4, 99])
def test_progress_adds_up_to_the_number_of_runs(kind, num_canvases, batch_size):
    model = random_language_model("llama", kind)
    canvases = build_canvases(model, examples_of(model), SCHEDULE)
    circuits = random_circuits(model.graph(), 3, 9)
    told = []
    evaluate(model, circuits, batch_size=batch_size, progress=told.append)
    assert sum(told) == num_runs(canvases, circuits) == num_canvases * 4
    assert min(told) >= 1


# Curves and subsets.


def test_the_curve_of_all_steps_sums_them(result):
    curve = result.curve()
    np.testing.assert_array_equal(curve.sizes, result.sizes)
    np.testing.assert_array_equal(curve.live_sizes, result.live_sizes)
    assert curve.num_edges == result.num_edges
    np.testing.assert_allclose(curve.metric, result.metric.sum(axis=2), atol=1e-12)
    np.testing.assert_allclose(curve.full, result.full.sum(axis=1), atol=1e-12)
    np.testing.assert_allclose(curve.empty, result.empty.sum(axis=1), atol=1e-12)


@pytest.mark.parametrize(("step", "examples"), [(0, [0, 1, 2, 3]), (1, [0, 1, 3]), (2, [0, 3])])
def test_the_curve_of_one_step_covers_the_examples_that_have_it(result, step, examples):
    curve = result.curve(step)
    np.testing.assert_array_equal(curve.metric, result.metric[:, examples, step])
    np.testing.assert_array_equal(curve.full, result.full[examples, step])
    np.testing.assert_array_equal(curve.empty, result.empty[examples, step])


@pytest.mark.parametrize("step", [-1, 3])
def test_the_curve_of_a_step_that_no_example_has_is_refused(result, step):
    with pytest.raises(EvaluationError, match=f"no step {step}; the examples have steps 0 to 2"):
        result.curve(step)


def test_circuits_that_do_not_grow_have_no_curve_but_their_subsets_do():
    model = random_language_model("qwen2", "mdm", dtype=torch.float64)
    result = evaluate(model, random_circuits(model.graph(), 40, 80, 20, 80))
    with pytest.raises(EvaluationError, match=r"circuit sizes \[40, 80, 20, 80\]"):
        result.curve()
    second = result.subset(slice(2, 4))
    assert second.sizes.tolist() == [20, 80]
    np.testing.assert_array_equal(second.live_sizes, result.live_sizes[2:])
    np.testing.assert_array_equal(second.curve().metric, result.metric[2:].sum(axis=2))
    np.testing.assert_array_equal(second.curve().full, result.subset(slice(0, 2)).curve().full)


# The circuit that is known by hand.

PATHS = {
    "heads": {"a0.h1->a1.h0<v>"},
    "mlp": {"input->m0", "m0->a1.h0<v>"},
    "late": {"a0.h1->m1", "m1->logits"},
}
"""The edges that each path has to itself."""

# A path carries its strength (1, 3 and 1/2) times attention: uniform, so 1/n for a text of n
# tokens, once from the name to the answer, and a second time where a second head reads the first.
# MDM: texts of 5, 7 and 6 tokens; each path carries its strength / n.
# ARM: texts of 4, 6 and 5 tokens with the name at 1, 2 and 3. The first head carries 1/(i + 1) to
# each position i from the name on, which the second averages. Summed over the three texts:
# 1/4 (1/2 + 1/3 + 1/4) + 1/6 (1/3 + 1/4 + 1/5 + 1/6) + 1/5 (1/4 + 1/5) = 623/1200 by heads,
# 3 (1/4 + 1/6 + 1/5) = 2220/1200 by the MLP and 1/2 (1/4 + 1/6 + 1/5) = 370/1200 late.
SHARES = {
    "mdm": {"heads": Fraction(2, 9), "mlp": Fraction(6, 9), "late": Fraction(1, 9)},
    "arm": {
        "heads": Fraction(623, 3213),
        "mlp": Fraction(2220, 3213),
        "late": Fraction(370, 3213),
    },
}


def circuit_of(graph, names):
    edges = np.sort([graph.edge_index(name) for name in names])
    return Circuit(graph=graph, edges=edges, scores=np.ones(len(edges)))


def shares_kept(known, *circuits):
    """Faithfulness of each circuit, given by the names of its edges."""
    graph = known.model.graph()
    result = evaluate_circuits(
        known.model,
        known.canvases,
        [circuit_of(graph, names) for names in circuits],
        num_examples=len(known.examples),
    )
    return [
        float(result.subset(slice(i, i + 1)).curve().faithfulness[0]) for i in range(len(circuits))
    ]


@pytest.mark.parametrize("kind", ["arm", "mdm"])
def test_the_known_circuit_keeps_all_of_the_metric_and_the_other_edges_none(kind):
    known = known_circuit(kind, dtype=torch.float64)
    graph = known.model.graph()
    others = {graph.edge_name(edge) for edge in range(graph.num_edges)} - set(known.edges)
    kept, left = shares_kept(known, known.edges, others)
    assert kept == pytest.approx(1.0, abs=1e-5)
    assert left == pytest.approx(0.0, abs=1e-5)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", ["arm", "mdm"])
def test_removing_a_path_removes_its_share_and_keeping_it_alone_keeps_its_share(kind, path):
    known = known_circuit(kind, dtype=torch.float64)
    edges = set(known.edges)
    others = set.union(*(own for name, own in PATHS.items() if name != path))
    without, alone = shares_kept(known, edges - PATHS[path], edges - others)
    share = float(SHARES[kind][path])
    assert without == pytest.approx(1 - share, abs=1e-5)
    assert alone == pytest.approx(share, abs=1e-5)


@pytest.mark.parametrize("kind", ["arm", "mdm"])
def test_every_edge_of_the_known_circuit_is_worth_its_score(kind):
    """Each path is a chain, so cutting one edge costs what its score says: exactly, not nearly."""
    known = known_circuit(kind, dtype=torch.float64)
    graph = known.model.graph()
    cut = [circuit_of(graph, set(known.edges) - {edge}) for edge in known.edges]
    result = evaluate_circuits(known.model, known.canvases, cut, num_examples=len(known.examples))
    cost = (result.full - result.metric)[..., 0]
    np.testing.assert_allclose(cost.T, known.scores, atol=1e-5)


# Refusals.


def test_canvases_that_do_not_cover_the_pool_are_refused():
    model = random_language_model("llama", "arm")
    canvases = build_canvases(model, examples_of(model), SCHEDULE)
    with pytest.raises(EvaluationError, match="cover 3 examples and the pool has 4"):
        evaluate_circuits(model, canvases[1:], [], num_examples=4)
    with pytest.raises(EvaluationError, match="cover 4 examples and the pool has 3"):
        evaluate_circuits(model, canvases, [], num_examples=3)
    with pytest.raises(EvaluationError, match="give it at least one"):
        evaluate_circuits(model, [], [], num_examples=0)


def test_circuits_of_different_graphs_are_refused():
    model = random_language_model("qwen2", "arm")
    circuits = [
        *random_circuits(model.graph(), 5),
        *random_circuits(model.graph(grouped=True), 5),
    ]
    with pytest.raises(CircuitError, match="the circuits belong to different graphs"):
        evaluate(model, circuits)


def test_circuits_of_another_architecture_are_refused():
    model = random_language_model("qwen2", "arm")
    other = random_language_model("llama", "arm").graph()
    with pytest.raises(CircuitError, match="cannot be run in 'random-qwen2-arm'"):
        evaluate(model, random_circuits(other, 5))


def test_an_unknown_metric_and_an_empty_batch_are_refused():
    model = random_language_model("llama", "arm")
    with pytest.raises(DenoisingError, match="unknown metric 'accuracy'; known: logit_diff"):
        evaluate(model, [], metric="accuracy")
    with pytest.raises(DenoisingError, match="batch size is 0"):
        evaluate(model, [], batch_size=0)


def test_a_metric_that_is_not_finite_is_refused_by_example():
    model = random_language_model("llama", "arm")
    examples = random_examples(2, prefix_lengths=(3,), num_targets=1)
    unshared = set(examples[1].prefix_ids) - set(examples[0].prefix_ids)
    with torch.no_grad():
        model.module.model.embed_tokens.weight[unshared.pop()] = torch.inf
    canvases = build_canvases(model, examples, left_to_right([1, 1]))
    with pytest.raises(EvaluationError, match="the metric of example 1 is not a finite number"):
        evaluate_circuits(model, canvases, [], num_examples=2)
