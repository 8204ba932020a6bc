"""Mean cost of each component, and its rank agreement with attribution."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

from mechshift.ablation.settings import AblationSettings
from mechshift.ablation.single_components import SingleAblations
from mechshift.errors import AblationError
from mechshift.graph import Graph
from mechshift.statistics import (
    Drawn,
    Estimate,
    Estimates,
    bootstrap_weights,
    centred_estimate,
    centred_estimates,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class SingleEffects:
    """The mean drop of every component in both models, ablated alike."""

    graph: Graph
    replacement: str
    metric_name: str
    arm: Estimates
    """Mean drop of each component [metric units], heads and MLPs in graph order."""
    mdm: Estimates
    num_examples: int
    level: float

    def names(self) -> list[str]:
        """Of the components."""
        return list(self.graph.source_names[1:])


def compare_single_ablations(
    arm: SingleAblations, mdm: SingleAblations, settings: AblationSettings
) -> SingleEffects:
    """Mean drops of both models' components.

    Raises:
        AblationError: other components, examples, metric or replacement in one than in the other.
    """
    for what, first, second in (
        ("components", arm.names(), mdm.names()),
        ("examples", arm.num_examples, mdm.num_examples),
        ("metric", arm.metric_name, mdm.metric_name),
        ("replacement", arm.replacement, mdm.replacement),
    ):
        if first != second:
            raise AblationError(
                f"the single ablations of the ARM and the MDM differ in their {what}, {first} and"
                f" {second}; ablate both with the same pool and settings."
            )
    return SingleEffects(
        graph=arm.graph,
        replacement=arm.replacement,
        metric_name=arm.metric_name,
        arm=component_drops(arm, settings),
        mdm=component_drops(mdm, settings),
        num_examples=arm.num_examples,
        level=settings.level,
    )


def component_drops(single: SingleAblations, settings: AblationSettings) -> Estimates:
    """Mean drop of each component [metric units], with bootstrap intervals over examples."""
    weights = bootstrap_weights(single.clusters, settings.num_resamples, settings.seed)
    drop = single.drop
    return centred_estimates(drop.mean(axis=0), weights @ drop, level=settings.level)


def rank_agreement(
    single: SingleAblations,
    attributed: Float[np.ndarray, "scored component"],
    settings: AblationSettings,
    *,
    scored: Drawn | None = None,
) -> Estimate:
    """Spearman correlation over components of mean drop and mean attribution score, in [-1, 1].

    Args:
        single: the ablations.
        attributed: score of each component of the same model, example by example, summed over
            steps (`attribution.NodeScores`, without `input`).
        settings: resamples, level and seed.
        scored: the examples that were scored, their number or their clusters, where they are others
            than those that were ablated: these two samples are then resampled apart. None: they
            are the same, and are resampled together.

    Raises:
        AblationError: other examples or another graph, or values that are all equal, which have
            no ranks.
    """
    compared = slice(None) if scored is None else slice(1, None)
    if attributed.shape[compared] != single.metric.shape[compared]:
        raise AblationError(
            f"ablations [example, component] of shape {single.metric.shape} and attribution of"
            f" shape {attributed.shape} are not of the same examples and graph."
        )
    # Other examples get a seed of their own: with one seed the two samples would vary together.
    seed = settings.seed if scored is None else settings.seed + 1
    correlation = _rank_correlation(
        _resampled_means(single.drop, single.clusters, settings, settings.seed),
        _resampled_means(attributed, single.clusters if scored is None else scored, settings, seed),
    )
    if not np.isfinite(correlation).all():
        raise AblationError(
            "drops or attribution scores are equal for all components, so they have no ranks; check"
            " that the metric depends on the prompt."
        )
    return centred_estimate(
        float(correlation[0]), correlation[1:], level=settings.level, bounds=(-1.0, 1.0)
    )


def _resampled_means(
    values: Float[np.ndarray, "example component"],
    examples: Drawn,
    settings: AblationSettings,
    seed: int,
) -> Float[np.ndarray, "row component"]:
    """Means over the examples as they are, row 0, and over each resample of them."""
    weights = bootstrap_weights(examples, settings.num_resamples, seed)
    return np.concatenate([values.mean(axis=0, keepdims=True), weights @ values])


def _rank_correlation(
    first: Float[np.ndarray, "row component"], second: Float[np.ndarray, "row component"]
) -> Float[np.ndarray, " row"]:
    ranks = (rankdata(values, axis=1) for values in (first, second))
    one, other = (rank - rank.mean(axis=1, keepdims=True) for rank in ranks)
    products = (one * other).sum(axis=1)
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return np.divide(products, norms, out=np.full_like(products, np.nan), where=norms > 0)
