"""A circuit run by definition, to hold the sparse one against.

One canvas at a time without padding, every destination's input summed edge by edge and normed on
its own, every head projected on its own, attention written out.
"""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import GPT2LMHeadModel, Ministral3ForCausalLM

from mechshift.graph import KEY, LOGITS, MLP, QUERY, VALUE


@pytest.fixture(scope="session")
def slow_metric():
    """See `_slow_metric`."""
    return _slow_metric


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

        hidden = _slow_outputs(model, graph, canvas.clean_ids, read, {})
        logits = parts.unembedding(hidden)[0]
        for r in canvas.readouts:
            row = logits[r.position]
            metric[canvas.example, r.step] += float(row[r.target_id] - row[r.distractor_id])
    return metric


def _slow_sources(model, graph, ids):
    """What every source writes on these tokens when nothing is ablated."""
    outputs = {}

    def read(destination, outputs):
        parents = range(graph.num_parents[destination])
        biases = _biases(model.parts, graph, destination)
        return biases + sum(outputs[source] for source in parents)

    _slow_outputs(model, graph, ids, read, outputs)
    return outputs


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


def _slow_outputs(model, graph, ids, read, outputs):
    """Fill in the output of every source, in order; the final hidden state is returned."""
    parts, size = model.parts, model.parts.head_dim
    embedding = _slow_input(model, ids)
    outputs[0] = embedding
    positions = torch.arange(embedding.shape[1])[None]
    cos, sin = torch.ones(()), torch.zeros(())  # no rotation, where positions are learned
    if hasattr(model.module.base_model, "rotary_emb"):
        cos, sin = model.module.base_model.rotary_emb(embedding, positions)
    scale = _query_scale(model, embedding.shape[1])
    group = graph.num_heads // graph.num_key_value_groups
    per_key = parts.num_heads // parts.num_key_value_heads
    for index, layer in enumerate(parts.layers):

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
            scores = _rotate(query, cos, sin) @ _rotate(key, cos, sin).mT / math.sqrt(size)
            if model.attention != "full":
                block = positions[0] // (model.block_length or 1)
                if model.attention == "observed-first":
                    block = block + len(ids) * (torch.tensor(ids) == model.mask_token_id)
                scores = scores.masked_fill(block[:, None] < block, -torch.inf)
            z = scores.softmax(-1) @ value
            columns = slice(head * size, (head + 1) * size)
            outputs[graph.head_source(index, head)] = z @ layer.output.weight[:, columns].T
        mlp_input = layer.mlp_norm(read(graph.destination_index(MLP, index), outputs))
        outputs[graph.mlp_source(index)] = layer.mlp(mlp_input)
    return parts.final_norm(read(graph.destination_index(LOGITS, 0), outputs))


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
