"""The forward pass written out node by node, as the definition of an edge score needs it."""

import math

import pytest
import torch
from transformers import (
    Gemma3ForCausalLM,
    GPT2LMHeadModel,
    Ministral3ForCausalLM,
    Qwen3MoeForCausalLM,
)


class NodeByNode:
    """A model's forward pass on one unpadded canvas, every node reading a sum of its own.

    Only the weights and the table of rotary angles are the stock model's. Nodes are named, so
    nothing here depends on the order in which `Graph` stores them. Biases of output projections
    belong to no head: each later destination reads them beside what sources write.
    """

    def __init__(self, model):
        self.module, self.config = model.module, model.module.config
        self.attention, self.block_length = model.attention, model.block_length
        self.mask_token_id = model.mask_token_id
        self.is_masked = None  # of the canvas whose embeddings were asked for last
        self.num_heads = self.config.num_attention_heads
        self.d_head = model.parts.head_dim
        self.scaling = self.d_head**-0.5

    @property
    def destinations(self):
        layers, heads = range(self.config.num_hidden_layers), range(self.num_heads)
        names = [
            f"a{layer}.h{head}<{kind}>" for layer in layers for kind in "qkv" for head in heads
        ]
        return [*names, *(f"m{layer}" for layer in layers), "logits"]

    def run(self, embedding, added=None):
        """What each source writes, and the logits; `added` goes to what a destination reads."""
        added = added or {}
        written, biases = {"input": embedding}, []

        def read(destination):
            return sum([*written.values(), *biases]) + added.get(destination, 0.0)

        for index, layer in enumerate(self.layers):
            heads = {
                f"a{index}.h{head}": self.head(layer, head, read, f"a{index}.h{head}")
                for head in range(self.num_heads)
            }
            # Only now: heads of one layer do not read each other.
            written |= self.normed_together(layer, heads)
            biases.append(self.output_bias(layer))
            written[f"m{index}"] = self.mlp(layer, read(f"m{index}"))
        return written, self.final_norm(read("logits")) @ self.module.lm_head.weight.T

    def embed(self, ids):
        self.is_masked = torch.tensor(ids) == self.mask_token_id
        return self.embedding(ids)

    def normed_together(self, _layer, heads):
        """What a layer's heads write, from what its output projection makes of each."""
        return heads

    def attend(self, query, key, value):
        scores = query @ key.T * self.scaling
        return self.hide(scores).softmax(dim=-1) @ value

    def hide(self, scores):
        """The scores with minus infinity where a query does not see a key."""
        if self.attention == "full":
            return scores
        place = torch.arange(len(scores))
        if self.attention == "observed-first":
            place = place + len(scores) * self.is_masked
        if self.attention == "causal-prefix":
            return scores.masked_fill(~self.sees_in_its_block(len(scores)), -math.inf)
        # Causal attention is that of blocks of one position.
        block = place // (self.block_length or 1)
        return scores.masked_fill(block[:, None] < block, -math.inf)

    def sees_in_its_block(self, length):
        """Of a text that is read causally up to the token before its first mask."""
        sees = torch.zeros(length, length, dtype=torch.bool)
        start = max(self.is_masked.tolist().index(True) - 1, 0)
        block = range(start, min(start + self.block_length, length))
        for query in range(length):
            sees[query, : query + 1] = True
            if query in block:
                sees[query, list(block)] = True
        return sees

    def rows(self, head):
        return slice(head * self.d_head, (head + 1) * self.d_head)


class LlamaByNode(NodeByNode):
    """Llama and the classes that name their modules as it does."""

    @property
    def layers(self):
        return self.module.model.layers

    def embedding(self, ids):
        return self.module.model.embed_tokens(torch.tensor(ids))

    def head(self, layer, head, read, name):
        attention = layer.self_attn
        kv_head = head // (self.num_heads // self.config.num_key_value_heads)

        def project(linear, index, kind):
            rows = self.rows(index)
            normed = self._norm(layer.input_layernorm, read(f"{name}<{kind}>"))
            bias = 0.0 if linear.bias is None else linear.bias[rows]
            return normed @ linear.weight[rows].T + bias

        query = project(attention.q_proj, head, "q") * self.query_scale(len(read(f"{name}<q>")))
        key = project(attention.k_proj, kv_head, "k")
        value = project(attention.v_proj, kv_head, "v")
        if hasattr(attention, "q_norm"):
            query, key = self._norm(attention.q_norm, query), self._norm(attention.k_norm, key)
        z = self.attend(self._rotate(query, layer), self._rotate(key, layer), value)
        return z @ attention.o_proj.weight[:, self.rows(head)].T

    def output_bias(self, layer):
        assert layer.self_attn.o_proj.bias is None
        return 0.0

    def query_scale(self, _length):
        return 1.0

    def mlp(self, layer, x):
        normed, mlp = self._norm(layer.post_attention_layernorm, x), layer.mlp
        gate = normed @ mlp.gate_proj.weight.T
        up = normed @ mlp.up_proj.weight.T
        return (gate * gate.sigmoid() * up) @ mlp.down_proj.weight.T

    def final_norm(self, x):
        return self._norm(self.module.model.norm, x)

    def _norm(self, norm, x):
        return norm.weight * x / (x.square().mean(-1, keepdim=True) + norm.variance_epsilon).sqrt()

    def _tables(self, x, positions, _layer):
        return self.module.model.rotary_emb(x, positions)

    def _rotate(self, x, layer):
        positions = torch.arange(len(x))[None]
        cos, sin = (table[0] for table in self._tables(x[None], positions, layer))
        first, second = x.chunk(2, dim=-1)
        return x * cos + torch.cat([-second, first], dim=-1) * sin


class Ministral3ByNode(LlamaByNode):
    """Queries grow with the logarithm of the multiple of the original context that they lie in."""

    def query_scale(self, length):
        rope = self.config.rope_parameters
        multiple = torch.arange(length) // rope["original_max_position_embeddings"]
        # In single precision whatever the model's, as the angles of rotation are.
        grown = 1 + rope["llama_4_scaling_beta"] * torch.log(1 + multiple.float())
        return grown[:, None].double()


class Qwen3MoeByNode(LlamaByNode):
    """Each token is sent to the experts of the largest router logits, weighted by their softmax."""

    def mlp(self, layer, x):
        return self.experts(layer, x).sum(dim=0)

    def experts(self, layer, x):
        """What each expert writes [expert, position, d_model]."""
        normed, mixture = self._norm(layer.post_attention_layernorm, x), layer.mlp
        shares = (normed @ mixture.gate.weight.T).softmax(dim=-1)
        rows = []
        for token, share in zip(normed, shares, strict=True):
            best = share.argsort(descending=True)[: self.config.num_experts_per_tok].tolist()
            written = [torch.zeros_like(token)] * self.config.num_experts
            for expert in best:
                gate, up = (mixture.experts.gate_up_proj[expert] @ token).chunk(2)
                hidden = gate * gate.sigmoid() * up
                weight = share[expert] / share[best].sum()
                written[expert] = weight * (mixture.experts.down_proj[expert] @ hidden)
            rows.append(torch.stack(written))
        return torch.stack(rows, dim=1)

    def experts_of_layers(self, embedding):
        """What each expert of each layer writes in one run."""
        found, mlp = [], self.mlp
        self.mlp = lambda layer, x: (found.append(self.experts(layer, x)), mlp(layer, x))[1]
        self.run(embedding)
        del self.mlp
        return found


class Gemma3ByNode(LlamaByNode):
    """What attention and MLP return is normed once more, the heads of a layer all together."""

    def __init__(self, model):
        super().__init__(model)
        self.scaling = self.config.query_pre_attn_scalar**-0.5

    def normed_together(self, layer, heads):
        norm, total = layer.post_attention_layernorm, sum(heads.values())
        divisor = (total.square().mean(-1, keepdim=True) + norm.eps).sqrt()
        return {name: (1 + norm.weight) * head / divisor for name, head in heads.items()}

    def mlp(self, layer, x):
        normed, mlp = self._norm(layer.pre_feedforward_layernorm, x), layer.mlp
        h = normed @ mlp.gate_proj.weight.T
        gelu = h / 2 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)))
        written = (gelu * (normed @ mlp.up_proj.weight.T)) @ mlp.down_proj.weight.T
        return self._norm(layer.post_feedforward_layernorm, written)

    def _norm(self, norm, x):
        return (1 + norm.weight) * x / (x.square().mean(-1, keepdim=True) + norm.eps).sqrt()

    def _tables(self, x, positions, layer):
        return self.module.model.rotary_emb(x, positions, layer.self_attn.layer_type)


class Gpt2ByNode(NodeByNode):
    """GPT-2: positions are part of the input, and q, k and v lie side by side in one weight."""

    @property
    def layers(self):
        return self.module.transformer.h

    def embedding(self, ids):
        tables = self.module.transformer
        return tables.wte.weight[list(ids)] + tables.wpe.weight[: len(ids)]

    def head(self, layer, head, read, name):
        fused, width = layer.attn.c_attn, self.config.n_embd

        def project(kind):
            first = "qkv".index(kind) * width + head * self.d_head
            columns = slice(first, first + self.d_head)
            normed = self._norm(layer.ln_1, read(f"{name}<{kind}>"))
            return normed @ fused.weight[:, columns] + fused.bias[columns]

        z = self.attend(project("q"), project("k"), project("v"))
        return z @ layer.attn.c_proj.weight[self.rows(head)]

    def output_bias(self, layer):
        return layer.attn.c_proj.bias

    def mlp(self, layer, x):
        up, down = layer.mlp.c_fc, layer.mlp.c_proj
        h = self._norm(layer.ln_2, x) @ up.weight + up.bias
        gelu = h / 2 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)))
        return gelu @ down.weight + down.bias

    def final_norm(self, x):
        return self._norm(self.module.transformer.ln_f, x)

    def _norm(self, norm, x):
        centred = x - x.mean(-1, keepdim=True)
        variance = centred.square().mean(-1, keepdim=True)
        return norm.weight * centred / (variance + norm.eps).sqrt() + norm.bias


@pytest.fixture
def node_by_node():
    """A function: model -> its `NodeByNode`."""

    def write_out(model):
        layouts = {
            Gemma3ForCausalLM: Gemma3ByNode,
            GPT2LMHeadModel: Gpt2ByNode,
            Ministral3ForCausalLM: Ministral3ByNode,
            Qwen3MoeForCausalLM: Qwen3MoeByNode,
        }
        return layouts.get(type(model.module), LlamaByNode)(model)

    return write_out


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
