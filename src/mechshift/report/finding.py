"""What is an answer on the page, and when does an interval give one?"""

from dataclasses import dataclass

from mechshift.statistics import Estimate

NOT_DECIDED = "not decided"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One answer."""

    question: str
    verdict: str
    """A few words; `not decided` where the interval does not decide."""

    sentence: str
    """The numbers behind the verdict."""


def by_sign(shift: Estimate, above: str, below: str) -> str:
    """Words for a difference above or below 0; `not decided` where its interval holds 0."""
    if not shift.excludes(0.0):
        return NOT_DECIDED
    return above if shift.value > 0 else below
