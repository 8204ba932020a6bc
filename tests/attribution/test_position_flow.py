"""Flow between spans: sums of what `pair_flow` finds, and the flow that was written into a toy."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from mechshift.attribution import (
    DIRECTIONS,
    POSITION_KINDS,
    PositionFlow,
    chunk_canvases,
    concatenate_position_flows,
    eap_ig,
    position_flow,
)
from mechshift.attribution.pair_flow import FLOW_KINDS, pair_flow
from mechshift.attribution.path import input_path, path_points
from mechshift.attribution.position_flow_record import TABLES
from mechshift.denoising import batch_canvases, build_canvases, left_to_right
from mechshift.errors import AttributionError, DenoisingError
from mechshift.graph import KIND_NAMES
from mechshift.testing import (
    ARCHITECTURES,
    ClueStrengths,
    random_examples,
    random_language_model,
    two_sided_reader,
)

MODELS = [(name, kind) for name in ARCHITECTURES for kind in ("arm", "mdm")]
NUM_TARGETS = (3, 1, 2, 1)


def uneven_examples(kind):
    """Examples of several lengths, targets and numbers of steps, with two spans each."""
    drawn = [
        random_examples(len(NUM_TARGETS), kind=kind, num_targets=n, suffix_length=2, seed=row)[row]
        for row, n in enumerate(NUM_TARGETS)
    ]
    return [
        replace(e, spans={"first": (0, 2), "END": (len(e.prefix_ids) - 1, len(e.prefix_ids))})
        for e in drawn
    ]


def flow_of(model, **options):
    examples = uneven_examples(model.kind)
    canvases = build_canvases(model, examples, left_to_right(NUM_TARGETS))
    return position_flow(
        model, canvases, examples, **{"metric": "logit_diff", "ig_steps": 2} | options
    )


def arrays_of(flow):
    return {f.name: getattr(flow, f.name) for f in fields(PositionFlow) if f.name != "spans"}


def assert_equal_flows(found, expected, tolerance):
    assert found.spans == expected.spans
    for name, values in arrays_of(expected).items():
        scale = np.abs(values).max()
        assert scale > 1e-3
        np.testing.assert_allclose(getattr(found, name), values, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize(("architecture", "kind"), MODELS)
def test_summed_over_spans_it_is_the_eap_ig_score_of_a_layers_destinations(architecture, kind):
    model = random_language_model(architecture, kind, dtype=torch.float64)
    flow = flow_of(model)
    canvases = build_canvases(model, uneven_examples(kind), left_to_right(NUM_TARGETS))
    scores = eap_ig(model, canvases, metric="logit_diff", ig_steps=2)
    graph = scores.graph
    kinds = graph.destination_kind[graph.edge_destination]
    layers = graph.destination_layer[graph.edge_destination]

    def summed(layer, name):
        chosen = (layers == layer) & (kinds == KIND_NAMES.index(name))
        return scores.values[..., chosen].sum(axis=-1)

    close = {"rtol": 1e-9, "atol": 1e-12 * np.abs(scores.values).max()}
    for layer in range(graph.num_layers):
        for index, name in enumerate(POSITION_KINDS):
            found = flow.score_at[:, :, layer, index].sum(axis=-1)
            np.testing.assert_allclose(found, summed(layer, name), **close)
        for index, name in enumerate(FLOW_KINDS):
            net = flow.net[:, :, layer, index]
            np.testing.assert_allclose(net.sum(axis=(-2, -1)), summed(layer, name), **close)
            # What flows out of a span is what is read there.
            at = flow.score_at[:, :, layer, POSITION_KINDS.index(name)]
            np.testing.assert_allclose(net.sum(axis=-2), at, **close)
    to_logits = scores.values[..., kinds == KIND_NAMES.index("logits")].sum(axis=-1)
    np.testing.assert_allclose(flow.logits_score_at.sum(axis=-1), to_logits, **close)
    np.testing.assert_allclose(flow.clean_metric, scores.clean_metric)
    np.testing.assert_allclose(flow.corrupted_metric, scores.corrupted_metric)
    np.testing.assert_array_equal(flow.num_steps, scores.num_steps)


@pytest.mark.parametrize("kind", ["arm", "mdm"])
def test_spans_directions_and_readers_add_up_the_pairs_that_they_name(kind):
    """One canvas, position by position, in plain loops."""
    model = random_language_model("qwen3", kind, dtype=torch.float64)
    (example,) = random_examples(1, kind=kind, num_targets=2, suffix_length=2)
    example = replace(example, spans={"first": (0, 2)})
    canvases = build_canvases(model, [example], left_to_right([2]))
    flow = position_flow(model, canvases, [example], metric="logit_diff", ig_steps=2)
    prefix, length = len(example.prefix_ids), len(canvases[0].clean_ids)
    for batch in batch_canvases(model, canvases, 1):
        with input_path(model, batch, "logit_diff", grouped=True) as path:
            pairs = pair_flow(path, path_points("left", 2)).pairs
        for slot, step in enumerate(batch.step[0]):
            spans = ["first"] * 2 + ["rest"] * (length - 2)
            states = {0: ["scored", "later"], 1: ["committed", "scored"]}[int(step)]
            spans[prefix : prefix + 2] = states[: length - prefix]
            sums = ("net", "magnitude", "by_direction", "into_readers", "magnitude_at")
            expected = {name: np.zeros_like(getattr(flow, name)[0, 0]) for name in sums}
            for layer, k, head, i, j in np.ndindex(*pairs[slot, :, :, 0].shape):
                value = float(pairs[slot, layer, k, 0, head, i, j])
                query, source = flow.spans.index(spans[i]), flow.spans.index(spans[j])
                expected["net"][layer, k, query, source] += value
                expected["magnitude"][layer, k, query, source] += abs(value)
                expected["by_direction"][layer, k, int(np.sign(i - j)) + 1] += abs(value)
                if i == prefix - 1 + step:
                    expected["into_readers"][layer, k, source] += abs(value)
            for layer, k, head, j in np.ndindex(*pairs[slot, :, :, 0, ..., 0].shape):
                read = abs(float(pairs[slot, layer, k, 0, head, :, j].sum()))
                at = POSITION_KINDS.index(FLOW_KINDS[k])
                expected["magnitude_at"][layer, at, flow.spans.index(spans[j])] += read
            for name, values in expected.items():
                found = getattr(flow, name)[0, int(step)]
                if name == "magnitude_at":
                    found, values = found[:, 1:3], values[:, 1:3]
                np.testing.assert_allclose(found, values, rtol=1e-9, atol=1e-13)
            assert expected["magnitude"].sum() > 0.1


@pytest.mark.parametrize("kind", ["arm", "mdm"])
def test_over_the_whole_text_nothing_is_lost_but_spans_and_steps(kind):
    flow = flow_of(random_language_model("qwen3", kind, dtype=torch.float64))
    whole = flow.of_whole_text()
    assert whole.spans == ("text",) and whole.num_steps.tolist() == [1] * flow.num_examples
    by_direction = flow.by_direction.sum(axis=1)[:, None]
    np.testing.assert_allclose(whole.by_direction, by_direction, rtol=1e-6)
    for name in TABLES:
        found, values = getattr(whole, name), getattr(flow, name)
        assert found.shape[1] == 1 and found.ndim == values.ndim
        each, every = (one.reshape(flow.num_examples, -1).sum(axis=1) for one in (found, values))
        np.testing.assert_allclose(each, every, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("architecture", ["gpt2", "mistral", "qwen3"])
def test_nothing_at_all_flows_from_right_to_left_in_a_causal_model(architecture):
    right_to_left = DIRECTIONS.index("right-to-left")
    for kind, attention in (("arm", "causal"), ("mdm", "causal"), ("mdm", "full")):
        model = random_language_model(architecture, kind, attention=attention)
        flow = flow_of(model)
        found = flow.by_direction[..., right_to_left]
        assert (found == 0.0).all() == (attention == "causal")
        assert (flow.by_direction.sum(axis=(2, 3))[..., 1:] > 0).any()


def test_batch_size_and_padding_change_nothing():
    for kind in ("arm", "mdm"):
        model = random_language_model("qwen3", kind, dtype=torch.float64)
        alone = flow_of(model, batch_size=1, ig_steps=1)
        assert_equal_flows(flow_of(model, batch_size=3, ig_steps=1), alone, 1e-12)


@pytest.mark.parametrize("kind", ["arm", "mdm"])
def test_steps_that_an_example_does_not_have_hold_zeros(kind):
    flow = flow_of(random_language_model("llama", kind), ig_steps=1)
    assert flow.num_steps.tolist() == list(NUM_TARGETS)
    for name in ("net", "magnitude", "by_direction", "into_readers", "score_at"):
        values = getattr(flow, name)
        for example, num_steps in enumerate(NUM_TARGETS):
            assert values[example, :num_steps].any()
            assert not values[example, num_steps:].any()


@pytest.mark.parametrize("kind", ["arm", "mdm"])
@pytest.mark.parametrize(
    "strengths", [ClueStrengths(), ClueStrengths(left=3.0, here=0.25, right=-1.0)]
)
def test_the_flow_from_each_planted_clue_is_found_with_its_direction(kind, strengths):
    reader = two_sided_reader(kind, strengths=strengths)
    flow = position_flow(reader.model, reader.canvases, reader.examples, metric="logit_diff")
    here = flow.spans.index("here")
    for example, by_clue in enumerate(reader.flow):
        for clue, planted in by_clue.items():
            found = flow.net[example, 0, 0, :, here, flow.spans.index(clue)]
            # The norm's divisor follows the clues by (1 / SCALE)^2.
            np.testing.assert_allclose(found, [0.0, planted], rtol=1e-5, atol=1e-9)
    sizes = {clue: abs(getattr(strengths, clue)) for clue in ("left", "here", "right")}
    total = sum(sizes.values())
    planted_share = {
        "arm": [0.0, sizes["here"] / total, (sizes["left"] + sizes["right"]) / total],
        "mdm": [sizes["right"] / total, sizes["here"] / total, sizes["left"] / total],
    }[kind]
    by_direction = flow.by_direction[:, 0, 0, 1]
    share = by_direction / by_direction.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(share, np.tile(planted_share, (4, 1)), atol=2e-5)
    # Everything flows to the scored position, and nothing through keys.
    np.testing.assert_allclose(
        flow.into_readers[:, 0, 0, 1].sum(axis=-1), by_direction.sum(axis=-1), rtol=1e-5
    )
    assert not flow.by_direction[:, 0, 0, 0].any()


@pytest.mark.parametrize("kind", ["arm", "mdm"])
def test_scoring_chunk_by_chunk_and_joining_is_scoring_in_one_go(kind):
    model = random_language_model("llama", kind)
    examples = uneven_examples(kind)
    # Three steps, and the span `other`, are those of one chunk only.
    examples[3] = replace(examples[3], spans={"other": (0, 1)})
    canvases = build_canvases(model, examples, left_to_right(NUM_TARGETS))

    def score(part):
        return position_flow(model, part, examples, metric="logit_diff", ig_steps=1, batch_size=1)

    joined = concatenate_position_flows([score(part) for part in chunk_canvases(canvases, 2)])
    whole = score(canvases)
    assert joined.spans == whole.spans
    for name, values in arrays_of(whole).items():
        np.testing.assert_array_equal(getattr(joined, name), values)


def test_numbers_of_a_bfloat16_model_are_summed_in_float32():
    """Against a float32 model of the same weights, Pearson was at least 0.999."""
    for architecture in ("gpt2", "qwen3"):
        model = random_language_model(architecture, "mdm", dtype=torch.bfloat16, gain=0.7)
        rounded = flow_of(model)
        model.module.float()
        single = flow_of(model)
        assert rounded.net.dtype == single.net.dtype == np.float32
        for name in ("net", "magnitude"):
            pair = [getattr(flow, name).ravel() for flow in (rounded, single)]
            assert np.corrcoef(*pair)[0, 1] > 0.999


def test_nothing_is_left_on_the_model_and_progress_is_told():
    model = random_language_model("qwen2", "mdm")
    told = []
    before = footprint(model)
    flow_of(model, batch_size=4, progress=told.append)
    assert footprint(model) == before
    assert told == [4, 3]


def footprint(model):
    return [model.module.config._attn_implementation] + [
        (name, sorted(vars(part)), list(part._forward_hooks), list(part._forward_pre_hooks))
        for name, part in model.module.named_modules()
    ]


def test_no_chunks_are_refused():
    with pytest.raises(AttributionError, match="no position flow to join; score at least one"):
        concatenate_position_flows([])


def test_chunks_of_other_spans_are_refused():
    flow = flow_of(random_language_model(), ig_steps=1)
    other = replace(flow, spans=("who", *flow.spans[1:]))
    with pytest.raises(AttributionError, match="different spans or layers cannot be joined"):
        concatenate_position_flows([flow, other])


def test_arrays_that_do_not_fit_the_spans_are_refused():
    flow = flow_of(random_language_model(), ig_steps=1)
    with pytest.raises(AttributionError, match=r"net has shape \(4, 3, 2, 2, 6, 6\), not"):
        replace(flow, spans=flow.spans[1:])


def test_canvases_of_examples_that_were_not_given_are_refused():
    model = random_language_model()
    examples = uneven_examples("arm")
    canvases = build_canvases(model, examples, left_to_right(NUM_TARGETS))
    with pytest.raises(DenoisingError, match="give all examples of the pool"):
        position_flow(model, canvases, examples[:2], metric="logit_diff")
