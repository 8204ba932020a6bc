"""Position flow: how much attributed information passes from span to span of the text.

1. Score every head's k and v by pair of positions, and every other destination by position, with
   the gradients of EAP-IG (`pair_flow`).
2. On each example and step, take absolute values and add up heads, and positions by span
   (`denoising.spans`) and by direction. Only these sums are kept.

Attention alone carries information from one position to another, so direction is a property of k
and v: a query, an MLP and `logits` act where they read. The share that flows from right to left is
the share of k/v flow whose source position lies to the right of the query position. Causal
attention gives such pairs a weight of exactly 0, so an ARM's share is exactly 0.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mechshift.attribution.collecting import collect_along_paths
from mechshift.attribution.pair_flow import KEY, VALUE, PairFlow, pair_flow
from mechshift.attribution.path import InputPath, Rule, path_points
from mechshift.attribution.position_flow_record import PositionFlow, part_shapes
from mechshift.denoising import Canvas, EncodedExample, SpanLayout, readers
from mechshift.models import LanguageModel

Membership = Float[Tensor, "slot row position span"]


def position_flow(
    model: LanguageModel,
    canvases: Sequence[Canvas],
    examples: Sequence[EncodedExample],
    *,
    metric: str,
    ig_steps: int = 5,
    rule: Rule = "left",
    batch_size: int = 16,
    progress: Callable[[int], None] | None = None,
) -> PositionFlow:
    """Flow between spans on every example and denoising step.

    Args:
        model: read through hooks that are gone afterwards; nothing of it changes.
        canvases: all canvases of consecutive examples; the first of them becomes row 0.
        examples: the whole pool, as encoded for this model: `Canvas.example` is an index into it,
            and its spans are named alike in every chunk of the pool.
        metric: a name in `denoising.METRICS`.
        ig_steps: points on the path, as in `eap_ig`.
        rule: where they lie, as in `eap_ig`.
        batch_size: canvases in one forward pass; it does not change a number. Memory holds
            2 * layers * heads * positions^2 numbers for each canvas and step scored on it.
        progress: called with the number of canvases that each batch has finished.

    Raises:
        AttributionError: as `eap_ig`.
        DenoisingError: a span's name is not free, or canvases are of other examples.
    """
    points = path_points(rule, ig_steps)
    layout = SpanLayout(canvases, examples)
    shapes = part_shapes(len(model.parts.layers), len(layout.names))
    sizes = {name: torch.Size(shape).numel() for name, shape in shapes.items()}
    collector = collect_along_paths(
        lambda path: _score_batch(path, points, layout),
        (sum(sizes.values()),),
        model,
        canvases,
        metric=metric,
        grouped=True,
        batch_size=batch_size,
        progress=progress,
    )
    parts, start = {}, 0
    for name, size in sizes.items():
        part = collector.values[..., start : start + size]
        parts[name] = part.reshape(*part.shape[:2], *shapes[name])
        start += size
    return PositionFlow(
        spans=layout.names,
        clusters=collector.clusters,
        num_steps=collector.num_steps,
        clean_metric=collector.clean_metric,
        corrupted_metric=collector.corrupted_metric,
        **parts,
    )


def _score_batch(
    path: InputPath, points: Sequence[float], layout: SpanLayout
) -> Float[Tensor, "row slot number"]:
    """All numbers of a batch's `PositionFlow`, side by side in the order of `part_shapes`."""
    flow = pair_flow(path, points)
    spans = layout.membership(path.batch, flow.logits.dtype)
    reading = readers(path.batch, flow.logits.dtype)
    num_layers = flow.pairs.shape[1]
    # Layer by layer, so that the absolute values of all pairs are never in memory at once.
    layers = [_layer_sums(flow, layer, spans, reading) for layer in range(num_layers)]
    parts = {name: torch.stack([layer[name] for layer in layers], dim=2) for name in layers[0]}
    parts["logits_score_at"] = _by_span(flow.logits, spans)
    parts["logits_magnitude_at"] = _by_span(flow.logits.abs(), spans)
    order = part_shapes(num_layers, len(layout.names))
    return torch.cat([parts[name].flatten(2) for name in order], dim=-1).transpose(0, 1)


def _layer_sums(
    flow: PairFlow, layer: int, spans: Membership, reading: Float[Tensor, "slot row position"]
) -> dict[str, Float[Tensor, "slot row *axes"]]:
    pairs = flow.pairs[:, layer]
    magnitude = pairs.abs().sum(dim=3)
    at = [
        flow.query[:, layer],
        pairs[:, KEY].sum(dim=3),
        pairs[:, VALUE].sum(dim=3),
        flow.mlp[:, layer, :, None],
    ]
    return {
        "net": _between_spans(pairs.sum(dim=3), spans),
        "magnitude": _between_spans(magnitude, spans),
        "by_direction": _by_direction(magnitude),
        "into_readers": torch.einsum("skbij,sbi,sbju->sbku", magnitude, reading, spans),
        "score_at": torch.stack([_by_span(one.sum(dim=2), spans) for one in at], dim=2),
        "magnitude_at": torch.stack([_by_span(one.abs().sum(dim=2), spans) for one in at], dim=2),
    }


def _between_spans(
    pairs: Float[Tensor, "slot kind row query source"], spans: Membership
) -> Float[Tensor, "slot row kind query_span source_span"]:
    return torch.einsum("skbij,sbit,sbju->sbktu", pairs, spans, spans)


def _by_direction(
    magnitude: Float[Tensor, "slot kind row query source"],
) -> Float[Tensor, "slot row kind direction"]:
    """Sums over pairs in the order of `DIRECTIONS`; the source is the last axis."""
    right = magnitude.triu(diagonal=1).sum(dim=(-2, -1))
    same = magnitude.diagonal(dim1=-2, dim2=-1).sum(dim=-1)
    left = magnitude.tril(diagonal=-1).sum(dim=(-2, -1))
    return torch.stack([right, same, left], dim=-1).transpose(1, 2)


def _by_span(
    at_position: Float[Tensor, "slot row position"], spans: Membership
) -> Float[Tensor, "slot row span"]:
    return torch.einsum("sbp,sbpu->sbu", at_position, spans)
