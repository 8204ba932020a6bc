"""At which depth do the two models' circuits do their work?

1. |mean score| of every edge (mean over examples, of scores summed over steps).
2. Added up by the layer that *writes* the edge (source side) and by the layer that *reads* it
   (destination side). `input` and `logits` are no layers and are kept apart.
3. Share of each: of everything, `input` or `logits` included. Thirds and centre of mass: of the
   layers alone, so that early + middle + late = 1.
4. The same on every bootstrap resample of the examples, for intervals of both models and of their
   difference, MDM minus ARM (the same resample for both).

Two scopes: `circuit`, each model's top K, chosen anew in every resample; and `all` edges.
"""

from dataclasses import dataclass
from itertools import chain
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from scipy import sparse

from mechshift.comparison.nodes import masked
from mechshift.comparison.resampling import (
    check_scores,
    chunks,
    mean_scores,
    pool_mean,
)
from mechshift.comparison.settings import ComparisonSettings
from mechshift.comparison.top_edges import top_edge_masks
from mechshift.errors import ComparisonError
from mechshift.graph import Graph
from mechshift.statistics import (
    Estimate,
    Estimates,
    bootstrap_weights,
    centred_estimate,
    centred_estimates,
)

THIRDS = ("early", "middle", "late")

Scope = Literal["circuit", "all"]


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerProfile:
    """How one model's |score| is spread over depth, on one side of the edges."""

    share: Estimates
    """Share of |score| by `layer_or_end`: layers 0 to L-1; the end is first for sources (`input`)
    and last for destinations (`logits`). Sums to 1."""

    thirds: Estimates
    """Early, middle and late share of what the layers hold; sums to 1."""

    centre_of_mass: Estimate
    """Mean layer, weighted by |score|, in [0, L-1]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SideProfiles:
    """Both models on one side of the edges, and their difference MDM minus ARM."""

    arm: LayerProfile
    mdm: LayerProfile

    thirds_shift: Estimates
    """MDM's minus ARM's early, middle and late share, in [-1, 1]."""

    centre_of_mass_shift: Estimate
    """MDM's minus ARM's centre of mass [layers]; negative: the MDM works earlier."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DepthProfiles:
    """Depth of both models' circuits by source layer and by destination layer."""

    scope: Scope
    """Whether each model's circuit, or all edges, were added up."""

    circuit_size: int
    """Edges in the scope."""

    num_layers: int
    source: SideProfiles
    destination: SideProfiles
    num_examples: int
    num_resamples: int
    level: float


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerSums:
    """|score| of one model added up by layer; row 0 is the pool, the others its resamples."""

    source: Float[np.ndarray, "row layer_or_end"]
    destination: Float[np.ndarray, "row layer_or_end"]


def depth_profile(
    graph: Graph,
    arm_scores: Float[np.ndarray, "example edge"],
    mdm_scores: Float[np.ndarray, "example edge"],
    settings: ComparisonSettings,
    *,
    scope: Scope = "circuit",
) -> DepthProfiles:
    """Where in depth the two models' |score| lies, by writing and by reading layer.

    Args:
        graph: the computation graph of both models.
        arm_scores: score of each edge on each example [metric units], summed over steps.
        mdm_scores: the same for the MDM, on the same examples in the same order.
        settings: circuit size, resamples, level and seed.
        scope: `circuit` for the top edges of each model, or `all`.

    Raises:
        ComparisonError: the arrays do not match, or a circuit touches no layer.
        ConfigError: the circuit size exceeds the graph.
    """
    check_scores(arm_scores, mdm_scores)
    num_examples = len(arm_scores)
    size = graph.num_edges
    if scope == "circuit":
        size = settings.circuit_size_in(graph.num_edges)
    weights = bootstrap_weights(num_examples, settings.num_resamples, settings.seed)
    arm, mdm = (_layer_sums(graph, weights, scores, size) for scores in (arm_scores, mdm_scores))
    return DepthProfiles(
        scope=scope,
        circuit_size=size,
        num_layers=graph.num_layers,
        source=_side_profiles(arm.source, mdm.source, slice(1, None), settings.level),
        destination=_side_profiles(
            arm.destination, mdm.destination, slice(None, -1), settings.level
        ),
        num_examples=num_examples,
        num_resamples=settings.num_resamples,
        level=settings.level,
    )


def third_of_layers(num_layers: int) -> Bool[np.ndarray, "third layer"]:
    """Which layers are early, middle and late: by the layer's midpoint (l + 1/2) / L in thirds.

    Symmetric for every depth: 28 layers give 9, 10 and 9; 2 layers give 1, 0 and 1.
    """
    # In sixths of a layer, so that borders are compared as integers: 3 (2l + 1) against 2L.
    third = (3 * (2 * np.arange(num_layers) + 1)) // (2 * num_layers)
    return third == np.arange(3)[:, None]


def by_layer(graph: Graph, side: Literal["source", "destination"]) -> sparse.csr_array:
    """[edge, layer_or_end]: 1 where an edge is written (or read) by that layer or end."""
    if side == "source":
        layer = graph.source_layer[graph.edge_source] + 1
    else:
        layer = graph.destination_layer[graph.edge_destination]
    entries = (np.ones(graph.num_edges), (np.arange(graph.num_edges), layer))
    return sparse.csr_array(entries, shape=(graph.num_edges, graph.num_layers + 1))


def _layer_sums(
    graph: Graph,
    weights: Float[np.ndarray, "resample example"],
    scores: Float[np.ndarray, "example edge"],
    size: int,
) -> LayerSums:
    """|mean score| of the strongest `size` edges, by source and destination layer."""
    from_layer, to_layer = by_layer(graph, "source"), by_layer(graph, "destination")
    blocks = (
        np.abs(mean_scores(weights[rows], scores)) for rows in chunks(len(weights), graph.num_edges)
    )
    sources, destinations = [], []
    for magnitudes in chain([np.abs(pool_mean(scores))], blocks):
        if size < graph.num_edges:
            (mask,) = top_edge_masks(magnitudes, [size])
            magnitudes = masked(magnitudes, mask)
        kept = sparse.csr_array(magnitudes)
        sources.append((kept @ from_layer).toarray())
        destinations.append((kept @ to_layer).toarray())
    return LayerSums(source=np.concatenate(sources), destination=np.concatenate(destinations))


def _side_profiles(
    arm: Float[np.ndarray, "row layer_or_end"],
    mdm: Float[np.ndarray, "row layer_or_end"],
    layers: slice,
    level: float,
) -> SideProfiles:
    """Profiles and differences from layer sums; row 0 is the estimate, the rest resamples."""
    for name, sums in (("ARM", arm), ("MDM", mdm)):
        if not (sums[:, layers].sum(axis=1) > 0).all():
            raise ComparisonError(
                f"the {name}'s circuit joins `input` to `logits` only and touches no layer, so it"
                " has no depth; choose a larger circuit_size."
            )
    thirds = [_thirds(sums[:, layers]) for sums in (arm, mdm)]
    centres = [_centre_of_mass(sums[:, layers]) for sums in (arm, mdm)]
    deepest = arm[:, layers].shape[1] - 1.0

    def profile(sums: np.ndarray, third: np.ndarray, centre: np.ndarray) -> LayerProfile:
        share = sums / sums.sum(axis=1, keepdims=True)
        return LayerProfile(
            share=_estimates(share, level, (0.0, 1.0)),
            thirds=_estimates(third, level, (0.0, 1.0)),
            centre_of_mass=_estimate(centre, level, (0.0, deepest)),
        )

    return SideProfiles(
        arm=profile(arm, thirds[0], centres[0]),
        mdm=profile(mdm, thirds[1], centres[1]),
        thirds_shift=_estimates(thirds[1] - thirds[0], level, (-1.0, 1.0)),
        centre_of_mass_shift=_estimate(centres[1] - centres[0], level, (-deepest, deepest)),
    )


def _thirds(sums: Float[np.ndarray, "row layer"]) -> Float[np.ndarray, "row third"]:
    of_layer = third_of_layers(sums.shape[1])
    return sums @ of_layer.T / sums.sum(axis=1, keepdims=True)


def _centre_of_mass(sums: Float[np.ndarray, "row layer"]) -> Float[np.ndarray, " row"]:
    return sums @ np.arange(sums.shape[1]) / sums.sum(axis=1)


def _estimates(
    rows: Float[np.ndarray, "row entry"], level: float, bounds: tuple[float, float]
) -> Estimates:
    return centred_estimates(rows[0], rows[1:], level=level, bounds=bounds)


def _estimate(
    rows: Float[np.ndarray, " row"], level: float, bounds: tuple[float, float]
) -> Estimate:
    return centred_estimate(float(rows[0]), rows[1:], level=level, bounds=bounds)
