"""The logit lens, on the residual stream and on each component's output.

The lens of a vector x is softmax(W_U norm(x)), with the model's own final norm and unembedding.

1. *Components*: x is what one component writes at the readout: the embedding, a head (its z times
   its slice of the output projection, without the projection's bias), an MLP.
2. *Levels*: x is the residual stream there, before each layer and, last, before the final norm; so
   the last level is the model's own prediction, and level 0 is what `input` writes.

The norm is applied to x itself, its divisor taken from x and a LayerNorm's bias added: the lens
reads x as if it were the whole residual stream, and a faint output is read as clearly as a strong
one. How far a component moves the logits of the real stream is another question, with the divisor
of the whole stream: `direct_logit_attribution`.

The whole vocabulary is needed for ranks and entropies, and is reduced to them at once: no array
[readout, component, vocab] is made, only pieces of `LOGITS_PER_PIECE` logits.

Source: nostalgebraist 2020, "interpreting GPT: the logit lens"; for single components, Elhage et
al. 2021, "A Mathematical Framework for Transformer Circuits".
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor

from mechshift.denoising import CanvasBatch
from mechshift.graph import Graph
from mechshift.models import LanguageModel
from mechshift.semantics.readouts import Readouts, readouts_of
from mechshift.semantics.recorded_run import (
    RecordedRun,
    at_readouts,
    layer_outputs,
    residual_stream,
)

LOGITS_PER_PIECE = 2**25
"""Logits held at a time: 128 MiB in float32, and a few times that while they are reduced."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LensReadings:
    """Numbers that are kept of each lens' distribution; float32 unless the model is float64."""

    rank: Float[np.ndarray, "readout place"]
    """Of the target, 1 for the most probable token. Ties share their mean rank, so a component
    that writes nothing gives (vocab + 1) / 2."""
    log_prob: Float[np.ndarray, "readout place"]
    """Of the target [nats]."""
    entropy: Float[np.ndarray, "readout place"]
    """Of the distribution [nats], from 0 to log(vocab)."""
    top_ids: Int[np.ndarray, "readout place top"]
    """The most probable tokens, best first."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LogitLens:
    """Lenses of all components and levels at all readouts."""

    graph: Graph
    vocab_size: int
    readouts: Readouts
    components: LensReadings
    """`place` is a source of the graph, in its order."""
    levels: LensReadings
    """`place` l is the residual stream before layer l; the last is the model's prediction."""


def logit_lens(run: RecordedRun, batch: CanvasBatch, num_top_tokens: int = 5) -> LogitLens:
    """The lenses of one batch, from its clean run; `join_readouts` joins those of several."""
    model = run.model

    def read(vectors: Float[Tensor, "readout place d_model"]) -> LensReadings:
        return _read(model, vectors, batch.target_ids, num_top_tokens)

    embedding = at_readouts(run.record.embedding, batch)[:, None]
    blocks = [read(embedding)]
    for layer in range(len(model.parts.layers)):
        blocks.append(read(layer_outputs(run, batch, layer)))
    return LogitLens(
        graph=model.graph(),
        vocab_size=model.vocab_size,
        readouts=readouts_of(batch),
        components=_side_by_side(blocks),
        levels=read(residual_stream(run, batch)),
    )


@torch.no_grad()
def lens_logits(
    model: LanguageModel, vectors: Float[Tensor, "row d_model"]
) -> Float[Tensor, "row vocab"]:
    """Logits of the lens of each vector, in float32 at least."""
    logits: Tensor = model.parts.unembedding(model.parts.final_norm(vectors.to(model.dtype)))
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def target_rank(
    logits: Float[Tensor, "row vocab"], target_ids: Int64[Tensor, " row"]
) -> Float[Tensor, " row"]:
    """Rank of the target, from 1; ties share their mean rank."""
    target = logits.gather(-1, target_ids[:, None])
    above, equal = (logits > target).sum(dim=-1), (logits == target).sum(dim=-1)
    return above + (equal + 1).to(logits.dtype) / 2


def pieces(num_rows: int, vocab_size: int) -> list[slice]:
    """Consecutive rows whose logits fit into one piece."""
    step = max(1, LOGITS_PER_PIECE // vocab_size)
    return [slice(start, start + step) for start in range(0, num_rows, step)]


def _read(
    model: LanguageModel,
    vectors: Float[Tensor, "readout place d_model"],
    target_ids: Int64[Tensor, " readout"],
    num_top_tokens: int,
) -> LensReadings:
    shape = vectors.shape[:2]
    rows = vectors.flatten(0, 1)
    targets = target_ids.repeat_interleave(shape[1])
    read = [
        _reduce(lens_logits(model, rows[piece]), targets[piece], num_top_tokens)
        for piece in pieces(len(rows), model.vocab_size)
    ]
    rank, log_prob, entropy, top_ids = (
        torch.cat(column).unflatten(0, shape).cpu().numpy() for column in zip(*read, strict=True)
    )
    return LensReadings(
        rank=rank, log_prob=log_prob, entropy=entropy, top_ids=top_ids.astype(np.int32)
    )


def _reduce(
    logits: Float[Tensor, "row vocab"], target_ids: Int64[Tensor, " row"], num_top_tokens: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Rank, log-probability, entropy and top ids of a piece, in the order of `LensReadings`."""
    log_probs = logits.log_softmax(dim=-1)
    return (
        target_rank(logits, target_ids),
        log_probs.gather(-1, target_ids[:, None])[:, 0],
        -(log_probs.exp() * log_probs).sum(dim=-1),
        logits.topk(min(num_top_tokens, logits.shape[-1]), dim=-1).indices,
    )


def _side_by_side(blocks: list[LensReadings]) -> LensReadings:
    return LensReadings(
        **{
            name: np.concatenate([getattr(block, name) for block in blocks], axis=1)
            for name in ("rank", "log_prob", "entropy", "top_ids")
        }
    )
