"""A circuit run by definition, to hold the sparse one against.

One canvas at a time without padding, every destination's input summed edge by edge and normed on
its own, every head projected on its own, attention written out.
"""

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import Gemma3ForCausalLM, GPT2LMHeadModel, Ministral3ForCausalLM

from mechshift.circuits import without_dangling
from mechshift.graph import KEY, LOGITS, MLP, QUERY, VALUE


@pytest.fixture(scope="session")
def slow_metric():
    """See `_slow_metric`."""
    return _slow_metric


@pytest.fixture(scope="session")
def slow_constants():
    """See `_slow_constants`."""
    return _slow_constants


@pytest.fixture(scope="session")
def slow_sources():
    """See `_slow_sources`."""
    return _slow_sources


def _slow_metric(model, canvases, circuit, replaced=None):
    """Logit difference of a circuit, by example and step.

    `replaced` gives what every source writes into an edge outside the circuit, for one canvas; by
    default what it writes on the corrupted tokens.
    """
    shape = 1 + np.array([(c.example, max(r.step for r in c.readouts)) for c in canvases]).max(0)
    metric = np.zeros(shape)
    graph, parts = circuit.graph, model.parts
    kept = circuit.mask
    for canvas in canvases:
        if replaced is None:
            other = _slow_sources(model, graph, canvas.corrupted_ids)
        else:
            other = replaced(canvas)

        def read(destination, outputs, other=other):
            total = _biases(parts, graph, destination)
            for source in range(graph.num_parents[destination]):
                in_circuit = kept[graph.edge_offset[destination] + source]
                total = total + (outputs if in_circuit else other)[source]
            return total

        live = _live_sources(circuit)
        hidden = _slow_outputs(model, graph, canvas.clean_ids, read, dict(other), live)
        logits = parts.unembedding(hidden)[0]
        for r in canvas.readouts:
            row = logits[r.position]
            metric[canvas.example, r.step] += float(row[r.target_id] - row[r.distractor_id])
    return metric


def _live_sources(circuit):
    """Sources on a path from `input` to `logits`; all others write what they would without it."""
    return set(circuit.graph.edge_source[without_dangling(circuit).edges].tolist())


def _slow_sources(model, graph, ids):
    """What every source writes on these tokens when nothing is ablated."""
    outputs = {}

    def read(destination, outputs):
        parents = range(graph.num_parents[destination])
        biases = _biases(model.parts, graph, destination)
        return biases + sum(outputs[source] for source in parents)

    every = set(range(graph.num_sources))
    _slow_outputs(model, graph, ids, read, outputs, every)
    return outputs


def _slow_constants(model, graph, means):
    """What sources write as constants; where a norm follows heads, it norms the means of theirs."""
    constants = dict(means)
    for index, layer in enumerate(model.parts.layers):
        constants |= _normed_together(graph, index, layer, constants)
    return constants


def _biases(parts, graph, destination):
    """The output projections' biases, which belong to no head."""
    layer, kind = graph.destination_layer[destination], graph.destination_kind[destination]
    before = parts.layers[: layer + (kind == MLP)]
    return sum(
        (part.output.bias for part in before if part.output.bias is not None), torch.zeros(())
    )


def _slow_input(model, ids):
    """What `input` writes: GPT-2's learned positions belong to it."""
    embedding = model.parts.embedding(torch.tensor([ids]))
    if type(model.module) is GPT2LMHeadModel:
        embedding = embedding + model.module.transformer.wpe.weight[: len(ids)]
    return embedding


def _slow_outputs(model, graph, ids, read, outputs, live):
    """Fill in the output of every live source, in order; the final hidden state is returned.

    Under `returned` and a head stands what the output projection makes of it, before any norm.
    """
    parts, size = model.parts, model.parts.head_dim
    embedding = _slow_input(model, ids)
    outputs[0] = embedding
    positions = torch.arange(embedding.shape[1])[None]
    scale = _query_scale(model, embedding.shape[1])
    group = graph.num_heads // graph.num_key_value_groups
    per_key = parts.num_heads // parts.num_key_value_heads
    scaling = getattr(model.module.config, "query_pre_attn_scalar", size) ** -0.5
    for index, layer in enumerate(parts.layers):
        cos, sin = _slow_angles(model, embedding, positions, layer)

        def project(linear, norm, kind, graph_head, weight_head, index=index, layer=layer):
            destination = graph.destination_index(kind, index, graph_head)
            normed = layer.attention_norm(read(destination, outputs))
            rows = slice(weight_head * size, (weight_head + 1) * size)
            bias = None if linear.bias is None else linear.bias[rows]
            head = functional.linear(normed, linear.weight[rows], bias)
            return head if norm is None else getattr(layer.attention, norm, lambda x: x)(head)

        for head in range(parts.num_heads):
            query = project(layer.query, "q_norm", QUERY, head, head) * scale
            key = project(layer.key, "k_norm", KEY, head // group, head // per_key)
            value = project(layer.value, None, VALUE, head // group, head // per_key)
            scores = _rotate(query, cos, sin) @ _rotate(key, cos, sin).mT * scaling
            if model.attention == "causal-prefix":
                unseen = ~_seen_from_the_block(model, ids)
                scores = scores.masked_fill(unseen, -torch.inf)
            elif model.attention != "full":
                block = positions[0] // (model.block_length or 1)
                if model.attention == "observed-first":
                    block = block + len(ids) * (torch.tensor(ids) == model.mask_token_id)
                scores = scores.masked_fill(block[:, None] < block, -torch.inf)
            z = scores.softmax(-1) @ value
            columns = slice(head * size, (head + 1) * size)
            if graph.head_source(index, head) in live:
                returned = z @ layer.output.weight[:, columns].T
                outputs["returned", graph.head_source(index, head)] = returned
        written = _normed_together(graph, index, layer, outputs)
        outputs.update((source, head) for source, head in written.items() if source in live)
        mlp = layer.mlp(layer.mlp_norm(read(graph.destination_index(MLP, index), outputs)))
        if graph.mlp_source(index) in live:
            norm = layer.mlp_post_norm
            outputs[graph.mlp_source(index)] = mlp if norm is None else norm.module(mlp)
    return parts.final_norm(read(graph.destination_index(LOGITS, 0), outputs))


def _seen_from_the_block(model, ids):
    """Causal, and from the token before the first mask on all positions of a block alike."""
    length = len(ids)
    seen = torch.ones(length, length, dtype=torch.bool).tril()
    start = max(list(ids).index(model.mask_token_id) - 1, 0)
    seen[start : start + model.block_length, start : start + model.block_length] = True
    return seen


def _normed_together(graph, index, layer, outputs):
    """What a layer's heads write: where a norm follows, it divides all by one number."""
    sources = [graph.head_source(index, head) for head in range(graph.num_heads)]
    returned = {source: outputs["returned", source] for source in sources}
    if layer.attention_post_norm is None:
        return returned
    norm, total = layer.attention_post_norm.module, sum(returned.values())
    divisor = (total.square().mean(-1, keepdim=True) + norm.eps).sqrt()
    return {source: (1 + norm.weight) * head / divisor for source, head in returned.items()}


def _slow_angles(model, embedding, positions, layer):
    decoder = model.module.base_model
    if not hasattr(decoder, "rotary_emb"):
        return torch.ones(()), torch.zeros(())  # no rotation, where positions are learned
    if type(model.module) is Gemma3ForCausalLM:
        return decoder.rotary_emb(embedding, positions, layer.attention.layer_type)
    return decoder.rotary_emb(embedding, positions)


def _query_scale(model, length):
    """Ministral3's, which grows with the position; 1 for all others."""
    if type(model.module) is not Ministral3ForCausalLM:
        return 1.0
    rope = model.module.config.rope_parameters
    multiple = torch.arange(length) // rope["original_max_position_embeddings"]
    # In single precision whatever the model's, as the angles of rotation are.
    return (1 + rope["llama_4_scaling_beta"] * torch.log(1 + multiple.float()))[:, None].double()


def _rotate(x, cos, sin):
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin
