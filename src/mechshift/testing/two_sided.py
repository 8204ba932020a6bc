"""A transformer written by hand that reads a clue on its left, one in place and one on its right.

It is a stock Llama of one layer and one head that answers "yes" or "no", as its clues say. Queries
and keys are zero, so attention is uniform; each clue's token sets a dimension of its own to 1 or
-1; the head's value adds them up, each with its strength. Nothing else has weights, apart from the
constant that makes norms divide by the same number everywhere (see `known_circuit`).

Corrupting turns every clue's sign, so a clue loses twice its strength times the weight that the
scored position gives it: one over the length of the canvas for the MDM. The MDM has one clue on
each side of the gap that it fills; the ARM, which cannot look ahead, is told all of them first.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from transformers import LlamaForCausalLM

from mechshift.denoising import Canvas, EncodedExample, build_canvases, left_to_right
from mechshift.models import Attention, Kind, LanguageModel
from mechshift.testing._known_circuit import CONSTANT, D_MODEL, SCALE, hand_written_config
from mechshift.testing._toy_tokenizer import SPECIAL_TOKENS
from mechshift.testing.random_models import as_language_model, cast

WORDS = ("yes", "no", "so", "left+", "left-", "here+", "here-", "right+", "right-")
YES, NO, SO, LEFT, _, HERE, _, RIGHT, _ = range(
    len(SPECIAL_TOKENS), len(SPECIAL_TOKENS) + len(WORDS)
)
BOS = SPECIAL_TOKENS.index("<bos>")
CLUES = {"left": LEFT, "here": HERE, "right": RIGHT}
"""The positive token of each clue; the negative one follows it."""

FIRST_CLUE, ANSWER = 1, D_MODEL - 1
"""Dimensions of the residual stream: the clues', in the order of `CLUES`, and the answer's."""


@dataclass(frozen=True, kw_only=True)
class ClueStrengths:
    """What each clue adds to the logit of its answer, less the other's, if all attention is on it.

    A negative strength makes the clue speak against what it says.
    """

    left: float = 1.0
    here: float = 0.5
    right: float = 2.5


@dataclass(frozen=True, kw_only=True, eq=False)
class TwoSidedReader:
    """A hand-made model, examples for it, and the flow that must be found."""

    model: LanguageModel
    examples: list[EncodedExample]
    canvases: list[Canvas]
    flow: list[Mapping[str, float]] = field(default_factory=list)
    """For each example, the score of what flows from each clue to the scored position [logits]."""


def two_sided_reader(
    kind: Kind = "mdm",
    *,
    strengths: ClueStrengths | None = None,
    dtype: torch.dtype = torch.float32,
) -> TwoSidedReader:
    """The model, four examples of two lengths, and the flow from each clue by hand."""
    strengths = strengths or ClueStrengths()
    module = LlamaForCausalLM(hand_written_config(len(WORDS), num_layers=1, num_heads=1))
    _write_weights(module, strengths)
    cast(module, dtype)
    attention: Attention = "causal" if kind == "arm" else "full"
    model = as_language_model(module, list(WORDS), f"two-sided-{kind}", kind, attention)
    examples = [_example(kind, sign, length) for length in (0, 2) for sign in (0, 1)]
    canvases = build_canvases(model, examples, left_to_right([1] * len(examples)))
    return TwoSidedReader(
        model=model,
        examples=examples,
        canvases=canvases,
        flow=[
            {clue: 2 * getattr(strengths, clue) / _num_visible(kind, example) for clue in CLUES}
            for example in examples
        ],
    )


@torch.no_grad()
def _write_weights(module: LlamaForCausalLM, strengths: ClueStrengths) -> None:
    """Zero every weight, then write the constant, the norms, the clues and the head, in place."""
    for name, parameter in module.named_parameters():
        parameter.fill_(SCALE / D_MODEL**0.5 if "norm" in name else 0.0)
    embedding = module.model.embed_tokens.weight
    embedding[:, CONSTANT] = SCALE
    attention = module.model.layers[0].self_attn
    for dimension, (clue, token) in enumerate(CLUES.items(), start=FIRST_CLUE):
        embedding[token, dimension], embedding[token + 1, dimension] = 1.0, -1.0
        attention.v_proj.weight[0, dimension] = getattr(strengths, clue)
    attention.o_proj.weight[ANSWER, 0] = 1.0
    module.lm_head.weight[YES, ANSWER], module.lm_head.weight[NO, ANSWER] = 0.5, -0.5


def _example(kind: Kind, sign: int, num_fillers: int) -> EncodedExample:
    """Clues that all say yes (sign 0) or no (1); the logits are read at the clue `here`."""
    filler = (SO,) * num_fillers
    if kind == "mdm":
        before, after = (BOS, LEFT, *filler, HERE), (SO, *filler, RIGHT)
    else:
        before, after = (BOS, RIGHT, LEFT, *filler, HERE), ()
    gap = (YES,) if sign == 0 else (NO,)
    text = (*before, *gap, *after)
    spans = {clue: (text.index(token), text.index(token) + 1) for clue, token in CLUES.items()}
    return EncodedExample(
        id=f"two-sided-{num_fillers}-{WORDS[sign]}",
        task="two-sided",
        prefix_ids=_with_sign(before, sign),
        target_ids=gap,
        suffix_ids=_with_sign(after, sign),
        corrupted_prefix_ids=_with_sign(before, 1 - sign),
        corrupted_suffix_ids=_with_sign(after, 1 - sign),
        distractor_ids=(NO,) if sign == 0 else (YES,),
        spans=spans,
    )


def _with_sign(ids: tuple[int, ...], sign: int) -> tuple[int, ...]:
    return tuple(token + sign if token in CLUES.values() else token for token in ids)


def _num_visible(kind: Kind, example: EncodedExample) -> int:
    """Positions that the scored position attends to, itself included."""
    masked = len(example.target_ids) if kind == "mdm" else 0
    return len(example.prefix_ids) + masked + len(example.suffix_ids)
