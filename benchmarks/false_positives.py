"""How often does a comparison find a difference, or a likeness, that is not there?

Draws pools in which a null hypothesis holds and counts how often each test rejects it at its level.
A test is sound if the count is no larger than a binomial draw at that level; docs/validity.md holds
the table.

    python benchmarks/false_positives.py --help
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tyro
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mechshift.circuits.edge_groups import edge_groups, order_within
from mechshift.comparison import Comparison, ComparisonSettings, compare, corrected_tests
from mechshift.comparison.corrections import p_values
from mechshift.statistics import proportion_interval
from mechshift.testing import Noise, planted_pair
from mechshift.testing.planted_scores import PlantedPair

NULLS = {
    "two pools of one model": Noise(own=2.0),
    "one pool, noise mostly shared": Noise(own=0.6, shared=2.0),
    "the MDM three times as noisy": Noise(own=1.0, mdm_factor=3.0),
}
"""Null hypothesis of no difference -> how examples scatter."""


@dataclass(frozen=True)
class Options:
    """By default what docs/validity.md shows."""

    runs: int = 200
    num_examples: int = 60
    circuit_size: int = 40
    resamples: int = 400
    """Bootstrap resamples, exchanges and shuffles in each run."""
    level: float = 0.95
    seed: int = 0


def main(options: Options) -> None:
    """Print one table."""
    table = Table(title=f"{options.runs} runs, seed {options.seed}")
    for column in ("null hypothesis", "test", "rejected", "share", "95 % interval"):
        table.add_column(column)
    for name, noise in NULLS.items():
        rejections = [
            rejected(found, options.level)
            for found in track(comparisons(noise, options), name, options.runs)
        ]
        for test in rejections[0]:
            add_row(table, name, test, [one[test] for one in rejections])
    layout = [rejected_layout(options, run) for run in track(range(options.runs), "layout")]
    add_row(table, "edges exchanged within layers and types", "edges: layout p", layout)
    for test, share in familywise(options).items():
        add_row(table, "four tasks of one model, Holm", test, share)
    Console(width=110).print(table)


def settings_of(options: Options, seed: int) -> ComparisonSettings:
    return ComparisonSettings(
        circuit_size=options.circuit_size,
        sizes=(options.circuit_size,),
        num_resamples=options.resamples,
        num_splits=50,
        num_splits_per_resample=2,
        num_shuffles=options.resamples,
        num_exchanges=options.resamples,
        level=options.level,
        seed=seed,
    )


def comparisons(noise: Noise, options: Options) -> Iterator[Comparison]:
    """One comparison of two equal circuits for each run."""
    for run in range(options.runs):
        seed = options.seed + run
        pair = planted_pair("identical", num_examples=options.num_examples, noise=noise, seed=seed)
        yield compare("planted", pair.arm, pair.mdm, settings_of(options, seed))


def rejected(found: Comparison, level: float) -> dict[str, bool]:
    """Which tests and intervals see a difference between the two models."""
    index = found.overlap.index_of(found.circuit_size)
    place = found.agreement.index_of(found.circuit_size)
    assert index is not None and place is not None
    p = p_values(found)
    result = {
        f"{name.removesuffix('_noise')}: exchange p": value <= 1 - level
        for name, value in p.items()
        if name != "edges_layout"
    }
    ratio = found.overlap.ratio.at(index)
    assert ratio is not None
    result["edges: ratio below 1"] = ratio.interval.high < 1
    result["edges: ratio not 1"] = ratio.excludes(1.0)
    for name in ("nodes", "weighted", "rank", "sign"):
        one = getattr(found.agreement, name).ratio.at(place)
        result[f"{name}: ratio not 1"] = one is not None and one.excludes(1.0)
    for scope, profiles in (("circuit", found.circuit_depth), ("all", found.all_depth)):
        side = profiles.source
        early, excess = side.thirds_shift.at(0), side.distance.of_halves("excess")
        assert early is not None
        result[f"{scope}: early share, interval"] = early.excludes(0.0)
        result[f"{scope}: centre of mass, interval"] = side.centre_of_mass_shift.excludes(0.0)
        result[f"{scope}: distance excess, interval"] = excess is not None and excess.excludes(0.0)
        if scope == "all":
            result["all: centre of mass, exchange p"] = side.centre_of_mass_p <= 1 - level
            result["all: distance, exchange p"] = side.distance.noise_p <= 1 - level
    return result


def rejected_layout(options: Options, run: int) -> bool:
    """Whether circuits that are alike in layout only look alike beyond it."""
    seed = options.seed + run
    pair = shuffled_pair(options, seed)
    found = compare("planted", pair.arm, pair.mdm, settings_of(options, seed))
    return p_values(found)["edges_layout"] <= 1 - options.level


def shuffled_pair(options: Options, seed: int) -> PlantedPair:
    """The MDM's edges change places within their groups, the same in every example."""
    pair = planted_pair("identical", num_examples=options.num_examples, seed=seed)
    groups = edge_groups(pair.arm.graph)
    order = order_within(groups, np.random.default_rng(seed + 500_000))
    pair.mdm.values[:] = pair.mdm.values[..., order]
    return pair


def familywise(options: Options) -> dict[str, list[bool]]:
    """Whether any of four tasks is rejected after Holm, for each hypothesis of no difference."""
    found: dict[str, list[bool]] = {}
    for run in track(range(options.runs // 4), "Holm over four tasks"):
        tasks = []
        for task in range(4):
            seed = options.seed + 1_000_000 + 4 * run + task
            pair = planted_pair("identical", num_examples=options.num_examples, seed=seed)
            tasks.append(compare(f"task {task}", pair.arm, pair.mdm, settings_of(options, seed)))
        for test in corrected_tests(tasks):
            if test.name in ("edges_noise", "centre_of_mass", "profile_distance"):
                any_task = bool((test.adjusted_p <= 1 - options.level).any())
                found.setdefault(f"{test.name}, any task", []).append(any_task)
    return found


def add_row(table: Table, null: str, test: str, rejections: list[bool]) -> None:
    count, runs = int(np.sum(rejections)), len(rejections)
    interval = proportion_interval(count, runs)
    table.add_row(
        null,
        test,
        f"{count} of {runs}",
        f"{count / runs:.3f}",
        f"{interval.low:.3f} to {interval.high:.3f}",
    )


if __name__ == "__main__":
    main(tyro.cli(Options))
