"""Means over examples and over the random draws of a control, with their intervals.

The draws of a control are reported as one group: its value is the mean over draws and examples. Its
interval comes from a two-level bootstrap, in which draws and examples vary by themselves:

1. In each resample as many clusters of examples as there are are drawn with replacement, and D - 1
   draws of the control from D. (D of D would leave the variance short by (D - 1) / D.)
2. The weights of the draws are moved away from 1 / D by the ratio of the quantiles of Student's t
   with D - 1 degrees of freedom and of the normal distribution, 1.07 for 20 draws: so few draws say
   little about their own spread.
3. The resampled mean is that of all pairs of a draw and an example, by the product of weights.

All groups with as many draws are resampled alike, as are both models, which pairs them. A structure
is a group of one: its interval covers the examples only. A control of fewer than `MIN_DRAWS` draws
has its mean and no interval. Draws count as a sample of endlessly many; where all that exist were
drawn, the interval is too wide.

Source: Owen 2007, The pigeonhole bootstrap (both levels at once; the part of the variance that is
peculiar to a pair counts threefold, so it errs to the wide side); Rao and Wu 1988 (D - 1 of D).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int
from scipy.special import ndtri, stdtrit

from mechshift.ablation.output_norms import RemovedOutputs
from mechshift.ablation.settings import MIN_EXAMPLES, AblationSettings
from mechshift.ablation.table import PlanLabels
from mechshift.errors import AblationError
from mechshift.statistics import MIN_DRAWS, Estimates, bootstrap_weights, share_correct


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupLabels:
    """Labels of structures and pooled controls; one entry of each field per group."""

    names: tuple[str, ...]
    roles: tuple[str, ...]
    """`structure`, `same number` or `same norm`."""
    of: tuple[str, ...]
    """The plan that a control is matched to; of any other group its own name."""
    notes: tuple[str, ...]
    """How the structures were chosen; different notes of draws are joined by semicolons."""
    num_draws: Int[np.ndarray, " group"]
    """1 for a structure."""
    num_heads: Float64[np.ndarray, " group"]
    """Mean over draws, as the next two."""
    num_mlps: Float64[np.ndarray, " group"]
    num_neurons: Float64[np.ndarray, " group"]


def group_labels(labels: PlanLabels) -> GroupLabels:
    """What is said of the groups of these plans."""
    groups = labels.rows_by_group()
    first = [rows[0] for rows in groups.values()]
    return GroupLabels(
        names=tuple(groups),
        roles=tuple(labels.roles[row] for row in first),
        of=tuple(labels.of[row] for row in first),
        notes=tuple(
            "; ".join(dict.fromkeys(labels.notes[row] for row in rows)) for rows in groups.values()
        ),
        num_draws=np.array([len(rows) for rows in groups.values()]),
        num_heads=_means(labels.num_heads, labels),
        num_mlps=_means(labels.num_mlps, labels),
        num_neurons=_means(labels.num_neurons, labels),
    )


def pooled_removed(removed: RemovedOutputs, labels: PlanLabels) -> RemovedOutputs:
    """What a draw of each group removes on average."""
    return RemovedOutputs(
        norm=_means(removed.norm, labels),
        share=_means(removed.share, labels),
        largest_coordinate_share=_means(removed.largest_coordinate_share, labels),
    )


def pooled_accuracy(
    correct: Bool[np.ndarray, "plan replacement example"],
    clusters: Int[np.ndarray, " example"],
    labels: PlanLabels,
    settings: AblationSettings,
) -> Estimates:
    """Share of right examples [group, replacement], of structures with Wilson's interval.

    Raises:
        AblationError: there are too few examples to resample.
    """
    level, groups = settings.level, labels.rows_by_group().values()
    # Counted, since weights may round a share of 1 to more than its upper bound of 1.
    value = np.stack([correct[plans].mean(axis=(0, -1)) for plans in groups])
    rows = resampled_means(correct.astype(np.float64), clusters, labels, settings)
    pooled = Estimates.from_rows(
        np.concatenate([value[None], rows[1:]]), level=level, bounds=(0.0, 1.0)
    )
    for group, plans in enumerate(groups):
        if labels.roles[plans[0]] != "structure":
            continue
        for column, answers in enumerate(correct[plans[0]]):
            interval = share_correct(answers, clusters, level).interval
            pooled.low[group, column] = interval.low
            pooled.high[group, column] = interval.high
    return pooled


def resampled_means(
    per_example: Float[np.ndarray, "plan replacement example"],
    clusters: Int[np.ndarray, " example"],
    labels: PlanLabels,
    settings: AblationSettings,
) -> Float[np.ndarray, "row group replacement"]:
    """Means over draws and examples: as they are in row 0, and in each resample after it.

    A control of fewer than `MIN_DRAWS` draws is undefined (NaN) in resamples, so whatever is made
    from it has no interval (`Estimates.from_rows`).

    Raises:
        AblationError: there are too few examples to resample.
    """
    weights = example_weights(clusters, settings)
    per_plan = np.tensordot(weights, per_example, axes=(1, -1))
    groups = labels.rows_by_group().values()
    of_groups = [
        np.einsum("rd,rdk->rk", draw_weights(len(plans), settings), per_plan[:, plans])
        for plans in groups
    ]
    for means, plans in zip(of_groups, groups, strict=True):
        if labels.roles[plans[0]] != "structure" and len(plans) < MIN_DRAWS:
            means[1:] = np.nan
    return np.stack(of_groups, axis=1)


def example_weights(
    clusters: Int[np.ndarray, " example"], settings: AblationSettings
) -> Float[np.ndarray, "row example"]:
    """Equal weights in row 0, and those of each resample after it.

    Raises:
        AblationError: there are too few examples to resample.
    """
    num_examples = len(clusters)
    if num_examples < MIN_EXAMPLES:
        raise AblationError(
            f"{num_examples} examples are too few to say how certain a drop is; use a pool of at"
            f" least {MIN_EXAMPLES}."
        )
    resamples = bootstrap_weights(clusters, settings.num_resamples, settings.seed)
    return np.concatenate([np.full((1, num_examples), 1 / num_examples), resamples])


def draw_weights(num_draws: int, settings: AblationSettings) -> Float[np.ndarray, "row draw"]:
    """Equal weights in row 0, and those of each resample after it; every row sums to 1."""
    equal = np.full((1, num_draws), 1 / num_draws)
    if num_draws == 1:
        return np.repeat(equal, settings.num_resamples + 1, axis=0)
    # A seed of its own: with that of the examples, draws and examples would vary together.
    generator = np.random.default_rng([settings.seed, num_draws])
    counts = generator.multinomial(num_draws - 1, equal[0], size=settings.num_resamples)
    tail = (1 + settings.level) / 2
    stretch = stdtrit(num_draws - 1, tail) / ndtri(tail)
    return np.concatenate([equal, equal + stretch * (counts / (num_draws - 1) - equal)])


def _means(
    per_plan: Float[np.ndarray, " plan"] | Int[np.ndarray, " plan"], labels: PlanLabels
) -> Float64[np.ndarray, " group"]:
    return np.array([per_plan[rows].mean() for rows in labels.rows_by_group().values()])
