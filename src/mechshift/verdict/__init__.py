"""What the measurements of a pair decide, and what they leave open."""

from mechshift.verdict.evidence import ControlEvidence, Evidence
from mechshift.verdict.quantities import QUANTITIES, Quantity, quantities
from mechshift.verdict.rules import NOT_DECIDED, RULES, Statement, Verdict, verdict

__all__ = [
    "NOT_DECIDED",
    "QUANTITIES",
    "RULES",
    "ControlEvidence",
    "Evidence",
    "Quantity",
    "Statement",
    "Verdict",
    "quantities",
    "verdict",
]
