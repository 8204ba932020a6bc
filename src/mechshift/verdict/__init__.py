"""What the measurements of a pair decide, and what they leave open."""

from mechshift.topics.decisions import (
    MATERIAL_SHARE,
    NOT_DECIDED,
    NOT_MEASURED,
    UNDEFINED,
    beyond_layout,
    by_side,
    by_sign,
)
from mechshift.verdict.evidence import ControlEvidence, Evidence
from mechshift.verdict.intervention import (
    Drop,
    Intervention,
    Side,
    drop_of,
    intervention,
    replacement_of,
)
from mechshift.verdict.quantities import (
    QUANTITIES,
    Quantity,
    depth_shift,
    overlap_ratio,
    quantities,
    right_to_left_share,
)
from mechshift.verdict.rules import RULES, Statement, Verdict, verdict
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
    "ControlEvidence",
    "Drop",
    "Evidence",
    "FAITHFULNESS",
    "Intervention",
    "MATERIAL_SHARE",
    "Measured",
    "NOT_DECIDED",
    "NOT_MEASURED",
    "QUANTITIES",
    "Quantity",
    "RULES",
    "Side",
    "Statement",
    "TRACKED",
    "TRAININGS",
    "Tracked",
    "Training",
    "Trajectory",
    "TrajectoryPoint",
    "UNDEFINED",
    "Verdict",
    "beyond_layout",
    "by_side",
    "by_sign",
    "depth_shift",
    "drop_of",
    "intervention",
    "measured_quantities",
    "overlap_ratio",
    "quantities",
    "replacement_of",
    "right_to_left_share",
    "verdict",
]
