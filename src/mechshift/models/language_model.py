"""What is one side of a pair: a decoder, how it attends, and which position predicts which token?

A `LanguageModel` is verified when it is made by `load_language_model`: its attention is probed,
so that a model that claims to be bidirectional and is not is refused. The probe compares logits
of one short random sequence; it does not show that the weights were trained with that attention.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from mechshift.errors import ModelError
from mechshift.graph import Graph
from mechshift.models.architecture import decoder_parts
from mechshift.models.parts import DecoderParts

Kind = Literal["arm", "mdm"]
Attention = Literal["causal", "full"]

PROBE_LENGTH = 8
"""Tokens in the sequence that `probe_attention` reads."""

PROBE_REPLACEMENTS = 4
"""Tokens tried in its last place."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LanguageModel:
    """An autoregressive (`arm`) or masked diffusion (`mdm`) language model, ready to be read."""

    name: str
    """How reports call it, for example "tiny-mdm"."""
    kind: Kind
    module: PreTrainedModel
    """The stock class, in eval mode; no parameter requires grad."""
    tokenizer: PreTrainedTokenizerFast
    attention: Attention
    shift: bool
    """True: the logits at position i predict token i + 1; False: they predict token i."""
    mask_token_id: int | None
    """None for an ARM without a mask token."""
    weights_hash: str
    """SHA-256 of the safetensors files, in hexadecimal."""

    def __post_init__(self) -> None:
        if self.kind == "arm" and not self.shift:
            raise ModelError(
                f"'{self.name}' is an ARM with shift=False; an ARM's logits at i predict token"
                " i + 1, so set shift=True."
            )
        if self.kind == "mdm" and self.mask_token_id is None:
            raise ModelError(f"'{self.name}' is an MDM without a mask token; set mask_token_id.")
        if self.mask_token_id is not None and not 0 <= self.mask_token_id < self.vocab_size:
            raise ModelError(
                f"the mask token {self.mask_token_id} of '{self.name}' is outside its"
                f" {self.vocab_size} embeddings."
            )

    @cached_property
    def parts(self) -> DecoderParts:
        return decoder_parts(self.module)

    @property
    def device(self) -> torch.device:
        return self.module.device

    @property
    def dtype(self) -> torch.dtype:
        return self.module.dtype

    @property
    def vocab_size(self) -> int:
        """Number of embeddings, which may exceed the tokenizer's tokens."""
        return int(self.module.config.vocab_size)

    def graph(self, *, grouped: bool = False) -> Graph:
        """The computation graph; `grouped` keeps one k and one v destination per KV head."""
        parts = self.parts
        return Graph(
            num_layers=len(parts.layers),
            num_heads=parts.num_heads,
            num_key_value_groups=parts.num_key_value_heads if grouped else parts.num_heads,
        )

    def hidden(
        self,
        input_ids: Int64[Tensor, "batch position"],
        attention_mask: Int64[Tensor, "batch position"],
        position_ids: Int64[Tensor, "batch position"],
    ) -> Float[Tensor, "batch position d_model"]:
        """Hidden states after the final norm; the unembedding is left to the caller."""
        output = self.parts.decoder(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            use_cache=False,
        )
        return output.last_hidden_state


def set_attention(module: PreTrainedModel, attention: str) -> None:
    """Make the model's attention "causal" or "full", in place, through `config.is_causal`.

    transformers >= 5.2 reads that attribute at every forward. Setting it on the attention modules
    instead is ignored by the eager implementation, so it is not done.

    Raises:
        ModelError: any other attention.
    """
    if attention not in ("causal", "full"):
        raise ModelError(f"unknown attention '{attention}'; known: causal, full.")
    module.config.is_causal = attention == "causal"


def freeze(module: PreTrainedModel) -> None:
    """Put the model in eval mode and stop every parameter from requiring grad, in place."""
    module.eval()
    for parameter in module.parameters():
        parameter.requires_grad_(False)


def probe_attention(module: PreTrainedModel, attention: Attention) -> None:
    """Check that the model attends as it claims.

    Replaces the last of a few random tokens, a few times, and looks at the logits at position 0:
    some must change under full attention, and all must stay exactly as they were under causal
    attention. It runs in the model's own precision: a float32 copy of a bfloat16 model may not
    fit, and a few replacements over a whole vocabulary cannot all be rounded away.

    Raises:
        ModelError: the logits say otherwise, or are not finite.
    """
    change = _first_logits_change(module)
    if math.isnan(change):
        raise ModelError(
            "the model's logits on a short random sequence are not finite;"
            " its weights are damaged or do not fit its class."
        )
    if attention == "full" and change == 0.0:
        raise ModelError(
            "the model should attend in both directions, but changing the last token left the"
            " logits at position 0 unchanged: its attention is causal. Set attention='causal'."
        )
    if attention == "causal" and change != 0.0:
        raise ModelError(
            "the model should attend causally, but changing the last token moved the logits at"
            f" position 0 by {change:.3g}: its attention is not causal. Set attention='full'."
        )


@torch.no_grad()
def _first_logits_change(module: PreTrainedModel) -> float:
    """Largest change of a logit at position 0 over the replacements; NaN if any is not finite."""
    vocab_size = int(module.config.vocab_size)
    generator = torch.Generator().manual_seed(0)
    shape = (1, PROBE_LENGTH + PROBE_REPLACEMENTS)
    draws = torch.randint(vocab_size, shape, generator=generator).to(module.device)
    ids, last_tokens = draws[:, :PROBE_LENGTH], draws[0, PROBE_LENGTH:]
    before = module(ids, use_cache=False).logits[0, 0].float()
    changes = []
    for token in last_tokens:
        replaced = ids.clone()
        replaced[0, -1] = token
        # One row at a time: equal rows of one batch need not give equal bits.
        after = module(replaced, use_cache=False).logits[0, 0].float()
        changes.append((after - before).abs().max())
    return float(torch.stack(changes).max().nan_to_num(torch.nan, torch.nan, torch.nan))
