"""Variance split: solved by hand, and as often right as it says where the truth is known."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import pytest
from scipy.stats import binom, norm
from scipy.stats import t as student

from mechshift.comparison import Groups, VarianceSplit, regrouped, variance_split
from mechshift.errors import ComparisonError
from mechshift.statistics import Estimate, Interval, cluster_columns

TABLE = np.array([[1.0, 3.0], [5.0, 7.0], [3.0, 5.0]])
"""Three templates of two examples: means 2, 6 and 4, variance 2 within each."""


def groups(values: list[float], num_examples: int = 2) -> Groups:
    return Groups(
        values=np.array(values, dtype=np.float64), num_examples=np.full(len(values), num_examples)
    )


def every_dealing(table: np.ndarray) -> float:
    """Mean dispersion of the rows' means over all orders of the entries."""
    orders = np.array(list(permutations(table.ravel())))
    means = orders.reshape(-1, *table.shape).mean(axis=2)
    return float(means.var(axis=1).mean())


def balanced() -> VarianceSplit:
    """Mean square between 2 * 4 = 8, within 2: s² = (8 - 2) / 2 = 3."""
    return variance_split(groups([2.0, 6.0, 4.0]), every_dealing(TABLE), 6, 2 / 6)


def test_a_balanced_table_gives_the_analysis_of_variance_by_hand() -> None:
    assert every_dealing(TABLE) == pytest.approx(22 / 5 * (1 / 2 - 1 / 6))
    found = balanced()
    assert found.between == pytest.approx(3.0)
    assert found.levels == {"examples": pytest.approx(1 / 3), "templates": pytest.approx(1.0)}
    assert found.share("templates") == pytest.approx(0.75)
    # The variance of the mean of three template means that scatter with variance 4.
    assert found.variance == pytest.approx(4 / 3)


def test_unequal_templates_count_by_their_examples() -> None:
    """Means 1 (three examples) and 5 (one): mean 2, dispersion 3/4 + 9/4."""
    one = Groups(values=np.array([1.0, np.nan, 5.0]), num_examples=np.array([3, 9, 1])).known
    assert one.dispersion == pytest.approx(3.0)
    found = variance_split(one, 0.5, 21, 0.1)
    assert found.between == pytest.approx((3 - 0.5) / ((1 - 10 / 16) * (1 - 1 / 20)))
    assert found.num_templates == 2


def test_the_wider_interval_is_students_with_a_degree_of_freedom_less_than_templates() -> None:
    found = balanced().widened(
        Estimate(value=4.0, interval=Interval(low=3.0, high=5.0, level=0.95))
    )
    assert found.value == 4.0
    assert found.interval.high == pytest.approx(4 + 4.302653 * (4 / 3) ** 0.5)  # t of 2, a table
    assert found.interval.low == pytest.approx(8 - found.interval.high)


def test_templates_that_differ_by_less_than_chance_count_as_alike() -> None:
    found = variance_split(groups([2.0, 2.1, 2.2], 5), 0.5, 15, 1 / 3)
    assert found.between == pytest.approx((0.02 / 3 - 0.5) / (2 / 3 * (1 - 2 / 14)))
    assert found.levels["templates"] == 0 and found.share("examples") == 1
    narrow = Estimate(value=2.1, interval=Interval(low=-9.0, high=12.0, level=0.95))
    assert found.widened(narrow).interval == narrow.interval  # never narrower


def test_a_p_value_over_templates_is_that_of_the_wider_interval() -> None:
    """Four standard errors over examples are two over templates, if these make three quarters."""
    found, p = balanced(), 2 * float(norm.sf(4.0))
    assert found.p_over_templates(p) == pytest.approx(2 * student.sf(2.0, 2))
    certain = VarianceSplit(
        levels={"examples": 0.0, "templates": 0.0}, num_templates=5, between=0.0
    )
    assert certain.p_over_templates(p) == p and np.isnan(certain.share("templates"))


def test_one_template_has_no_variance_between_templates() -> None:
    with pytest.raises(ComparisonError, match="at least two of them, .*, not 1 templates and 4"):
        variance_split(groups([1.0]), 0.0, 4, 1.0)
    with pytest.raises(ComparisonError, match="not 2 templates and 2 units"):
        variance_split(groups([1.0, 2.0]), 0.0, 2, 1.0)


def test_random_groups_are_as_large_and_keep_units_together() -> None:
    """Four clusters of two examples, two in each template; then one in both."""
    places = [np.arange(4), np.arange(4, 8)]
    dealt = regrouped(places, np.array([0, 0, 1, 1, 2, 2, 3, 3]), 50, seed=0)
    assert dealt.num_units == 4 and len(dealt.places) == 50
    pairs = {tuple(first.tolist()) for first, _ in dealt.places}
    assert len(pairs) == 6  # all there are
    assert all(len({one // 2 for one in first}) == 2 for first in pairs)
    shared = regrouped(places, np.array([0, 0, 1, 1, 1, 2, 3, 3]), 50, seed=0)
    assert shared.num_units == 8
    for first, second in shared.places:
        assert len(first) == 4 and sorted([*first, *second]) == list(range(8))
    assert len({tuple(first.tolist()) for first, _ in shared.places}) > 30  # of 70


@dataclass(frozen=True)
class Design:
    """A number that is the mean of examples, which share templates and clusters."""

    num_templates: int
    num_clusters: int
    """Of each template, if nested."""
    nested: bool
    between: float
    """Variance between templates; between clusters it is 0.4, within them 0.6."""

    def draw(self, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Templates, clusters and values of 200 examples; the truth is 0."""
        template = generator.integers(self.num_templates, size=200)
        cluster = generator.integers(self.num_clusters, size=200)
        if self.nested:
            cluster = cluster + template * self.num_clusters
        of_template = self.between**0.5 * generator.normal(size=self.num_templates)
        of_cluster = 0.4**0.5 * generator.normal(size=cluster.max() + 1)
        rest = 0.6**0.5 * generator.normal(size=200)
        return template, cluster, of_template[template] + of_cluster[cluster] + rest


def variance_of_mean(values: np.ndarray, cluster: np.ndarray) -> float:
    """Over whole clusters."""
    columns, count = cluster_columns(cluster)
    sums = np.bincount(columns, weights=values - values.mean())
    return float((sums**2).sum()) / len(values) ** 2 * count / (count - 1)


def means_of(values: np.ndarray, parts: Sequence[np.ndarray]) -> Groups:
    return Groups(
        values=np.array([values[part].mean() for part in parts]),
        num_examples=np.array([len(part) for part in parts]),
    )


POOLS = 400


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("between", [0.0, 0.02, 0.2])
def test_variance_between_templates_is_found_and_the_interval_holds_the_truth(
    nested: bool, between: float
) -> None:
    design = Design(
        num_templates=8, num_clusters=5 if nested else 30, nested=nested, between=between
    )
    generator, estimated, held, plain = np.random.default_rng(0), [], 0, 0
    for pool in range(POOLS):
        template, cluster, values = design.draw(generator)
        parts = [np.flatnonzero(template == one) for one in range(8)]
        dealt = regrouped(parts, cluster, 4, seed=pool)
        by_chance = [means_of(values, one).dispersion for one in dealt.places]
        found = variance_split(
            means_of(values, parts),
            float(np.mean(by_chance)),
            dealt.num_units,
            variance_of_mean(values, cluster),
        )
        mean, reach = float(values.mean()), 1.959964 * found.levels["examples"] ** 0.5
        estimate = Estimate(
            value=mean, interval=Interval(low=mean - reach, high=mean + reach, level=0.95)
        )
        estimated.append(found.between)
        held += found.widened(estimate).interval.contains(0.0)
        plain += estimate.interval.contains(0.0)
    assert held >= binom.ppf(0.01, POOLS, 0.95)
    assert abs(np.mean(estimated) - between) < 3 * np.std(estimated) / POOLS**0.5
    if between == 0.2:  # who takes the templates as given does not see them
        assert plain < binom.ppf(0.01, POOLS, 0.9)
