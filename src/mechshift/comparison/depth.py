"""Depth profiles: in which layers the two models' circuits do their work, and what has shifted.

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
   negative as positive on the other, and adds up to nothing. A resample, which is noisier than the
   pool, chooses other edges, and can vary less than another pool would; so its shifts are spread
   as widely as leaving out a block of examples at a time says, where that is more.
6. P-values of no shift: the cross-fitted shift against those after exchanges of the two models'
   examples (`overlaps.py`, 5), all on the same few halvings; kept as `tested`, since more halvings
   make it another number. Without cross-fitting they would reject for a difference in noise alone
   (docs/validity.md).
7. Distance between the profiles. Unlike a shift of the centre of mass it does not cancel when some
   of the mass moves up and some moves down, and it is never negative: noise can only raise it. So
   beside it stands what noise makes of it: the distance between the two sides after exchanges, and
   distances between halves of the examples, within each model and across the two.

Two scopes: `circuit`, each model's top K, chosen anew in every resample; and `all` edges.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from mechshift.comparison.draws import MeasuredDraws, Wanted, measure_draws
from mechshift.comparison.layer_sums import (
    SIDES,
    LayerSums,
    Side,
    centre_of,
    shift_rows,
    thirds_of,
    wasserstein,
)
from mechshift.comparison.measuring import Found
from mechshift.comparison.scores import Unit, check_scores
from mechshift.comparison.settings import ComparisonSettings
from mechshift.errors import ComparisonError
from mechshift.graph import Graph
from mechshift.statistics import Drawn as DrawnFrom
from mechshift.statistics import (
    Estimate,
    Estimates,
    Interval,
    centred_estimate,
    centred_estimates,
    no_narrower_than_jackknife,
    permutation_p,
    spread_of_draws,
)

Scope = Literal["circuit", "all"]

CrossFitted = Literal["early", "middle", "late", "centre_of_mass"]

CROSS_FITTED: tuple[CrossFitted, ...] = ("early", "middle", "late", "centre_of_mass")
"""Three shares, and the centre of mass [layers]; MDM minus ARM."""

HalfDistance = Literal["within_arm", "within_mdm", "across", "excess"]

HALF_DISTANCES: tuple[HalfDistance, ...] = ("within_arm", "within_mdm", "across", "excess")
"""ARM half to ARM half; MDM half to MDM half; ARM half to the other half in the MDM; and by how
much the last exceeds the mean of the first two, which is 0 where the models do not differ."""


@dataclass(frozen=True, kw_only=True)
class ProfileDistance:
    """Wasserstein-1 distance between two profiles over layers, and what noise makes of it."""

    value: Estimate
    """Between the two models, each on all examples [layers]."""

    noise: Estimate
    """Between the two sides after an exchange: mean and spread over exchanges [layers]."""

    noise_p: float | None
    """P-value of: no farther apart than the two models would be with one circuit; cross-fitted
    (`depth.py`, 5 and 6). None where that is undefined."""

    tested: float | None
    """What `noise_p` is of: the distance of the cross-fitted profiles [layers]."""

    halves: Estimates
    """Distances between halves of the examples, in the order of `HALF_DISTANCES` [layers]. NaN
    where the circuit of some half touches no layer."""

    def of_halves(self, name: HalfDistance) -> Estimate | None:
        """One of `halves`; None where it is undefined."""
        return self.halves.at(HALF_DISTANCES.index(name))


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
    """`cross_fitted` in each resample, spread as widely as its intervals: two models' shifts can be
    subtracted on the same resamples. NaN as there."""

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


def depth_profile(
    graph: Graph,
    arm_scores: Float[np.ndarray, "example edge"],
    mdm_scores: Float[np.ndarray, "example edge"],
    settings: ComparisonSettings,
    *,
    scope: Scope = "circuit",
    unit: Unit = "example",
    clusters: Int[np.ndarray, " example"] | None = None,
    draws: MeasuredDraws | None = None,
) -> DepthProfiles:
    """Where in depth the two models' |score| lies, by writing and by reading layer.

    Args:
        graph: the computation graph of both models.
        arm_scores: score of each edge on each example [metric units], summed over steps.
        mdm_scores: the same for the MDM, on the same examples in the same order.
        settings: circuit size, resamples, level and seed.
        scope: `circuit` for the top edges of each model, or `all`.
        unit: what a row of the scores is.
        clusters: which rows are drawn together; None: each by itself.
        draws: what was measured already, if it was.

    Raises:
        ComparisonError: the arrays do not match, or a circuit touches no layer.
        ConfigError: the circuit size exceeds the graph.
    """
    num_examples = len(arm_scores)
    wanted = wanted_for_depth(graph, settings, scope)
    (size,) = wanted.depth
    if draws is None:
        check_scores(arm_scores, mdm_scores, unit)
        draws = measure_draws(graph, arm_scores, mdm_scores, settings, wanted, clusters)
    sums = DrawnSums.of(draws, size)
    sums.check_depth()
    source, destination = (_side_profiles(sums, side, settings.level) for side in SIDES)
    return DepthProfiles(
        scope=scope,
        circuit_size=size,
        num_layers=graph.num_layers,
        source=source,
        destination=destination,
        unit=unit,
        num_examples=num_examples,
        num_resamples=len(draws.resampled[size]["layers"]),
        level=settings.level,
    )


def wanted_for_depth(graph: Graph, settings: ComparisonSettings, scope: Scope) -> Wanted:
    """What `depth_profile` needs measured."""
    circuit = scope == "circuit"
    return Wanted(
        depth=(settings.circuit_size_in(graph.num_edges) if circuit else graph.num_edges,)
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class HalfSums:
    """Layer sums on the two halves of each row's examples."""

    first: LayerSums
    second: LayerSums

    cross_fitted: LayerSums
    """Edges and signs from one half, scores from the other; mean of both ways round."""

    @classmethod
    def of(cls, found: Found) -> "HalfSums":
        """Of halves of both models, the ARM's first."""
        return cls(
            first=LayerSums(values=found["layers"][:, ::2]),
            second=LayerSums(values=found["layers"][:, 1::2]),
            cross_fitted=LayerSums(values=found["crossed"]),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class DrawnSums:
    """Layer sums of both models on the pool and on everything that is drawn from it."""

    resampled: LayerSums
    """Row 0 is the pool, the others its resamples."""

    exchanged: LayerSums

    crossed: LayerSums
    """Cross-fitted, averaged over halvings; row 0 is the pool, the others its exchanges."""

    halves: HalfSums
    """Of the pool; one row per halving."""

    resampled_halves: tuple[HalfSums, ...]
    """For each halving of the resamples; one row per resample."""

    without_blocks: LayerSums
    """Cross-fitted, averaged over the same halvings as `crossed`; one row per block left out."""

    examples: DrawnFrom
    """What was drawn from."""

    @classmethod
    def of(cls, draws: MeasuredDraws, size: int) -> "DrawnSums":
        """Those of circuits of one size."""
        whole = [found[size]["layers"] for found in (draws.pool, draws.resampled)]
        halvings = [found[size] for found in draws.resampled_halves if size in found]
        crossed, without = (
            np.mean([one[size]["crossed"] for one in halvings if size in one], axis=0)
            for halvings in (draws.crossed, draws.without_blocks)
        )
        return cls(
            resampled=LayerSums(values=np.concatenate(whole)),
            exchanged=LayerSums(values=draws.exchanged[size]["layers"]),
            crossed=LayerSums(values=crossed),
            halves=HalfSums.of(draws.halves[size]),
            resampled_halves=tuple(map(HalfSums.of, halvings)),
            without_blocks=LayerSums(values=without),
            examples=draws.examples,
        )

    def check_depth(self) -> None:
        """Refuse circuits, of the pool or of a resample, that have no depth."""
        for model, name in enumerate(("ARM", "MDM")):
            sums = (self.resampled.layers(side)[model].sum(axis=1) for side in SIDES)
            if not all((of_side > 0).all() for of_side in sums):
                raise ComparisonError(
                    f"the {name}'s circuit joins `input` to `logits` only and touches no layer, so"
                    " it has no depth; choose a larger circuit_size."
                )


def _side_profiles(draws: DrawnSums, side: Side, level: float) -> SideProfiles:
    """Profiles and differences of one side."""
    arm, mdm = (
        _profile(whole, layers, level)
        for whole, layers in zip(
            draws.resampled.whole(side), draws.resampled.layers(side), strict=True
        )
    )
    shifts, crossed = (shift_rows(*sums.layers(side)) for sums in (draws.resampled, draws.crossed))
    p = two_sided_p(crossed[0, :4], crossed[1:, :4])
    deepest = draws.resampled.layers(side)[0].shape[1] - 1.0
    cross_fitted = _cross_fitted_rows(draws, side)
    return SideProfiles(
        arm=arm,
        mdm=mdm,
        thirds_shift=_estimates(shifts[:, :3], level, (-1.0, 1.0)),
        thirds_p=p[:3],
        centre_of_mass_shift=_estimate(shifts[:, 3], level, (-deepest, deepest)),
        centre_of_mass_p=_or_none(p[3]),
        distance=_distance(draws, side, shifts[:, 4], crossed[:, 4], level),
        # Shares of sums that may be negative are not bounded.
        cross_fitted=Estimates.from_rows(cross_fitted, level=level),
        cross_fitted_draws=cross_fitted[1:],
        tested=crossed[0, :4],
    )


def _profile(
    whole: Float[np.ndarray, "row layer_or_end"],
    layers: Float[np.ndarray, "row layer"],
    level: float,
) -> LayerProfile:
    share = whole / whole.sum(axis=1, keepdims=True)
    return LayerProfile(
        share=_estimates(share, level, (0.0, 1.0)),
        thirds=_estimates(thirds_of(layers), level, (0.0, 1.0)),
        centre_of_mass=_estimate(centre_of(layers), level, (0.0, layers.shape[1] - 1.0)),
    )


def _distance(
    draws: DrawnSums,
    side: Side,
    resampled: Float[np.ndarray, " row"],
    crossed: Float[np.ndarray, " crossed_row"],
    level: float,
) -> ProfileDistance:
    """The distance with what noise makes of it; row 0 of both is the pool."""
    farthest = draws.resampled.layers(side)[0].shape[1] - 1.0
    exchanged = wasserstein(*draws.exchanged.layers(side))
    noise = spread_of_draws(exchanged[:, None], level=level).at(0)
    assert noise is not None  # circuits were refused that have no depth
    return ProfileDistance(
        value=_estimate(resampled, level, (0.0, farthest)),
        noise=noise,
        noise_p=_or_none(permutation_p(crossed[:1], crossed[1:, None])[0]),
        tested=_or_none(crossed[0]),
        halves=_half_estimates(draws, side, farthest, level),
    )


def _half_estimates(draws: DrawnSums, side: Side, farthest: float, level: float) -> Estimates:
    """`ProfileDistance.halves`, in which every distance lies between 0 and `farthest`."""
    value = half_distances(draws.halves, side).mean(axis=0)
    samples = np.mean([half_distances(sums, side) for sums in draws.resampled_halves], axis=0)
    low, high = np.full((2, len(HALF_DISTANCES)), np.nan)
    if np.isfinite(value).all() and np.isfinite(samples).all():
        found = centred_estimates(value, samples, level=level)
        lowest = np.where(np.array(HALF_DISTANCES) == "excess", -farthest, 0.0)
        low, high = np.maximum(found.low, lowest), np.minimum(found.high, farthest)
    return Estimates(value=value, low=low, high=high, level=level)


def half_distances(sums: HalfSums, side: Side) -> Float[np.ndarray, "row half_distance"]:
    """Distances within each model, across, and the excess, row by row."""
    (arm_one, mdm_one), (arm_two, mdm_two) = sums.first.layers(side), sums.second.layers(side)
    within_arm, within_mdm = wasserstein(arm_one, arm_two), wasserstein(mdm_one, mdm_two)
    across = (wasserstein(arm_one, mdm_two) + wasserstein(arm_two, mdm_one)) / 2
    excess = across - (within_arm + within_mdm) / 2
    return np.stack([within_arm, within_mdm, across, excess], axis=1)


def _cross_fitted_rows(draws: DrawnSums, side: Side) -> Float[np.ndarray, "row cross_fitted"]:
    """Shifts of cross-fitted sums, averaged over halvings before they are compared; pool first.

    The resamples' are spread as widely as the jackknife says (docs/validity.md).
    """
    pool = [sums.mean(axis=0, keepdims=True) for sums in draws.halves.cross_fitted.layers(side)]
    by_split = [sums.cross_fitted.layers(side) for sums in draws.resampled_halves]
    resampled = [np.mean(sums, axis=0) for sums in zip(*by_split, strict=True)]
    value, samples, without = (
        shift_rows(*sums)[:, : len(CROSS_FITTED)]
        for sums in (pool, resampled, draws.without_blocks.layers(side))
    )
    samples = no_narrower_than_jackknife(samples, without, draws.examples)
    return np.concatenate([value, samples])


def two_sided_p(
    value: Float[np.ndarray, "..."], draws: Float[np.ndarray, "draw ..."]
) -> Float[np.ndarray, "..."]:
    """How often an exchange moves a number as far, in either direction."""
    return permutation_p(np.abs(value), np.abs(draws))


def _or_none(value: np.floating) -> float | None:
    """None for what is undefined."""
    return float(value) if np.isfinite(value) else None


def _estimates(
    rows: Float[np.ndarray, "row entry"], level: float, bounds: tuple[float, float]
) -> Estimates:
    """Of what no circuit leaves undefined; refuses NaN."""
    return centred_estimates(rows[0], rows[1:], level=level, bounds=bounds)


def _estimate(
    rows: Float[np.ndarray, " row"], level: float, bounds: tuple[float, float]
) -> Estimate:
    return centred_estimate(float(rows[0]), rows[1:], level=level, bounds=bounds)
