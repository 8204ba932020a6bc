"""What do the numbers of one task say, in plain words?

Findings and verdict look at the same numbers and decide by the same functions
(`mechshift.verdict`), so they cannot contradict each other. The rules here:

1. Alike beyond layout: `layout_p` is at most 1 minus the level (`verdict.beyond_layout`).
2. Different beyond noise: the interval of the ratio to the ceiling lies below 1.
3. Earlier or later: the interval of the cross-fitted MDM minus ARM (early share, centre of mass)
   excludes 0.
4. Whether the other model's circuit serves as well as the own one: the interval of the difference
   in faithfulness, on the same resamples, excludes 0.
5. Better than random circuits: the same of the difference from their mean.

Those on flow and components stand in `component_findings`, those on ablations in
`ablation_findings`.
"""

from mechshift.comparison import Comparison
from mechshift.figures import FaithfulnessSeries
from mechshift.page.theme import MODEL_NAMES
from mechshift.report.ablation_findings import ablation_findings
from mechshift.report.component_findings import component_findings
from mechshift.report.finding import Finding
from mechshift.page.formats import in_words, number
from mechshift.report.records import BaselineComparison, OtherCircuit, TaskReport
from mechshift.statistics import Estimate
from mechshift.verdict import (
    UNDEFINED,
    beyond_layout,
    by_side,
    by_sign,
    depth_shift,
    overlap_ratio,
)


def findings(task: TaskReport) -> tuple[Finding, ...]:
    """The answers for one task, in the order in which a reader asks."""
    return (
        _same_edges(task.comparison),
        _differs_beyond_noise(task.comparison),
        _early_share(task.comparison),
        _centre_of_mass(task.comparison),
        *(_other_circuit(task, one) for one in sorted(task.other_circuits, key=_mdm_first)),
        *(_random_circuits(task, compared) for compared in task.baselines),
        *component_findings(task),
        *ablation_findings(task),
    )


def _mdm_first(compared: OtherCircuit) -> bool:
    return compared.model != "mdm"


def _same_edges(comparison: Comparison) -> Finding:
    question = "Do the two circuits share edges?"
    overlap, size = comparison.overlap, comparison.circuit_size
    index = overlap.index_of(size)
    assert index is not None  # overlap_sizes always measures the circuit's own size
    edges, null = overlap.edges.at(index), overlap.null.at(index)
    if edges is None or null is None:
        return _undefined(question, size)
    return Finding(
        question=question,
        verdict=beyond_layout(
            overlap, index, above="yes, beyond layout", below="fewer than by layout alone"
        ),
        sentence=f"The top {size:,} edges overlap by {in_words(edges)} (Jaccard). Edges of the"
        f" same layers and types exchanged at random would overlap by {in_words(null)}; they reach"
        f" the overlap of these circuits with p = {number(overlap.layout_p[index], 3)}.",
    )


def _differs_beyond_noise(comparison: Comparison) -> Finding:
    question = "Do they differ by more than sampling noise?"
    ratio = overlap_ratio(comparison)
    if ratio is None:
        return _undefined(question, comparison.circuit_size)
    return Finding(
        question=question,
        verdict=by_side(ratio, 1.0, above="no: alike", below="yes", missing=UNDEFINED),
        sentence=f"Agreement between the models is {in_words(ratio)} of each model's agreement"
        " with itself on other examples; 1 would mean that no difference can be seen.",
    )


def _early_share(comparison: Comparison) -> Finding:
    source, shift = comparison.circuit_depth.source, depth_shift(comparison, "early")
    arm, mdm = source.arm.thirds.at(0), source.mdm.thirds.at(0)
    assert arm and mdm  # depth_profile refuses what has no depth
    return Finding(
        question="Does the MDM rely more on early layers?",
        verdict=by_sign(shift, above="yes, more", below="no, less", missing=UNDEFINED),
        sentence=f"Early layers write {in_words(mdm)} of the MDM's circuit and {in_words(arm)} of"
        f" the ARM's. {_cross_fitted(shift)}.",
    )


def _centre_of_mass(comparison: Comparison) -> Finding:
    depth, shift = comparison.circuit_depth, depth_shift(comparison, "centre_of_mass")
    unit = " layers"
    if shift is not None and depth.num_layers > 1:
        share = 100 * shift.value / (depth.num_layers - 1)
        unit += f", {number(share, 1, signed=True)}\N{NO-BREAK SPACE}% of the depth"
    return Finding(
        question="Did the circuit as a whole move in depth?",
        verdict=by_sign(shift, above="yes, later", below="yes, earlier", missing=UNDEFINED),
        sentence="Its centre of mass lies at layer"
        f" {number(depth.source.mdm.centre_of_mass.value)} in the MDM and at"
        f" {number(depth.source.arm.centre_of_mass.value)} in the ARM."
        f" {_cross_fitted(shift, unit)}.",
    )


def _cross_fitted(shift: Estimate | None, unit: str = "") -> str:
    if shift is None:
        return (
            "Cross-fitted, the difference is undefined: what half of the examples choose does not"
            " carry over to the other half"
        )
    return f"Cross-fitted, the difference is {in_words(shift, signed=True)}{unit}"


def _other_circuit(task: TaskReport, compared: OtherCircuit) -> Finding:
    """A model's own circuit against the other's at the comparison's circuit size."""
    model, size = compared.model, task.comparison.circuit_size
    other = "arm" if model == "mdm" else "mdm"
    own, cross = (
        faithfulness_at(find_series(task, model, circuit), size) for circuit in (model, other)
    )
    assert own and cross  # a comparison is made from these curves
    return Finding(
        question=f"Does the {MODEL_NAMES[other]}'s circuit serve the {MODEL_NAMES[model]} as well"
        " as its own?",
        verdict=by_sign(compared.difference, above="it keeps more", below="no, it keeps less"),
        sentence=f"With {size:,} edges the {MODEL_NAMES[model]} keeps {in_words(cross)} of its"
        f" behaviour on the {MODEL_NAMES[other]}'s circuit and {in_words(own)} on its own; the"
        f" difference is {in_words(compared.difference, signed=True)}.",
    )


def _random_circuits(task: TaskReport, compared: BaselineComparison) -> Finding:
    """The own circuit against random ones at the comparison's circuit size."""
    name, size = MODEL_NAMES[compared.model], task.comparison.circuit_size
    own, random, activation = (
        faithfulness_at(find_series(task, compared.model, circuit), size)
        for circuit in (compared.model, "random", "activation")
    )
    assert own and random and activation  # a comparison is made from these curves
    forced = ""
    if compared.num_forced:
        forced = f" {compared.num_forced:,} of the edges are in every draw."
    return Finding(
        question=f"Is the {name}'s circuit better than random ones?",
        verdict=by_sign(compared.advantage, above="yes", below="no, worse"),
        sentence=f"On its own {size:,} edges the {name} keeps {in_words(own)} of its behaviour, on"
        f" random ones of the same layers and types {in_words(random)} (mean of"
        f" {compared.num_draws} draws); the difference is"
        f" {in_words(compared.advantage, signed=True)}.{forced} As many edges by activation keep"
        f" {in_words(activation)}; {compared.num_live_by_activation:,} of them lie on a path from"
        " input to logits.",
    )


def find_series(task: TaskReport, model: str, circuit: str) -> FaithfulnessSeries | None:
    """The curve of one model on one circuit, if it was measured."""
    for series in task.faithfulness:
        if (series.model, series.circuit) == (model, circuit):
            return series
    return None


def faithfulness_at(series: FaithfulnessSeries | None, size: int) -> Estimate | None:
    """Faithfulness at one size; None if the curve, the size or the interval is missing."""
    if series is None or size not in series.sizes:
        return None
    return series.estimates.at(int((series.sizes == size).argmax()))


def _undefined(question: str, size: int) -> Finding:
    return Finding(
        question=question,
        verdict=UNDEFINED,
        sentence=f"Circuits of {size:,} edges allow no such number or no interval; “Can the scores"
        " be trusted?” says why.",
    )
