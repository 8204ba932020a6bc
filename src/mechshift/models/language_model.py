"""One side of a pair: a decoder, how it attends, and which position predicts which token.

A `LanguageModel` is verified when it is made by `load_language_model`: its attention is probed,
so that a model that claims to be bidirectional and is not is refused. The probe compares logits
of one short random sequence; it does not show that the weights were trained with that attention.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from mechshift.errors import ModelError
from mechshift.graph import Graph
from mechshift.models.architecture import decoder_parts
from mechshift.models.block_attention import keys_of_blocks
from mechshift.models.causal_prefix import denoised_block, keys_of_prefix_and_block
from mechshift.models.observed_first import keys_observed_first
from mechshift.models.offloading import brought_again, execution_device
from mechshift.models.parts import DecoderParts
from mechshift.models.visible_keys import MaskedDecoder, VisibleKeys
from mechshift.summaries import Summarised

Kind = Literal["arm", "mdm"]
Attention = Literal["causal", "full", "block-causal", "observed-first", "causal-prefix"]
"""`observed-first`: causal over the tokens in another order, all that are not masked before all
that are (`observed_first`). `causal-prefix`: causal, but for the block that is being denoised,
which is read in both directions (`causal_prefix`)."""

ASKS_WHAT_IS_MASKED = ("observed-first", "causal-prefix")
"""Attention that depends on which tokens are masked; no ARM's."""

HAS_BLOCKS = ("block-causal", "causal-prefix")
"""Attention with a block length."""

PROBE_LENGTH = 8
"""Tokens in the sequence that `probe_attention` reads."""

PROBE_REPLACEMENTS = 4
"""Tokens tried in its last place."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LanguageModel(Summarised):
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
    """SHA-256 of the safetensors files and of an adapter that was merged in, in hexadecimal."""
    settings_hash: str = ""
    """SHA-256 of what decides how the weights and a text are read: the model's config.json and the
    tokenizer's files, in hexadecimal. Empty for a model that was made in memory."""
    block_length: int | None = None
    """Positions in a block; for block-causal and causal-prefix attention only."""
    revision: str | None = None
    """Commit on the hub that the weights are of; None: they are in a folder that names none."""
    place: str = ""
    """The device as its name was given to the loader, with what is said of weights that lie
    elsewhere (`offloading`). Empty for a model that was made in memory."""

    def __post_init__(self) -> None:
        if self.kind == "arm" and not self.shift:
            raise ModelError(
                f"'{self.name}' is an ARM with shift=False; an ARM's logits at i predict token"
                " i + 1, so set shift=True."
            )
        if self.kind == "mdm" and self.mask_token_id is None:
            raise ModelError(f"'{self.name}' is an MDM without a mask token; set mask_token_id.")
        if self.attention in ASKS_WHAT_IS_MASKED and self.kind == "arm":
            raise ModelError(
                f"'{self.name}' is an ARM, in which no token is masked; {self.attention} attention"
                " is an MDM's, and causal attention is what is left of it: set attention='causal'."
            )
        _check_block_length(self.attention, self.block_length)
        if self.mask_token_id is not None and not 0 <= self.mask_token_id < self.vocab_size:
            raise ModelError(
                f"the mask token {self.mask_token_id} of '{self.name}' is outside its"
                f" {self.vocab_size} embeddings."
            )

    def facts(self) -> dict[str, object]:
        """What it is, and how it is read."""
        graph = self.graph()
        return {
            "name": self.name,
            "kind": self.kind.upper(),
            "class": type(self.module).__name__,
            "layers": graph.num_layers,
            "heads": graph.num_heads,
            "edges": f"{graph.num_edges:,}",
            "attention": self.attention,
            "mask token": self.mask_token_id,
            "precision": str(self.dtype).removeprefix("torch."),
            "device": self.device,
        }

    @cached_property
    def parts(self) -> DecoderParts:
        return _attending_parts(self.module, self.attention, self.block_length)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return execution_device(self.module)

    @property
    def dtype(self) -> torch.dtype:
        return self.module.dtype

    @property
    def vocab_size(self) -> int:
        """Number of embeddings, which may exceed the tokenizer's tokens."""
        return int(self.module.config.vocab_size)

    @property
    def hashes(self) -> dict[str, str]:
        """Of all that the model was read from, for the manifests of what is computed with it."""
        return {"weights": self.weights_hash, "settings": self.settings_hash}

    def graph(self, *, grouped: bool = False) -> Graph:
        """The computation graph; `grouped` keeps one k and one v destination per KV head."""
        parts = self.parts
        return Graph(
            num_layers=len(parts.layers),
            num_heads=parts.num_heads,
            num_key_value_groups=parts.num_key_value_heads if grouped else parts.num_heads,
        )

    def denoised(self, ids: Sequence[int]) -> range:
        """The positions of a canvas whose logits this model was trained to give.

        All, but under causal-prefix attention, where they are those of one block.
        """
        if self.attention != "causal-prefix":
            return range(len(ids))
        assert self.mask_token_id is not None and self.block_length is not None
        return denoised_block(ids, self.mask_token_id, self.block_length)

    def hidden(
        self,
        input_ids: Int64[Tensor, "batch position"],
        attention_mask: Int64[Tensor, "batch position"],
        position_ids: Int64[Tensor, "batch position"],
        *,
        embeddings: Float[Tensor, "batch position d_model"] | None = None,
    ) -> Float[Tensor, "batch position d_model"]:
        """Hidden states after the final norm; the unembedding is left to the caller.

        Args:
            input_ids: tokens; under observed-first and causal-prefix attention they also say which
                are masked.
            attention_mask: 1 at tokens, 0 at padding.
            position_ids: counted from the first token of a row.
            embeddings: read in place of those of the tokens.

        Raises:
            ModelError: more tokens than the model can read.
        """
        length, limit = input_ids.shape[1], self.parts.max_length
        if limit is not None and length > limit:
            raise ModelError(
                f"a sequence of {length} tokens is too long for '{self.name}', which reads at most"
                f" {limit} (its learned positions, or the window of its attention); use shorter"
                " examples."
            )
        read: dict[str, Tensor] = (
            {"input_ids": input_ids} if embeddings is None else {"inputs_embeds": embeddings}
        )
        if self.attention in ASKS_WHAT_IS_MASKED:
            assert self.mask_token_id is not None
            read["is_masked"] = torch.eq(input_ids, self.mask_token_id)
        with brought_again(self.module):
            output = self.parts.decoder(
                **read, attention_mask=attention_mask, position_ids=position_ids, use_cache=False
            )
        return output.last_hidden_state


def set_attention(module: PreTrainedModel, attention: str) -> None:
    """Make the model's attention causal or not, in place, through `config.is_causal`.

    transformers >= 5.2 reads that attribute at every forward. Setting it on the attention modules
    instead is ignored by the eager implementation, so it is not done. For all other attention the
    mask comes with each call, from `LanguageModel.parts`; called by itself, the module then attends
    in full.

    Raises:
        ModelError: any other attention.
    """
    known = get_args(Attention)
    if attention not in known:
        raise ModelError(f"unknown attention '{attention}'; known: {', '.join(known)}.")
    module.config.is_causal = attention == "causal"


def _attending_parts(
    module: PreTrainedModel, attention: Attention, block_length: int | None
) -> DecoderParts:
    """The parts of a model whose attention has been set, with the decoder's mask if it takes one.

    That of `ASKS_WHAT_IS_MASKED` takes one argument more: `is_masked`.
    """
    parts = decoder_parts(module)
    if attention in ("causal", "full"):
        return parts
    assert isinstance(parts.decoder, PreTrainedModel)
    visible: VisibleKeys = keys_observed_first
    if attention in HAS_BLOCKS:
        assert block_length is not None
        keys = keys_of_blocks if attention == "block-causal" else keys_of_prefix_and_block
        visible = partial(keys, block_length=block_length)
    return replace(parts, decoder=MaskedDecoder(decoder=parts.decoder, visible=visible))


def _check_block_length(attention: Attention, block_length: int | None) -> None:
    if attention in HAS_BLOCKS:
        if block_length is None or block_length < 2:
            raise ModelError(
                f"{attention} attention with block_length={block_length}; give the length that"
                " the model was trained with, at least 2 (a block of 1 is causal attention)."
            )
    elif block_length is not None:
        raise ModelError(
            f"block_length={block_length} belongs to {' and '.join(HAS_BLOCKS)} attention, not to"
            f" '{attention}'."
        )


def freeze(module: PreTrainedModel) -> None:
    """Put the model in eval mode and stop every parameter from requiring grad, in place."""
    module.eval()
    for parameter in module.parameters():
        parameter.requires_grad_(False)


def probe_attention(
    module: PreTrainedModel, attention: Attention, block_length: int | None = None
) -> None:
    """Check that the model attends as it claims.

    Replaces the last of a few random tokens, a few times, and looks at the logits at position 0:
    some must change under full attention, and all must stay exactly as they were under causal
    attention. Under block-causal attention both must hold, within the first block and beyond it;
    under observed-first attention, with position 0 masked and with it not. Under causal-prefix
    attention position 0 must see its block where it is masked, and nothing else.
    It runs in the model's own precision: a float32 copy of a bfloat16 model may not fit, and a few
    replacements over a whole vocabulary cannot all be rounded away.

    Raises:
        ModelError: the logits say otherwise, or are not finite.
    """
    _check_block_length(attention, block_length)
    parts = _attending_parts(module, attention, block_length)
    verdict = f"its attention is not {attention}"
    for length, masked, sees in _probes(attention, block_length):
        change = _first_logits_change(module, parts, length, masked)
        if sees and change == 0.0:
            raise ModelError(
                f"changing token {length - 1} left the logits at position 0 unchanged, where"
                f" {attention} attention sees it: {verdict}. Is it causal? Then set"
                " attention='causal'."
            )
        if not sees and change:
            raise ModelError(
                f"changing token {length - 1} moved the logits at position 0 by {change:.3g}, where"
                f" {attention} attention does not see it: {verdict}. Is it full? Then set"
                " attention='full'."
            )


def _probes(
    attention: Attention, block_length: int | None
) -> tuple[tuple[int, bool | None, bool], ...]:
    """Length of the text, whether position 0 is masked, and whether it sees the last token."""
    block = block_length or 0
    return {
        "full": ((PROBE_LENGTH, None, True),),
        "causal": ((PROBE_LENGTH, None, False),),
        "block-causal": ((block, None, True), (block + 1, None, False)),
        "observed-first": ((PROBE_LENGTH, True, True), (PROBE_LENGTH, False, False)),
        "causal-prefix": (
            (block, True, True),
            (block + 1, True, False),
            (PROBE_LENGTH, False, False),
        ),
    }[attention]


@torch.no_grad()
def _first_logits_change(
    module: PreTrainedModel, parts: DecoderParts, length: int, first_is_masked: bool | None
) -> float:
    """Largest change of a logit at position 0 when the last of `length` tokens is replaced.

    No other token is masked; `first_is_masked` is None where the decoder does not ask.

    Raises:
        ModelError: a logit is not finite.
    """
    generator = torch.Generator().manual_seed(0)
    shape = (1, length + PROBE_REPLACEMENTS)
    vocab_size = int(module.config.vocab_size)
    draws = torch.randint(vocab_size, shape, generator=generator)
    draws = draws.to(execution_device(module))
    ids, last_tokens = draws[:, :length], draws[0, length:]
    changes = []
    with _experts_token_by_token(module):
        before = _first_logits(parts, ids, first_is_masked)
        for token in last_tokens:
            replaced = ids.clone()
            replaced[0, -1] = token
            # One row at a time: equal rows of one batch need not give equal bits.
            after = _first_logits(parts, replaced, first_is_masked)
            changes.append((after - before).abs().max())
    change = float(torch.stack(changes).max().nan_to_num(torch.nan, torch.nan, torch.nan))
    if math.isnan(change):
        raise ModelError(
            "the model's logits on a short random sequence are not finite;"
            " its weights are damaged or do not fit its class."
        )
    return change


@contextmanager
def _experts_token_by_token(module: PreTrainedModel) -> Iterator[None]:
    """Let a mixture of experts multiply each token by itself inside the block.

    An expert's product of all its tokens at once need not give a token equal bits when another
    token comes or goes, and the probe asks for equal bits.
    """
    if not module._can_set_experts_implementation():
        yield
        return
    before = module.config._experts_implementation
    module.set_experts_implementation("batched_mm")
    try:
        yield
    finally:
        module.set_experts_implementation(before)


def _first_logits(
    parts: DecoderParts, ids: Int64[Tensor, "1 position"], first_is_masked: bool | None
) -> Float[Tensor, " vocab"]:
    positions = torch.arange(ids.shape[1], device=ids.device)[None]
    told = {} if first_is_masked is None else {"is_masked": (positions == 0) & first_is_masked}
    output = parts.decoder(
        **told,
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        position_ids=positions,
        use_cache=False,
    )
    return parts.unembedding(output.last_hidden_state[0, 0]).float()
