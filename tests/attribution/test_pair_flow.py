"""Scores by pair of positions against EAP-IG, whose terms they are, and against naive autograd."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from mechshift.attribution import eap_ig, path_points
from mechshift.attribution.pair_flow import FLOW_KINDS, pair_flow
from mechshift.attribution.path import input_path
from mechshift.denoising import batch_canvases, build_canvases, schedule_from_orders
from mechshift.testing import ARCHITECTURES, random_examples, random_language_model

MODELS = [(name, kind, None) for name in ARCHITECTURES for kind in ("arm", "mdm")]
MASKED_OTHERWISE = [
    (name, "mdm", attention)
    for name in ("gpt2", "qwen2")
    for attention in ("block-causal", "observed-first", "causal-prefix")
]
POINTS = path_points("midpoint", 2)


def canvases_of(model):
    """Three lengths, three targets of which two are committed first, out of order."""
    examples = random_examples(3, kind=model.kind, num_targets=3, suffix_length=2)
    return build_canvases(model, examples, schedule_from_orders([[2, 0, 1]] * 3, 2))


def flow_of(model, metric="logit_diff"):
    """The only batch of all canvases, and its flow."""
    (batch,) = batch_canvases(model, canvases_of(model), 99)
    assert not batch.attention_mask.all()
    with input_path(model, batch, metric, grouped=True) as path:
        return batch, pair_flow(path, POINTS)


@pytest.mark.parametrize(("architecture", "kind", "attention"), MODELS + MASKED_OTHERWISE)
def test_by_position_the_scores_of_all_edges_into_a_destination_fall_apart(
    architecture, kind, attention
):
    model = random_language_model(architecture, kind, attention=attention, dtype=torch.float64)
    batch, flow = flow_of(model)
    scores = eap_ig(
        model, canvases_of(model), metric="logit_diff", rule="midpoint", ig_steps=len(POINTS)
    )
    found = {"logits": flow.logits.sum(dim=-1)}
    for layer in range(len(model.parts.layers)):
        found[f"m{layer}"] = flow.mlp[:, layer].sum(dim=-1)
        for head in range(model.parts.num_heads):
            found[f"a{layer}.h{head}<q>"] = flow.query[:, layer, :, head].sum(dim=-1)
            for kind_index, name in enumerate(FLOW_KINDS):
                pairs = flow.pairs[:, layer, kind_index, :, head]
                found[f"a{layer}.h{head}<{name}>"] = pairs.sum(dim=(-2, -1))
    graph = scores.graph
    names = [graph.destination_name(d) for d in range(graph.num_destinations)]
    assert sorted(names) == sorted(found)
    scale = max(float(sums.abs().max()) for sums in found.values())
    assert scale > 0.1
    for destination, name in enumerate(names):
        into = scores.values[..., graph.edge_destination == destination].sum(axis=-1)
        for row, slot in np.argwhere(batch.step >= 0):
            expected = into[batch.example[row], batch.step[row, slot]]
            assert float(found[name][slot, row]) == pytest.approx(
                expected, rel=1e-9, abs=1e-12 * scale
            )


@pytest.mark.parametrize("architecture", ["gpt2", "mistral", "qwen3"])
@pytest.mark.parametrize(
    "attention", ["causal", "full", "block-causal", "observed-first", "causal-prefix"]
)
def test_nothing_flows_over_a_pair_that_the_attention_hides(architecture, attention):
    kind = "arm" if attention == "causal" else "mdm"
    model = random_language_model(architecture, kind, attention=attention, dtype=torch.float64)
    batch, flow = flow_of(model)
    length = batch.clean_ids.shape[1]
    block = {
        "causal": batch.position_ids,
        "full": batch.position_ids // 99,
        "block-causal": batch.position_ids // 4,
        "observed-first": batch.position_ids + length * (batch.clean_ids == model.mask_token_id),
        "causal-prefix": batch.position_ids,
    }[attention]
    token = batch.attention_mask.bool()
    visible = block[:, None, :] <= block[:, :, None]
    if attention == "causal-prefix":
        for row, ids in enumerate(batch.clean_ids.tolist()):
            start = ids.index(model.mask_token_id) - 1
            visible[row, start : start + 4, start : start + 4] = True
    visible &= token[:, None, :] & token[:, :, None]
    strength = flow.pairs.abs().sum(dim=(0, 1, 2, 4))
    assert (strength[~visible] == 0.0).all() and (~visible).any()
    to_the_left = torch.ones_like(visible).triu(diagonal=1)
    assert (strength[visible & to_the_left] > 1e-3).any() == (attention != "causal")
    assert (strength[visible & ~to_the_left] > 1e-3).any()
    for at_position in (flow.query.sum(dim=3), flow.mlp, flow.logits[:, None]):
        assert (at_position.abs().sum(dim=(0, 1))[~token] == 0.0).all()


@pytest.mark.parametrize(
    ("architecture", "kind", "attention"),
    [
        ("gpt2", "mdm", "block-causal"),
        ("gpt2", "mdm", "causal-prefix"),
        ("llama", "mdm", None),
        ("mistral", "arm", None),
        ("qwen2", "mdm", None),
        ("qwen3", "arm", None),
        ("qwen3", "mdm", None),
    ],
)
def test_flow_over_a_pair_is_the_slope_of_the_metric_when_that_pair_alone_reads_a_change(
    architecture, kind, attention, node_by_node, step_metrics
):
    """Every query gets a copy of its own of every key and value, written out node by node."""
    model = random_language_model(architecture, kind, attention=attention, dtype=torch.float64)
    batch, flow = flow_of(model, metric="log_prob")
    row = 1
    canvas = next(
        c
        for c in canvases_of(model)
        if c.example == batch.example[row] and c.readouts[0].step == batch.step[row, 0]
    )
    padding = int((batch.attention_mask[row] == 0).sum())
    run = node_by_node(model)
    clean, corrupted = run.embed(canvas.clean_ids), run.embed(canvas.corrupted_ids)
    written, corrupted_written = run.run(clean)[0], run.run(corrupted)[0]
    layer, head = 1, model.parts.num_heads - 1
    before = [name for name in written if name == "input" or name[1] == "0"]
    change = sum(corrupted_written[name] - written[name] for name in before)
    expected = {int(step): 0.0 for step in batch.step[row]}
    for point in POINTS:
        at = torch.lerp(corrupted, clean, point)
        slopes = slopes_by_pair(
            run, at, (layer, head), change, lambda out: step_metrics("log_prob", out, canvas)
        )
        for step, slope in slopes.items():
            expected[step] = expected[step] - slope / len(POINTS)
    for slot, step in enumerate(batch.step[row]):
        found = flow.pairs[slot, layer, :, row, head, padding:, padding:]
        scale = float(found.abs().max())
        assert scale > 1e-3
        # The derivatives of key and value are finite differences.
        torch.testing.assert_close(found, expected[int(step)], rtol=1e-6, atol=1e-8 * scale)


def slopes_by_pair(run, at, place, change, metrics):
    """{step: slope [kind, query, source]} of the metric along each pair's own key and value."""
    layer, head = place
    call = layer * run.num_heads + head
    tangents = [
        finite_difference(run, at, call, {f"a{layer}.h{head}<{name}>": change}, operand)
        for name, operand in (("k", 1), ("v", 2))
    ]
    share = torch.zeros(2, len(at), len(at), dtype=at.dtype, requires_grad=True)
    attend = partial(attend_in_pairs, run, tangents=tangents, share=share)
    logits = run_with_attend(run, at, call, attend)
    return {
        step: torch.autograd.grad(value, share, retain_graph=True)[0]
        for step, value in metrics(logits).items()
    }


def attend_in_pairs(run, query, key, value, *, tangents, share):
    keys, values = (
        operand + amount[..., None] * tangent
        for operand, amount, tangent in zip((key, value), share, tangents, strict=True)
    )
    scores = torch.einsum("id,ijd->ij", query, keys) / math.sqrt(run.d_head)
    return torch.einsum("ij,ijd->id", run.hide(scores).softmax(dim=-1), values)


def finite_difference(run, at, call, change, operand, width=1e-5):
    """How the key (1) or value (2) of one head moves with what its destination reads."""
    ends = []
    for sign in (1, -1):
        seen = []

        def note(query, key, value, seen=seen):
            seen.append((query, key, value))
            return type(run).attend(run, query, key, value)

        added = {name: sign * width * direction for name, direction in change.items()}
        run_with_attend(run, at, call, note, added)
        ends.append(seen[0][operand])
    return (ends[0] - ends[1]) / (2 * width)


def run_with_attend(run, at, call, attend, added=None):
    """Logits when the attention of the head that comes as this call is exchanged."""
    calls = iter(range(99))

    def exchanged(query, key, value):
        if next(calls) == call:
            return attend(query, key, value)
        return type(run).attend(run, query, key, value)

    run.attend = exchanged
    try:
        return run.run(at, added)[1]
    finally:
        del run.attend
