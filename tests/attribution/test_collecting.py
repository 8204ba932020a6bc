import numpy as np
import pytest

from mechshift.attribution import chunk_canvases, concatenate_scores, eap_ig
from mechshift.denoising import build_canvases, left_to_right
from mechshift.errors import AttributionError
from mechshift.testing import random_examples, random_language_model

NUM_TARGETS = (1, 2, 3, 2, 1)


def canvases_of(model):
    drawn = [
        random_examples(1, kind=model.kind, num_targets=n, seed=seed)[0]
        for seed, n in enumerate(NUM_TARGETS)
    ]
    return build_canvases(model, drawn, left_to_right(NUM_TARGETS))


@pytest.mark.parametrize("num_examples", [1, 2, 5, 99])
@pytest.mark.parametrize("kind", ["arm", "mdm"])
def test_scoring_chunk_by_chunk_and_joining_is_scoring_in_one_go(kind, num_examples):
    model = random_language_model("llama", kind)
    canvases = canvases_of(model)
    chunks = chunk_canvases(canvases, num_examples)
    assert [canvas for chunk in chunks for canvas in chunk] == canvases
    sizes = [len({canvas.example for canvas in chunk}) for chunk in chunks]
    assert sum(sizes) == len(NUM_TARGETS) and set(sizes[:-1]) <= {num_examples}

    def score(part):
        # One canvas in a batch: the same products in the same order, so the same bits.
        return eap_ig(model, part, metric="logit_diff", batch_size=1, ig_steps=1)

    joined, whole = concatenate_scores([score(chunk) for chunk in chunks]), score(canvases)
    assert joined.graph == whole.graph
    for name in ("values", "num_steps", "clean_metric", "corrupted_metric", "input_score"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))


def test_examples_and_steps_find_their_cells_in_whatever_order_canvases_come():
    model = random_language_model("llama", "mdm")
    canvases = canvases_of(model)
    in_order, reversed_order = (
        eap_ig(model, given, metric="logit_diff", batch_size=1, ig_steps=1)
        for given in (canvases, canvases[::-1])
    )
    np.testing.assert_array_equal(in_order.values, reversed_order.values)
    np.testing.assert_array_equal(in_order.num_steps, NUM_TARGETS)


def test_the_canvases_of_an_example_stay_together_also_when_they_are_not_adjacent():
    canvases = canvases_of(random_language_model("llama", "mdm"))
    by_step = sorted(canvases, key=lambda canvas: canvas.readouts[0].step)
    chunks = chunk_canvases(by_step, 2)
    assert [sorted({c.example for c in chunk}) for chunk in chunks] == [[0, 1], [2, 3], [4]]


def test_a_chunk_of_no_examples_is_refused():
    with pytest.raises(AttributionError, match="a chunk of 0 examples is impossible"):
        chunk_canvases([], 0)


def test_no_canvases_are_refused():
    model = random_language_model()
    with pytest.raises(AttributionError, match="nothing to score: no canvases were given"):
        eap_ig(model, [], metric="logit_diff")


def test_a_missing_example_is_refused_by_its_row():
    model = random_language_model()
    canvases = [canvas for canvas in canvases_of(model) if canvas.example != 2]
    with pytest.raises(AttributionError, match="canvases of examples 0 to 4 lack example 2"):
        eap_ig(model, canvases, metric="logit_diff")


@pytest.mark.parametrize("step", [0, 1])
def test_a_missing_step_is_refused_rather_than_scored_as_zero(step):
    model = random_language_model("llama", "mdm")
    canvases = [
        canvas
        for canvas in canvases_of(model)
        if (canvas.example, canvas.readouts[0].step) != (2, step)
    ]
    message = f"the canvases of example 2 lack step {step} of 3; score all canvases"
    with pytest.raises(AttributionError, match=message):
        eap_ig(model, canvases, metric="logit_diff")
