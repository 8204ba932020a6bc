"""Stability of the circuits: which edges every pool of examples would find, and which it might not.

For readers who ask whether edges that the MDM lacks were lost, or were near the last place of the
ARM's circuit all along.

Rule, core: the share of the ARM's core that the MDM's circuit holds, by the classes of the overlap
(`decisions.structure`). Its bounds leave open what the examples decide, so noise makes them wide;
where it leaves a model a core of less than half of its circuit, nothing is decided. On planted
pairs with one circuit in both models and an MDM up to ten times as noisy, 1 of 450 was decided
falsely (LOG.md, 2026-11-29).
"""

import numpy as np
import polars as pl

from mechshift.comparison import CORE, CircuitStability, circuit_stability
from mechshift.page.elements import Definition, Exhibit, Finding
from mechshift.page.figure import Figure, bars, scatter
from mechshift.page.formats import (
    NOT_DECIDED,
    UNDEFINED,
    Cell,
    estimate_cell,
    in_words,
    number,
)
from mechshift.page.theme import (
    ARM_COLOUR,
    DOTTED,
    MDM_COLOUR,
    MODEL_COLOURS,
    MODEL_NAMES,
    NEUTRAL_COLOUR,
    PAIR_COLOUR,
    finish,
    panels,
    percent,
)
from mechshift.statistics import Estimate
from mechshift.topics.decisions import RETAINED, REWIRED, structure
from mechshift.topics.topic import (
    HeadlineRow,
    Measured,
    Plain,
    Quantity,
    Rule,
    Statement,
    StoredMember,
    StoredTask,
    TaskResults,
    Topic,
)

KEPT = "core kept"

SMALLEST_CORE = 0.5
"""Of a circuit's edges: with a smaller core, the examples do not say which edges a model uses."""

CLASSES = {
    "both": ("core of both", PAIR_COLOUR),
    "arm": ("ARM's core, contingent in the MDM", ARM_COLOUR),
    "arm only": ("ARM's core, never in the MDM", ARM_COLOUR),
    "mdm": ("MDM's core, contingent in the ARM", MDM_COLOUR),
    "mdm only": ("MDM's core, never in the ARM", MDM_COLOUR),
    "contingent": ("contingent in both or one", NEUTRAL_COLOUR),
}
"""Class of an edge -> its name and colour."""


def stability_figure(found: CircuitStability) -> Figure:
    """Left: edges by the share of resamples that hold them. Right: what became of the cores."""
    figure = Figure(("membership over resamples", "edges by class"), columns=2)
    for model, shares in (("arm", found.arm), ("mdm", found.mdm)):
        ordered = np.sort(shares[shares > 0])[::-1]
        figure.add(
            scatter(
                x=np.arange(1, len(ordered) + 1),
                y=ordered,
                mode="lines",
                line={"color": MODEL_COLOURS[model], "width": 2.5, "shape": "hv"},
                hovertemplate="%{x} edges are in at least %{y:.1%} of the resamples<extra>"
                + MODEL_NAMES[model]
                + "</extra>",
                name=MODEL_NAMES[model],
            ),
            column=1,
        )
    figure.add_hline(CORE, line=DOTTED, column=1)
    figure.add_vline(float(found.circuit_size), line=DOTTED, column=1)
    classes = edge_classes(found)
    counts = [int((classes == name).sum()) for name in CLASSES]
    figure.add(
        bars(
            x=counts,
            y=[name for name, _ in CLASSES.values()],
            orientation="h",
            marker={"color": [colour for _, colour in CLASSES.values()]},
            text=[str(count) for count in counts],
            hovertemplate="%{y}: %{x} edges<extra></extra>",
            showlegend=False,
            name="edges",
        ),
        column=2,
    )
    figure.set_xaxes(title="edges, most stable first", column=1)
    figure.set_yaxes(title="share of resamples", tickformat=".0%", range=[0, 1.02], column=1)
    figure.set_xaxes(title="edges", column=2)
    figure.set_yaxes(autorange="reversed", showgrid=False, column=2)
    return finish(
        figure,
        "Stability of the circuits",
        f"circuits of {found.circuit_size:,} edges in {found.num_resamples:,} resamples; dotted:"
        f" {percent(CORE)} of the resamples, from which an edge is core, and the circuits' size",
        wide=panels((0.0, 0.42, 0.0, 1.0), (0.7, 1.0, 0.0, 1.0)) | {"height": 420, "margin.b": 96},
        # The names of the classes stand left of their bars.
        narrow=panels((0.0, 1.0, 0.62, 1.0), (0.6, 1.0, 0.0, 0.4))
        | {"height": 820, "margin.b": 110},
    )


def stability_table(found: CircuitStability) -> pl.DataFrame:
    """One row for each edge that belongs to some circuit, the ARM's most stable first."""
    return pl.DataFrame(
        {
            "edge": [found.graph.edge_name(edge) for edge in found.edges.tolist()],
            "arm": found.arm,
            "mdm": found.mdm,
            "class": edge_classes(found),
        }
    ).sort("arm", "mdm", descending=True, maintain_order=True)


def edge_classes(found: CircuitStability) -> np.ndarray:
    """The class of each edge, a key of `CLASSES`."""
    arm, mdm = found.arm >= CORE, found.mdm >= CORE
    return np.select(
        [arm & mdm, arm & (found.mdm > 0), arm, mdm & (found.arm > 0), mdm],
        ["both", "arm", "arm only", "mdm", "mdm only"],
        default="contingent",
    )


def _conclude(stored: StoredTask) -> CircuitStability:
    return circuit_stability(stored.scores("arm"), stored.scores("mdm"), stored.settings)


def _measure_kept(member: StoredMember) -> Measured:
    found = circuit_stability(*member.scores(), member.settings)
    if found.kept is None:
        return Measured(reason="no edge is in the ARM's circuit in nearly all resamples")
    return Measured(estimate=found.kept, draws=found.kept_draws)


def core_verdict(found: CircuitStability | None, kept: Estimate | None) -> str:
    """The class in which the bounds of the core that is kept lie."""
    if found is None or kept is None:
        return UNDEFINED
    return structure(kept) if found.smaller_core >= SMALLEST_CORE else NOT_DECIDED


def _decide(task: TaskResults) -> tuple[Statement, ...]:
    return (
        Statement.of(
            "core",
            task.mdm.estimate(KEPT),
            lambda kept: core_verdict(STABILITY.of(task), kept),
            "The MDM's circuit holds {} of the edges that the ARM's holds whatever the examples",
        ),
    )


def _findings(task: TaskResults) -> tuple[Finding, ...]:
    found, kept = STABILITY.of(task), task.mdm.estimate(KEPT)
    if found is None:
        return ()
    sizes = [int((shares >= CORE).sum()) for shares in (found.arm, found.mdm)]
    held = "has no core to hold" if kept is None else f"holds {in_words(kept)} of the ARM's"
    return (
        Finding(
            question="Are the edges that the MDM lacks among the ARM's stable ones?",
            verdict=core_verdict(found, kept),
            sentence=f"Of the {found.circuit_size:,} edges {sizes[0]:,} (ARM) and {sizes[1]:,}"
            f" (MDM) are in nearly all resamples' circuits. The MDM's circuit {held}; the two cores"
            f" overlap by {number(found.core_overlap)} (Jaccard).",
        ),
    )


def _exhibits(task: TaskResults) -> tuple[Exhibit, ...]:
    found = STABILITY.of(task)
    if found is None:
        return ()
    return (
        Exhibit(
            name="stability",
            figure=stability_figure(found),
            table=stability_table(found),
            reading="Edges that stay in the circuit whatever the examples are its core; the others"
            " stand near its last place and come and go. What is in one model's core and never in"
            " the other's circuit differs between the models; what is contingent there may not.",
        ),
    )


def _kept_cell(task: TaskResults) -> Cell:
    kept = task.mdm.estimate(KEPT)
    return Cell(text=UNDEFINED) if kept is None else estimate_cell(kept)


def _overlap_cell(task: TaskResults) -> Cell:
    found = STABILITY.of(task)
    if found is None or np.isnan(found.core_overlap):
        return Cell(text=UNDEFINED)
    return Cell(text=number(found.core_overlap), note="no interval")


STABILITY: Topic[CircuitStability] = Topic(
    name="stability",
    title="Stability",
    record_type=CircuitStability,
    conclude=_conclude,
    quantities=(
        Quantity(
            name=KEPT,
            unit="of the core",
            neutral=1.0,
            meaning="share of the edges that are in the ARM's circuit in nearly all resamples which"
            " this model's circuit holds",
            measure=_measure_kept,
            by_template=False,
        ),
    ),
    rules=(
        Rule(
            axis="core",
            words=f"share of the ARM's core in the MDM's circuit: from {RETAINED} retained, from"
            f" {REWIRED} modest change, below rewired; if both cores hold half of a circuit",
            decide=_decide,
            plain={
                "retained": Plain(words="kept the stable core of the ARM's circuit", moved=False),
                "modest change": Plain(words="lost part of the ARM's stable core", moved=True),
                "rewired": Plain(words="lost most of the ARM's stable core", moved=True),
            },
        ),
    ),
    headline_name="Shared structure",
    headline=(
        HeadlineRow(
            name="Overlap of cores",
            explanation=f"Jaccard of the edges in {percent(CORE)} of the resamples",
            cell=_overlap_cell,
        ),
        HeadlineRow(
            name="Core kept",
            explanation="the ARM's core in the MDM's circuit",
            cell=_kept_cell,
        ),
    ),
    findings=_findings,
    exhibits=_exhibits,
    method=lambda _: (
        Definition(
            term="Core",
            meaning=f"Edges that belong to the top K in at least {percent(CORE)} of the bootstrap"
            " resamples of the examples; other edges that belong to it at all are contingent. Core"
            " kept: the share of the ARM's core in the other model's top K. In brackets no interval"
            " of the bootstrap but bounds: from the core edges that are there in at least"
            f" {percent(CORE)} of the resamples to all but those there in at most"
            f" {percent(1 - CORE)}.",
        ),
    ),
)
