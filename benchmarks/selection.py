"""Are equal models called different because of what each solves, and does the sample undo it?

Draws pools of two models whose mean scores over all candidates are known, and of which each solves
the examples in which its own early layers are strong (`mechshift.testing.selected_pair`). Every
quantity of a member is measured on the pool, as a run does, and on all candidates, from the pool
and a sample of the others. docs/validity.md holds the tables.

    python benchmarks/selection.py --help
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import tyro
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mechshift.comparison import BRIEF, VALUE, ComparisonSettings
from mechshift.statistics import Estimate
from mechshift.testing import SelectedPair, SolvedByScore, selected_pair
from mechshift.topics.blocked_scores import BlockedPair, block_sums
from mechshift.topics.by_template import MemberOnExamples
from mechshift.topics.on_candidates import (
    on_all_of,
    quantities_on_candidates,
)
from mechshift.topics.registry import quantities

SCENARIOS = {
    "both solve .95": SolvedByScore(accuracy={"arm": 0.95, "mdm": 0.95}),
    "ARM .95, MDM .7": SolvedByScore(accuracy={"arm": 0.95, "mdm": 0.7}),
    "ARM .95, MDM .44": SolvedByScore(accuracy={"arm": 0.95, "mdm": 0.44}),
    "ARM .95, MDM .44, by luck": SolvedByScore(
        accuracy={"arm": 0.95, "mdm": 0.44}, by_strength=0.0
    ),
    "ARM .95, MDM .44, 20 others": SolvedByScore(
        accuracy={"arm": 0.95, "mdm": 0.44}, num_others=20
    ),
    "ARM .95, MDM .44, early layers x 1.5": SolvedByScore(
        accuracy={"arm": 0.95, "mdm": 0.44}, moved=1.5
    ),
    "ARM .95, MDM .44, early layers x .67": SolvedByScore(
        accuracy={"arm": 0.95, "mdm": 0.44}, moved=1 / 1.5
    ),
}


@dataclass(frozen=True)
class Options:
    """By default what docs/validity.md shows."""

    pools: int = 30
    scenarios: tuple[str, ...] = tuple(SCENARIOS)
    circuit_size: int = 70
    """A tenth of the edges."""
    resamples: int = 200
    level: float = 0.95
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Found:
    """One quantity in one pool."""

    neutral: float | None
    truth: float
    common: Estimate | None
    on_all: Estimate | None


def main(options: Options) -> None:
    """Print a table for each scenario."""
    for name in options.scenarios:
        pools = [measured(options, name, seed) for seed in track(range(options.pools))]
        table = Table(title=f"{name}: {options.pools} pools")
        for column in ("quantity", "truth", "population", "mean", "decides", "falsely", "covers"):
            table.add_column(column)
        for quantity in pools[0]:
            for population in ("common", "on_all"):
                found = [one[quantity] for one in pools]
                table.add_row(quantity, *row_of(found, population))
        Console(width=140).print(table)


def row_of(found: Sequence[Found], population: str) -> list[str]:
    """What is shown of a quantity."""
    known = [(one, estimate) for one in found if (estimate := getattr(one, population))]
    if not known:
        return ["", population, "undefined"]
    decided = [(one, e) for one, e in known if one.neutral is not None and e.excludes(one.neutral)]
    false = [
        one
        for one, e in decided
        if one.neutral is not None and (e.value - one.neutral) * (one.truth - one.neutral) <= 1e-9
    ]
    return [
        f"{np.mean([one.truth for one, _ in known]):+.3f}",
        population,
        f"{np.mean([e.value for _, e in known]):+.3f}",
        f"{len(decided)} of {len(known)}",
        f"{len(false)}",
        f"{np.mean([not e.excludes(one.truth) for one, e in known]):.2f}",
    ]


def measured(options: Options, scenario: str, seed: int) -> dict[str, Found]:
    """Every quantity of one pool."""
    pair = selected_pair(SCENARIOS[scenario], options.seed + seed)
    shown = [
        one
        for one in quantities("members")
        if one.by_template and one.name != "right-to-left share"
    ]
    settings = ComparisonSettings(
        circuit_size=options.circuit_size,
        num_resamples=options.resamples,
        num_exchanges=1,
        num_shuffles=1,
        level=options.level,
        seed=options.seed + seed,
    )
    blocks = pair.candidates.dealt(settings.seed)
    arm, mdm = (block_sums(blocks, pair.common[one], pair.others[one]) for one in pair.common)
    blocked = BlockedPair(
        name="mdm", blocks=blocks, arm=arm, other=mdm, flows=None, settings=settings
    )
    on_common = member(pair, "common", settings)
    exactly = replace(member(pair, "truth", settings), effort=VALUE)
    by_name = {one.name: one for one in shown}
    found = {}
    for one in quantities_on_candidates(blocked, pair.candidates, shown):
        quantity = by_name[one.name]
        common, truth = quantity.measure(on_common), quantity.measure(exactly).estimate
        if truth is not None:
            found[one.name] = Found(
                neutral=quantity.neutral,
                truth=truth.value,
                common=common.estimate,
                on_all=on_all_of(common, one, quantity.limits).estimate,
            )
    return found


def member(pair: SelectedPair, which: str, settings: ComparisonSettings) -> MemberOnExamples:
    """The MDM on common examples, or with its true mean scores."""
    scores = getattr(pair, which)
    return MemberOnExamples(
        task=which,
        settings=settings,
        scored=(scores["arm"], scores["mdm"]),
        flows=None,
        effort=BRIEF,
    )


if __name__ == "__main__":
    main(tyro.cli(Options))
