"""Which numbers sum up how far a model is from the ARM on one task?

The same for the MDM and for every control, so that a shift can be held against what a control
shows without diffusion, without training, or with other chance. Shifts in depth are cross-fitted,
so that a model whose scores are noisier does not look moved (`comparison.depth`).
"""

from dataclasses import dataclass

from mechshift.comparison import (
    RIGHT_TO_LEFT,
    CircuitShift,
    Comparison,
    CrossFitted,
    DirectionOfFlow,
)
from mechshift.statistics import Estimate
from mechshift.verdict.evidence import ControlEvidence, Evidence


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """One number, and what it would be if nothing had changed."""

    name: str
    unit: str
    neutral: float
    """Its value where the model is as the ARM."""

    meaning: str


QUANTITIES = (
    Quantity(
        name="overlap ratio",
        unit="",
        neutral=1.0,
        meaning="overlap with the ARM's circuit as a share of what sampling noise allows",
    ),
    Quantity(
        name="early share shift",
        unit="of |score|",
        neutral=0.0,
        meaning="share of the circuit's score that the first third of the layers writes, minus the"
        " ARM's",
    ),
    Quantity(
        name="centre of mass shift",
        unit="layers",
        neutral=0.0,
        meaning="mean depth at which the circuit's score is written, minus the ARM's",
    ),
    Quantity(
        name="effective components shift",
        unit="components",
        neutral=0.0,
        meaning="number of equal components that would be as concentrated, minus the ARM's",
    ),
    Quantity(
        name="right-to-left share",
        unit="of |flow|",
        neutral=0.0,
        meaning="share of the k/v flow whose source lies to the right of its reader",
    ),
)


def quantities(evidence: Evidence | ControlEvidence) -> dict[str, Estimate | None]:
    """Each of `QUANTITIES` by name; None where it is undefined or was not measured."""
    found = (
        overlap_ratio(evidence.shift),
        depth_shift(evidence.shift, "early"),
        depth_shift(evidence.shift, "centre_of_mass"),
        evidence.concentration.shift.effective_number,
        None if evidence.direction is None else right_to_left_share(evidence.direction),
    )
    return {quantity.name: one for quantity, one in zip(QUANTITIES, found, strict=True)}


def overlap_ratio(comparison: Comparison | CircuitShift) -> Estimate | None:
    """Overlap over its ceiling, at the circuits' size; None where it is undefined."""
    index = comparison.overlap.index_of(comparison.circuit_size)
    assert index is not None  # overlap_sizes always measures the circuit's own size
    return comparison.overlap.ratio.at(index)


def depth_shift(comparison: Comparison | CircuitShift, of: CrossFitted) -> Estimate | None:
    """A cross-fitted shift, by writing layer; None where it is undefined."""
    return comparison.circuit_depth.source.cross_fitted_shift(of)


def right_to_left_share(direction: DirectionOfFlow) -> Estimate:
    """Of all k/v flow of the MDM."""
    share = direction.mdm.overall.at(RIGHT_TO_LEFT)
    assert share is not None  # direction_of_flow refuses a model in which nothing flows
    return share
