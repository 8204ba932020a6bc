"""What is an answer on the page? When a number gives one, `mechshift.verdict` says."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One answer."""

    question: str
    verdict: str
    """A few words; `not decided` where the number does not decide."""

    sentence: str
    """The numbers behind the verdict."""
