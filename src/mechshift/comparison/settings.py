"""Settings of a comparison: circuit sizes, resamples, shuffles and exchanges, level and seed."""

from dataclasses import dataclass

import numpy as np

from mechshift.errors import ConfigError
from mechshift.statistics import MAX_DRAWS

PUBLISHED_CIRCUIT_SIZE = 1000
"""Edges in the circuits of arXiv 2601.14758, the same for both models."""

LARGEST_DEFAULT_SHARE = 0.1
"""Of a graph's edges, where nobody asks for a size: in a small graph 1000 edges are most of it, and
any two circuits of that size overlap."""


@dataclass(frozen=True, kw_only=True)
class ComparisonSettings:
    """Settings of the comparison stage."""

    circuit_size: int | None = None
    """Edges in each model's circuit; by default 1000, but no more than a tenth of the graph."""

    sizes: tuple[int, ...] = ()
    """Circuit sizes [edges] of the overlap curve; empty: about ten, spread evenly on a log axis."""

    num_resamples: int = 1000
    """Bootstrap resamples of the examples behind every interval."""

    num_splits: int = 100
    """Random halvings of the examples behind each split-half ceiling."""

    num_splits_per_resample: int = 4
    """Halvings of each bootstrap resample, for the intervals of ceilings and their ratio."""

    num_shuffles: int = 1000
    """Shuffles of one model's scores behind the null overlap and its p-value."""

    num_exchanges: int = 1000
    """Exchanges of the two models' examples behind every p-value of no difference."""

    level: float = 0.95
    """Nominal coverage of every interval."""

    seed: int = 0
    """Seed of resamples, halves and shuffles."""

    def __post_init__(self) -> None:
        counts = {
            "circuit_size": 1 if self.circuit_size is None else self.circuit_size,
            "num_resamples": self.num_resamples,
            "num_splits": self.num_splits,
            "num_splits_per_resample": self.num_splits_per_resample,
            "num_shuffles": self.num_shuffles,
            "num_exchanges": self.num_exchanges,
            **{f"sizes[{index}]": size for index, size in enumerate(self.sizes)},
        }
        for name, count in counts.items():
            if count < 1:
                raise ConfigError(f"comparison setting {name} must be at least 1, not {count}.")
            if name.startswith("num_") and count > MAX_DRAWS:
                raise ConfigError(
                    f"comparison setting {name} must be at most {MAX_DRAWS:,}, not {count:,}."
                )
        if self.seed < 0:
            raise ConfigError(f"comparison setting seed must be at least 0, not {self.seed}.")
        if not 0 < self.level < 1:
            raise ConfigError(f"comparison setting level lies between 0 and 1, not {self.level}.")

    def circuit_size_in(self, num_edges: int) -> int:
        """Edges in each model's circuit of a graph of that many edges.

        Raises:
            ConfigError: the size asked for is larger than the graph.
        """
        if self.circuit_size is None:
            return min(PUBLISHED_CIRCUIT_SIZE, max(1, round(LARGEST_DEFAULT_SHARE * num_edges)))
        _check_fits(self.circuit_size, num_edges, "circuit_size")
        return self.circuit_size


def overlap_sizes(settings: ComparisonSettings, num_edges: int) -> tuple[int, ...]:
    """The sizes of the overlap curve, ascending; the circuit's own size is always among them.

    Raises:
        ConfigError: a size is larger than the graph.
    """
    wanted = settings.sizes or default_sizes(num_edges)
    _check_fits(max(wanted), num_edges, "sizes")
    return tuple(sorted({*wanted, settings.circuit_size_in(num_edges)}))


def default_sizes(num_edges: int, num_sizes: int = 10) -> tuple[int, ...]:
    """About `num_sizes` sizes from 10 edges (or 1, in a tiny graph) to half of the graph.

    Beyond half of the graph two random circuits share most of their edges by force.
    """
    largest = max(1, num_edges // 2)
    smallest = min(10, largest) if num_edges > 100 else 1
    return tuple(sorted({int(size) for size in np.geomspace(smallest, largest, num_sizes).round()}))


def agreement_sizes(settings: ComparisonSettings, num_edges: int) -> tuple[int, ...]:
    """The sizes at which agreement beyond the edge sets is measured, ascending.

    The circuit's size, three times as much, and all edges: ranking edges anew for every half of
    every resample takes too long for a whole curve.

    Raises:
        ConfigError: the circuit's size is larger than the graph.
    """
    size = settings.circuit_size_in(num_edges)
    return tuple(sorted({size, min(3 * size, num_edges), num_edges}))


def _check_fits(size: int, num_edges: int, setting: str) -> None:
    if size > num_edges:
        raise ConfigError(
            f"a circuit of {size} edges does not fit a graph of {num_edges} edges; lower {setting}."
        )
