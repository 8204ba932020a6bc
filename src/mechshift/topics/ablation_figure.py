"""Figure of ablations: what the loss of structures costs each model, beside random controls.

For the topic `ablation`, which says what it means.
"""

import numpy as np
import polars as pl

from mechshift.ablation import (
    ROLES,
    AblationComparison,
    AblationEffects,
    GroupLabels,
    PlanLabels,
    RemovedOutputs,
)
from mechshift.errors import ReportError
from mechshift.page.figure import Figure, Trace, bars
from mechshift.page.theme import (
    MODEL_COLOURS,
    MODEL_NAMES,
    NEUTRAL_COLOUR,
    finish,
    panels,
    percent,
    stacked,
    translucent,
)
from mechshift.statistics import MIN_DRAWS, Estimates
from mechshift.topics.steps import UNITS

PANELS = (("metric_drop", "drop in metric"), ("accuracy_drop", "drop in accuracy"))
"""Field of `AblationEffects` and title of each panel."""

SHADES = {"structure": 1.0, "same number": 0.5, "same norm": 0.25}

ROLE_NAMES = {
    "structure": "",
    "same number": ", random, same number",
    "same norm": ", random, same norm",
}


def ablation_bars(comparison: AblationComparison, replacement: str = "zero") -> Figure:
    """Bars of both models for every plan, its random controls in a lighter shade below it.

    Raises:
        ReportError: the plans were not run under this replacement.
    """
    column = _column(comparison, replacement)
    figure = Figure([title for _, title in PANELS], columns=2)
    labels = comparison.arm.labels
    for panel, (field, _) in enumerate(PANELS, start=1):
        for model in MODEL_NAMES:
            effects = _effects(comparison, model)
            for role in (role for role in ROLES if role in labels.roles):
                trace = _bars(effects, field, model, role, column)
                trace["showlegend"] = panel == 1
                figure.add(trace, column=panel)
        figure.add_vline(0.0, line={"width": 1, "color": NEUTRAL_COLOUR}, column=panel)
    names = list(dict.fromkeys(labels.of))
    figure.set_yaxes(
        categoryorder="array", categoryarray=names, autorange="reversed", showgrid=False
    )
    units = UNITS.get(comparison.metric_name, "metric units")
    figure.set_xaxes(title=f"drop in {comparison.metric_name} [{units}]", column=1)
    figure.set_xaxes(title="drop in accuracy", tickformat=".0%", column=2)
    figure.set_layout(barmode="group", bargap=0.25)
    height = 46 * len(names)
    wide = panels((0.0, 0.48, 0.0, 1.0), (0.52, 1.0, 0.0, 1.0))
    wide |= {"height": height + 220, "margin.b": 124, "margin.l": 120}
    wide |= {"yaxis2.showticklabels": False}
    narrow = stacked(2, gap=0.12)
    narrow |= {"height": 2 * height + 420, "margin.b": 250, "margin.l": 120}
    narrow |= {"yaxis2.showticklabels": True}
    return finish(
        figure,
        f"Ablation, replacement: {replacement}",
        f"n = {comparison.num_examples} examples; bars: {percent(comparison.level)} bootstrap"
        f" intervals over examples{_and_draws(comparison)}",
        wide=wide,
        narrow=narrow,
    )


def ablation_bars_table(comparison: AblationComparison) -> pl.DataFrame:
    """One row per model, plan or control, and replacement; then one per draw of a control.

    `draw` is null where draws are pooled, and only there are intervals. `model` is also
    `mdm - arm`, for drops only.
    """
    models = {model: _effects(comparison, model) for model in MODEL_NAMES}
    differences = pl.DataFrame(
        {
            "model": "mdm - arm",
            **_columns(comparison.arm.labels, comparison.replacements),
            **_estimate_columns("accuracy_drop", comparison.accuracy_drop_difference),
            **_estimate_columns("metric_drop", comparison.metric_drop_difference),
            **_estimate_columns("share_lost", comparison.share_lost_difference),
        }
    )
    pooled = [_pooled(comparison, effects, model) for model, effects in models.items()]
    drawn = [_drawn(comparison, effects, model) for model, effects in models.items()]
    return pl.concat([*pooled, differences, *drawn], how="diagonal").fill_nan(None)


def _pooled(comparison: AblationComparison, effects: AblationEffects, model: str) -> pl.DataFrame:
    labels, replacements = effects.labels, comparison.replacements
    columns: dict[str, object] = {
        "model": model,
        **_columns(labels, replacements),
        "num_draws": np.repeat(labels.num_draws, len(replacements)),
        **_size_columns(labels, effects.removed, replacements),
    }
    drops = ("accuracy", "accuracy_drop", "metric_drop", "share_lost")
    for field in (*drops, "accuracy_excess", "metric_excess", "share_excess"):
        columns |= _estimate_columns(field, getattr(effects, field))
    return pl.DataFrame(columns)


def _drawn(comparison: AblationComparison, effects: AblationEffects, model: str) -> pl.DataFrame:
    plans, replacements = effects.plans, comparison.replacements
    rows = pl.DataFrame(
        {
            "model": model,
            **_columns(plans.labels, replacements),
            "draw": np.repeat(plans.labels.draws, len(replacements)),
            **_size_columns(plans.labels, plans.removed, replacements),
            "accuracy_drop": plans.accuracy_drop.ravel(),
            "metric_drop": plans.metric_drop.ravel(),
        }
    )
    return rows.filter(pl.col("draw") > 0)


def _columns(labels: PlanLabels | GroupLabels, replacements: tuple[str, ...]) -> dict[str, object]:
    times = len(replacements)
    return {
        "plan": np.repeat(np.array(labels.names), times),
        "role": np.repeat(np.array(labels.roles), times),
        "of": np.repeat(np.array(labels.of), times),
        "replacement": list(replacements) * len(labels.names),
    }


def _size_columns(
    labels: PlanLabels | GroupLabels, removed: RemovedOutputs, replacements: tuple[str, ...]
) -> dict[str, object]:
    columns = {
        "note": np.array(labels.notes),
        "num_heads": labels.num_heads.astype(float),
        "num_mlps": labels.num_mlps.astype(float),
        "num_neurons": labels.num_neurons.astype(float),
        "removed_norm": removed.norm,
        "removed_share": removed.share,
        "largest_coordinate_share": removed.largest_coordinate_share,
    }
    return {name: np.repeat(values, len(replacements)) for name, values in columns.items()}


def _estimate_columns(name: str, estimates: Estimates) -> dict[str, object]:
    return {
        name: estimates.value.ravel(),
        f"{name}_low": estimates.low.ravel(),
        f"{name}_high": estimates.high.ravel(),
    }


def _effects(comparison: AblationComparison, model: str) -> AblationEffects:
    return {"arm": comparison.arm, "mdm": comparison.mdm}[model]


def _column(comparison: AblationComparison, replacement: str) -> int:
    if replacement not in comparison.replacements:
        raise ReportError(
            f"the structures were not ablated by '{replacement}'; there are"
            f" {', '.join(comparison.replacements)}."
        )
    return comparison.replacements.index(replacement)


def _and_draws(comparison: AblationComparison) -> str:
    """Which draws the intervals cover; nothing where there is no control."""
    counts = [
        int(count)
        for labels in (comparison.arm.labels, comparison.mdm.labels)
        for role, count in zip(labels.roles, labels.num_draws, strict=True)
        if role != "structure"
    ]
    if not counts:
        return ""
    if min(counts) < MIN_DRAWS:
        return f", and over random draws where a control has {MIN_DRAWS} or more"
    return " and over random draws"


def _note(labels: GroupLabels, row: int) -> str:
    if labels.roles[row] == "structure":
        return labels.notes[row]
    return f"random draws: {labels.num_draws[row]}<br>" + labels.notes[row].replace("; ", "<br>")


def _bars(effects: AblationEffects, field: str, model: str, role: str, column: int) -> Trace:
    """The plans of one role, or the controls of one kind; a plan without one has no bar."""
    labels, removed = effects.labels, effects.removed
    rows = [row for row, found in enumerate(labels.roles) if found == role]
    estimates: Estimates = getattr(effects, field)
    value, low, high = (
        array[rows, column] for array in (estimates.value, estimates.low, estimates.high)
    )
    name = MODEL_NAMES[model] + ROLE_NAMES[role]
    value_format = ".1%" if field == "accuracy_drop" else ".3f"
    return bars(
        x=value,
        y=[labels.of[row] for row in rows],
        orientation="h",
        offsetgroup=f"{model} {role}",
        error_x={
            "type": "data",
            "array": high - value,
            "arrayminus": value - low,
            "width": 2,
            "thickness": 1.2,
            "color": NEUTRAL_COLOUR,
        },
        marker={"color": translucent(MODEL_COLOURS[model], SHADES[role]), "line": {"width": 0}},
        customdata=np.stack([low, high, removed.norm[rows], removed.share[rows]], axis=-1),
        text=[_note(labels, row) for row in rows],
        textposition="none",
        hovertemplate=f"%{{y}}: %{{x:{value_format}}}"
        f" [%{{customdata[0]:{value_format}}}, %{{customdata[1]:{value_format}}}]"
        "<br>%{text}<br>norm removed %{customdata[2]:.3g}, %{customdata[3]:.1%} of all"
        f"<extra>{name}</extra>",
        name=name,
        legendgroup=name,
    )
