"""A random pair on disk, and a task that both of its models solve, at the graph of any model.

Time and memory of a run depend on layers, heads, width and tokens, not on what weights mean. So a
pair of few parameters with the layers and heads of a 7B model costs, beyond its passes, what that
model costs: the same edges, circuits, resamples and figures.

1. The ARM's weights are random; the MDM's are the same with a little noise, and attend both ways.
2. Prompts are random words. Those on which both models say the same word are kept. That word is the
   target, and the distractor is what the ARM says once the prompt's first half is drawn anew.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Int64
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel, Qwen2Config

from mechshift.models import freeze, set_attention
from mechshift.testing import toy_tokenizer
from mechshift.testing._toy_tokenizer import SPECIAL_TOKENS
from mechshift.testing.random_models import randomise

NOISE = 0.05
"""Of the MDM's weights, in standard deviations of the ARM's."""

MAX_ROUNDS = 200
"""Batches of prompts that are tried for the examples of a split."""


@dataclass(frozen=True, kw_only=True)
class PairShape:
    """By default Qwen2.5-7B's graph of 935,747 edges in a model of 3 M parameters."""

    layers: int = 28
    heads: int = 28
    key_value_heads: int = 4
    width: int = 112
    mlp_width: int = 224
    vocabulary: int = 2048
    tokens: int = 12
    """Of a prompt."""
    examples: int = 60
    """To score edges on."""
    held_out: int = 24
    """To run circuits and ablations on."""
    spare: float = 0.0
    """Share of examples more in the file: of a model in bfloat16, whose rounding depends on the
    batch, some may say another word when they are asked again."""
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class StoredPair:
    """Where they are."""

    arm: Path
    mdm: Path
    task: Path
    """A JSON Lines file."""


def write_random_pair(folder: Path, shape: PairShape) -> StoredPair:
    """Make the two models and their task in a folder, where they are not there yet.

    Raises:
        RuntimeError: the models hardly ever say the same word.
    """
    stored = StoredPair(arm=folder / "arm", mdm=folder / "mdm", task=folder / "random-words.jsonl")
    if stored.task.exists():  # which is written last
        return stored
    arm, mdm = random_modules(shape)
    for module, path in ((arm, stored.arm), (mdm, stored.mdm)):
        module.save_pretrained(path)
    write_beside_weights(stored, arm, mdm, shape)
    return stored


def random_modules(
    shape: PairShape, *, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> tuple[PreTrainedModel, PreTrainedModel]:
    """The ARM and the MDM, made on a device: the same ones at every call on one of its kind."""
    arm, mdm = (_module(shape, device, dtype) for _ in range(2))
    randomise(arm, gain=1.0, seed=shape.seed)
    _copy_with_noise(arm, mdm, shape.seed + 1)
    for module, attention in ((arm, "causal"), (mdm, "full")):
        freeze(module)
        set_attention(module, attention)
    return arm, mdm


def write_beside_weights(
    stored: StoredPair, arm: PreTrainedModel, mdm: PreTrainedModel, shape: PairShape
) -> None:
    """Write all of a pair but its weights: configurations, tokenizers and, last, the task.

    Raises:
        RuntimeError: the models hardly ever say the same word.
    """
    words = [f"w{index}" for index in range(shape.vocabulary - len(SPECIAL_TOKENS))]
    for module, path in ((arm, stored.arm), (mdm, stored.mdm)):
        module.config.save_pretrained(path)
        toy_tokenizer(words).save_pretrained(path)
    lines = [json.dumps(line) + "\n" for line in _lines(arm, mdm, words, shape)]
    stored.task.write_text("".join(lines), encoding="utf-8")


def _module(shape: PairShape, device: str, dtype: torch.dtype) -> PreTrainedModel:
    config = Qwen2Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.mlp_width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads,
        tie_word_embeddings=False,
        pad_token_id=SPECIAL_TOKENS.index("<pad>"),
        bos_token_id=None,
        eos_token_id=None,
    )
    with torch.device(device):
        module: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=dtype)
    return module


def _copy_with_noise(source: PreTrainedModel, target: PreTrainedModel, seed: int) -> None:
    """Make every parameter that of the source, moved by a share of its own spread, in place."""
    generator = torch.Generator(source.device).manual_seed(seed)
    for ours, theirs in zip(target.parameters(), source.parameters(), strict=True):
        noise = torch.randn(theirs.shape, generator=generator, device=source.device)
        noise *= theirs.detach().float().std()
        ours.data.copy_(theirs.detach() + NOISE * noise)


def _lines(
    arm: PreTrainedModel, mdm: PreTrainedModel, words: list[str], shape: PairShape
) -> Iterator[dict[str, str]]:
    """One example a line, those to score on before those to run circuits on.

    Raises:
        RuntimeError: the models hardly ever say the same word.
    """
    sizes = {"discovery": shape.examples, "held-out": shape.held_out}
    splits = [
        split for split, size in sizes.items() for _ in range(round((1 + shape.spare) * size))
    ]
    generator = torch.Generator().manual_seed(shape.seed)
    first = len(SPECIAL_TOKENS)

    def text(ids: Int64[Tensor, " token"]) -> str:
        return " ".join(words[token - first] for token in ids.tolist())

    for _ in range(MAX_ROUNDS):
        drawn = torch.randint(first, shape.vocabulary, (2, 256, shape.tokens), generator=generator)
        prompts, others = drawn.to(arm.device)
        corrupted = prompts.clone()
        corrupted[:, : shape.tokens // 2] = others[:, : shape.tokens // 2]
        target, distractor = _said_by_arm(arm, prompts), _said_by_arm(arm, corrupted)
        usable = (target == _said_by_mdm(mdm, prompts)) & (target != distractor)
        usable &= (target >= first) & (distractor >= first)
        for row in torch.nonzero(usable)[:, 0]:
            if not splits:
                return
            yield {
                "prompt": text(prompts[row]),
                "corrupted_prompt": text(corrupted[row]),
                "target": " " + text(target[row : row + 1]),
                "distractor": " " + text(distractor[row : row + 1]),
                "cluster": text(prompts[row]),
                "split": splits.pop(0),
            }
    if splits:
        raise RuntimeError(f"{len(splits)} examples are missing after {MAX_ROUNDS} rounds")


@torch.no_grad()
def _said_by_arm(
    arm: PreTrainedModel, prompts: Int64[Tensor, "prompt token"]
) -> Int64[Tensor, " prompt"]:
    """The most probable next token."""
    return arm(prompts).logits[:, -1].argmax(dim=-1)


@torch.no_grad()
def _said_by_mdm(
    mdm: PreTrainedModel, prompts: Int64[Tensor, "prompt token"]
) -> Int64[Tensor, " prompt"]:
    """The most probable token in place of one mask, which the logits before it predict."""
    mask = torch.full((len(prompts), 1), SPECIAL_TOKENS.index("<mask>"), device=prompts.device)
    return mdm(torch.cat([prompts, mask], dim=1)).logits[:, -2].argmax(dim=-1)
