"""Sums of |score| by layer: that which writes an edge, and that which reads it.

Each row of mean scores gives its own circuit, whose edges alone are counted. `input` and `logits`
are no layers and are kept apart. From the sums of two models come the numbers of a shift in depth:

- the change of the early, middle and late share of what the layers hold;
- the shift of the centre of mass [layers];
- the Wasserstein-1 distance between the two shares by layer [layers]: how far a unit of |score|
  must travel, on average, to turn one profile into the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse

from mechshift.comparison import resampling
from mechshift.comparison.chosen_edges import circuits_of
from mechshift.comparison.resampling import EXCHANGE_SEED, halves_of_resamples, pool_mean
from mechshift.comparison.settings import ComparisonSettings
from mechshift.errors import ComparisonError
from mechshift.graph import Graph, third_of_layers
from mechshift.statistics import bootstrap_weights, exchange_masks, split_halves

Side = Literal["source", "destination"]
"""Of an edge: the layer that writes it, or the layer that reads it."""

SIDES: tuple[Side, ...] = ("source", "destination")

SHIFTS = ("early", "middle", "late", "centre_of_mass", "distance")
"""MDM minus ARM: three shares and the centre of mass [layers]; and the distance [layers]."""

SideSums = Float[np.ndarray, "side row layer_or_end"]
"""Of one model, in circuits of one size."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerSums:
    """|score| of both models by layer, in circuits of one size; below 0 only if cross-fitted."""

    values: Float[np.ndarray, "row model=2 side=2 layer_or_end"]
    """ARM and MDM; by writing layer, after `input`, and by reading layer, before `logits`."""

    @classmethod
    def of_models(cls, arm: SideSums, mdm: SideSums) -> "LayerSums":
        """Both models' sums on the same rows."""
        return cls(values=np.moveaxis(np.stack([arm, mdm]), 2, 0))

    def whole(self, side: Side) -> list[Float[np.ndarray, "row layer_or_end"]]:
        """ARM's and MDM's sums of one side, its end included."""
        return [self.values[:, model, SIDES.index(side)] for model in range(2)]

    def layers(self, side: Side) -> list[Float[np.ndarray, "row layer"]]:
        """ARM's and MDM's sums of one side without its end."""
        cut = slice(1, None) if side == "source" else slice(None, -1)
        return [sums[:, cut] for sums in self.whole(side)]


@dataclass(frozen=True, kw_only=True, eq=False)
class HalfSums:
    """Layer sums on the two halves of each row's examples."""

    first: LayerSums
    second: LayerSums

    cross_fitted: LayerSums
    """Edges and signs from one half, scores from the other; mean of both ways round."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DrawnSums:
    """Layer sums of both models on the pool and on everything that is drawn from it."""

    resampled: LayerSums
    """Row 0 is the pool, the others its resamples."""

    exchanged: LayerSums

    crossed: LayerSums
    """Cross-fitted; row 0 is the pool, the others its exchanges."""

    halves: HalfSums
    """Of the pool; one row per halving."""

    resampled_halves: tuple[HalfSums, ...]
    """For each halving of the resamples; one row per resample."""


@lru_cache(maxsize=8)
def by_layer(graph: Graph, side: Side) -> sparse.csr_array:
    """[edge, layer_or_end]: 1 where an edge is written (or read) by that layer or end."""
    if side == "source":
        layer = graph.source_layer[graph.edge_source] + 1
    else:
        layer = graph.destination_layer[graph.edge_destination]
    entries = (np.ones(graph.num_edges), (np.arange(graph.num_edges), layer))
    return sparse.csr_array(entries, shape=(graph.num_edges, graph.num_layers + 1))


def layer_sums(
    graph: Graph,
    scores: Float[np.ndarray, "row edge"],
    sizes: Sequence[int],
    added: Float[np.ndarray, "row edge"] | None = None,
) -> list[SideSums]:
    """What circuits of each size add up to by layer, for rows of mean scores.

    Args:
        graph: the computation graph.
        scores: by which each row's circuit is chosen.
        sizes: of the circuits [edges].
        added: other mean scores, added up with the signs of `scores`; by default |score|.
    """
    sums = {}
    for size, (circuits,) in circuits_of([scores], sizes):
        edges = circuits.edges if len(circuits.edges) < graph.num_edges else slice(None)
        if added is None:
            kept = circuits.inside
        else:
            kept = np.where(circuits.members, np.sign(circuits.scores) * added[:, edges], 0)
        sums[size] = np.stack([kept @ by_layer(graph, side)[edges] for side in SIDES])
    return [sums[size] for size in sizes]


def resampled_sums(
    graph: Graph,
    weights: Float[np.ndarray, "resample example"],
    arm_scores: Float[np.ndarray, "example edge"],
    mdm_scores: Float[np.ndarray, "example edge"],
    sizes: Sequence[int],
) -> list[LayerSums]:
    """Both models' layer sums by size; row 0 is the pool, the others its resamples."""
    # One model after the other, so that one piece lives at a time.
    by_model = []
    for scores in (arm_scores, mdm_scores):
        parts = [layer_sums(graph, pool_mean(scores), sizes)]
        for (means,) in resampling.resampled(weights, scores):
            parts.append(layer_sums(graph, means, sizes))
        by_model.append(_joined_by_size(parts))
    return _paired(*by_model)


def exchanged_sums(
    graph: Graph,
    swapped: Bool[np.ndarray, "exchange example"],
    arm_scores: Float[np.ndarray, "example edge"],
    mdm_scores: Float[np.ndarray, "example edge"],
    sizes: Sequence[int],
) -> list[LayerSums]:
    """Layer sums of the two sides after the models traded examples, by size."""
    first, second = [], []
    for one, other in resampling.exchanged(swapped, arm_scores, mdm_scores):
        first.append(layer_sums(graph, one, sizes))
        second.append(layer_sums(graph, other, sizes))
    return _paired(_joined_by_size(first), _joined_by_size(second))


def half_sums(
    graph: Graph,
    weights: Float[np.ndarray, "row example"],
    first: Bool[np.ndarray, "row example"],
    arm_scores: Float[np.ndarray, "example edge"],
    mdm_scores: Float[np.ndarray, "example edge"],
    size: int,
) -> HalfSums:
    """Both models' layer sums on the first and on the second half of the weighted examples."""
    models = [
        _sums_of_halves(graph, weights, first, scores, size) for scores in (arm_scores, mdm_scores)
    ]
    one, two, crossed = (LayerSums.of_models(*sums) for sums in zip(*models, strict=True))
    return HalfSums(first=one, second=two, cross_fitted=crossed)


def cross_fitted_exchanges(
    graph: Graph,
    swapped: Bool[np.ndarray, "exchange example"],
    halves: Bool[np.ndarray, "split example"],
    arm_scores: Float[np.ndarray, "example edge"],
    mdm_scores: Float[np.ndarray, "example edge"],
    size: int,
) -> LayerSums:
    """Cross-fitted layer sums of both sides after exchanges, averaged over the same halvings."""
    firsts, seconds = [], []
    for half in halves:
        first, second = [], []
        pieces = resampling.exchanged_halves(swapped, half, arm_scores, mdm_scores)
        for one, two, other_one, other_two in pieces:
            first.append(_cross_fitted(graph, one, two, size))
            second.append(_cross_fitted(graph, other_one, other_two, size))
        firsts.append(_joined(first))
        seconds.append(_joined(second))
    return LayerSums.of_models(np.mean(firsts, axis=0), np.mean(seconds, axis=0))


def drawn_sums(
    graph: Graph,
    arm_scores: Float[np.ndarray, "example edge"],
    mdm_scores: Float[np.ndarray, "example edge"],
    size: int,
    settings: ComparisonSettings,
    clusters: Int[np.ndarray, " example"] | None = None,
) -> DrawnSums:
    """Everything that is drawn, with the seeds of `likeness.py`: both see the same resamples.

    Raises:
        ComparisonError: a circuit, of the pool or of a resample, touches no layer.
    """
    pair, num_examples, seed = (arm_scores, mdm_scores), len(arm_scores), settings.seed
    examples = num_examples if clusters is None else clusters
    weights = bootstrap_weights(examples, settings.num_resamples, seed)
    swapped = exchange_masks(examples, settings.num_exchanges, seed + EXCHANGE_SEED)
    (resampled,) = resampled_sums(graph, weights, *pair, [size])
    _check_depth(resampled)
    (exchanged,) = exchanged_sums(graph, swapped, *pair, [size])
    first = split_halves(examples, settings.num_splits, seed + 1)
    few = split_halves(examples, settings.num_splits_per_resample, seed + 1)
    unswapped = np.concatenate([np.zeros((1, num_examples), dtype=bool), swapped])
    return DrawnSums(
        resampled=resampled,
        exchanged=exchanged,
        crossed=cross_fitted_exchanges(graph, unswapped, few, *pair, size),
        halves=half_sums(graph, np.ones(first.shape), first, *pair, size),
        resampled_halves=tuple(
            half_sums(
                graph,
                weights,
                halves_of_resamples(weights, examples, seed + 2 + split),
                *pair,
                size,
            )
            for split in range(settings.num_splits_per_resample)
        ),
    )


def _check_depth(sums: LayerSums) -> None:
    """Refuse circuits, of the pool or of a resample, that have no depth."""
    for model, name in enumerate(("ARM", "MDM")):
        if not all((sums.layers(side)[model].sum(axis=1) > 0).all() for side in SIDES):
            raise ComparisonError(
                f"the {name}'s circuit joins `input` to `logits` only and touches no layer, so it"
                " has no depth; choose a larger circuit_size."
            )


def shift_rows(
    arm: Float[np.ndarray, "row layer"], mdm: Float[np.ndarray, "row layer"]
) -> Float[np.ndarray, "row shift"]:
    """`SHIFTS` between two models' layer sums, row by row; NaN where a circuit touches no layer."""
    thirds = thirds_of(mdm) - thirds_of(arm)
    centre = centre_of(mdm) - centre_of(arm)
    return np.column_stack([thirds, centre, wasserstein(arm, mdm)])


def thirds_of(sums: Float[np.ndarray, "row layer"]) -> Float[np.ndarray, "row third"]:
    """Share of each third of the layers; NaN for a row of zeros."""
    thirds = third_of_layers(sums.shape[1]).astype(np.float64)
    return _over_sum(sums @ thirds.T, sums)


def centre_of(sums: Float[np.ndarray, "row layer"]) -> Float[np.ndarray, " row"]:
    """Mean layer, weighted by |score|; NaN for a row of zeros."""
    return _over_sum((sums @ np.arange(sums.shape[1]))[:, None], sums)[:, 0]


def wasserstein(
    first: Float[np.ndarray, "row layer"], second: Float[np.ndarray, "row layer"]
) -> Float[np.ndarray, " row"]:
    """Wasserstein-1 distance between two rows of |score| by layer [layers]; NaN without any.

    On a line it is the area between the two cumulative shares.
    """
    ascents = [np.cumsum(sums, axis=1) for sums in (first, second)]
    shares = [
        np.divide(a, a[:, -1:], out=np.full(a.shape, np.nan), where=a[:, -1:] > 0) for a in ascents
    ]
    distance: Float[np.ndarray, " row"] = np.abs(shares[0] - shares[1]).sum(axis=1)
    return distance


def _over_sum(
    part: Float[np.ndarray, "row entry"], sums: Float[np.ndarray, "row layer"]
) -> Float[np.ndarray, "row entry"]:
    whole = sums.sum(axis=1, keepdims=True)
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def _sums_of_halves(
    graph: Graph,
    weights: Float[np.ndarray, "row example"],
    first: Bool[np.ndarray, "row example"],
    scores: Float[np.ndarray, "example edge"],
    size: int,
) -> list[SideSums]:
    """One model's sums on the first halves, on the second halves, and cross-fitted."""
    parts = [
        (
            *layer_sums(graph, one, [size]),
            *layer_sums(graph, two, [size]),
            _cross_fitted(graph, one, two, size),
        )
        for one, two in resampling.halved(weights, first, scores)
    ]
    return [_joined(sums) for sums in zip(*parts, strict=True)]


def _cross_fitted(
    graph: Graph,
    one: Float[np.ndarray, "row edge"],
    two: Float[np.ndarray, "row edge"],
    size: int,
) -> SideSums:
    """Edges and signs from one half's mean scores, scores from the other's; mean of both ways."""
    ways = [
        sums
        for fitted, added in ((one, two), (two, one))
        for sums in layer_sums(graph, fitted, [size], added)
    ]
    return np.mean(ways, axis=0)


def _paired(arm: Sequence[SideSums], mdm: Sequence[SideSums]) -> list[LayerSums]:
    return [LayerSums.of_models(one, other) for one, other in zip(arm, mdm, strict=True)]


def _joined_by_size(parts: Sequence[Sequence[np.ndarray]]) -> list[SideSums]:
    return [_joined(of_size) for of_size in zip(*parts, strict=True)]


def _joined(parts: Sequence[np.ndarray]) -> SideSums:
    """Rows of sums, one after the other."""
    return np.concatenate(parts, axis=1)
