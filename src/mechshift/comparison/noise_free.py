"""Noise-free overlap: what share of edges two circuits would have in common without sampling noise.

For readers who ask whether the circuits differ, and not whether the scores are noisy. With a and m
the K edges that the ARM and the MDM choose on disjoint halves of the examples:

1. Shared edges over K: between the halves of one model (its ceiling), and between a half of the ARM
   and the other half of the MDM. (With Jaccard J that is 2 J / (1 + J); a share is linear in the
   number of edges that noise exchanges, and Jaccard is not.)
2. The ratio of the latter to the geometric mean c of the two ceilings: 1 where the models have the
   same scores. It is no noise-free overlap yet: among the edges that noise lets in, more are shared
   where the models' weaker edges are alike, and fewer where they are not.
3. The same with half, and with a quarter, of the examples. The ratio is nearly a line in log c; its
   value at c = 1 is the noise-free share s, and s / (2 - s) the noise-free Jaccard.
4. Interval: clusters of examples are dealt into blocks, all of it is repeated without each block,
   and the spread of the results is the standard error (delete-a-group jackknife; Student's t).
   Unlike a bootstrap it copies no example, so it adds no noise to the noise that is to be removed.
5. One circuit: the same estimate of two models whose edges have one order, each with the effects
   and the noise by rank that its own scores have. What such a pair reads is no change.

Source of 1 to 3: disattenuation, Spearman 1904; extrapolation over added noise, Cook and Stefanski
1994; of 4: Kott 2001. A line in log c errs by 0.014 (root mean square of the share s, at most 0.05)
over 291 kinds of noise and effects with ceilings from 0.5, and a line in c by 0.020 (0.075).
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import t as student

from mechshift.comparison.chosen_edges import Circuits
from mechshift.comparison.measuring import TAKEN_APART, Found, measured
from mechshift.comparison.resampling import MeanRows
from mechshift.comparison.sources import Source, cluster_sums, column_ranges, group_sums
from mechshift.comparison.workers import in_order
from mechshift.statistics import (
    Estimate,
    Interval,
    cluster_columns,
    deal_clusters,
    jackknife_variance,
    spread_of_draws,
)

MIN_BLOCKS = 8
"""Fewer blocks cannot be halved thrice."""

NUM_ORDERS = 16
"""Random orders of the blocks, each of which is cut into halves. With fewer, chance between orders
makes the jackknife's error larger: by a half with a quarter of them."""

REACH = 7.0
"""Standard errors by which no simulated edge of a large graph is taken to miss its effect: one of a
million edges in a thousand halves does with a chance of 0.003."""

STRONGEST, SPARE = 4, 100
"""A floor under all circuits' edges is the effect of the edge of this rank: so many circuits, and
so many edges beyond, so that small circuits have enough of them too."""

FEW_COLUMNS = 2**11
"""Edges of which clusters' sums stay in the processor's cache."""

PARTS = (1.0, 0.5, 0.25)
"""Of the blocks, those that two halves hold together."""

LOWEST_CEILING = 0.5
"""Jaccard of a model with itself on the other half of the examples, below which a line to a ceiling
of 1 is too long to be drawn."""


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much is drawn."""

    num_blocks: int
    """Blocks into which clusters of examples are dealt, with at least two clusters each; fewer
    clusters make `MIN_BLOCKS`."""
    num_deals: int
    """Times that they are dealt anew; standard errors are averaged."""
    num_simulations: int
    """Simulated pairs with one circuit; 0: what they read is not asked."""
    jackknife: bool = True
    """Whether there is a standard error; without, the interval has no width."""


WHOLE = Effort(num_blocks=16, num_deals=2, num_simulations=39)
"""Of 39 simulations, the lowest has a p-value of 0.025."""

NOISE_FREE_ROWS = (
    2 * 7 * NUM_ORDERS * (2 * WHOLE.num_deals * (1 + WHOLE.num_blocks) + WHOLE.num_simulations)
)
"""Circuits that are chosen: both halves of seven pairs in both models, in every order."""

NUM_SIMULATED = 2 * WHOLE.num_blocks * WHOLE.num_simulations
"""Random numbers that are drawn for each edge."""

BRIEF = Effort(num_blocks=MIN_BLOCKS, num_deals=1, num_simulations=0)
"""A sixth of the time, for numbers that are measured many times over and on which no verdict
rests."""

VALUE = replace(BRIEF, jackknife=False)
"""The value of `BRIEF` by itself, in a ninth of its time."""

Blocks = tuple[Source, Source]
"""Scores of the ARM and of the MDM, summed over the examples of each block."""


@dataclass(frozen=True, kw_only=True, eq=False)
class NoiseFreeOverlap:
    """Overlap of two circuits of one size, extrapolated to scores without noise."""

    size: int
    """Edges in each circuit."""

    ceiling_arm: Float[np.ndarray, " part"]
    """Jaccard of the ARM with itself on two halves of all, half and a quarter of the examples."""

    ceiling_mdm: Float[np.ndarray, " part"]
    """The same of the MDM."""

    ratio: Float[np.ndarray, " part"]
    """Edges shared between the models over the geometric mean of those shared within each."""

    overlap: Estimate | None
    """The noise-free Jaccard, in [0, 1]; None where `reason` says why."""

    one_circuit: Estimate | None
    """What `overlap` reads of one circuit with these two models' noise: mean and spread over
    simulated pairs; None as above, and where none was simulated."""

    share: float
    """The noise-free share of which `overlap` is made, before it is brought into [0, 1]; NaN where
    there is none."""

    share_error: float
    """Its standard error."""

    reason: str
    """Why there is no overlap; empty where there is one."""

    @property
    def lower_ceiling(self) -> float:
        """Of the two models', with all examples."""
        return float(min(self.ceiling_arm[0], self.ceiling_mdm[0]))


def noise_free_overlap(
    arm_scores: Float[np.ndarray, "example edge"],
    mdm_scores: Float[np.ndarray, "example edge"],
    size: int,
    *,
    clusters: Int[np.ndarray, " example"] | None = None,
    level: float = 0.95,
    seed: int = 0,
    effort: Effort | None = None,
) -> NoiseFreeOverlap:
    """Overlap of the two models' circuits without sampling noise; the module says how.

    Args:
        arm_scores: score of each edge on each example [metric units], summed over steps.
        mdm_scores: the same for the MDM, on the same examples in the same order.
        size: edges in each circuit.
        clusters: which examples stay in one block; None: each by itself.
        level: of the interval.
        seed: of blocks, orders and simulations.
        effort: how much is drawn; by default `WHOLE`.
    """
    effort = effort or WHOLE
    generator = np.random.default_rng(seed)
    cluster, num_clusters = cluster_columns(len(arm_scores) if clusters is None else clusters)
    num_blocks = effort.num_blocks if num_clusters >= 2 * effort.num_blocks else MIN_BLOCKS
    if num_clusters < num_blocks:
        return _undefined(size, f"{num_clusters} clusters of examples cannot be halved thrice")
    shares, errors = [], []
    for _ in range(effort.num_deals):
        block = deal_clusters(cluster, num_blocks, generator)
        blocks = _blocks(block_sums(arm_scores, block), block_sums(mdm_scores, block))
        orders = generator.permuted(np.tile(np.arange(num_blocks), (NUM_ORDERS, 1)), axis=1)
        shares.append(_shares(blocks, orders[None], size))
        errors.append(_standard_error(blocks, orders, size) if effort.jackknife else 0.0)
    mean = np.mean(shares, axis=0)
    value, error = float(_extrapolated(mean)[0]), float(np.sqrt(np.mean(np.square(errors))))
    if not np.isfinite([value, error]).all():
        return _undefined(size, "circuits of halves of the examples share no edge")
    expected = None
    if effort.num_simulations:
        pair = arm_scores, mdm_scores
        simulated = _one_circuit(
            pair, cluster, size, (effort.num_simulations, num_blocks), generator
        )
        expected = spread_of_draws(_jaccard(np.clip(simulated, 0, 1))[:, None], level=level).at(0)
    far = float(student.ppf((1 + level) / 2, num_blocks - 1)) * error
    low, middle, high = _jaccard(np.clip([value - far, value, value + far], 0, 1)).tolist()
    return NoiseFreeOverlap(
        size=size,
        ceiling_arm=_jaccard(mean[0, :, 0]),
        ceiling_mdm=_jaccard(mean[1, :, 0]),
        ratio=_ratio(mean)[:, 0],
        overlap=Estimate(value=middle, interval=Interval(low=low, high=high, level=level)),
        one_circuit=expected,
        share=value,
        share_error=error,
        reason="",
    )


def _undefined(size: int, reason: str) -> NoiseFreeOverlap:
    nothing = np.full(len(PARTS), np.nan)
    return NoiseFreeOverlap(
        size=size,
        ceiling_arm=nothing,
        ceiling_mdm=nothing,
        ratio=nothing,
        overlap=None,
        one_circuit=None,
        share=float("nan"),
        share_error=float("nan"),
        reason=reason,
    )


def _jaccard(share: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Of two sets of one size that have this share of their elements in common."""
    return np.asarray(share / (2 - share))


def block_sums(
    scores: Float[np.ndarray, "example edge"], block: Int[np.ndarray, " example"]
) -> Float[np.ndarray, "block edge"]:
    """Summed scores of the examples of each block."""
    sums = np.empty((block.max() + 1, scores.shape[1]))

    def add_up(columns: slice) -> None:
        sums[:, columns] = group_sums(scores[:, columns], block)

    for _ in in_order(add_up, column_ranges(scores.shape[1])):
        pass
    return sums


def _blocks(arm: Float[np.ndarray, "block edge"], mdm: Float[np.ndarray, "block edge"]) -> Blocks:
    return Source(scores=arm), Source(scores=mdm)


def _shares(
    blocks: Blocks, orders: Int[np.ndarray, "trial order kept"], size: int
) -> Float[np.ndarray, "compared=3 part trial"]:
    """Shared edges over K, mean over the halves that every order is cut into."""
    num_trials, _, num_kept = orders.shape
    drawn = []
    for part in PARTS:
        half = min(max(1, round(part * num_kept / 2)), num_kept // 2)
        num_pairs = num_kept // (2 * half)
        cut = orders[..., : 2 * half * num_pairs].reshape(-1, 2, half)
        of_part = np.zeros((len(cut), 2, len(blocks[0].scores)))
        np.put_along_axis(of_part, cut, 1.0, axis=2)
        drawn.append(of_part)
    shared = _shared(blocks, np.concatenate(drawn), size)
    by_part = np.split(shared, np.cumsum([len(of_part) for of_part in drawn])[:-1], axis=1)
    return np.stack(
        [of_part.reshape(3, num_trials, -1).mean(axis=2) for of_part in by_part], axis=1
    )


def _shared(
    blocks: Blocks, drawn: Float[np.ndarray, "row half=2 block"], size: int
) -> Float[np.ndarray, "compared=3 row"]:
    """ARM with itself, MDM with itself, and one with the other, both ways round."""
    sets = tuple(
        MeanRows(weights={model: drawn[:, half]}) for model in range(2) for half in range(2)
    )
    return np.moveaxis(measured(blocks, sets, _SharedEdges((size,)))[size]["shared"], 1, 0)


@dataclass(frozen=True)
class _SharedEdges:
    """Shares of edges in common, of the ARM's two halves and the MDM's."""

    sizes: tuple[int, ...]
    only_sums = False

    def __call__(self, size: int, circuits: list[Circuits]) -> Found:
        arm_one, arm_two, mdm_one, mdm_two = (one.members for one in circuits)
        across = (_share(arm_one, mdm_two) + _share(arm_two, mdm_one)) / 2
        return {
            "shared": np.stack([_share(arm_one, arm_two), _share(mdm_one, mdm_two), across], axis=1)
        }


def _share(
    first: Bool[np.ndarray, "row edge"], second: Bool[np.ndarray, "row edge"]
) -> Float[np.ndarray, " row"]:
    """Edges in both over the mean size of the two sets; 0 where both are empty."""
    edges = first.sum(axis=1) + second.sum(axis=1)
    return 2 * (first & second).sum(axis=1) / np.maximum(edges, 1)


def _ratio(shares: Float[np.ndarray, "compared=3 part trial"]) -> Float[np.ndarray, "part trial"]:
    """Shared between the models over what each shares with itself; NaN where that is 0."""
    within = shares[0] * shares[1]
    return shares[2] / np.sqrt(np.where(within > 0, within, np.nan))


def _extrapolated(
    shares: Float[np.ndarray, "compared=3 part trial"],
) -> Float[np.ndarray, " trial"]:
    """The ratio where the ceilings would be 1: a least-squares line in their logarithm."""
    ratio = _ratio(shares)
    log_ceiling = np.log(np.where(np.isnan(ratio), np.nan, shares[0] * shares[1])) / 2
    from_mean = log_ceiling - log_ceiling.mean(axis=0)
    spread = (from_mean**2).sum(axis=0)
    # Without noise all ceilings are 1, and so is every point of the line.
    slope = (from_mean * ratio).sum(axis=0) / np.where(spread > 0, spread, 1.0)
    found: Float[np.ndarray, " trial"] = ratio.mean(axis=0) - slope * log_ceiling.mean(axis=0)
    return found


def _standard_error(blocks: Blocks, orders: Int[np.ndarray, "order block"], size: int) -> float:
    """From leaving out one block at a time, in the same orders of the others."""
    num_blocks = orders.shape[1]
    kept = np.stack(
        [orders[orders != block].reshape(len(orders), -1) for block in range(num_blocks)]
    )
    without = _extrapolated(_shares(blocks, kept, size))
    return float(np.sqrt(jackknife_variance(without)))


def _by_rank(
    scores: Float[np.ndarray, "example edge"], cluster: Int[np.ndarray, " example"]
) -> tuple[Float[np.ndarray, " edge"], Float[np.ndarray, " edge"]]:
    """|Effect| of each edge, strongest first, and the standard error of its mean score.

    Noise raises every |mean score|; what it adds to the square on average is taken off.
    """
    num_examples = len(scores)
    counts = np.bincount(cluster)
    num_clusters = len(counts)
    mean = scores.mean(axis=0, dtype=np.float64)
    variance = np.empty_like(mean)

    def measure(columns: slice) -> None:
        deviations = cluster_sums(scores[:, columns], cluster)
        deviations -= counts[:, None] * mean[columns]
        variance[columns] = np.square(deviations, out=deviations).sum(axis=0)

    for _ in in_order(measure, column_ranges(len(mean), FEW_COLUMNS)):
        pass
    variance *= num_clusters / (num_clusters - 1) / num_examples**2
    order = np.argsort(-np.abs(mean), kind="stable")
    effect = np.sqrt(np.maximum(mean**2 - variance, 0.0))
    return effect[order], np.sqrt(variance[order])


def _within_reach(
    effect: Float[np.ndarray, " rank"],
    error: Float[np.ndarray, " rank"],
    size: int,
    num_blocks: int,
) -> Bool[np.ndarray, " rank"]:
    """Edges of which `REACH` standard errors of the noisiest half could make one of a circuit.

    Half of the edges with a larger effect than the floor, or more, stay above it, and these are
    several times as many as a circuit holds; so no circuit's last edge lies below it.
    """
    floor = effect[min(STRONGEST * size + SPARE, len(effect) - 1)]
    smallest = max(1, round(min(PARTS) * num_blocks / 2))
    return effect + REACH * error * np.sqrt(num_blocks / smallest) >= floor


def _one_circuit(
    pair: tuple[Float[np.ndarray, "example edge"], Float[np.ndarray, "example edge"]],
    cluster: Int[np.ndarray, " example"],
    size: int,
    counts: tuple[int, int],
    generator: np.random.Generator,
) -> Float[np.ndarray, " simulation"]:
    """The noise-free share of simulated pairs in which the edge of each rank is the same edge.

    Args:
        pair: scores of both models.
        cluster: place of each example's cluster.
        size: edges in each circuit.
        counts: of simulations, and of blocks in each.
        generator: of all that is drawn.
    """
    num_simulations, num_blocks = counts
    models = [_by_rank(scores, cluster) for scores in pair]
    if len(models[0][0]) >= TAKEN_APART:
        few = np.any([_within_reach(*one, size, num_blocks) for one in models], axis=0)
        models = [(effect[few], error[few]) for effect, error in models]
    found = []
    for _ in range(num_simulations):
        arm, mdm = (
            effect + error * np.sqrt(num_blocks) * generator.normal(size=(num_blocks, len(effect)))
            for effect, error in models
        )
        orders = generator.permuted(np.tile(np.arange(num_blocks), (NUM_ORDERS // 2, 1)), axis=1)
        found.append(_extrapolated(_shares(_blocks(arm, mdm), orders[None], size))[0])
    return np.array(found)
