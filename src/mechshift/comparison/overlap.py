"""Do the ARM's and the MDM's circuits consist of the same edges, and how much could they?

1. Average each model's scores over examples; take the K edges of largest |mean score|; Jaccard.
2. Ceiling: halve the examples at random, take the top K of each half of the *same* model, Jaccard,
   averaged over halvings. It is what one pool half agrees with the other when nothing changed.
3. Ratio: Jaccard of the ARM on one half with the MDM on the other half, over the geometric mean of
   the two ceilings. All three use half the examples, so sampling noise lowers them alike and two
   models with the same scores have ratio 1, exactly. (Dividing the overlap on *all* examples by
   ceilings of *half* of them would exceed 1 there.) It is disattenuation, Spearman 1904, by sets.
4. Null: shuffle the MDM's |score| among edges of the same layer pair and edge type, Jaccard again:
   what two models share merely because both use, say, layer 2's MLP to layer 4's keys.
5. Intervals: bootstrap over examples, the same resample for both models, centred
   (`statistics.centred_estimates`).

Scores are first summed over denoising steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from mechshift.circuits.edge_groups import edge_groups, order_within
from mechshift.comparison.ceilings import (
    HalfOverlaps,
    overlaps_of_halves,
    overlaps_of_resampled_halves,
    ratio_to_ceiling,
)
from mechshift.comparison.nodes import masked, node_jaccard, node_scores
from mechshift.comparison.resampling import (
    check_scores,
    chunks,
    mean_magnitudes,
    pool_magnitudes,
)
from mechshift.comparison.settings import ComparisonSettings, overlap_sizes
from mechshift.comparison.top_edges import mask_jaccard, top_edge_masks
from mechshift.graph import Graph
from mechshift.statistics import Estimates, bootstrap_weights, centred_estimates


@dataclass(frozen=True, kw_only=True, eq=False)
class OverlapCurve:
    """Overlap of the two models' circuits against circuit size; every array has axis `size`."""

    sizes: Int[np.ndarray, " size"]
    """Edges asked for in each circuit, ascending."""

    num_edges: int
    """Edges of the graph."""

    edges: Estimates
    """Jaccard of the top-K edge sets, in [0, 1]."""

    nodes: Estimates
    """Weighted Jaccard of head and MLP scores inside the circuits, in [0, 1] (`nodes.py`)."""

    ceiling_arm: Estimates
    """Split-half Jaccard of the ARM with itself."""

    ceiling_mdm: Estimates
    """Split-half Jaccard of the MDM with itself."""

    halves: Estimates
    """Jaccard of the ARM on one half of the examples with the MDM on the other half."""

    ratio: Estimates
    """`halves` over the geometric mean of the ceilings; 1: as alike as noise lets one see."""

    null: Estimates
    """Jaccard after shuffling within layer pair and edge type; low and high over shuffles."""

    num_examples: int
    num_resamples: int
    num_splits: int
    num_shuffles: int
    level: float

    notes: tuple[str, ...]
    """Why an entry is NaN, or a set smaller than its size; one line each."""

    def index_of(self, size: int) -> int | None:
        """Position of a circuit size in `sizes`; None if it was not measured."""
        (found,) = np.nonzero(self.sizes == size)
        return int(found[0]) if len(found) else None


@dataclass(frozen=True, kw_only=True, eq=False)
class PairOverlaps:
    """Overlaps between the two models, per row of scores."""

    edges: Float[np.ndarray, "row size"]
    nodes: Float[np.ndarray, "row size"]


def overlap_curve(
    graph: Graph,
    arm_scores: Float[np.ndarray, "example edge"],
    mdm_scores: Float[np.ndarray, "example edge"],
    settings: ComparisonSettings,
) -> OverlapCurve:
    """Measure overlap, ceilings, ratio and null at every circuit size; the module says how.

    Args:
        graph: the computation graph of both models.
        arm_scores: score of each edge on each example [metric units], summed over steps.
        mdm_scores: the same for the MDM, on the same examples in the same order.
        settings: sizes, resamples, level and seed.

    Raises:
        ComparisonError: the arrays do not match, or no overlap exists (all scores zero).
        ConfigError: a size exceeds the graph.
    """
    check_scores(arm_scores, mdm_scores)
    sizes = overlap_sizes(settings, graph.num_edges)
    num_examples = len(arm_scores)
    weights = bootstrap_weights(num_examples, settings.num_resamples, settings.seed)
    arm, mdm = pool_magnitudes(arm_scores), pool_magnitudes(mdm_scores)
    point = _pair_overlaps(graph, arm, mdm, sizes)
    resampled = _resampled_overlaps(graph, weights, arm_scores, mdm_scores, sizes)
    halved = overlaps_of_halves(arm_scores, mdm_scores, sizes, settings)
    rehalved = overlaps_of_resampled_halves(weights, arm_scores, mdm_scores, sizes, settings)
    level = settings.level

    def estimate(value: np.ndarray, samples: np.ndarray, upper: float = 1.0) -> Estimates:
        return _where_defined(value, samples, level, (0.0, upper))

    return OverlapCurve(
        sizes=np.array(sizes),
        num_edges=graph.num_edges,
        edges=estimate(point.edges[0], resampled.edges),
        nodes=estimate(point.nodes[0], resampled.nodes),
        ceiling_arm=estimate(halved.arm[0], rehalved.arm),
        ceiling_mdm=estimate(halved.mdm[0], rehalved.mdm),
        halves=estimate(halved.cross[0], rehalved.cross),
        ratio=estimate(ratio_to_ceiling(halved)[0], ratio_to_ceiling(rehalved), np.inf),
        null=_null(graph, arm, mdm, sizes, settings),
        num_examples=num_examples,
        num_resamples=settings.num_resamples,
        num_splits=settings.num_splits,
        num_shuffles=settings.num_shuffles,
        level=level,
        notes=(
            *_notes_on_zeros(sizes, arm, mdm),
            *_notes_on_undefined(sizes, point, resampled, halved, rehalved),
        ),
    )


def _pair_overlaps(
    graph: Graph,
    arm: Float[np.ndarray, "row edge"],
    mdm: Float[np.ndarray, "row edge"],
    sizes: Sequence[int],
) -> PairOverlaps:
    """Overlap of the two models' circuits, row by row of their |mean scores|."""
    edges, nodes = np.empty((2, len(arm), len(sizes)))
    masks = zip(top_edge_masks(arm, sizes), top_edge_masks(mdm, sizes), strict=True)
    for index, (arm_mask, mdm_mask) in enumerate(masks):
        edges[:, index] = mask_jaccard(arm_mask, mdm_mask)
        nodes[:, index] = node_jaccard(
            node_scores(graph, masked(arm, arm_mask)),
            node_scores(graph, masked(mdm, mdm_mask)),
        )
    return PairOverlaps(edges=edges, nodes=nodes)


def _resampled_overlaps(
    graph: Graph,
    weights: Float[np.ndarray, "resample example"],
    arm_scores: Float[np.ndarray, "example edge"],
    mdm_scores: Float[np.ndarray, "example edge"],
    sizes: Sequence[int],
) -> PairOverlaps:
    """`_pair_overlaps` in every resample, the same examples for both models."""
    parts = []
    for rows in chunks(len(weights), graph.num_edges):
        arm = mean_magnitudes(weights[rows], arm_scores)
        mdm = mean_magnitudes(weights[rows], mdm_scores)
        parts.append(_pair_overlaps(graph, arm, mdm, sizes))
    return PairOverlaps(
        edges=np.concatenate([part.edges for part in parts]),
        nodes=np.concatenate([part.nodes for part in parts]),
    )


def _where_defined(
    value: Float[np.ndarray, " size"],
    samples: Float[np.ndarray, "resample size"],
    level: float,
    bounds: tuple[float, float],
) -> Estimates:
    """Intervals for the sizes at which the value and every resample exist, NaN elsewhere."""
    low, high = np.full((2, len(value)), np.nan)
    defined = np.isfinite(value) & np.isfinite(samples).all(axis=0)
    if defined.any():
        found = centred_estimates(value[defined], samples[:, defined], level=level, bounds=bounds)
        low[defined], high[defined] = found.low, found.high
    return Estimates(value=value, low=low, high=high, level=level)


def _null(
    graph: Graph,
    arm: Float[np.ndarray, "1 edge"],
    mdm: Float[np.ndarray, "1 edge"],
    sizes: Sequence[int],
    settings: ComparisonSettings,
) -> Estimates:
    """Mean and spread of the overlap when edges of one layer pair and type are interchangeable."""
    arm_masks = list(top_edge_masks(arm, sizes))
    generator = np.random.default_rng(settings.seed)
    groups = edge_groups(graph)
    shuffled = np.empty((settings.num_shuffles, len(sizes)))
    for row in shuffled:
        exchanged = mdm[:, order_within(groups, generator)]
        masks = zip(arm_masks, top_edge_masks(exchanged, sizes), strict=True)
        row[:] = [mask_jaccard(arm_mask, mask)[0] for arm_mask, mask in masks]
    tail = 100 * (1 - settings.level) / 2
    low, high = np.percentile(shuffled, [tail, 100 - tail], axis=0)
    return Estimates(value=shuffled.mean(axis=0), low=low, high=high, level=settings.level)


def _notes_on_zeros(
    sizes: Sequence[int], arm: Float[np.ndarray, "1 edge"], mdm: Float[np.ndarray, "1 edge"]
) -> list[str]:
    """Which model's circuits are smaller than asked for."""
    return [
        f"{name}: only {num_scored:,} edges have a score other than zero; overlaps of larger"
        " circuits count just these."
        for name, magnitudes in (("ARM", arm), ("MDM", mdm))
        if (num_scored := np.count_nonzero(magnitudes)) < sizes[-1]
    ]


def _notes_on_undefined(
    sizes: Sequence[int],
    point: PairOverlaps,
    resampled: PairOverlaps,
    halved: HalfOverlaps,
    rehalved: HalfOverlaps,
) -> list[str]:
    """At which sizes a number or its interval does not exist, and why."""
    ratio, ratios = ratio_to_ceiling(halved), ratio_to_ceiling(rehalved)
    cases = (
        (point.nodes, resampled.nodes, "a circuit holds no head and no MLP", "node overlap"),
        (ratio, ratios, "a split-half ceiling is 0", "ratio to the ceiling"),
    )
    notes = []
    for value, samples, reason, name in cases:
        missing = np.isnan(value[0])
        unsure = np.isnan(samples).any(axis=0) & ~missing
        if missing.any():
            notes.append(f"Circuits of {_listed(sizes, missing)} edges: {reason}; no {name}.")
        if unsure.any():
            notes.append(
                f"Circuits of {_listed(sizes, unsure)} edges: {reason} in some resamples; no"
                f" interval of the {name}."
            )
    return notes


def _listed(sizes: Sequence[int], chosen: Bool[np.ndarray, " size"]) -> str:
    return ", ".join(f"{size:,}" for size in np.array(sizes)[chosen])
