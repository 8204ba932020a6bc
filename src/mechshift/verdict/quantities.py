"""Which numbers sum up how far a model is from the ARM on one task?

The same for the MDM and for every control, so that a shift can be held against what a control
shows without diffusion, without training, or with other chance. Shifts in depth are cross-fitted,
so that a model whose scores are noisier does not look moved (`comparison.depth`).
"""

from dataclasses import dataclass

from mechshift.comparison import CircuitShift, Comparison, DirectionOfFlow
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
    depth = evidence.shift.circuit_depth.source
    found = (
        _overlap_ratio(evidence.shift),
        depth.cross_fitted_shift("early"),
        depth.cross_fitted_shift("centre_of_mass"),
        evidence.concentration.shift.effective_number,
        _right_to_left(evidence.direction),
    )
    return {quantity.name: one for quantity, one in zip(QUANTITIES, found, strict=True)}


def _overlap_ratio(comparison: Comparison | CircuitShift) -> Estimate | None:
    index = comparison.overlap.index_of(comparison.circuit_size)
    assert index is not None  # overlap_sizes always measures the circuit's own size
    return comparison.overlap.ratio.at(index)


def _right_to_left(direction: DirectionOfFlow | None) -> Estimate | None:
    return None if direction is None else direction.mdm.overall.at(0)
