"""At which depth do the two models' circuits do their work?

1. |mean score| of every edge (mean over examples, of scores summed over steps).
2. Added up by the layer that *writes* the edge (source side) and by the layer that *reads* it
   (destination side). `input` and `logits` are no layers and are kept apart.
3. Share of each: of everything, `input` or `logits` included. Thirds and centre of mass: of the
   layers alone, so that early + middle + late = 1.
4. The same on every bootstrap resample of the examples, for intervals of both models and of their
   difference, MDM minus ARM (the same resample for both).
5. Cross-fitted: edges and their signs are chosen on one half of the examples, and their scores on
   the other half are added up with these signs. Noise makes every |mean score| larger, so a noisier
   model looks as if it worked where most edges are; what one half takes for signal is as often
   negative as positive on the other, and adds up to nothing.
6. P-values of no shift: the cross-fitted shift against those after exchanges of the two models'
   examples (`agreement_curve.py`, 5), all on the same few halvings; kept as `tested`, since more
   halvings make it another number. Without cross-fitting they would reject for a difference in
   noise alone (docs/validity.md).

Two scopes: `circuit`, each model's top K, chosen anew in every resample; and `all` edges.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from mechshift.comparison.agreement_curve import EXCHANGE_SEED, estimates_where_defined
from mechshift.comparison.depth_shift import centre_of, shift_rows, thirds_of, two_sided_p
from mechshift.comparison.layer_sums import (
    LayerSums,
    PairSums,
    cross_fitted_exchanges,
    exchanged_sums,
    resampled_sums,
)
from mechshift.comparison.profile_distance import (
    Halvings,
    ProfileDistance,
    Side,
    half_estimates,
    halvings,
)
from mechshift.comparison.resampling import check_scores
from mechshift.comparison.scores import Unit
from mechshift.comparison.settings import ComparisonSettings
from mechshift.errors import ComparisonError
from mechshift.graph import Graph, third_of_layers
from mechshift.statistics import (
    Estimate,
    Estimates,
    Interval,
    bootstrap_weights,
    centred_estimate,
    centred_estimates,
    exchange_masks,
    permutation_p,
    split_halves,
    spread_of_draws,
)

SIDES: tuple[Side, ...] = ("source", "destination")

Scope = Literal["circuit", "all"]

CrossFitted = Literal["early", "middle", "late", "centre_of_mass"]

CROSS_FITTED: tuple[CrossFitted, ...] = ("early", "middle", "late", "centre_of_mass")
"""Three shares, and the centre of mass [layers]; MDM minus ARM."""


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

    thirds_p: Float[np.ndarray, " third"]
    """Two-sided p-values of: this share did not change; cross-fitted."""

    centre_of_mass_shift: Estimate
    """MDM's minus ARM's centre of mass [layers]; negative: the MDM works earlier."""

    centre_of_mass_p: float | None
    """Two-sided p-value of: the centre of mass did not move; cross-fitted. None where a model's
    scores on one half of the examples do not carry over to the other."""

    distance: ProfileDistance
    """How far apart the two profiles are."""

    cross_fitted: Estimates
    """The shifts again, cross-fitted, in the order of `CROSS_FITTED`: unlike the others they do not
    see a difference in noise between the models. NaN where a model's scores on one half do not
    carry over to the other."""

    cross_fitted_draws: Float[np.ndarray, "resample cross_fitted"]
    """`cross_fitted` on every resample, from which its intervals were made."""

    tested: Float[np.ndarray, " cross_fitted"]
    """What the p-values are of: the shifts in the order of `CROSS_FITTED`, on fewer halvings."""

    def cross_fitted_shift(self, name: CrossFitted) -> Estimate | None:
        """One of `cross_fitted`; None where it is undefined."""
        return self.cross_fitted.at(CROSS_FITTED.index(name))


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
    unit: Unit
    num_examples: int
    """Rows that were resampled: examples, or shards of them (`unit`)."""
    num_resamples: int
    level: float

    def as_share_of_depth(self, layers: Estimate) -> Estimate | None:
        """A number of layers over the number of layers that can be travelled; None if none can."""
        depth = self.num_layers - 1
        if depth == 0:
            return None
        interval = layers.interval
        return Estimate(
            value=layers.value / depth,
            interval=Interval(
                low=interval.low / depth, high=interval.high / depth, level=interval.level
            ),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """Layer sums of both models on everything that is drawn from the pool."""

    resampled: PairSums
    """Row 0 is the pool, the others its resamples."""

    exchanged: PairSums

    crossed: PairSums
    """Cross-fitted; row 0 is the pool, the others its exchanges."""

    halved: Halvings


def depth_profile(
    graph: Graph,
    arm_scores: Float[np.ndarray, "example edge"],
    mdm_scores: Float[np.ndarray, "example edge"],
    settings: ComparisonSettings,
    *,
    scope: Scope = "circuit",
    unit: Unit = "example",
) -> DepthProfiles:
    """Where in depth the two models' |score| lies, by writing and by reading layer.

    Args:
        graph: the computation graph of both models.
        arm_scores: score of each edge on each example [metric units], summed over steps.
        mdm_scores: the same for the MDM, on the same examples in the same order.
        settings: circuit size, resamples, level and seed.
        scope: `circuit` for the top edges of each model, or `all`.
        unit: what a row of the scores is.

    Raises:
        ComparisonError: the arrays do not match, or a circuit touches no layer.
        ConfigError: the circuit size exceeds the graph.
    """
    check_scores(arm_scores, mdm_scores, unit)
    num_examples = len(arm_scores)
    size = graph.num_edges
    if scope == "circuit":
        size = settings.circuit_size_in(graph.num_edges)
    weights = bootstrap_weights(num_examples, settings.num_resamples, settings.seed)
    swapped = exchange_masks(num_examples, settings.num_exchanges, settings.seed + EXCHANGE_SEED)
    (resampled,) = resampled_sums(graph, weights, arm_scores, mdm_scores, [size])
    _check_depth(resampled)
    (exchanged,) = exchanged_sums(graph, swapped, arm_scores, mdm_scores, [size])
    halved = halvings(graph, weights, arm_scores, mdm_scores, size, settings)
    splits = split_halves(num_examples, settings.num_splits_per_resample, settings.seed + 1)
    unswapped = np.concatenate([np.zeros((1, num_examples), dtype=bool), swapped])
    crossed = cross_fitted_exchanges(graph, unswapped, splits, arm_scores, mdm_scores, size)
    samples = Samples(resampled=resampled, exchanged=exchanged, crossed=crossed, halved=halved)
    source, destination = (_side_profiles(samples, side, settings.level) for side in SIDES)
    return DepthProfiles(
        scope=scope,
        circuit_size=size,
        num_layers=graph.num_layers,
        source=source,
        destination=destination,
        unit=unit,
        num_examples=num_examples,
        num_resamples=settings.num_resamples,
        level=settings.level,
    )


def _check_depth(sums: PairSums) -> None:
    """Refuse circuits, of the pool or of a resample, that have no depth."""
    for name, of_model in (("ARM", sums.arm), ("MDM", sums.mdm)):
        if not all((of_model.of_layers(side).sum(axis=1) > 0).all() for side in SIDES):
            raise ComparisonError(
                f"the {name}'s circuit joins `input` to `logits` only and touches no layer, so it"
                " has no depth; choose a larger circuit_size."
            )


def _side_profiles(samples: Samples, side: Side, level: float) -> SideProfiles:
    """Profiles and differences of one side."""
    arm, mdm = (sums.of_layers(side) for sums in (samples.resampled.arm, samples.resampled.mdm))
    thirds = third_of_layers(arm.shape[1]).astype(np.float64)
    shift = shift_rows(arm, mdm, thirds)
    exchanged, crossed = (
        shift_rows(sums.arm.of_layers(side), sums.mdm.of_layers(side), thirds)
        for sums in (samples.exchanged, samples.crossed)
    )
    deepest = arm.shape[1] - 1.0
    noise = spread_of_draws(exchanged.distance[:, None], level=level).at(0)
    crossfit_value, crossfit_draws = _cross_fitted(samples.halved, side, thirds)
    assert noise is not None  # circuits were refused that have no depth
    return SideProfiles(
        arm=_profile(samples.resampled.arm, side, level),
        mdm=_profile(samples.resampled.mdm, side, level),
        thirds_shift=_estimates(shift.thirds, level, (-1.0, 1.0)),
        thirds_p=two_sided_p(crossed.thirds[0], crossed.thirds[1:]),
        centre_of_mass_shift=_estimate(shift.centre_of_mass, level, (-deepest, deepest)),
        centre_of_mass_p=_only_p(
            two_sided_p(crossed.centre_of_mass[:1], crossed.centre_of_mass[1:, None])
        ),
        distance=ProfileDistance(
            value=_estimate(shift.distance, level, (0.0, deepest)),
            noise=noise,
            noise_p=_only_p(permutation_p(crossed.distance[:1], crossed.distance[1:, None])),
            tested=_or_none(crossed.distance[0]),
            halves=half_estimates(samples.halved, side, farthest=deepest, level=level),
        ),
        # Shares of sums that may be negative are not bounded.
        cross_fitted=estimates_where_defined(
            crossfit_value, crossfit_draws, level, (-np.inf, np.inf)
        ),
        cross_fitted_draws=crossfit_draws,
        tested=np.append(crossed.thirds[0], crossed.centre_of_mass[0]),
    )


def _only_p(p: Float[np.ndarray, "1"]) -> float | None:
    return _or_none(p[0])


def _or_none(value: np.floating) -> float | None:
    """None for what is undefined."""
    return float(value) if np.isfinite(value) else None


def _cross_fitted(
    halved: Halvings, side: Side, thirds: Float[np.ndarray, "third layer"]
) -> tuple[Float[np.ndarray, " cross_fitted"], Float[np.ndarray, "resample cross_fitted"]]:
    """Shifts of the cross-fitted sums, averaged over halvings before they are compared."""
    arm, mdm = (sums.cross_fitted.of_layers(side) for sums in halved.pool)
    pool = shift_rows(arm.mean(axis=0, keepdims=True), mdm.mean(axis=0, keepdims=True), thirds)
    resampled = shift_rows(
        np.mean([arm.cross_fitted.of_layers(side) for arm, _ in halved.resamples], axis=0),
        np.mean([mdm.cross_fitted.of_layers(side) for _, mdm in halved.resamples], axis=0),
        thirds,
    )
    value, samples = (
        np.concatenate([rows.thirds, rows.centre_of_mass[:, None]], axis=1)
        for rows in (pool, resampled)
    )
    return value[0], samples


def _profile(sums: LayerSums, side: Side, level: float) -> LayerProfile:
    whole, layers = getattr(sums, side), sums.of_layers(side)
    thirds = third_of_layers(layers.shape[1]).astype(np.float64)
    share = whole / whole.sum(axis=1, keepdims=True)
    return LayerProfile(
        share=_estimates(share, level, (0.0, 1.0)),
        thirds=_estimates(thirds_of(layers, thirds), level, (0.0, 1.0)),
        centre_of_mass=_estimate(centre_of(layers), level, (0.0, layers.shape[1] - 1.0)),
    )


def _estimates(
    rows: Float[np.ndarray, "row entry"], level: float, bounds: tuple[float, float]
) -> Estimates:
    return centred_estimates(rows[0], rows[1:], level=level, bounds=bounds)


def _estimate(
    rows: Float[np.ndarray, " row"], level: float, bounds: tuple[float, float]
) -> Estimate:
    return centred_estimate(float(rows[0]), rows[1:], level=level, bounds=bounds)
