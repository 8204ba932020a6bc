"""Steps of denoising: what does each do, by the layer that reads and by the metric?

For readers of tasks whose answers take several steps; with one step there is nothing to show.
"""

import math

import numpy as np
import polars as pl

from mechshift.comparison import Comparison, StepProfile
from mechshift.page.elements import Exhibit
from mechshift.page.figure import Figure, Trace, heat_map, scatter
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
from mechshift.topics.depth import layer_names
from mechshift.topics.topic import TaskResults, Topic

UNITS = {"logit_diff": "logits", "prob_diff": "probability", "log_prob": "nats", "kl": "nats"}
"""Of `mechshift.metrics`."""


def step_view(comparison: Comparison, *, metric: str = "metric") -> Figure:
    """Heat maps of |score| by layer and step, ARM and MDM; below, the metric per step.

    Args:
        comparison: what is shown.
        metric: name of the metric, such as `logit_diff`.
    """
    figure = Figure((*MODEL_NAMES.values(), "metric per step"), columns=2)
    for column, model in enumerate(MODEL_NAMES, start=1):
        profile = _profile(comparison, model)
        figure.add(_heat_map(profile, comparison.graph.num_layers, model), column=column)
        for trace in _metric_traces(profile, model):
            figure.add(trace, row=2, column=1)
    _axes(figure, comparison)
    figure.set_yaxes(title=f"{metric} [{UNITS.get(metric, 'metric units')}]", row=2, column=1)
    figure.colour_titles(MODEL_COLOURS.values())
    largest = max(np.nanmax(_profile(comparison, model).share) for model in MODEL_NAMES)
    figure.set_layout(coloraxis=colour_bar("share of<br>|score|", float(largest)))
    wide = panels((0.0, 0.43, 0.5, 1.0), (0.46, 0.89, 0.5, 1.0), (0.0, 1.0, 0.0, 0.32))
    wide |= colour_bar_right(length=0.5)
    wide |= {"height": 640, "margin.b": 84, "yaxis2.showticklabels": False}
    narrow = stacked(3, gap=0.11, bottom=0.16) | colour_bar_below()
    narrow |= {"height": 1110, "margin.b": 124, "yaxis2.showticklabels": True}
    return finish(
        figure,
        "Step by step",
        f"share of |mean score| by the layer that reads the edge, all edges;"
        f" n = {comparison.num_examples} {comparison.unit}s; bars:"
        f" {percent(comparison.settings.level)} bootstrap intervals",
        wide=wide,
        narrow=narrow,
    )


def step_view_table(comparison: Comparison) -> pl.DataFrame:
    """One row per model, step and reading layer; the step's metrics repeat on its rows."""
    parts = []
    for model in MODEL_NAMES:
        profile = _profile(comparison, model)
        num_steps, num_layers = profile.share.shape
        names = layer_names(comparison.graph.num_layers, "destination")
        columns: dict[str, object] = {
            "model": [model] * profile.share.size,
            "step": np.repeat(np.arange(num_steps), num_layers),
            "num_examples": np.repeat(profile.num_examples, num_layers),
            "layer": names * num_steps,
            "share": profile.share.ravel(),
        }
        for name in ("clean_metric", "corrupted_metric"):
            metric = getattr(profile, name)
            for part in ("value", "low", "high"):
                column = name if part == "value" else f"{name}_{part}"
                columns[column] = np.repeat(getattr(metric, part), num_layers)
        parts.append(pl.DataFrame(columns))
    return pl.concat(parts).fill_nan(None)


def _profile(comparison: Comparison, model: str) -> StepProfile:
    return {"arm": comparison.arm_steps, "mdm": comparison.mdm_steps}[model]


def _heat_map(profile: StepProfile, num_layers: int, model: str) -> Trace:
    num_steps = len(profile.share)
    names = layer_names(num_layers, "destination")
    return heat_map(
        x=np.arange(num_steps),
        y=np.arange(num_layers + 1),
        z=profile.share.T,
        coloraxis="coloraxis",
        text=np.repeat(np.array(names)[:, None], num_steps, axis=1),
        hovertemplate="step %{x}, layer %{text}: %{z:.2%}<extra>" + MODEL_NAMES[model] + "</extra>",
        xgap=2,
        ygap=2,
        name=MODEL_NAMES[model],
    )


def _metric_traces(profile: StepProfile, model: str) -> list[Trace]:
    """Clean (solid) and corrupted (dashed) metric with error bars."""
    traces = []
    for label, metric, dash in (
        ("clean", profile.clean_metric, "solid"),
        ("corrupted", profile.corrupted_metric, "dash"),
    ):
        name = f"{MODEL_NAMES[model]}, {label}"
        traces.append(
            scatter(
                x=np.arange(len(metric.value)),
                y=metric.value,
                error_y={
                    "type": "data",
                    "array": metric.high - metric.value,
                    "arrayminus": metric.value - metric.low,
                    "width": 4,
                    "thickness": 1.5,
                },
                mode="lines+markers",
                line={"color": MODEL_COLOURS[model], "width": 2.2, "dash": dash},
                marker={"size": 7, "symbol": "circle" if label == "clean" else "circle-open"},
                customdata=profile.num_examples,
                hovertemplate="step %{x}: %{y:.3f}, n = %{customdata}<extra>" + name + "</extra>",
                name=name,
            )
        )
    return traces


def _axes(figure: Figure, comparison: Comparison) -> None:
    num_layers = comparison.graph.num_layers
    num_steps = max(len(comparison.arm_steps.share), len(comparison.mdm_steps.share))
    layers = thinned(num_layers, 10)
    figure.set_xaxes(
        title="denoising step",
        tickmode="linear",
        dtick=max(1, math.ceil(num_steps / 9)),
        range=[-0.6, num_steps - 0.4],
        showgrid=False,
    )
    figure.set_yaxes(
        tickvals=[*layers, num_layers],
        ticktext=[*map(str, layers), "logits"],
        showgrid=False,
        row=1,
    )
    figure.set_yaxes(title="reading layer", row=1, column=1)


def has_steps(comparison: Comparison) -> bool:
    """Whether either model takes more than one denoising step."""
    return max(len(comparison.arm_steps.share), len(comparison.mdm_steps.share)) > 1


def _exhibits(task: TaskResults) -> tuple[Exhibit, ...]:
    comparison = task.comparison
    if not has_steps(comparison):
        return ()
    return (
        Exhibit(
            name="steps",
            figure=step_view(comparison, metric=task.metric),
            table=step_view_table(comparison),
            reading="The MDM fills its masks step by step; the ARM is scored on the same"
            " tokens at the same step. Above: which layers read what matters. Below: how sure"
            " each model is, with the clean and with the corrupted prompt.",
        ),
    )


def _notes(task: TaskResults) -> tuple[str, ...]:
    if has_steps(task.comparison):
        return ()
    return (
        "There is no view step by step: both models answer this task in one denoising step, or"
        " scores were summed over steps (--attribution.steps summed).",
    )


STEPS: Topic[None] = Topic(name="steps", title="Step by step", exhibits=_exhibits, notes=_notes)
