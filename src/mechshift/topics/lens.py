"""Lenses: where the answer appears, by depth and denoising step, and in which component's output.

For readers who ask whether single components say the answer or work for others. A lens reads one
vector through the unembedding alone (`semantics.logit_lens`).

Rule: the MDM's components say less of the answer, or more, where the interval of MDM minus ARM
(log10 rank of the target in the components' lenses, weighted by attribution) leaves out 0.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl

from mechshift.errors import ReportError
from mechshift.page.elements import Definition, Exhibit, Finding
from mechshift.page.figure import Figure, Trace, heat_map
from mechshift.page.formats import NOT_MEASURED, Cell, estimate_cell, in_words, number, shift_cell
from mechshift.page.theme import (
    MODEL_COLOURS,
    MODEL_NAMES,
    colour_bar,
    colour_bar_below,
    colour_bar_right,
    finish,
    panels,
    percent,
    stacked,
    thinned,
)
from mechshift.semantics import (
    AlignmentMeasures,
    AlignmentShift,
    LensProfile,
    lens_profile,
    semantics_shift,
)
from mechshift.statistics import Estimate
from mechshift.topics.decisions import by_sign
from mechshift.topics.topic import HeadlineRow, StoredTask, TaskResults, Topic

READING_TITLES = {
    "probability": ("probability<br>of target", ".2~p", ".2%"),
    "log10_rank": ("log10 rank<br>of target", ".2~f", ".2f"),
    "entropy": ("entropy<br>[nats]", ".2~f", ".2f"),
}
"""Reading -> title of the colour bar, its ticks' format, and that of a value."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Lenses:
    """Lenses of both models on one task."""

    arm: LensProfile
    mdm: LensProfile
    alignment: AlignmentShift
    """How high the target stands in the components' own lenses."""


def _conclude(stored: StoredTask) -> Lenses | None:
    arm, mdm = stored.semantics("arm"), stored.semantics("mdm")
    if arm is None or mdm is None:
        return None
    return Lenses(
        arm=lens_profile(arm.lens, arm.settings),
        mdm=lens_profile(mdm.lens, mdm.settings),
        alignment=semantics_shift(arm, mdm).alignment,
    )


def _findings(task: TaskResults) -> tuple[Finding, ...]:
    found = LENS.of(task)
    if found is None:
        return ()
    alignment = found.alignment
    shift = alignment.shift.weighted.log10_rank
    return (
        Finding(
            question="Do single components of the MDM say less of the answer?",
            verdict=by_sign(shift, above="yes, less", below="no, more"),
            sentence="Read through the unembedding alone, the components that the task uses put"
            f" the answer at rank {_rank(alignment.mdm.weighted)} in the MDM and at"
            f" {_rank(alignment.arm.weighted)} in the ARM (geometric means, weighted by"
            f" attribution); log10 of the rank changes by {in_words(shift, signed=True)}.",
        ),
    )


def _rank(measures: AlignmentMeasures) -> str:
    return number(10**measures.log10_rank.value, 1)


def lens_heatmap(arm: LensProfile, mdm: LensProfile) -> Figure:
    """Two heat maps, ARM and MDM: the lens of the residual stream by layer and denoising step.

    Raises:
        ReportError: the profiles are of different readings or depths.
    """
    profiles = _same_kind(arm, mdm)
    figure = Figure([*MODEL_NAMES.values()], columns=2)
    for column, (model, profile) in enumerate(profiles.items(), start=1):
        figure.add(_level_map(profile, model), column=column)
    num_levels = arm.graph.num_layers + 1
    num_steps = max(len(arm.num_examples), len(mdm.num_examples))
    figure.set_xaxes(
        title="denoising step",
        tickmode="linear",
        dtick=max(1, math.ceil(num_steps / 9)),
        range=[-0.6, num_steps - 0.4],
        showgrid=False,
    )
    layers = thinned(num_levels - 1, 10)
    figure.set_yaxes(
        tickvals=[*layers, num_levels - 1],
        ticktext=[*map(str, layers), "output"],
        showgrid=False,
    )
    figure.set_yaxes(title="residual stream before layer", column=1)
    subtitle = f"lens of the residual stream; {_examples(profiles)}; intervals on hover"
    return _finished(figure, profiles, "levels", "Where the answer appears", subtitle)


def component_lens(arm: LensProfile, mdm: LensProfile, *, step: int = 0) -> Figure:
    """Two heat maps, ARM and MDM: the lens of each head and MLP at one denoising step.

    Raises:
        ReportError: the profiles are of different readings or graphs, or a model lacks the step.
    """
    profiles = _same_kind(arm, mdm)
    for model, profile in profiles.items():
        if not 0 <= step < len(profile.num_examples):
            raise ReportError(
                f"the {MODEL_NAMES[model]} has {len(profile.num_examples)} denoising steps and no"
                f" step {step}."
            )
    num_layers, num_heads = arm.graph.num_layers, arm.graph.num_heads
    figure = Figure([*MODEL_NAMES.values()], columns=2)
    for column, (model, profile) in enumerate(profiles.items(), start=1):
        figure.add(_component_map(profile, model, step), column=column)
    heads = thinned(num_heads, 8)
    figure.set_xaxes(
        title="attention head",
        tickvals=[*heads, num_heads],
        ticktext=[*map(str, heads), "MLP"],
        showgrid=False,
    )
    figure.set_yaxes(tickvals=thinned(num_layers, 10), showgrid=False)
    figure.set_yaxes(title="layer", column=1)
    subtitle = (
        f"lens of what each component writes, normed by itself, at step {step};"
        f" {_examples(profiles, step)}; intervals on hover"
    )
    return _finished(figure, profiles, "components", "What each component says", subtitle)


def lens_heatmap_table(arm: LensProfile, mdm: LensProfile) -> pl.DataFrame:
    """One row per model, step and place; places are levels, `output`, and components."""
    parts = []
    for model, profile in _same_kind(arm, mdm).items():
        sources = list(profile.graph.source_names)
        for kind, estimates, names in (
            ("level", profile.levels, level_names(profile)),
            ("component", profile.components, sources),
        ):
            num_steps = len(profile.num_examples)
            parts.append(
                pl.DataFrame(
                    {
                        "model": model,
                        "reading": profile.reading,
                        "kind": kind,
                        "step": np.repeat(np.arange(num_steps), len(names)),
                        "num_examples": np.repeat(profile.num_examples, len(names)),
                        "place": names * num_steps,
                        "value": estimates.value.ravel(),
                        "low": estimates.low.ravel(),
                        "high": estimates.high.ravel(),
                    }
                )
            )
    return pl.concat(parts).fill_nan(None)


def level_names(profile: LensProfile) -> list[str]:
    """Layers before which the stream is read; the last level is the model's output."""
    return [*map(str, range(profile.graph.num_layers)), "output"]


def _same_kind(arm: LensProfile, mdm: LensProfile) -> Mapping[str, LensProfile]:
    if arm.reading != mdm.reading or arm.graph.num_sources != mdm.graph.num_sources:
        raise ReportError(
            f"the ARM's lens profile is '{arm.reading}' of {arm.graph.num_sources} components and"
            f" the MDM's '{mdm.reading}' of {mdm.graph.num_sources}; draw the same of both."
        )
    return {"arm": arm, "mdm": mdm}


def _level_map(profile: LensProfile, model: str) -> Trace:
    levels, names = profile.levels, level_names(profile)
    num_steps = len(profile.num_examples)
    return heat_map(
        x=np.arange(num_steps),
        y=np.arange(len(names)),
        z=levels.value.T,
        coloraxis="coloraxis",
        text=np.repeat(np.array(names)[:, None], num_steps, axis=1),
        customdata=np.stack([levels.low.T, levels.high.T], axis=-1),
        hovertemplate=_hover("step %{x}, before layer %{text}", profile),
        xgap=2,
        ygap=2,
        name=MODEL_NAMES[model],
    )


def _component_map(profile: LensProfile, model: str, step: int) -> Trace:
    """Rows are layers; columns are heads, then the MLP. `input` is level 0 of the other figure."""
    graph, components = profile.graph, profile.components
    value, low, high = (
        array[step, 1:].reshape(graph.num_layers, graph.num_heads + 1)
        for array in (components.value, components.low, components.high)
    )
    names = list(graph.source_names[1:])
    return heat_map(
        z=value,
        coloraxis="coloraxis",
        text=np.reshape(names, value.shape),
        customdata=np.stack([low, high], axis=-1),
        hovertemplate=_hover("%{text}", profile),
        xgap=1,
        ygap=1,
        name=MODEL_NAMES[model],
    )


def _hover(place: str, profile: LensProfile) -> str:
    form = READING_TITLES[profile.reading][2]
    return f"{place}: %{{z:{form}}} (%{{customdata[0]:{form}}} to %{{customdata[1]:{form}}})"


def _examples(profiles: Mapping[str, LensProfile], step: int | None = None) -> str:
    counts = [
        int(profile.num_examples.max() if step is None else profile.num_examples[step])
        for profile in profiles.values()
    ]
    number = f"{counts[0]}" if len(set(counts)) == 1 else " and ".join(map(str, counts))
    return f"n = {number} examples; {percent(profiles['arm'].level)} bootstrap"


def _finished(
    figure: Figure,
    profiles: Mapping[str, LensProfile],
    field: str,
    title: str,
    subtitle: str,
) -> Figure:
    figure.colour_titles(MODEL_COLOURS.values())
    first = profiles["arm"]
    name, ticks, _ = READING_TITLES[first.reading]
    largest = max(np.nanmax(getattr(p, field).value) for p in profiles.values())
    bar = colour_bar(name, float(largest))
    bar["colorbar"]["tickformat"] = ticks
    figure.set_layout(coloraxis=bar)
    wide = panels((0.0, 0.41, 0.0, 1.0), (0.45, 0.86, 0.0, 1.0)) | colour_bar_right()
    wide |= {"height": 440, "margin.l": 76, "margin.b": 64, "yaxis2.showticklabels": False}
    narrow = stacked(2, gap=0.14, bottom=0.24) | colour_bar_below()
    narrow |= {"height": 900, "margin.l": 76, "margin.b": 64, "yaxis2.showticklabels": True}
    return finish(figure, title, subtitle, wide=wide, narrow=narrow)


def _exhibits(task: TaskResults) -> tuple[Exhibit, ...]:
    found = LENS.of(task)
    if found is None:
        return ()
    table = lens_heatmap_table(found.arm, found.mdm)
    return (
        Exhibit(
            name="lens-levels",
            figure=lens_heatmap(found.arm, found.mdm),
            table=table.filter(kind="level"),
            reading="What the model would answer if it stopped before this layer. Where the"
            " colours brighten, the answer is there; the last row is what it does answer.",
        ),
        Exhibit(
            name="lens-components",
            figure=component_lens(found.arm, found.mdm),
            table=table.filter(kind="component"),
            reading="What each head and MLP would answer alone. Bright ones write the answer;"
            " dark ones work for others. Later steps are in the CSV file.",
        ),
    )


def _cell(side: Literal["arm", "mdm", "shift"]) -> Callable[[TaskResults], Cell]:
    def cell(task: TaskResults) -> Cell:
        found = LENS.of(task)
        if found is None:
            return Cell(text=NOT_MEASURED)
        rank: Estimate = getattr(found.alignment, side).weighted.log10_rank
        return shift_cell(rank) if side == "shift" else estimate_cell(rank)

    return cell


def _method(settings: Mapping[str, Any]) -> tuple[Definition, ...]:
    if settings.get("semantics") is None:
        return ()
    return (
        Definition(
            term="Lens",
            meaning="Unembedding of the final norm of a component's output, or of the residual"
            " stream, where the token is predicted; the divisor of the norm is the vector's own."
            " Weighted means over components weigh by share of |mean score|.",
        ),
    )


LENS: Topic[Lenses] = Topic(
    name="lens",
    title="Lenses",
    record_type=Lenses,
    conclude=_conclude,
    reads=("semantics",),
    absent="Components were not analysed on {tasks}: `mechshift analyse RUN` does it.",
    headline_name="Flow and components",
    headline=(
        HeadlineRow(
            name="Answer's rank, ARM",
            explanation="log10, in the components' lenses",
            cell=_cell("arm"),
        ),
        HeadlineRow(
            name="Answer's rank, MDM",
            explanation="log10, in the components' lenses",
            cell=_cell("mdm"),
        ),
        HeadlineRow(
            name="Answer's rank, shift",
            explanation="above 0: says less of the answer",
            cell=_cell("shift"),
        ),
    ),
    findings=_findings,
    exhibits=_exhibits,
    terms=(
        Definition(
            term="Component, lens",
            meaning="A component is an attention head or an MLP. Its lens is the answer that the"
            " model would give if it saw this component's output and nothing else.",
        ),
    ),
    method=_method,
)
