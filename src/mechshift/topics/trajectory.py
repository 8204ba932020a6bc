"""The trajectory over post-training: how far each checkpoint is from its parent, on one task.

For whoever asks when a shift happens, and whether training without diffusion shows it too.

A checkpoint is held against its parent as the MDM and the controls are, by the quantities of every
topic (`registry.tracked_quantities`). So a new quantity of any topic is one more column of the
trajectory: nothing here lists them. Figures of it stand in `trajectory_curves` and
`trajectory_circuits`, its page in `trajectory_page`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float

from mechshift.graph import Graph
from mechshift.page.theme import ARM_COLOUR, MDM_COLOUR
from mechshift.statistics import Estimates
from mechshift.topics.topic import Measured, Quantity, StoredMember

TrainingKind = Literal["diffusion", "control"]
"""The post-training into an MDM; or the ARM trained on with its own objective on the same data."""

TRAINING_KINDS: tuple[TrainingKind, ...] = ("diffusion", "control")

Training = str
"""A post-training: called as its kind, and numbered from the second seed on (`control-2`)."""

NUMBERED_TRAINING = re.compile(r"(diffusion|control)(?:-([2-9]|[1-9][0-9]+))?")

KIND_COLOURS: dict[TrainingKind, str] = {"diffusion": MDM_COLOUR, "control": ARM_COLOUR}
KIND_TITLES: dict[TrainingKind, str] = {
    "diffusion": "diffusion",
    "control": "control: the ARM's own objective",
}


def training_name(kind: TrainingKind, number: int) -> Training:
    """Of the training of a kind that is counted as this from 1."""
    return kind if number == 1 else f"{kind}-{number}"


def training_place(training: Training) -> tuple[int, int]:
    """Place of its kind in `TRAINING_KINDS`, and its number: the order in which they are shown."""
    found = NUMBERED_TRAINING.fullmatch(training)
    assert found is not None  # names are made by `training_name`
    return [str(kind) for kind in TRAINING_KINDS].index(found[1]), int(found[2] or 1)


def training_kind(training: Training) -> TrainingKind:
    """With diffusion or without."""
    return TRAINING_KINDS[training_place(training)[0]]


def training_title(training: Training) -> str:
    """How the page calls it."""
    title, (_, number) = KIND_TITLES[training_kind(training)], training_place(training)
    return title if number == 1 else f"{title} (training {number})"


def training_colour(training: Training) -> str:
    """That of its kind."""
    return KIND_COLOURS[training_kind(training)]


@dataclass(frozen=True, kw_only=True, eq=False)
class TrajectoryPoint:
    """One checkpoint on one task."""

    training: Training
    step: int
    """Training steps since the parent; 0 is the parent itself, read as its checkpoints are."""
    measured: Mapping[str, Measured]
    """Each of `registry.tracked_quantities` by name."""
    share: Estimates
    """Share of the circuit's |score| by writing layer, `input` first
    (`comparison.LayerProfile`)."""
    scores: Float[np.ndarray, " edge"]
    """Mean score of each edge [metric units], summed over denoising steps."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Trajectory:
    """All checkpoints on one task."""

    task: str
    graph: Graph
    circuit_size: int
    parent_scores: Float[np.ndarray, " edge"]
    """Mean score of each edge in the ARM as it is [metric units]."""
    points: tuple[TrajectoryPoint, ...]
    """By training, then by step; all with the same quantities. The parent, at step 0, is a point of
    the first training of each kind, and where the further ones begin too."""
    num_examples: int
    """Examples whose edges were scored."""
    num_held_out: int
    """Held-out examples on which circuits were run; both models of the pair solve them, or of a
    training that was followed the ARM."""
    num_asked: int
    """Held-out examples behind the accuracies."""
    level: float

    def __post_init__(self) -> None:
        assert len({frozenset(point.measured) for point in self.points}) == 1

    @property
    def trainings(self) -> tuple[Training, ...]:
        """Those that have a point, in order."""
        return tuple(sorted({point.training for point in self.points}, key=training_place))

    @property
    def followed(self) -> tuple[Training, ...]:
        """The first of each kind, and those with a point between their ends: they are drawn."""
        return tuple(
            training
            for training in self.trainings
            if training in TRAINING_KINDS or len(self.of(training)) > 2
        )

    def of(self, training: Training) -> tuple[TrajectoryPoint, ...]:
        """The points of one training from the parent on, by step."""
        own = [point for point in self.points if point.training == training]
        first = training_kind(training)
        if training != first:
            parent = [one for one in self.points if one.training == first and one.step == 0]
            own = [*(replace(one, training=training) for one in parent), *own]
        return tuple(own)


def measure_checkpoint(
    member: StoredMember, *, training: Training, step: int, tracked: Sequence[Quantity]
) -> TrajectoryPoint:
    """Hold a checkpoint against its parent, from what earlier stages stored of both.

    The quantities are measured by the same functions and on the same resamples as those of the MDM,
    so the last point of a trajectory says what the comparison of the pair says.

    Args:
        member: the checkpoint.
        training: that it comes from.
        step: training steps since the parent.
        tracked: what to measure; see `registry.tracked_quantities`.

    Raises:
        MechshiftError: an earlier result is missing or damaged, or cannot be compared.
    """
    _, own = member.scores()
    return TrajectoryPoint(
        training=training,
        step=step,
        measured={quantity.name: quantity.measure(member) for quantity in tracked},
        share=member.shift().circuit_depth.source.mdm.share,
        scores=own.mean(),
    )
