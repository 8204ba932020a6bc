"""Variance split: what of an estimate's variance comes from examples, and what from templates.

For readers who ask whether a number speaks of a task, or only of the templates that its prompts
were written in. With y_t the number on the examples of template t, v_t its variance over clusters
of examples, w_t its share of the examples, and y the number on all with variance V:

1. Templates differ by Q = sum w_t (y_t - mean)², where mean = sum w_t y_t.
2. If templates are drawn with variance s², E[Q] = s² (1 - sum w_t²) + sum w_t v_t - Var(mean). The
   templates share clusters (names, years), so errors of the y_t go together; the mean is, but for
   curvature, the number on all examples, so Var(mean) is taken to be V, or sum w_t² v_t if that is
   more. Solving for s² is the method of moments. Where clusters lie in one template each and all
   are equally large, it is the between-group component of the one-way analysis of variance.
3. An estimate of s² below 0, as chance makes it where there is little, counts as 0.
4. Had other templates been drawn as well, the number would have the variance V + s² sum w_t²; the
   interval is Student's t with one degree of freedom less than templates. It is never narrower than
   that of the examples alone.

Curvature: a number on the examples of one template is that of a smaller sample, and numbers that
change with the size of a sample must not be split. Source of 2: DerSimonian and Laird 1986, with
known covariances; Searle, Casella and McCulloch 1992, chapter 3; of 4: Hartung and Knapp 2001,
never below the variance within (Röver, Knapp and Friede 2015).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.special import ndtri
from scipy.stats import t as student

from mechshift.errors import ComparisonError
from mechshift.statistics import Estimate, Interval


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
    values: Float[np.ndarray, " template"],
    variances: Float[np.ndarray, " template"],
    num_examples: Int[np.ndarray, " template"],
    variance: float,
) -> VarianceSplit:
    """Split the variance of a number on all examples; the module says how.

    Args:
        values: the number on the examples of each template, before it is brought into its range.
        variances: of each over clusters of its examples [unit²].
        num_examples: in each template.
        variance: of the number on all examples, over their clusters [unit²].

    Raises:
        ComparisonError: there are fewer than two templates.
    """
    if len(values) < 2:
        raise ComparisonError(
            f"a variance between templates needs at least two of them, not {len(values)}."
        )
    shares = num_examples / num_examples.sum()
    squares = float((shares**2).sum())
    dispersion = float(shares @ (values - shares @ values) ** 2)
    of_mean = max(variance, float(shares**2 @ variances))
    between = (dispersion - float(shares @ variances) + of_mean) / (1 - squares)
    return VarianceSplit(
        levels={"examples": variance, "templates": max(between, 0.0) * squares},
        num_templates=len(values),
        between=between,
    )
