"""What the measurements of a pair decide, and what they leave open."""

from mechshift.verdict.evidence import ControlEvidence, Evidence
from mechshift.verdict.quantities import QUANTITIES, Quantity, quantities
from mechshift.verdict.rules import NOT_DECIDED, RULES, Statement, Verdict, verdict
from mechshift.verdict.trajectory import (
    FAITHFULNESS,
    TRACKED,
    TRAININGS,
    Measured,
    Tracked,
    Training,
    Trajectory,
    TrajectoryPoint,
    measured_quantities,
)

__all__ = [
    "FAITHFULNESS",
    "NOT_DECIDED",
    "QUANTITIES",
    "RULES",
    "TRACKED",
    "TRAININGS",
    "ControlEvidence",
    "Evidence",
    "Measured",
    "Quantity",
    "Statement",
    "Tracked",
    "Training",
    "Trajectory",
    "TrajectoryPoint",
    "Verdict",
    "measured_quantities",
    "quantities",
    "verdict",
]
