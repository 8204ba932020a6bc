"""The forward pass written out node by node, as the definition of an edge score needs it."""

import math

import pytest
import torch


class NodeByNode:
    """A model's forward pass on one unpadded canvas, every node reading a sum of its own.

    Only the weights and the table of rotary angles are the stock model's. Nodes are named, so
    nothing here depends on the order in which `Graph` stores them.
    """

    def __init__(self, model):
        self.module, self.config = model.module, model.module.config
        self.causal = model.attention == "causal"
        self.num_heads = self.config.num_attention_heads
        self.group = self.num_heads // self.config.num_key_value_heads
        self.d_head = model.parts.head_dim

    @property
    def destinations(self):
        layers, heads = range(self.config.num_hidden_layers), range(self.num_heads)
        names = [
            f"a{layer}.h{head}<{kind}>" for layer in layers for kind in "qkv" for head in heads
        ]
        return [*names, *(f"m{layer}" for layer in layers), "logits"]

    def embed(self, ids):
        return self.module.model.embed_tokens(torch.tensor(ids))

    def run(self, embedding, added=None):
        """What each source writes, and the logits; `added` goes to what a destination reads."""
        added = added or {}
        written = {"input": embedding}

        def read(destination):
            return sum(written.values()) + added.get(destination, 0.0)

        for index, layer in enumerate(self.module.model.layers):
            heads = {
                f"a{index}.h{head}": self._head(layer, head, read, f"a{index}.h{head}")
                for head in range(self.num_heads)
            }
            written |= heads  # only now: heads of one layer do not read each other
            written[f"m{index}"] = self._mlp(layer, read(f"m{index}"))
        hidden = self._norm(self.module.model.norm, read("logits"))
        return written, hidden @ self.module.lm_head.weight.T

    def _head(self, layer, head, read, name):
        attention, kv_head = layer.self_attn, head // self.group

        def project(linear, index, kind):
            rows = slice(index * self.d_head, (index + 1) * self.d_head)
            normed = self._norm(layer.input_layernorm, read(f"{name}<{kind}>"))
            bias = 0.0 if linear.bias is None else linear.bias[rows]
            return normed @ linear.weight[rows].T + bias

        query = project(attention.q_proj, head, "q")
        key = project(attention.k_proj, kv_head, "k")
        value = project(attention.v_proj, kv_head, "v")
        if hasattr(attention, "q_norm"):
            query, key = self._norm(attention.q_norm, query), self._norm(attention.k_norm, key)
        scores = self._rotate(query) @ self._rotate(key).T / math.sqrt(self.d_head)
        if self.causal:
            scores = scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -math.inf)
        columns = slice(head * self.d_head, (head + 1) * self.d_head)
        return scores.softmax(dim=-1) @ value @ attention.o_proj.weight[:, columns].T

    def _mlp(self, layer, x):
        normed, mlp = self._norm(layer.post_attention_layernorm, x), layer.mlp
        gate = normed @ mlp.gate_proj.weight.T
        up = normed @ mlp.up_proj.weight.T
        return (gate * gate.sigmoid() * up) @ mlp.down_proj.weight.T

    def _norm(self, norm, x):
        return norm.weight * x / (x.square().mean(-1, keepdim=True) + norm.variance_epsilon).sqrt()

    def _rotate(self, x):
        positions = torch.arange(len(x))[None]
        cos, sin = (table[0] for table in self.module.model.rotary_emb(x[None], positions))
        first, second = x.chunk(2, dim=-1)
        return x * cos + torch.cat([-second, first], dim=-1) * sin


@pytest.fixture
def node_by_node():
    return NodeByNode


def metric_by_definition(name, logits, readouts):
    """The metric summed over the readouts of one step."""
    total = 0.0
    for r in readouts:
        row = logits[r.position]
        if name == "logit_diff":
            total = total + row[r.target_id] - row[r.distractor_id]
        elif name == "log_prob":
            total = total + row[r.target_id] - row.exp().sum().log()
        else:
            shares = row.exp() / row.exp().sum()
            right, wrong = list(r.contrast.positive), list(r.contrast.negative)
            total = total + shares[right].sum() - shares[wrong].sum()
    return total


@pytest.fixture
def step_metrics():
    """A function: name, logits and canvas -> {step: metric}."""

    def measure(name, logits, canvas):
        steps = sorted({r.step for r in canvas.readouts})
        return {
            step: metric_by_definition(name, logits, [r for r in canvas.readouts if r.step == step])
            for step in steps
        }

    return measure
