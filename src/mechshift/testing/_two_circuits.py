"""A transformer written by hand that has two disjoint circuits for one task, each of them enough.

It is a stock Llama of one layer and two heads that answers "Ann" or "Bob", whichever name stands
in its prompt. Each head copies the name to the answer by itself: input -> a0.h{0,1}<v> -> logits.
The corrupted prompt has neither name, and its answer is 0.

Queries and keys are zero, so attention is uniform, and a constant makes the attention norm divide
by the same number everywhere (see `known_circuit`). What the heads write is large beside that
constant. So the final norm makes the answer x / sqrt(1 + x^2), x being the sum over heads of their
strength times the weight of attention that falls on the name: from x = 5 on, one head does nearly
as well as both.
"""

from dataclasses import dataclass

import torch
from transformers import LlamaForCausalLM

from mechshift.denoising import Canvas, EncodedExample, build_canvases, left_to_right
from mechshift.models import Attention, Kind, LanguageModel
from mechshift.testing._known_circuit import (
    ANSWER,
    BOS,
    CONSTANT,
    D_MODEL,
    NAME,
    SCALE,
    copy_by_head,
    hand_written_config,
)
from mechshift.testing._toy_tokenizer import SPECIAL_TOKENS
from mechshift.testing.random_models import as_language_model, cast

WORDS = ("Ann", "Bob", "someone", "so", "says")
ANN, BOB, SOMEONE, SO, SAYS = range(len(SPECIAL_TOKENS), len(SPECIAL_TOKENS) + len(WORDS))


@dataclass(frozen=True, kw_only=True, eq=False)
class TwoCircuits:
    """A hand-made model, examples for it, and the edges of its two circuits."""

    model: LanguageModel
    examples: list[EncodedExample]
    canvases: list[Canvas]
    circuits: tuple[tuple[str, ...], tuple[str, ...]]
    """Names of the edges through head 0, and of those through head 1."""
    metric: dict[tuple[bool, bool], list[float]]
    """Which heads work -> the logit difference of each example."""


def two_circuits(
    kind: Kind = "arm", *, strengths: tuple[float, float] = (31.0, 30.0), num_examples: int = 8
) -> TwoCircuits:
    """The model, examples of two lengths in turn, and what it answers with some heads.

    Args:
        kind: an MDM sees the mask after the prompt too.
        strengths: of the heads; 0 takes a circuit away.
        num_examples: how many; each has a cluster of its own.
    """
    module = LlamaForCausalLM(hand_written_config(len(WORDS), num_layers=1, num_heads=2))
    _write_weights(module, strengths)
    cast(module, torch.float32)
    attention: Attention = "causal" if kind == "arm" else "full"
    model = as_language_model(module, list(WORDS), f"two-circuits-{kind}", kind, attention)
    examples = [_example(row) for row in range(num_examples)]
    seen = [len(example.prefix_ids) + (kind == "mdm") for example in examples]
    return TwoCircuits(
        model=model,
        examples=examples,
        canvases=build_canvases(model, examples, left_to_right([1] * num_examples)),
        circuits=(_edges(0), _edges(1)),
        metric={
            (first, second): [
                _answer((first * strengths[0] + second * strengths[1]) / length) for length in seen
            ]
            for first in (False, True)
            for second in (False, True)
        },
    )


def _edges(head: int) -> tuple[str, ...]:
    return f"input->a0.h{head}<v>", f"a0.h{head}->logits"


def _answer(total: float) -> float:
    """The logit difference: what the final norm makes of the heads' sum."""
    return total / (1 + total**2) ** 0.5


@torch.no_grad()
def _write_weights(module: LlamaForCausalLM, strengths: tuple[float, float]) -> None:
    """Zero every weight, then write the constant, the norms and the heads, in place."""
    for name, parameter in module.named_parameters():
        parameter.fill_(SCALE / D_MODEL**0.5 if "norm" in name else 0.0)
    embedding = module.model.embed_tokens.weight
    embedding[:, CONSTANT] = SCALE
    embedding[ANN, NAME], embedding[BOB, NAME] = 1.0, -1.0
    attention = module.model.layers[0].self_attn
    for head, strength in enumerate(strengths):
        copy_by_head(attention, head=head, reads={NAME: strength * SCALE}, writes=ANSWER)
    # The norm makes the answer at most SCALE; the metric is to be at most 1.
    module.lm_head.weight[ANN, ANSWER] = 0.5 / SCALE
    module.lm_head.weight[BOB, ANSWER] = -0.5 / SCALE


def _example(row: int) -> EncodedExample:
    """Ann and Bob in turn, in prompts of four and of five tokens."""
    name, other = (ANN, BOB) if row % 2 == 0 else (BOB, ANN)
    before, after = (BOS, *(SO,) * (row // 2 % 2)), (SO, SAYS)
    return EncodedExample(
        id=f"two-circuits-{row}",
        task="two-circuits",
        prefix_ids=(*before, name, *after),
        target_ids=(name,),
        corrupted_prefix_ids=(*before, SOMEONE, *after),
        distractor_ids=(other,),
    )
