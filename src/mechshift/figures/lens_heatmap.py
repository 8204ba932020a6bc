"""Figures: where the answer appears, by depth and denoising step, and in which component's lens."""

import math
from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from mechshift.errors import ReportError
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
from mechshift.semantics import LensProfile

READING_TITLES = {
    "probability": ("probability<br>of target", ".2~p", ".2%"),
    "log10_rank": ("log10 rank<br>of target", ".2~f", ".2f"),
    "entropy": ("entropy<br>[nats]", ".2~f", ".2f"),
}
"""Reading -> title of the colour bar, its ticks' format, and that of a value."""


def lens_heatmap(arm: LensProfile, mdm: LensProfile) -> go.Figure:
    """Two heat maps, ARM and MDM: the lens of the residual stream by layer and denoising step.

    Raises:
        ReportError: the profiles are of different readings or depths.
    """
    profiles = _same_kind(arm, mdm)
    figure = make_subplots(rows=1, cols=2, subplot_titles=[*MODEL_NAMES.values()])
    for column, (model, profile) in enumerate(profiles.items(), start=1):
        figure.add_trace(_level_map(profile, model), row=1, col=column)
    num_levels = arm.graph.num_layers + 1
    num_steps = max(len(arm.num_examples), len(mdm.num_examples))
    figure.update_xaxes(
        title_text="denoising step",
        tickmode="linear",
        dtick=max(1, math.ceil(num_steps / 9)),
        range=[-0.6, num_steps - 0.4],
        showgrid=False,
    )
    layers = thinned(num_levels - 1, 10)
    figure.update_yaxes(
        tickvals=[*layers, num_levels - 1],
        ticktext=[*map(str, layers), "output"],
        showgrid=False,
    )
    figure.update_yaxes(title_text="residual stream before layer", col=1)
    subtitle = f"lens of the residual stream; {_examples(profiles)}; intervals on hover"
    return _finished(figure, profiles, "levels", "Where the answer appears", subtitle)


def component_lens(arm: LensProfile, mdm: LensProfile, *, step: int = 0) -> go.Figure:
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
    figure = make_subplots(rows=1, cols=2, subplot_titles=[*MODEL_NAMES.values()])
    for column, (model, profile) in enumerate(profiles.items(), start=1):
        figure.add_trace(_component_map(profile, model, step), row=1, col=column)
    heads = thinned(num_heads, 8)
    figure.update_xaxes(
        title_text="attention head",
        tickvals=[*heads, num_heads],
        ticktext=[*map(str, heads), "MLP"],
        showgrid=False,
    )
    figure.update_yaxes(tickvals=thinned(num_layers, 10), showgrid=False)
    figure.update_yaxes(title_text="layer", col=1)
    subtitle = (
        f"lens of what each component writes, normed by itself, at step {step};"
        f" {_examples(profiles, step)}; intervals on hover"
    )
    return _finished(figure, profiles, "components", "What each component says", subtitle)


def lens_heatmap_table(arm: LensProfile, mdm: LensProfile) -> pl.DataFrame:
    """One row per model, step and place; places are levels, `output`, and components."""
    parts = []
    for model, profile in _same_kind(arm, mdm).items():
        sources = [profile.graph.source_name(s) for s in range(profile.graph.num_sources)]
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


def _level_map(profile: LensProfile, model: str) -> go.Heatmap:
    levels, names = profile.levels, level_names(profile)
    num_steps = len(profile.num_examples)
    return go.Heatmap(
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


def _component_map(profile: LensProfile, model: str, step: int) -> go.Heatmap:
    """Rows are layers; columns are heads, then the MLP. `input` is level 0 of the other figure."""
    graph, components = profile.graph, profile.components
    value, low, high = (
        array[step, 1:].reshape(graph.num_layers, graph.num_heads + 1)
        for array in (components.value, components.low, components.high)
    )
    names = [graph.source_name(source) for source in range(1, graph.num_sources)]
    return go.Heatmap(
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
    figure: go.Figure,
    profiles: Mapping[str, LensProfile],
    field: str,
    title: str,
    subtitle: str,
) -> go.Figure:
    for annotation, model in zip(figure.layout.annotations, MODEL_NAMES, strict=False):
        annotation.font.color = MODEL_COLOURS[model]
    first = profiles["arm"]
    name, ticks, _ = READING_TITLES[first.reading]
    largest = max(np.nanmax(getattr(p, field).value) for p in profiles.values())
    bar = colour_bar(name, float(largest))
    bar["colorbar"]["tickformat"] = ticks
    figure.update_layout(coloraxis=bar)
    wide = panels((0.0, 0.41, 0.0, 1.0), (0.45, 0.86, 0.0, 1.0)) | colour_bar_right()
    wide |= {"height": 440, "margin.l": 76, "margin.b": 64, "yaxis2.showticklabels": False}
    narrow = stacked(2, gap=0.14, bottom=0.24) | colour_bar_below()
    narrow |= {"height": 900, "margin.l": 76, "margin.b": 64, "yaxis2.showticklabels": True}
    return finish(figure, title, subtitle, wide=wide, narrow=narrow)
