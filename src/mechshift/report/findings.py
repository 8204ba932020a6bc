"""What do the numbers of one task say, in plain words?

Each finding states its rule's outcome only if an interval decides it; otherwise it says
"not decided". The rules:

1. Alike beyond layout: the overlap's interval lies above the null's.
2. Different beyond noise: the ratio's interval lies below 1.
3. Earlier or later: the interval of MDM minus ARM (early share, centre of mass) excludes 0.
4. Whether the other model's circuit serves as well as the own one: the two faithfulness
   intervals do not touch. That is stricter than necessary, since both share their examples.
5. Better than random circuits: the interval of the difference in faithfulness excludes 0.

Those on flow and components stand in `component_findings`, those on ablations in
`ablation_findings`.
"""

from mechshift.comparison import Comparison, DepthProfiles
from mechshift.figures import FaithfulnessSeries
from mechshift.figures.theme import MODEL_NAMES
from mechshift.report.ablation_findings import ablation_findings
from mechshift.report.component_findings import component_findings
from mechshift.report.finding import NOT_DECIDED, Finding, by_sign
from mechshift.report.formats import in_words, number
from mechshift.report.records import BaselineComparison, TaskReport
from mechshift.statistics import Estimate


def findings(task: TaskReport) -> tuple[Finding, ...]:
    """The answers for one task, in the order in which a reader asks."""
    depth = task.comparison.circuit_depth
    return (
        _same_edges(task.comparison),
        _differs_beyond_noise(task.comparison),
        _early_share(depth),
        _centre_of_mass(depth),
        *_other_circuit(task),
        *(_random_circuits(task, compared) for compared in task.baselines),
        *component_findings(task),
        *ablation_findings(task),
    )


def _same_edges(comparison: Comparison) -> Finding:
    question = "Do the two circuits share edges?"
    overlap, size = comparison.overlap, comparison.circuit_size
    index = overlap.index_of(size)
    assert index is not None  # overlap_sizes always measures the circuit's own size
    edges, null = overlap.edges.at(index), overlap.null.at(index)
    if edges is None or null is None:
        return _undefined(question, size)
    if edges.interval.low > null.interval.high:
        verdict = "yes, beyond layout"
    elif edges.interval.high < null.interval.low:
        verdict = "fewer than by layout alone"
    else:
        verdict = NOT_DECIDED
    return Finding(
        question=question,
        verdict=verdict,
        sentence=f"The top {size:,} edges overlap by {in_words(edges)} (Jaccard). Edges of the"
        f" same layers and types exchanged at random would overlap by {in_words(null)}.",
    )


def _differs_beyond_noise(comparison: Comparison) -> Finding:
    question = "Do they differ by more than sampling noise?"
    overlap = comparison.overlap
    index = overlap.index_of(comparison.circuit_size)
    assert index is not None
    ratio = overlap.ratio.at(index)
    if ratio is None:
        return _undefined(question, comparison.circuit_size)
    low, high = ratio.interval.low, ratio.interval.high
    verdict = "yes" if high < 1 else ("no: alike" if low > 1 else NOT_DECIDED)
    return Finding(
        question=question,
        verdict=verdict,
        sentence=f"Agreement between the models is {in_words(ratio)} of each model's agreement"
        " with itself on other examples; 1 would mean that no difference can be seen.",
    )


def _early_share(depth: DepthProfiles) -> Finding:
    shift = depth.source.thirds_shift.at(0)
    arm, mdm = depth.source.arm.thirds.at(0), depth.source.mdm.thirds.at(0)
    assert shift and arm and mdm  # depth_profile refuses what has no depth
    return Finding(
        question="Does the MDM rely more on early layers?",
        verdict=by_sign(shift, "yes, more", "no, less"),
        sentence=f"Early layers write {in_words(mdm)} of the MDM's circuit and {in_words(arm)} of"
        f" the ARM's; the difference is {in_words(shift, signed=True)}.",
    )


def _centre_of_mass(depth: DepthProfiles) -> Finding:
    shift = depth.source.centre_of_mass_shift
    normalised = ""
    if depth.num_layers > 1:
        share = 100 * shift.value / (depth.num_layers - 1)
        normalised = f", {number(share, 1, signed=True)} % of the depth"
    return Finding(
        question="Did the circuit as a whole move in depth?",
        verdict=by_sign(shift, "yes, later", "yes, earlier"),
        sentence=f"Its centre of mass moved by {in_words(shift, signed=True)} layers{normalised}"
        f" (ARM {number(depth.source.arm.centre_of_mass.value)},"
        f" MDM {number(depth.source.mdm.centre_of_mass.value)}).",
    )


def _other_circuit(task: TaskReport) -> list[Finding]:
    """For each model, its own circuit against the other's at the comparison's circuit size."""
    size = task.comparison.circuit_size
    answers = []
    for model, other in (("mdm", "arm"), ("arm", "mdm")):
        own = faithfulness_at(find_series(task, model, model), size)
        cross = faithfulness_at(find_series(task, model, other), size)
        if own is None or cross is None:
            continue
        if cross.interval.high < own.interval.low:
            verdict = "no, it keeps less"
        elif cross.interval.low > own.interval.high:
            verdict = "it keeps more"
        else:
            verdict = NOT_DECIDED
        answers.append(
            Finding(
                question=f"Does the {MODEL_NAMES[other]}'s circuit serve the"
                f" {MODEL_NAMES[model]} as well as its own?",
                verdict=verdict,
                sentence=f"With {size:,} edges the {MODEL_NAMES[model]} keeps {in_words(cross)} of"
                f" its behaviour on the {MODEL_NAMES[other]}'s circuit and {in_words(own)} on its"
                " own.",
            )
        )
    return answers


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
        verdict=by_sign(compared.advantage, "yes", "no, worse"),
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
        verdict=NOT_DECIDED,
        sentence=f"Circuits of {size:,} edges allow no such number or no interval; “Can the scores"
        " be trusted?” says why.",
    )
