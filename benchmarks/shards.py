"""What do shards of examples cost: how do intervals change when there are fewer units to resample?

Draws pools of planted pairs, averages their scores over shards of several sizes, and compares each
pool's intervals with those from single examples: their width, how much the width scatters from pool
to pool, and how often they hold the number that was planted. docs/validity.md holds the table.

    python benchmarks/shards.py --help
"""

from dataclasses import dataclass

import numpy as np
import tyro
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mechshift.attribution import EdgeScores, average_over_shards
from mechshift.comparison import ComparisonSettings, depth_profile, overlap_curve
from mechshift.statistics import Estimate
from mechshift.testing import LAYERS_MOVED, Noise, planted_pair

TRUTH = {
    "shift of `moved`": -float(LAYERS_MOVED),
    "shift of `identical`": 0.0,
    "ratio to ceiling of `identical`": 1.0,
}
"""What is estimated, and its planted value: cross-fitted shifts of the centre of mass [layers], and
the ratio of edge overlap to its ceiling."""


@dataclass(frozen=True)
class Options:
    """By default what docs/validity.md shows."""

    runs: int = 100
    num_examples: int = 200
    examples_per_shard: tuple[int, ...] = (1, 2, 5, 10, 20)
    circuit_size: int = 20
    """Twice as many edges as the planted circuit has."""
    noise: float = 3.0
    """Standard deviation of an example's score of every edge [the ARM's units]."""
    resamples: int = 400
    level: float = 0.95
    seed: int = 0


def main(options: Options) -> None:
    """Print one table."""
    found = {
        size: [intervals(options, run, size) for run in track(range(options.runs), f"{size}")]
        for size in options.examples_per_shard
    }
    table = Table(title=f"{options.runs} pools of {options.num_examples} examples")
    columns = ("quantity", "examples in a shard", "shards", "width", "of single's", "holds truth")
    for column in columns:
        table.add_column(column)
    smallest = options.examples_per_shard[0]
    for name, truth in TRUTH.items():
        alone = widths(found[smallest], name).mean()
        for size, runs in found.items():
            width = widths(runs, name)
            table.add_row(
                name,
                f"{size}",
                f"{options.num_examples // size}",
                f"{width.mean():.3f} ± {width.std():.3f}",
                f"{width.mean() / alone:.2f}",
                f"{np.mean([not run[name].excludes(truth) for run in runs]):.2f}",
            )
    Console(width=120).print(table)


def widths(runs: list[dict[str, Estimate]], name: str) -> np.ndarray:
    return np.array([run[name].interval.high - run[name].interval.low for run in runs])


def intervals(options: Options, run: int, examples_per_shard: int) -> dict[str, Estimate]:
    """The estimates of `TRUTH` on one pool; the same pools whatever the size of shards."""
    settings = ComparisonSettings(
        circuit_size=options.circuit_size,
        sizes=(options.circuit_size,),
        num_resamples=options.resamples,
        num_splits=50,
        num_shuffles=1,
        num_exchanges=1,
        level=options.level,
        seed=options.seed + run,
    )
    found = {}
    for plant in ("moved", "identical"):
        pair = planted_pair(
            plant,
            num_examples=options.num_examples,
            noise=Noise(own=options.noise),
            seed=options.seed + run,
        )
        graph = pair.arm.graph
        rows = [in_rows(one, examples_per_shard) for one in (pair.arm, pair.mdm)]
        depth = depth_profile(graph, *rows, settings)
        shift = depth.source.cross_fitted_shift("centre_of_mass")
        assert shift is not None  # the planted circuit stands out from the noise
        found[f"shift of `{plant}`"] = shift
    ratio = overlap_curve(graph, *rows, settings).ratio.at(0)
    assert ratio is not None
    return found | {"ratio to ceiling of `identical`": ratio}


def in_rows(scores: EdgeScores, examples_per_shard: int) -> np.ndarray:
    return average_over_shards(scores, examples_per_shard).values.sum(axis=1)


if __name__ == "__main__":
    main(tyro.cli(Options))
