"""What do flow and semantics of one task say, in plain words?

The rules:

1. Reads from its right: the interval of the MDM's right-to-left share lies above
   `verdict.MATERIAL_SHARE`; hardly: below it.
2. More distributed: the interval of MDM minus ARM (effective number of components) excludes 0.
3. Further from the output: the interval of MDM minus ARM (log10 rank of the target in the lenses of
   the components, weighted by attribution) excludes 0.
"""

from mechshift.comparison import RIGHT_TO_LEFT, DirectionOfFlow
from mechshift.report.finding import Finding
from mechshift.report.formats import in_words, number
from mechshift.report.records import TaskReport, TaskSemantics
from mechshift.semantics import AlignmentMeasures, ConcentrationShift
from mechshift.verdict import (
    MATERIAL_SHARE,
    NOT_MEASURED,
    by_side,
    by_sign,
    right_to_left_share,
)


def component_findings(task: TaskReport) -> tuple[Finding, ...]:
    """The answers, as far as flow and semantics were computed."""
    found = []
    if task.flow is not None:
        found.append(_reads_from_the_right(task.flow))
    if task.concentration is not None:
        found.append(_distributed(task.concentration))
    if task.semantics is not None:
        found.append(_aligned(task.semantics))
    return tuple(found)


def _reads_from_the_right(flow: DirectionOfFlow) -> Finding:
    share = right_to_left_share(flow)
    arm = float(flow.arm.overall.value[RIGHT_TO_LEFT])
    return Finding(
        question="Does the MDM read from its right?",
        verdict=by_side(share, MATERIAL_SHARE, above="yes", below="hardly", missing=NOT_MEASURED),
        sentence=f"{in_words(share)} of what flows through the MDM's attention comes from further"
        f" right in the text, and {number(arm)} of the ARM's, whose attention is causal. Above"
        f" {number(MATERIAL_SHARE)} counts as yes.",
    )


def _distributed(found: ConcentrationShift) -> Finding:
    shift = found.shift.effective_number
    return Finding(
        question="Is the MDM's work spread over more components?",
        verdict=by_sign(shift, above="yes, more distributed", below="no, sharper"),
        sentence=f"Its attribution is spread as if over"
        f" {in_words(found.mdm.effective_number)} equal heads and MLPs of {found.num_components},"
        f" the ARM's over {in_words(found.arm.effective_number)}; the difference is"
        f" {in_words(shift, signed=True)}.",
    )


def _aligned(semantics: TaskSemantics) -> Finding:
    found = semantics.shift.alignment
    shift = found.shift.weighted.log10_rank
    return Finding(
        question="Do single components of the MDM say less of the answer?",
        verdict=by_sign(shift, above="yes, less", below="no, more"),
        sentence="Read through the unembedding alone, the components that the task uses put the"
        f" answer at rank {_rank(found.mdm.weighted)} in the MDM and at {_rank(found.arm.weighted)}"
        f" in the ARM (geometric means, weighted by attribution); log10 of the rank changes by"
        f" {in_words(shift, signed=True)}.",
    )


def _rank(measures: AlignmentMeasures) -> str:
    return number(10**measures.log10_rank.value, 1)
