"""A transformer written by hand, whose circuit and edge scores are known.

It is a stock Llama, by default of two layers and two heads, that answers "Ann" or "Bob", whichever
name stands in its prompt. Every weight is zero except those of three paths from the name to the
answer:

- through heads: input -> a0.h1<v> -> a1.h0<v> -> logits;
- through an MLP: input -> m0 -> a1.h0<v> -> logits;
- late: a0.h1 -> m1 -> logits.

`Placement` puts the same circuit elsewhere: into later layers of a deeper model, whose other layers
write nothing, or into other heads. Two such models are a pair whose shift is known.

What makes scores solvable by hand:

1. Queries and keys are zero, so attention is uniform over the visible positions.
2. Every token carries a constant of size `SCALE` in dimension 0, so the root mean square that a
   norm divides by does not depend on the signal up to (signal / SCALE)^2 = 1e-6. The norms' weights
   undo it: a normed residual stream is the residual stream.
3. MLPs gate with that constant, so each is a linear map of the signal.

The metric is then linear in every edge, and a score is the metric that the edge carries: attention
weights times path strengths times the change from the clean to the corrupted name.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from transformers import LlamaConfig, LlamaForCausalLM

from mechshift.denoising import (
    Canvas,
    EncodedExample,
    Schedule,
    build_canvases,
    left_to_right,
)
from mechshift.models import Attention, Kind, LanguageModel
from mechshift.testing._toy_tokenizer import SPECIAL_TOKENS
from mechshift.testing.random_models import as_language_model, cast

WORDS = ("Ann", "Bob", "so", "then", "says")
ANN, BOB, SO, THEN, SAYS = range(len(SPECIAL_TOKENS), len(SPECIAL_TOKENS) + len(WORDS))
BOS = SPECIAL_TOKENS.index("<bos>")

# Dimensions of the residual stream.
CONSTANT, NAME, HEAD_COPY, MLP_COPY, ANSWER = range(5)
D_MODEL = 8
HEAD_DIM = 4
SCALE = 1000.0
GATE = 2.0
"""Input of an MLP's gate from the constant, before its SiLU."""


@dataclass(frozen=True, kw_only=True)
class PathStrengths:
    """Logit difference that each path carries when all attention falls on the name; 0: no path."""

    heads: float = 1.0
    mlp: float = 3.0
    late: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Place of the circuit in the model; the names above are those of the default."""

    num_layers: int = 2
    first_layer: int = 0
    """Layer of the first head and the first MLP; the second ones are in the layer after it."""

    first_head: int = 1
    second_head: int = 0

    def __post_init__(self) -> None:
        assert 0 <= self.first_layer < self.num_layers - 1
        assert {self.first_head, self.second_head} <= {0, 1}


@dataclass(frozen=True, kw_only=True, eq=False)
class KnownCircuit:
    """A hand-made model, examples for it, and what attribution must find."""

    model: LanguageModel
    examples: list[EncodedExample]
    schedule: Schedule
    canvases: list[Canvas]
    edges: tuple[str, ...]
    """Names of all edges whose score is not zero."""
    scores: Float[np.ndarray, "example circuit_edge"]
    """Score of each of `edges` [logits]; the other edges' are below 1e-5 of these."""


def known_circuit(
    kind: Kind = "arm",
    *,
    strengths: PathStrengths | None = None,
    placement: Placement | None = None,
    num_frames: int = 3,
    dtype: torch.dtype = torch.float32,
) -> KnownCircuit:
    """The model, two examples of each frame, and the circuit with its scores by hand."""
    strengths = strengths or PathStrengths()
    placement = placement or Placement()
    module = LlamaForCausalLM(
        hand_written_config(len(WORDS), num_layers=placement.num_layers, num_heads=2)
    )
    _write_weights(module, strengths, placement)
    cast(module, dtype)
    attention: Attention = "causal" if kind == "arm" else "full"
    model = as_language_model(module, list(WORDS), f"known-circuit-{kind}", kind, attention)
    examples = _examples(num_frames)
    schedule = left_to_right([1] * len(examples))
    per_example = [_scores_by_hand(example, kind, strengths, placement) for example in examples]
    edges = tuple(name for name, score in per_example[0].items() if score != 0.0)
    return KnownCircuit(
        model=model,
        examples=examples,
        schedule=schedule,
        canvases=build_canvases(model, examples, schedule),
        edges=edges,
        scores=np.array([[scores[name] for name in edges] for scores in per_example]),
    )


def hand_written_config(num_words: int, *, num_layers: int, num_heads: int) -> LlamaConfig:
    """Of a model that is written by hand: no more words, layers and heads than it needs."""
    return LlamaConfig(
        vocab_size=len(SPECIAL_TOKENS) + num_words,
        hidden_size=D_MODEL,
        intermediate_size=2,
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        num_key_value_heads=num_heads,
        head_dim=HEAD_DIM,
        max_position_embeddings=32,
        tie_word_embeddings=False,
        pad_token_id=SPECIAL_TOKENS.index("<pad>"),
        bos_token_id=BOS,
        eos_token_id=None,
    )


@torch.no_grad()
def _write_weights(
    module: LlamaForCausalLM, strengths: PathStrengths, placement: Placement
) -> None:
    """Zero every weight, then write the constant, the norms and the three paths, in place."""
    for name, parameter in module.named_parameters():
        # Norms divide by SCALE / sqrt(D_MODEL), the root mean square of the constant.
        parameter.fill_(SCALE / D_MODEL**0.5 if "norm" in name else 0.0)
    embedding = module.model.embed_tokens.weight
    embedding[:, CONSTANT] = SCALE
    embedding[ANN, NAME], embedding[BOB, NAME] = 1.0, -1.0
    first, second = module.model.layers[placement.first_layer :][:2]
    first_head, second_head = placement.first_head, placement.second_head
    copy_by_head(first.self_attn, head=first_head, reads={NAME: 1.0}, writes=HEAD_COPY)
    _copy_by_mlp(first.mlp, reads=NAME, writes=MLP_COPY, strength=1.0)
    reads = {HEAD_COPY: strengths.heads, MLP_COPY: strengths.mlp}
    copy_by_head(second.self_attn, head=second_head, reads=reads, writes=ANSWER)
    _copy_by_mlp(second.mlp, reads=HEAD_COPY, writes=ANSWER, strength=strengths.late)
    # Clean and corrupted answers differ by 2 signals; these halves make the logit difference 1.
    module.lm_head.weight[ANN, ANSWER], module.lm_head.weight[BOB, ANSWER] = 0.5, -0.5


def copy_by_head(attention: Any, *, head: int, reads: dict[int, float], writes: int) -> None:
    """Let a head write what its value reads, each dimension with its strength, in place."""
    row = head * HEAD_DIM
    for dimension, strength in reads.items():
        attention.v_proj.weight[row, dimension] = strength
    attention.o_proj.weight[writes, row] = 1.0


def _copy_by_mlp(mlp: Any, *, reads: int, writes: int, strength: float) -> None:
    gate = GATE * torch.sigmoid(torch.tensor(GATE, dtype=torch.float64))
    mlp.gate_proj.weight[0, CONSTANT] = GATE / SCALE
    mlp.up_proj.weight[0, reads] = 1.0
    mlp.down_proj.weight[writes, 0] = strength / gate


FRAMES = (
    ((BOS,), (SO, SAYS)),
    ((BOS, THEN), (SO, THEN, SAYS)),
    ((BOS, SO, THEN), (SAYS,)),
    ((BOS, SO), (THEN, SAYS)),
    ((BOS, THEN, SO), (THEN, SAYS)),
    ((BOS,), (SAYS,)),
)
"""Words before and after the name."""


def _examples(num_frames: int) -> list[EncodedExample]:
    """The name early or late, between words that say nothing; the other name corrupts it."""
    assert 1 <= num_frames <= len(FRAMES)
    return [
        EncodedExample(
            id=f"known-{row}-{WORDS[name - ANN]}",
            task="known-circuit",
            prefix_ids=(*before, name, *after),
            target_ids=(name,),
            corrupted_prefix_ids=(*before, other, *after),
            distractor_ids=(other,),
        )
        for row, (before, after) in enumerate(FRAMES[:num_frames])
        for name, other in ((ANN, BOB), (BOB, ANN))
    ]


def _scores_by_hand(
    example: EncodedExample, kind: Kind, strengths: PathStrengths, placement: Placement
) -> dict[str, float]:
    """Score of every edge of the three paths.

    With both names the metric is the answer's size, and corrupting turns 1 into -1: a path of gain
    g scores 2 g. `weights[i, j]` is the attention of position i to position j.
    """
    end = len(example.prefix_ids) - 1
    position = example.prefix_ids.index(example.target_ids[0])
    weights = _uniform_attention(end + 1 if kind == "arm" else end + 2, causal=kind == "arm")
    heads = 2 * strengths.heads * float(weights[end] @ weights[:, position])
    mlp = 2 * strengths.mlp * float(weights[end, position])
    late = 2 * strengths.late * float(weights[end, position])
    early, late_layer = placement.first_layer, placement.first_layer + 1
    first, second = f"a{early}.h{placement.first_head}", f"a{late_layer}.h{placement.second_head}"
    return {
        f"input->{first}<v>": heads + late,
        f"input->m{early}": mlp,
        f"{first}->{second}<v>": heads,
        f"m{early}->{second}<v>": mlp,
        f"{first}->m{late_layer}": late,
        f"{second}->logits": heads + mlp,
        f"m{late_layer}->logits": late,
    }


def _uniform_attention(length: int, *, causal: bool) -> Float[np.ndarray, "query key"]:
    visible = np.tril(np.ones((length, length))) if causal else np.ones((length, length))
    return visible / visible.sum(axis=1, keepdims=True)
