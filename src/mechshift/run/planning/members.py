"""Whose edges does a run score? Both models of the pair, and the controls that it can have."""

from collections.abc import Iterator
from dataclasses import dataclass

from mechshift.models import Kind, PairEntry
from mechshift.models.controls import ARM_CONTINUED, ARM_FULL, MDM_CAUSAL, MDM_OTHER_SEED
from mechshift.run.settings import RunSettings


@dataclass(frozen=True, kw_only=True)
class Member:
    """One model of a run."""

    name: str
    """`arm`, `mdm`, or the name of a control."""
    kind: Kind
    """How it reads a task."""
    weights: Kind
    """Which of the two it has the shape of."""
    loaded: bool = True
    """Whether it has weights of its own in memory, not those of the pair."""


def run_members(entry: PairEntry, settings: RunSettings) -> tuple[Member, ...]:
    """The pair's models, then its controls unless they are skipped (`models.load_controls`)."""
    pair = (
        Member(name="arm", kind="arm", weights="arm"),
        Member(name="mdm", kind="mdm", weights="mdm"),
    )
    return pair if "controls" in settings.skip else (*pair, *_controls(entry))


def _controls(entry: PairEntry) -> Iterator[Member]:
    # Weights of one shift cannot be read with the other; an ARM's logits are always shifted.
    if entry.shift:
        yield Member(name=ARM_FULL, kind="mdm", weights="arm", loaded=False)
        yield Member(name=MDM_CAUSAL, kind="arm", weights="mdm", loaded=False)
    if entry.continued_arm is not None:
        yield Member(name=ARM_CONTINUED, kind="arm", weights="arm")
    if entry.other_mdm is not None:
        yield Member(name=MDM_OTHER_SEED, kind="mdm", weights="mdm")
