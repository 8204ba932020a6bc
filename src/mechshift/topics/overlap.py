"""Overlap of the two circuits: do they share edges, more than layout and less than noise allows?

For readers who ask first of all whether the MDM works with the ARM's circuit.

Rules:

1. structure: the noise-free overlap, by classes (`decisions.noise_free_structure`). Not decided: an
   interval over two classes, a ceiling below 0.5, or a change that one circuit with these two
   models' noise would show as well. What changed by count may be kept by weight, and is said to be.
2. Alike beyond layout: `layout_p` is at most 1 minus the level (`decisions.beyond_layout`). Alike
   beyond the strength of their nodes: the p-value of that null is.
3. Different beyond noise: the interval of the noise-free overlap lies below 1, and its value below
   what one circuit shows.
4. Kept by weight: the cosine of all edges without noise lies above 0.9.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import polars as pl

from mechshift.comparison import (
    LOWEST_CEILING,
    CircuitShift,
    Comparison,
    NoiseFreeOverlap,
    OverlapCurve,
)
from mechshift.page.elements import Definition, Exhibit, Finding
from mechshift.page.figure import Figure, scatter
from mechshift.page.formats import (
    NOT_DECIDED,
    UNDEFINED,
    Cell,
    entry_cell,
    estimate_cell,
    in_words,
    number,
)
from mechshift.page.theme import (
    ARM_COLOUR,
    DOTTED,
    MDM_COLOUR,
    NEUTRAL_COLOUR,
    PAIR_COLOUR,
    band,
    finish,
    log_ticks,
    panels,
    percent,
    stacked,
)
from mechshift.statistics import ROUNDING, Estimate
from mechshift.topics.alternatives import ALTERNATIVES
from mechshift.topics.decisions import (
    RETAINED,
    REWIRED,
    SAME_WEIGHTS,
    beyond_layout,
    edges_changed,
    noise_free_structure,
    weights_kept,
)
from mechshift.topics.topic import (
    HeadlineRow,
    Measured,
    Plain,
    Quantity,
    Rule,
    Scatter,
    Statement,
    StoredMember,
    TaskResults,
    Test,
    Topic,
)

NOISE_FREE, BY_WEIGHT = "noise-free overlap", "likeness by weight"

CURVES = (
    ("edges", "edges, ARM and MDM", PAIR_COLOUR, "solid", "circle"),
    ("nodes", "nodes, ARM and MDM", PAIR_COLOUR, "dash", "circle-open"),
    ("ceiling_arm", "ceiling: ARM with itself", ARM_COLOUR, "dash", "triangle-up"),
    ("ceiling_mdm", "ceiling: MDM with itself", MDM_COLOUR, "dash", "diamond"),
    ("null", "null: shuffled scores", NEUTRAL_COLOUR, "dot", "x-thin-open"),
)
"""Field of the record, legend name, colour, dash and marker of the curves of the left panel."""

TABLE_FIELDS = (
    "edges",
    "nodes",
    "ceiling_arm",
    "ceiling_mdm",
    "bootstrap_arm",
    "bootstrap_mdm",
    "halves",
    "ratio",
    "edges_band",
    "ratio_band",
    "null",
)


def overlap_curve(overlap: OverlapCurve) -> Figure:
    """Left: Jaccard of edges and nodes, ceilings and null. Right: ratio to the ceiling."""
    figure = Figure(("overlap", "edge overlap relative to its ceiling"), columns=2)
    sizes = overlap.sizes.astype(np.float64)
    ratio = ("ratio", "ratio to ceiling", PAIR_COLOUR, "solid", "square")
    at_once = {"edges": overlap.edges_band, "ratio": overlap.ratio_band}
    for column, curves in ((1, CURVES), (2, (ratio,))):
        for field, name, colour, dash, symbol in curves:
            estimates = at_once.get(field, getattr(overlap, field))
            figure.add(band(sizes, estimates, colour, group=name), column=column)
            figure.add(
                scatter(
                    x=sizes,
                    y=estimates.value,
                    mode="lines+markers",
                    line={"color": colour, "width": 2.5 if dash == "solid" else 1.8, "dash": dash},
                    marker={"size": 7, "symbol": symbol},
                    cliponaxis=False,
                    customdata=np.stack([estimates.low, estimates.high], axis=-1),
                    hovertemplate="%{x} edges: %{y:.3f}"
                    " [%{customdata[0]:.3f}, %{customdata[1]:.3f}]"
                    f"<extra>{name}</extra>",
                    name=name,
                    legendgroup=name,
                ),
                column=column,
            )
    figure.add_hline(1.0, line=DOTTED, column=2)
    figure.set_xaxes(type="log", title="circuit size K [edges]", **log_ticks(overlap.sizes))
    figure.set_yaxes(title="Jaccard overlap", range=[0, 1], column=1)
    figure.set_yaxes(title="ratio", rangemode="tozero", column=2)
    return finish(
        figure,
        "Overlap of the two circuits",
        f"n = {overlap.num_examples} {overlap.unit}s; bands: {percent(overlap.level)} bootstrap"
        f" intervals ({overlap.num_resamples:,} resamples), of edges and ratio for all sizes at"
        f" once; for the null the spread of {overlap.num_shuffles:,} shuffles",
        wide=panels((0.0, 0.56, 0.0, 1.0), (0.66, 1.0, 0.0, 1.0))
        | {"height": 450, "margin.b": 110},
        narrow=stacked(2, gap=0.19) | {"height": 900, "margin.b": 260},
    )


def overlap_curve_table(overlap: OverlapCurve) -> pl.DataFrame:
    """One row per circuit size: curves with intervals, and p-values; empty where undefined."""
    columns: dict[str, np.ndarray] = {"size": overlap.sizes}
    for field in TABLE_FIELDS:
        estimates = getattr(overlap, field)
        columns[field] = estimates.value
        columns[f"{field}_low"] = estimates.low
        columns[f"{field}_high"] = estimates.high
    columns |= {"layout_p": overlap.layout_p, "noise_p": overlap.noise_p}
    return pl.DataFrame(columns).fill_nan(None)


def index_at_size(comparison: Comparison | CircuitShift) -> int:
    """Position of the circuits' own size on the overlap curve."""
    index = comparison.overlap.index_of(comparison.circuit_size)
    assert index is not None  # overlap_sizes always measures the circuit's own size
    return index


def _measure_noise_free(member: StoredMember) -> Measured:
    found = member.shift().noise_free
    if found.overlap is None:
        return Measured(reason=found.reason)
    # share / (2 - share), and beyond 1 its tangent, since chance may take a share far there.
    share, slope = found.share, 2 / (2 - min(found.share, 1.0)) ** 2
    value = share / (2 - share) if share < 1 else 1 + 2 * (share - 1)
    scatter = Scatter(value=value, error=slope * found.share_error)
    return Measured(estimate=found.overlap, scatter=scatter)


def _measure_by_weight(member: StoredMember) -> Measured:
    found = member.shift().by_weight
    if found.likeness is None:
        return Measured(
            reason="scores on some examples do not carry over to the others in"
            f" {percent(1 - np.isfinite(found.draws).mean())} of the resamples"
        )
    return Measured(estimate=found.likeness, draws=found.draws)


def _structure_words(task: TaskResults, overlap: Estimate | None) -> str:
    """With the ceilings, the noise and the weights of the comparison."""
    decided = noise_free_structure(replace(task.comparison.noise_free, overlap=overlap))
    if (
        decided in ("modest change", "rewired")
        and weights_kept(task.comparison.by_weight) == "kept"
    ):
        return f"{decided} by count, kept by weight"
    return decided


def _structure(task: TaskResults) -> tuple[Statement, ...]:
    words = (
        f"The top {task.comparison.circuit_size:,} edges overlap by {{}} without sampling noise"
        f"{_beside_floor(task)}"
    )
    overlap = task.comparison.noise_free.overlap
    return (Statement.of("structure", overlap, partial(_structure_words, task), words),)


def _beside_floor(task: TaskResults) -> str:
    """How low overlap goes inside one model, so that the verdict is not quoted without it."""
    record = ALTERNATIVES.of(task)
    lowest = None if record is None else record.lowest
    if lowest is None or lowest == 1.0:  # where no other circuit was found, there is none to name
        return ""
    return f" (equally faithful circuits of one model by as little as {number(lowest)})"


def _findings(task: TaskResults) -> tuple[Finding, ...]:
    comparison = task.comparison
    return (
        _same_edges(comparison),
        _beyond_strength(comparison),
        _differs_beyond_noise(comparison),
        _same_weights(comparison),
    )


def _same_edges(comparison: Comparison) -> Finding:
    question = "Do the two circuits share edges?"
    overlap, size = comparison.overlap, comparison.circuit_size
    index = index_at_size(comparison)
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


def _beyond_strength(comparison: Comparison) -> Finding:
    found, level = comparison.strength_null, comparison.settings.level
    shown = "undefined" if found.overlap is None else in_words(found.overlap)
    return Finding(
        question="Have they more in common than strong nodes?",
        verdict="yes" if found.p <= 1 - level + ROUNDING else NOT_DECIDED,
        sentence="If heads and MLPs were as strong in each model as they are, and which of them are"
        f" joined were chance, the circuits would overlap by {shown}; they reach the overlap of"
        f" these with p = {number(found.p, 3)}.",
    )


def _differs_beyond_noise(comparison: Comparison) -> Finding:
    question = "Do they differ by more than sampling noise?"
    found = comparison.noise_free
    if found.overlap is None or found.one_circuit is None:
        return _undefined(question, comparison.circuit_size)
    return Finding(
        question=question,
        verdict=edges_changed(found),
        sentence=f"Without noise they would overlap by {in_words(found.overlap)} (Jaccard)."
        f" {_one_circuit(found, found.one_circuit)}",
    )


def _one_circuit(found: NoiseFreeOverlap, expected: Estimate) -> str:
    """What the noise of the two models alone would show, or that there is too much of it."""
    ceilings = f"{number(found.ceiling_arm[0])} (ARM) and {number(found.ceiling_mdm[0])} (MDM)"
    if found.lower_ceiling < LOWEST_CEILING:
        return (
            f"That is too far from what can be seen: on halves of the examples each model agrees"
            f" with itself by {ceilings}, and {LOWEST_CEILING} are needed."
        )
    return (
        f"One circuit with these two models' noise, which agree with themselves by {ceilings},"
        f" would read {in_words(expected)}."
    )


def _same_weights(comparison: Comparison) -> Finding:
    likeness = comparison.by_weight.likeness
    shown = "undefined" if likeness is None else in_words(likeness)
    return Finding(
        question="Are the strong edges as strong in both?",
        verdict=weights_kept(comparison.by_weight),
        sentence=f"The cosine of the two models' scores over all edges, without noise, is {shown};"
        " edges weigh by their square, so the few strongest decide.",
    )


def _undefined(question: str, size: int) -> Finding:
    return Finding(
        question=question,
        verdict=UNDEFINED,
        sentence=f"Circuits of {size:,} edges allow no such number or no interval; “Can the scores"
        " be trusted?” says why.",
    )


def _exhibits(task: TaskResults) -> tuple[Exhibit, ...]:
    comparison = task.comparison
    return (
        Exhibit(
            name="overlap",
            figure=overlap_curve(comparison.overlap),
            table=overlap_curve_table(comparison.overlap),
            reading="The solid green curve is the answer; dashed blue and orange say how high it"
            " could be, grey how high it would be if only layers and edge types mattered. Large"
            " circuits overlap by force.",
        ),
    )


def _cell(field: str) -> Callable[[TaskResults], Cell]:
    def cell(task: TaskResults) -> Cell:
        return entry_cell(getattr(task.comparison.overlap, field), index_at_size(task.comparison))

    return cell


def _number(estimate: Estimate | None) -> Cell:
    return Cell(text=UNDEFINED) if estimate is None else estimate_cell(estimate)


def _strength_test(comparison: Comparison) -> tuple[float, float]:
    overlap = comparison.overlap.edges.value[index_at_size(comparison)]
    return float(overlap), comparison.strength_null.p


def _edge_test(p: str) -> Callable[[Comparison], tuple[float, float]]:
    def measure(comparison: Comparison) -> tuple[float, float]:
        index, overlap = index_at_size(comparison), comparison.overlap
        return float(overlap.edges.value[index]), float(getattr(overlap, p)[index])

    return measure


OVERLAP: Topic[None] = Topic(
    name="overlap",
    title="Shared structure",
    quantities=(
        Quantity(
            name=NOISE_FREE,
            unit="",
            neutral=1.0,
            meaning="overlap with the ARM's circuit (Jaccard), extrapolated to scores without"
            " noise",
            measure=_measure_noise_free,
            at_a_glance=True,
            limits=(0.0, 1.0),
        ),
        Quantity(
            name=BY_WEIGHT,
            unit="",
            neutral=1.0,
            meaning="cosine of the scores of all edges with the ARM's, without noise",
            measure=_measure_by_weight,
        ),
    ),
    rules=(
        Rule(
            axis="structure",
            quantity=NOISE_FREE,
            words=f"overlap without noise: from {RETAINED} retained, from {REWIRED} modest change,"
            " below rewired, if one circuit with this noise would not read so and each ceiling is"
            f" {LOWEST_CEILING} or more; kept by weight: cosine without noise above {SAME_WEIGHTS}",
            decide=_structure,
            reads=lambda task, measured: _structure_words(task, measured.estimate),
            plain={
                "retained": Plain(words="kept the edges of the ARM's circuit", moved=False),
                "modest change": Plain(words="changed some of the circuit's edges", moved=True),
                "rewired": Plain(words="rewired the circuit", moved=True),
                "modest change by count, kept by weight": Plain(
                    words="changed some of the circuit's edges but not their weights", moved=True
                ),
                "rewired by count, kept by weight": Plain(
                    words="rewired the circuit but kept the weights of its strong edges", moved=True
                ),
            },
        ),
    ),
    tests=(
        Test(
            name="edges_layout",
            title="Edges, beyond layout",
            hypothesis="the circuits share no more edges than their layers and edge types make"
            " them",
            statistic_name="Jaccard of edges",
            measure=_edge_test("layout_p"),
        ),
        Test(
            name="edges_strength",
            title="Edges, beyond node strengths",
            hypothesis="the circuits share no more edges than the strengths of their nodes, their"
            " layers and edge types make them",
            statistic_name="Jaccard of edges",
            measure=_strength_test,
        ),
        Test(
            name="edges_noise",
            title="Edges, beyond noise",
            hypothesis="the circuits differ in their edges by no more than sampling noise",
            statistic_name="Jaccard of edges",
            measure=_edge_test("noise_p"),
        ),
    ),
    headline_name="Shared structure",
    headline=(
        HeadlineRow(name="Edge overlap", explanation="Jaccard of the top K", cell=_cell("edges")),
        HeadlineRow(
            name="… if only layout mattered",
            explanation="null: shuffled scores",
            cell=_cell("null"),
        ),
        HeadlineRow(
            name="… if node strengths mattered too",
            explanation="null: shuffled residuals",
            cell=lambda task: _number(task.comparison.strength_null.overlap),
        ),
        HeadlineRow(
            name="ARM ceiling",
            explanation="ARM with itself, half against half",
            cell=_cell("ceiling_arm"),
        ),
        HeadlineRow(
            name="MDM ceiling",
            explanation="MDM with itself, half against half",
            cell=_cell("ceiling_mdm"),
        ),
        HeadlineRow(
            name="Noise-free overlap",
            explanation="extrapolated; 1: one circuit",
            cell=lambda task: _number(task.comparison.noise_free.overlap),
        ),
        HeadlineRow(
            name="Likeness by weight",
            explanation="cosine of all edges, without noise",
            cell=lambda task: _number(task.comparison.by_weight.likeness),
        ),
        HeadlineRow(
            name="Node overlap", explanation="weighted, heads and MLPs", cell=_cell("nodes")
        ),
    ),
    findings=_findings,
    exhibits=_exhibits,
    notes=lambda task: task.comparison.overlap.notes,
    terms=(
        Definition(
            term="Overlap, ceiling, null",
            meaning="Overlap is the share of edges that two circuits have in common. The ceiling is"
            " what one model reaches with itself on other examples, the null what two unrelated"
            " models with the same layout would reach.",
        ),
    ),
    method=lambda _: (
        Definition(
            term="Edge and node overlap",
            meaning="Jaccard: edges in both circuits over edges in either. Nodes: each head's and"
            " MLP's share of |score| over the circuit's edges at it; sum of minima over sum of"
            " maxima of the two models' shares.",
        ),
        Definition(
            term="Ceiling and ratio",
            meaning="Ceiling: mean Jaccard of one model's circuits from two random halves of the"
            " examples. Ratio: Jaccard of the ARM on one half with the MDM on the other, over the"
            " geometric mean of both ceilings; every part uses half the examples. It describes; no"
            " verdict rests on it.",
        ),
        Definition(
            term="Noise-free overlap",
            meaning="The same ratio of shared edges over K, with all, half and a quarter of the"
            " examples, extrapolated along the logarithm of the ceiling to a ceiling of 1, and back"
            " to Jaccard. Interval: jackknife over 16 blocks of examples. What one circuit with"
            " both models' noise would read is simulated beside it.",
        ),
        Definition(
            term="Likeness by weight",
            meaning="<arm, mdm> / sqrt(<arm, arm> <mdm, mdm>), each the sum over edges of products"
            " of mean scores of disjoint samples of examples, so that noise adds up to nothing. 1:"
            " the same scores but for the metric's unit.",
        ),
        Definition(
            term="Null of node strengths",
            meaning="Log |score| of the MDM's edges is fitted by the strength of the source plus"
            " that of the destination, and what is left is shuffled as above. What two circuits"
            " share that have strong nodes in common and no more.",
        ),
        Definition(
            term="Null",
            meaning="Mean Jaccard after the MDM's |score| has been shuffled among edges with the"
            " same source layer, destination layer and types of both ends.",
        ),
    ),
)
