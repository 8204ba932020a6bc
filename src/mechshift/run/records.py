"""Records that the stages of a run store, where no single package below has them whole."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from mechshift.evaluation import Baselines, CircuitMetrics, Rediscovery
from mechshift.semantics import Semantics
from mechshift.tasks import CommonPool, Split

POOL_SPLITS: tuple[Split, Split] = ("discovery", "held-out")


@dataclass(frozen=True, kw_only=True, eq=False)
class TaskPools:
    """The pools of one task."""

    discovery: CommonPool
    """Finds circuits."""
    held_out: CommonPool
    """Tests them."""

    def of(self, split: Split) -> CommonPool:
        """The pool of one split."""
        return {"discovery": self.discovery, "held-out": self.held_out}[split]


@dataclass(frozen=True, kw_only=True, eq=False)
class Solved:
    """Examples that a model solves; of what examples, the folder says."""

    correct: Bool[np.ndarray, " example"]


@dataclass(frozen=True, kw_only=True, eq=False)
class CircuitRuns:
    """Metrics of circuits that were run on held-out examples."""

    by_owner: Mapping[str, CircuitMetrics]
    """What one model scores on the circuits of `arm` and `mdm`; for a checkpoint, what it and its
    parent score on each other's, by the names in `topics.faithfulness`."""
    baselines: Baselines | None = None
    """What the model scores on circuits that know less; None for a checkpoint."""
    rediscovery: Rediscovery | None = None
    """What it scores on circuits found on parts of the discovery examples; None for a checkpoint,
    where it was left out, and where the examples are in too few clusters."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ComponentReadings:
    """Readings of one model's components, and the texts of the tokens that they name."""

    semantics: Semantics
    tokens: Mapping[str, str]
    """Id of each token, in decimals, and its text."""
