"""How far is every checkpoint of a post-training from its parent, on one task?

A checkpoint is held against the parent as a control is, by the same numbers (`quantities.py`), and
by three of what circuits carry and one of what the checkpoint can do.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from mechshift.graph import Graph
from mechshift.statistics import Estimate, Estimates
from mechshift.verdict.evidence import ControlEvidence
from mechshift.verdict.quantities import QUANTITIES, quantities

Training = Literal["diffusion", "control"]
"""The post-training into an MDM; or the ARM trained on with its own objective on the same data."""

TRAININGS: tuple[Training, ...] = ("diffusion", "control")

FAITHFULNESS = "faithfulness"
"""Unit of the first three below."""

OWN, INHERITED, RETURNED, ACCURACY = (
    "own circuit",
    "the ARM's circuit in it",
    "its circuit in the ARM",
    "accuracy",
)


@dataclass(frozen=True, kw_only=True)
class Tracked:
    """A number that is followed over training."""

    name: str
    unit: str
    meaning: str
    reference: float | None
    """A value to read it against: where nothing has changed; None: there is none."""


TRACKED: tuple[Tracked, ...] = (
    *(
        Tracked(name=one.name, unit=one.unit, meaning=one.meaning, reference=one.neutral)
        for one in QUANTITIES
    ),
    Tracked(
        name=OWN,
        unit=FAITHFULNESS,
        meaning="share of the checkpoint's metric that its own circuit keeps; what the next two are"
        " to be held against",
        reference=1.0,
    ),
    Tracked(
        name=INHERITED,
        unit=FAITHFULNESS,
        meaning="share of the checkpoint's metric that the ARM's circuit keeps: does the old"
        " circuit still carry the task?",
        reference=1.0,
    ),
    Tracked(
        name=RETURNED,
        unit=FAITHFULNESS,
        meaning="share of the ARM's metric that the checkpoint's circuit keeps",
        reference=1.0,
    ),
    Tracked(
        name=ACCURACY,
        unit="of examples",
        meaning="share of the held-out examples that the checkpoint solves, of all that were tried"
        " for the pool, solved by the pair or not",
        reference=None,
    ),
)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One number of one checkpoint, or why there is none."""

    estimate: Estimate | None = None
    reason: str = ""
    """Empty where there is an estimate."""

    def __post_init__(self) -> None:
        assert (self.estimate is None) == bool(self.reason)


@dataclass(frozen=True, kw_only=True, eq=False)
class TrajectoryPoint:
    """One checkpoint on one task."""

    training: Training
    step: int
    """Training steps since the parent; 0 is the parent itself, read as its checkpoints are."""
    measured: Mapping[str, Measured]
    """Each of `TRACKED` by name."""
    share: Estimates
    """Share of the circuit's |score| by writing layer, `input` first
    (`comparison.LayerProfile`)."""
    scores: Float[np.ndarray, " edge"]
    """Mean score of each edge [metric units], summed over denoising steps."""

    def __post_init__(self) -> None:
        assert list(self.measured) == [tracked.name for tracked in TRACKED]


@dataclass(frozen=True, kw_only=True, eq=False)
class Trajectory:
    """All checkpoints on one task."""

    task: str
    graph: Graph
    circuit_size: int
    parent_scores: Float[np.ndarray, " edge"]
    """Mean score of each edge in the ARM as it is [metric units]."""
    points: tuple[TrajectoryPoint, ...]
    """By training, then by step."""
    num_examples: int
    """Examples whose edges were scored."""
    num_held_out: int
    """Held-out examples on which circuits were run; both models of the pair solve them."""
    num_asked: int
    """Held-out examples behind the accuracies."""
    level: float

    @property
    def trainings(self) -> tuple[Training, ...]:
        """Those that have a point."""
        present = {point.training for point in self.points}
        return tuple(training for training in TRAININGS if training in present)

    def of(self, training: Training) -> tuple[TrajectoryPoint, ...]:
        """The points of one training, by step."""
        return tuple(point for point in self.points if point.training == training)


def measured_quantities(
    evidence: ControlEvidence, faithfulness: Mapping[str, Measured]
) -> dict[str, Measured]:
    """Each of `TRACKED` by name.

    Args:
        evidence: the checkpoint, held against the parent as a control is.
        faithfulness: of `OWN`, `INHERITED` and `RETURNED`, which may be undefined.
    """
    reasons = {
        "overlap ratio": " ".join(evidence.shift.overlap.notes) or "a ceiling is 0",
        "early share shift": _NOT_CARRIED,
        "centre of mass shift": _NOT_CARRIED,
        "right-to-left share": "flow between positions was not traced",
    }
    found = {
        name: Measured(reason=reasons[name]) if one is None else Measured(estimate=one)
        for name, one in quantities(evidence).items()
    }
    accuracy = {ACCURACY: Measured(estimate=evidence.accuracy)}
    return found | {name: faithfulness[name] for name in (OWN, INHERITED, RETURNED)} | accuracy


_NOT_CARRIED = "scores on one half of the examples do not carry over to the other half"
