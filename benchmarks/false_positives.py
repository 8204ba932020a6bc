"""How often does a comparison find a difference, or a likeness, that is not there?

Draws pools in which a null hypothesis holds and counts how often each test rejects it at its level.
A test is sound if the count is no larger than a binomial draw at that level; docs/validity.md holds
the table.

    python benchmarks/false_positives.py --help
"""

from dataclasses import dataclass

import numpy as np
import tyro
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.stats import binomtest

from mechshift.circuits.edge_groups import edge_groups, order_within
from mechshift.comparison import (
    ComparisonSettings,
    SideProfiles,
    agreement,
    depth_profile,
    overlap_curve,
)
from mechshift.statistics import Estimate, holm
from mechshift.testing import Noise, PlantedPair, planted_pair

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
    circuit_size: int = 20
    """Twice as many edges as the planted circuit has."""
    resamples: int = 200
    """Bootstrap resamples, exchanges and shuffles in each run."""
    level: float = 0.95
    seed: int = 0


@dataclass(frozen=True)
class Run:
    """What one pool gave."""

    p: dict[str, float]
    """P-value by test."""
    outside: dict[str, bool]
    """Whether an interval leaves out the number that the null hypothesis states."""


def main(options: Options) -> None:
    """Print one table."""
    alpha = 1 - options.level
    table = Table(title=f"{options.runs} runs, seed {options.seed}")
    for column in ("null hypothesis", "test", "rejected", "share", "95 % interval"):
        table.add_column(column)
    for name, noise in NULLS.items():
        runs = [one_run(noise, options, run) for run in track(range(options.runs), name)]
        for test in runs[0].p:
            add_row(table, name, f"{test}, p", [run.p[test] <= alpha for run in runs])
        for test in runs[0].outside:
            add_row(table, name, f"{test}, interval", [run.outside[test] for run in runs])
        add_row(table, name, "edges, Holm over 4 tasks, any", familywise(runs, "edges", alpha))
    layout = [layout_p(options, run) <= alpha for run in track(range(options.runs), "layout")]
    add_row(table, "edges exchanged within layers and types", "edges against layout, p", layout)
    Console(width=120).print(table)


def settings_of(options: Options, seed: int) -> ComparisonSettings:
    return ComparisonSettings(
        circuit_size=options.circuit_size,
        sizes=(options.circuit_size,),
        num_resamples=options.resamples,
        num_splits=50,
        num_shuffles=options.resamples,
        num_exchanges=options.resamples,
        level=options.level,
        seed=seed,
    )


def one_run(noise: Noise, options: Options, run: int) -> Run:
    """Compare two equal circuits on one pool."""
    seed = options.seed + run
    pair = planted_pair("identical", num_examples=options.num_examples, noise=noise, seed=seed)
    graph, settings = pair.arm.graph, settings_of(options, seed)
    scores = [one.values.sum(axis=1) for one in (pair.arm, pair.mdm)]
    overlap = overlap_curve(graph, *scores, settings)
    agreed = agreement(graph, *scores, settings)
    p = {"edges": float(overlap.noise_p[0])}
    outside = {"edges, ratio": leaves_out(overlap.ratio.at(0), 1.0)}
    for name in ("nodes", "weighted", "rank", "sign"):
        curve = getattr(agreed, name)
        p[name] = float(curve.noise_p[0])
        outside[f"{name}, ratio"] = leaves_out(curve.ratio.at(0), 1.0)
    for scope, words in (("circuit", "circuit"), ("all", "all edges")):
        side = depth_profile(graph, *scores, settings, scope=scope).source
        found = depth_of(side, words)
        p |= found.p
        outside |= found.outside
    return Run(p=p, outside=outside)


def depth_of(side: SideProfiles, words: str) -> Run:
    """Tests and intervals of a shift in depth."""
    return Run(
        p={
            f"{words}: early share": float(side.thirds_p[0]),
            f"{words}: centre of mass": side.centre_of_mass_p or np.nan,
            f"{words}: profile distance": side.distance.noise_p or np.nan,
        },
        outside={
            f"{words}: early share": leaves_out(side.thirds_shift.at(0), 0.0),
            f"{words}: centre of mass": leaves_out(side.centre_of_mass_shift, 0.0),
            f"{words}: distance excess": leaves_out(side.distance.of_halves("excess"), 0.0),
            f"{words}: early share, cross-fitted": leaves_out(
                side.cross_fitted_shift("early"), 0.0
            ),
            f"{words}: centre of mass, cross-fitted": leaves_out(
                side.cross_fitted_shift("centre_of_mass"), 0.0
            ),
        },
    )


def leaves_out(found: Estimate | None, value: float) -> bool:
    return found is not None and found.excludes(value)


def layout_p(options: Options, run: int) -> float:
    """P-value of two circuits that are alike in layout only."""
    seed = options.seed + run
    pair = shuffled_pair(options, seed)
    scores = [one.values.sum(axis=1) for one in (pair.arm, pair.mdm)]
    return float(overlap_curve(pair.arm.graph, *scores, settings_of(options, seed)).layout_p[0])


def shuffled_pair(options: Options, seed: int) -> PlantedPair:
    """The MDM's edges change places within their groups, the same in every example."""
    pair = planted_pair("identical", num_examples=options.num_examples, seed=seed)
    order = order_within(edge_groups(pair.arm.graph), np.random.default_rng(seed + 500_000))
    pair.mdm.values[:] = pair.mdm.values[..., order]
    return pair


def familywise(runs: list[Run], test: str, alpha: float) -> list[bool]:
    """Whether any of four tasks is rejected after Holm, taking every four runs as four tasks."""
    p = np.array([run.p[test] for run in runs])
    families = p[: len(p) // 4 * 4].reshape(-1, 4)
    return [bool((holm(family) <= alpha).any()) for family in families]


def add_row(table: Table, null: str, test: str, rejections: list[bool]) -> None:
    count, runs = int(np.sum(rejections)), len(rejections)
    interval = binomtest(count, runs).proportion_ci(method="wilson")
    table.add_row(
        null,
        test,
        f"{count} of {runs}",
        f"{count / runs:.3f}",
        f"{interval.low:.3f} to {interval.high:.3f}",
    )


if __name__ == "__main__":
    main(tyro.cli(Options))
