"""What one comparison of two models can be asked for."""

from dataclasses import dataclass

import numpy as np

from mechshift.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ComparisonSettings:
    """Settings of the comparison stage."""

    circuit_size: int = 1000
    """Edges in each model's circuit; 1000 is the equal-cardinality summary of arXiv 2601.14758."""

    sizes: tuple[int, ...] = ()
    """Circuit sizes [edges] of the overlap curve; empty: about ten, spread evenly on a log axis."""

    num_resamples: int = 1000
    """Bootstrap resamples of the examples behind every interval."""

    num_splits: int = 100
    """Random halvings of the examples behind each split-half ceiling."""

    num_splits_per_resample: int = 4
    """Halvings of each bootstrap resample, for the intervals of ceilings and their ratio."""

    num_shuffles: int = 100
    """Shuffles of one model's scores behind the null overlap."""

    level: float = 0.95
    """Nominal coverage of every interval."""

    seed: int = 0
    """Seed of resamples, halves and shuffles."""

    def __post_init__(self) -> None:
        counts = {
            "circuit_size": self.circuit_size,
            "num_resamples": self.num_resamples,
            "num_splits": self.num_splits,
            "num_splits_per_resample": self.num_splits_per_resample,
            "num_shuffles": self.num_shuffles,
            **{f"sizes[{index}]": size for index, size in enumerate(self.sizes)},
        }
        for name, count in counts.items():
            if count < 1:
                raise ConfigError(f"comparison setting {name} must be at least 1, not {count}.")
        if not 0 < self.level < 1:
            raise ConfigError(f"comparison setting level lies between 0 and 1, not {self.level}.")


def overlap_sizes(settings: ComparisonSettings, num_edges: int) -> tuple[int, ...]:
    """The sizes of the overlap curve, ascending; the circuit's own size is always among them.

    Raises:
        ConfigError: a size is larger than the graph.
    """
    wanted = settings.sizes or default_sizes(num_edges)
    sizes = sorted({*wanted, settings.circuit_size})
    if sizes[-1] > num_edges:
        raise ConfigError(
            f"a circuit of {sizes[-1]} edges does not fit a graph of {num_edges} edges;"
            " lower circuit_size or sizes."
        )
    return tuple(sizes)


def default_sizes(num_edges: int, num_sizes: int = 10) -> tuple[int, ...]:
    """About `num_sizes` sizes from 10 edges (or 1, in a tiny graph) to half of the graph.

    Beyond half of the graph two random circuits share most of their edges by force.
    """
    largest = max(1, num_edges // 2)
    smallest = min(10, largest) if num_edges > 100 else 1
    return tuple(sorted({int(size) for size in np.geomspace(smallest, largest, num_sizes).round()}))
