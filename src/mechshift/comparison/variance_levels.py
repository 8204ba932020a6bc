"""Variance split: what of an estimate's variance comes from examples, and what from templates.

For readers who ask whether a number speaks of a task, or only of the templates that its prompts
were written in. With y_t the number on the examples of template t, w_t its share of the examples,
and y the number on all, with variance V over examples:

1. Templates differ by Q = sum w_t (y_t - mean)², where mean = sum w_t y_t.
2. By chance alone they differ by as much as random groups of examples do, of the same sizes: the
   same numbers are taken where templates are dealt anew over the examples, and Q0 is the mean of
   their Q. So no variance within a template need be known, which a bootstrap of a circuit
   overstates, and templates may share clusters (names, years), whichever they draw. Where no two
   of them share any, whole clusters are dealt. In between, where a cluster prefers a template, what
   clusters do counts as the templates' doing, which errs towards saying too little of a task.
3. If templates are drawn with variance s², E[Q - Q0] = s² (1 - sum w_t²) (1 - (T - 1) / (N - 1)),
   with T templates and N units that are dealt: random groups hold some of s² themselves. Solving
   for s² is the method of moments; of means of a balanced table, and all ways to deal, it is the
   between-group component of the one-way analysis of variance. Below 0, as chance makes it where
   there is little, it counts as 0.
4. Had other templates been drawn as well, the number would have the variance V + s² sum w_t²; the
   interval is Student's t with one degree of freedom less than templates. It is never narrower than
   that of the examples alone.

Source of 2: Pitman 1937 (permutation distribution in the analysis of variance); of 3: Searle,
Casella and McCulloch 1992, chapter 3; of 4: Hartung and Knapp 2001, never below the variance within
(Röver, Knapp and Friede 2015).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.special import ndtri
from scipy.stats import t as student

from mechshift.errors import ComparisonError
from mechshift.statistics import Estimate, Interval


@dataclass(frozen=True, kw_only=True, eq=False)
class Groups:
    """A number on the examples of several groups: templates, or random ones."""

    values: Float[np.ndarray, " group"]
    """Before they are brought into the number's range; NaN where it is undefined."""
    num_examples: Int[np.ndarray, " group"]

    @property
    def known(self) -> "Groups":
        """Those of which the number is known."""
        known = np.isfinite(self.values)
        return Groups(values=self.values[known], num_examples=self.num_examples[known])

    @property
    def shares(self) -> Float[np.ndarray, " group"]:
        """Of the examples."""
        return self.num_examples / self.num_examples.sum()

    @property
    def dispersion(self) -> float:
        """Mean squared distance from their mean, by share [unit²]."""
        return float(self.shares @ (self.values - self.shares @ self.values) ** 2)


@dataclass(frozen=True, kw_only=True)
class VarianceSplit:
    """Variance of a number on all examples, by what would be drawn again."""

    levels: Mapping[str, float]
    """`examples` and `templates` -> the variance that drawing them again adds [unit²], at least 0.
    A further level that is drawn, such as trainings, is one more entry."""
    num_templates: int
    """Of which the number is known."""
    between: float
    """Estimated variance of the number between templates [unit²]; below 0 by chance alone, and
    `levels` has 0 then."""

    @property
    def variance(self) -> float:
        """Of the number, if all levels were drawn again."""
        return sum(self.levels.values())

    def share(self, level: str) -> float:
        """Of the variance that comes from one level, in [0, 1]; NaN where there is none."""
        return self.levels[level] / self.variance if self.variance > 0 else float("nan")

    def widened(self, estimate: Estimate) -> Estimate:
        """The number on all examples with an interval for other templates of this kind.

        Args:
            estimate: with the interval over examples, whose level is kept.
        """
        level = estimate.interval.level
        reach = float(student.ppf((1 + level) / 2, self.num_templates - 1)) * self.variance**0.5
        return Estimate(
            value=estimate.value,
            interval=Interval(
                low=min(estimate.value - reach, estimate.interval.low),
                high=max(estimate.value + reach, estimate.interval.high),
                level=level,
            ),
        )

    def p_over_templates(self, p: float) -> float:
        """The p-value of a decision if templates were drawn again, from that over examples.

        Args:
            p: two-sided, of a number that scatters normally with the variance of `examples`.
        """
        if self.variance == 0:
            return p
        errors = -float(ndtri(p / 2)) * (self.levels["examples"] / self.variance) ** 0.5
        return 2 * float(student.sf(errors, self.num_templates - 1))


def variance_split(
    templates: Groups, by_chance: float, num_units: int, variance: float
) -> VarianceSplit:
    """Split the variance of a number on all examples; the module says how.

    Args:
        templates: the number on the examples of each.
        by_chance: mean dispersion of random groups of these sizes (`regrouped`) [unit²].
        num_units: how many units these deal.
        variance: of the number on all examples, over their clusters [unit²].

    Raises:
        ComparisonError: the number is known of fewer than two templates, or all examples of each
            are one unit.
    """
    templates = templates.known
    count = len(templates.values)
    if count < 2 or num_units <= count:
        raise ComparisonError(
            "a variance between templates needs at least two of them, and more units that are dealt"
            f" than templates, not {count} templates and {num_units} units."
        )
    squares = float((templates.shares**2).sum())
    left = (1 - squares) * (1 - (count - 1) / (num_units - 1))
    between = (templates.dispersion - by_chance) / left
    return VarianceSplit(
        levels={"examples": variance, "templates": max(between, 0.0) * squares},
        num_templates=count,
        between=between,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Regrouped:
    """Random groups of examples, as large as templates."""

    num_units: int
    """Units that are dealt: examples, or clusters where no templates share one."""
    places: tuple[tuple[Int[np.ndarray, " _"], ...], ...]
    """For each dealing, the places of the examples of each group."""


def regrouped(
    places: Sequence[Int[np.ndarray, " _"]],
    clusters: Int[np.ndarray, " example"],
    num_dealings: int,
    seed: int,
) -> Regrouped:
    """Deal templates anew over the examples, as if they made no difference.

    Args:
        places: of the examples of each template, which together are all examples.
        clusters: number of each example's cluster.
        num_dealings: how often.
        seed: of the dealings.
    """
    template = np.empty(len(clusters), dtype=np.int64)
    for number, of_template in enumerate(places):
        template[of_template] = number
    cluster, first, unit = np.unique(clusters, return_index=True, return_inverse=True)
    if (template[first][unit] != template).any():
        cluster, first, unit = (np.arange(len(template)),) * 3
    generator = np.random.default_rng(seed)
    dealt = [generator.permutation(template[first])[unit] for _ in range(num_dealings)]
    return Regrouped(
        num_units=len(cluster),
        places=tuple(
            tuple(np.flatnonzero(group == number) for number in range(len(places)))
            for group in dealt
        ),
    )
