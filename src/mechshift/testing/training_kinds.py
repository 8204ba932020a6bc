"""Trainings with and without diffusion whose mean and spread are known, for tests of causes.

Every training's number is its kind's truth, plus what its seed adds, plus the mean over examples of
noise of three kinds: of the ARM, which all trainings are held against; of their kind, since one
recipe makes models that err alike on the same examples; and of their own. All is in units of one
training's standard error over examples.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mechshift.models import ARM_CONTINUED, MDM_OTHER_SEED, control_name
from mechshift.statistics import Estimate, Estimates, Interval, bootstrap_weights
from mechshift.topics.topic import Measured, MemberResults

QUANTITY = "shift"
"""Name of the one quantity that is measured."""

NUM_EXAMPLES = 200


@dataclass(frozen=True, kw_only=True)
class TrainingKinds:
    """Two kinds of trainings, in standard errors of one training's number over examples."""

    num_trainings: int = 3
    """Of either kind."""
    with_diffusion: float = 8.0
    """True mean of all MDMs that could be trained."""
    without: float = 8.0
    """The same of ARMs trained on."""
    training_sd: float = 1.0
    """Standard deviation between trainings of one kind."""
    training_sd_without: float | None = None
    """Between those without diffusion; None: the same."""
    arm_share: float = 0.3
    """Of the variance over examples, what all trainings share."""
    kind_share: float = 0.4
    """What the trainings of one kind share besides."""


@dataclass(frozen=True, kw_only=True)
class SimulatedTrainings:
    """One draw of them."""

    mdm: MemberResults
    controls: tuple[MemberResults, ...]
    """ARMs trained on, then MDMs of other seeds; all can do the task."""


def simulated_trainings(
    kinds: TrainingKinds, *, seed: int, num_resamples: int = 200, level: float = 0.95
) -> SimulatedTrainings:
    """Draw trainings and examples, and resample these as a run does.

    Args:
        kinds: what is known of them.
        seed: of the draw.
        num_resamples: of the examples, the same for all trainings.
        level: of the intervals.
    """
    generator = np.random.default_rng([seed, 1])  # not the stream of the weights
    weights = bootstrap_weights(NUM_EXAMPLES, num_resamples, seed)
    of_arm = np.sqrt(kinds.arm_share) * generator.normal(size=NUM_EXAMPLES)
    own_share = 1 - kinds.arm_share - kinds.kind_share
    measured: list[list[Measured]] = []
    sd_without = kinds.training_sd_without
    for truth, sd in (
        (kinds.with_diffusion, kinds.training_sd),
        (kinds.without, kinds.training_sd if sd_without is None else sd_without),
    ):
        of_kind = np.sqrt(kinds.kind_share) * generator.normal(size=NUM_EXAMPLES)
        own = np.sqrt(own_share) * generator.normal(size=(kinds.num_trainings, NUM_EXAMPLES))
        seeds = sd * generator.normal(size=(kinds.num_trainings, 1))
        numbers = truth + seeds + np.sqrt(NUM_EXAMPLES) * (of_arm + of_kind + own)
        measured.append([_measured(row, weights, level) for row in numbers])
    (mdm, *others), trained_on = measured
    controls = [
        _member(control_name(role, training), one)
        for role, of_role in ((ARM_CONTINUED, trained_on), (MDM_OTHER_SEED, others))
        for training, one in enumerate(of_role, start=1)
    ]
    return SimulatedTrainings(mdm=_member("mdm", mdm), controls=tuple(controls))


def _measured(
    numbers: Float[np.ndarray, " example"],
    weights: Float[np.ndarray, "resample example"],
    level: float,
) -> Measured:
    """The mean over examples, with its draws."""
    draws = weights @ numbers
    rows = np.concatenate([[numbers.mean()], draws])[:, None]
    return Measured(estimate=Estimates.from_rows(rows, level=level).at(0), draws=draws)


def _member(name: str, measured: Measured) -> MemberResults:
    able = Estimate(value=1.0, interval=Interval(low=0.9, high=1.0, level=0.95))
    return MemberResults(name=name, measured={QUANTITY: measured}, accuracy=able)
