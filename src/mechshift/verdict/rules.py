"""What does the evidence on one task decide?

Every rule looks at one interval, or two, and says `not decided` where that does not decide. The
thresholds of rule 1 are ours; the others ask only on which side of no change an interval lies.

1. structure: the overlap as a share of its ceiling, by classes: at least 0.8 retained, from 0.5 to
   0.8 modest change, below 0.5 rewired. An interval over two classes does not decide.
2. depth: front-loaded where the early share rose, back-loaded where it fell.
3. specialisation: more distributed where the effective number of components rose, sharper where it
   fell.
4. direction: whether any flow runs from right to left.
5. inheritance: whether the ARM's circuit carries the MDM as well as the MDM's own.
6. intervention: whether the MDM loses more than the ARM when the heads of the early layers write
   nothing.
7. cause, for each decided shift of rules 2 and 3: what the controls show. A control reaches the
   shift where its interval touches the MDM's; where none of the controls without diffusion does,
   the shift is diffusion's own. A control that cannot do the task explains nothing and is left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from mechshift.statistics import Estimate
from mechshift.verdict.evidence import Evidence
from mechshift.verdict.quantities import QUANTITIES, quantities

NOT_DECIDED = "not decided"
NOT_MEASURED = "not measured"

RETAINED, REWIRED = 0.8, 0.5
"""Shares of the ceiling from which a circuit counts as retained, and below which as rewired."""

MIN_ACCURACY = 0.5
"""A control counts that solves this share of what both models solve, up to its interval."""

EARLY_HEADS = "early heads"
"""The ablation plan of rule 6, under the replacement `zero`."""

EXPLAINED = ("early share shift", "effective components shift")
"""Quantities whose shift rule 7 explains."""

WITHOUT_DIFFUSION = ("arm-full", "arm-continued")
"""Controls whose weights never saw a mask."""

RULES = {
    "structure": f"overlap / ceiling: from {RETAINED} retained, from {REWIRED} modest change,"
    " below rewired",
    "depth": "early share, MDM minus ARM: above 0 front-loaded, below 0 back-loaded",
    "specialisation": "effective number of components, MDM minus ARM: above 0 more distributed,"
    " below 0 sharper",
    "direction": "share of k/v flow from right to left in the MDM: above 0",
    "inheritance": "faithfulness of the MDM on the ARM's circuit minus on its own: below 0",
    "intervention": "share of the metric lost without early heads, MDM minus ARM: above or below 0",
    "cause": "which controls that can do the task have intervals that touch the MDM's",
}
"""Axis of a statement -> its rule in words."""


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One answer, with all that it rests on."""

    axis: str
    """A key of `RULES`."""

    verdict: str
    """A few words; `not decided` where the interval does not decide."""

    estimate: Estimate | None
    """What the rule looked at; None where it was not measured, or for a cause."""

    sentence: str
    """The verdict and its number, to be pasted."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """All statements on one task."""

    task: str
    statements: tuple[Statement, ...]

    @property
    def paragraph(self) -> str:
        """The statements as running text."""
        text = " ".join(one.sentence for one in self.statements)
        return f"On {self.task}, {text[0].lower()}{text[1:]}"

    def of(self, axis: str) -> Statement:
        """The first statement on an axis."""
        return next(one for one in self.statements if one.axis == axis)


def verdict(evidence: Evidence) -> Verdict:
    """Apply every rule to the evidence on one task."""
    found = quantities(evidence)
    statements = (
        _structure(found["overlap ratio"], evidence.comparison.circuit_size),
        _sided(
            "depth",
            found["early share shift"],
            ("front-loaded", "back-loaded"),
            "The early layers' share of the circuit changed by {}",
        ),
        _sided(
            "specialisation",
            found["effective components shift"],
            ("more distributed", "sharper"),
            "The effective number of components changed by {}",
        ),
        _sided(
            "direction",
            found["right-to-left share"],
            ("reads from the right", "reads from the right"),
            "From right to left runs {} of the MDM's flow",
        ),
        _sided(
            "inheritance",
            evidence.inheritance,
            ("serves it better", "no longer suffices"),
            "On the ARM's circuit instead of its own the MDM's faithfulness changes by {}",
        ),
        _sided(
            "intervention",
            _early_ablation(evidence),
            ("MDM depends more on early heads", "MDM depends less on early heads"),
            "Without early heads the MDM loses a share of its metric that differs from the ARM's"
            " by {}",
        ),
    )
    return Verdict(
        task=evidence.comparison.task, statements=(*statements, *_causes(evidence, found))
    )


def _structure(ratio: Estimate | None, size: int) -> Statement:
    words = f"The top {size:,} edges agree to {{}} of what sampling noise allows"
    if ratio is None:
        return _statement("structure", NOT_MEASURED, None, words)
    low, high = ratio.interval.low, ratio.interval.high
    if low >= RETAINED:
        decided = "retained"
    elif high < REWIRED:
        decided = "rewired"
    elif low >= REWIRED and high < RETAINED:
        decided = "modest change"
    else:
        decided = NOT_DECIDED
    return _statement("structure", decided, ratio, words)


def _sided(
    axis: str, estimate: Estimate | None, verdicts: tuple[str, str], words: str
) -> Statement:
    """A rule that asks on which side of 0 an interval lies: verdicts above, and below."""
    if estimate is None:
        return _statement(axis, NOT_MEASURED, None, words)
    decided = NOT_DECIDED
    if estimate.excludes(0.0):
        decided = verdicts[0] if estimate.value > 0 else verdicts[1]
    return _statement(axis, decided, estimate, words)


def _statement(axis: str, decided: str, estimate: Estimate | None, words: str) -> Statement:
    if estimate is None:
        return Statement(
            axis=axis, verdict=decided, estimate=None, sentence=f"{axis.capitalize()}: {decided}."
        )
    interval = estimate.interval
    numbers = f"{estimate.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]"
    return Statement(
        axis=axis,
        verdict=decided,
        estimate=estimate,
        sentence=f"{words.format(numbers)}: {decided}.",
    )


def _early_ablation(evidence: Evidence) -> Estimate | None:
    found = evidence.ablation
    if found is None or EARLY_HEADS not in found.arm.labels.names:
        return None
    if "zero" not in found.replacements:
        return None
    plan, replacement = found.arm.labels.names.index(EARLY_HEADS), found.replacements.index("zero")
    return found.share_lost_difference.at(plan, replacement)


def _causes(evidence: Evidence, found: dict[str, Estimate | None]) -> Iterator[Statement]:
    by_control = {
        control.name: quantities(control)
        for control in evidence.controls
        if control.accuracy.interval.high >= MIN_ACCURACY
    }
    if not by_control:
        return
    for quantity in QUANTITIES:
        shift = found[quantity.name]
        if quantity.name not in EXPLAINED or shift is None or not shift.excludes(0.0):
            continue
        reached = [name for name, own in by_control.items() if _reaches(own[quantity.name], shift)]
        measured = [name for name in WITHOUT_DIFFUSION if name in by_control]
        without = [name for name in reached if name in WITHOUT_DIFFUSION]
        if not measured:
            decided = NOT_DECIDED
        elif without:
            decided = f"also without diffusion ({', '.join(without)})"
        else:
            decided = "diffusion's own"
        shown = f"reached by {', '.join(reached)}" if reached else "reached by no control"
        yield Statement(
            axis="cause",
            verdict=decided,
            estimate=None,
            sentence=f"The {quantity.name} is {shown}: {decided}.",
        )


def _reaches(control: Estimate | None, shift: Estimate) -> bool:
    """Whether a control moves as far: its interval touches the MDM's, or lies beyond it."""
    if control is None:
        return False
    if shift.value > 0:
        return control.interval.high >= shift.interval.low
    return control.interval.low <= shift.interval.high
