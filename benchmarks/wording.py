"""Is the variance between templates found, and does an interval with it hold a task's number?

Draws pools of a planted circuit whose examples are written in random templates. A template changes
every edge of the MDM's circuit by a factor of its own (log-normal). Every quantity of a member is
measured on all examples and on each template's, as a run does, and its variance is split. A task's
number is the mean over all pools. docs/validity.md holds the tables.

    python benchmarks/wording.py --help
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import tyro
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mechshift.comparison import (
    ComparisonSettings,
    Groups,
    VarianceSplit,
    regrouped,
    variance_split,
)
from mechshift.statistics import Estimate
from mechshift.testing import Noise, planted_pair
from mechshift.topics.by_template import (
    NUM_GROUPS,
    MemberOnExamples,
    quantities_by_template,
    values_of,
)
from mechshift.topics.registry import quantities


@dataclass(frozen=True)
class Options:
    """By default what docs/validity.md shows."""

    runs: int = 40
    num_examples: int = 240
    num_templates: int = 8
    spreads: tuple[float, ...] = (0.0, 0.3)
    """Standard deviations of the logarithm of a template's factors."""
    circuit_size: int = 20
    """Twice as many edges as the planted circuit has."""
    noise: float = 2.0
    """Standard deviation of an example's score of every edge [the ARM's units]."""
    resamples: int = 400
    level: float = 0.95
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Found:
    """One quantity in one pool."""

    estimate: Estimate
    split: VarianceSplit


def main(options: Options) -> None:
    """Print a table for each spread of templates."""
    for spread in options.spreads:
        pools = [measured(options, spread, run) for run in track(range(options.runs))]
        table = Table(title=f"{options.runs} pools, factors of templates scatter by {spread}")
        for column in (
            "quantity",
            "from templates, of the variance over pools",
            "as a run says",
            "interval holds the mean",
            "with templates",
        ):
            table.add_column(column)
        for name in dict.fromkeys(name for pool in pools for name in pool):
            table.add_row(name, *row_of([pool[name] for pool in pools if name in pool]))
        Console(width=160).print(table)


def row_of(found: Sequence[Found]) -> list[str]:
    """What is shown of a quantity."""
    values = np.array([one.estimate.value for one in found])
    # Templates are equally large.
    between = np.array([one.split.between / one.split.num_templates for one in found])
    shares = [one.split.share("templates") for one in found]
    plain = [not one.estimate.excludes(values.mean()) for one in found]
    wide = [not one.split.widened(one.estimate).excludes(values.mean()) for one in found]
    scatter = values.var(ddof=1) if len(values) > 1 else 0.0
    if scatter == 0:
        return ["none", "", "", ""]
    return [
        f"{between.mean() / scatter:.2f} ± {between.std() / scatter / len(found) ** 0.5:.2f}",
        f"{np.mean(shares):.2f}",
        f"{np.mean(plain):.2f}",
        f"{np.mean(wide):.2f}",
    ]


def measured(options: Options, spread: float, run: int) -> dict[str, Found]:
    """Every quantity of one pool that is known on all examples and on two templates or more."""
    generator = np.random.default_rng([options.seed, run])
    template = generator.permutation(options.num_examples) % options.num_templates
    pair = planted_pair(
        "identical",
        num_examples=options.num_examples,
        noise=Noise(own=options.noise),
        seed=options.seed + run,
    )
    shape = (options.num_templates, pair.mdm_circuit.size)
    factors = np.exp(spread * generator.normal(size=shape))
    changed = (factors[template] - 1) * pair.mdm_circuit
    mdm = replace(pair.mdm, values=pair.mdm.values + changed[:, None])
    settings = ComparisonSettings(
        circuit_size=options.circuit_size,
        num_resamples=options.resamples,
        num_exchanges=1,
        num_shuffles=1,
        level=options.level,
        seed=options.seed + run,
    )
    places = [np.flatnonzero(template == one) for one in range(options.num_templates)]
    whole = MemberOnExamples(task="planted", settings=settings, scored=(pair.arm, mdm), flows=None)
    dealt = regrouped(places, whole.clusters, NUM_GROUPS // options.num_templates, settings.seed)
    counts = np.array([len(part) for part in places])
    found = {}
    by_name = {one.name: one for one in quantities("members")}
    for one in quantities_by_template(whole, places, dealt, tuple(by_name.values())):
        of_whole = by_name[one.name].measure(whole)
        scatter = of_whole.scattered()
        if of_whole.estimate is not None and scatter is not None and np.isfinite(one.by_chance):
            templates = Groups(values=values_of(one.by_template), num_examples=counts)
            found[one.name] = Found(
                estimate=of_whole.estimate,
                split=variance_split(templates, one.by_chance, dealt.num_units, scatter.error**2),
            )
    return found


if __name__ == "__main__":
    main(tyro.cli(Options))
