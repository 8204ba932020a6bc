"""Single components ablated: what does each head and MLP cost, and does attribution rank them so?

For readers who ask whether edge scores, which are estimates, tell what an intervention would.

Rule: attribution ranks components as ablation does where the interval of the rank correlation lies
above 0, in both models.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Int

from mechshift.ablation import (
    AblationSettings,
    SingleAblations,
    SingleEffects,
    compare_single_ablations,
    rank_agreement,
)
from mechshift.attribution import source_scores
from mechshift.models import Kind
from mechshift.page.elements import Definition, Exhibit, Finding
from mechshift.page.figure import Figure, Trace, box
from mechshift.page.formats import NOT_DECIDED, NOT_MEASURED, Cell, estimate_cell, in_words
from mechshift.page.theme import (
    DOTTED,
    MODEL_COLOURS,
    MODEL_NAMES,
    finish,
    panels,
    percent,
    stacked,
    translucent,
)
from mechshift.statistics import Estimate, Estimates
from mechshift.topics.ablation import WRITES_INSTEAD, stored_settings
from mechshift.topics.steps import UNITS
from mechshift.topics.topic import HeadlineRow, StoredTask, TaskResults, Topic

PANELS = ("heads", "MLPs")


@dataclass(frozen=True, kw_only=True, eq=False)
class ComponentAblations:
    """Losses of both models without single components, and how attribution had ranked these."""

    single: SingleEffects
    arm_agreement: Estimate
    """Rank correlation of single ablations with attribution, in [-1, 1]."""
    mdm_agreement: Estimate


def _conclude(stored: StoredTask) -> ComponentAblations | None:
    """None where not both models were ablated. Raises AblationError where not alike."""
    arm, mdm = stored.ablations("arm"), stored.ablations("mdm")
    config = stored.stage_settings("ablation")
    if arm is None or mdm is None or config is None:
        return None
    settings = stored_settings(config)
    return ComponentAblations(
        single=compare_single_ablations(arm.single, mdm.single, settings),
        arm_agreement=_agreement(stored, "arm", arm.single, settings),
        mdm_agreement=_agreement(stored, "mdm", mdm.single, settings),
    )


def _agreement(
    stored: StoredTask, kind: Kind, single: SingleAblations, settings: AblationSettings
) -> Estimate:
    """Ablations are of held-out examples, scores of those for discovery."""
    scores = stored.scores(kind)
    by_component = source_scores(scores)[:, 1:]
    return rank_agreement(single, by_component, settings, scored=scores.drawn)


def single_ablations_figure(effects: SingleEffects) -> Figure:
    """Two panels, heads and MLPs: a point for each component, with a box for each model."""
    figure = Figure(PANELS, columns=2, shared_yaxes=True)
    is_head = effects.graph.source_head[1:] >= 0
    for column, rows in enumerate((is_head, ~is_head), start=1):
        for model in MODEL_NAMES:
            trace = _box(effects, model, np.flatnonzero(rows))
            trace["showlegend"] = column == 1
            figure.add(trace, column=column)
        figure.set_xaxes(title=f"n = {rows.sum()} {PANELS[column - 1]}", column=column)
        figure.add_hline(0.0, line=DOTTED, column=column)
    units = UNITS.get(effects.metric_name, "metric units")
    figure.set_yaxes(title=f"mean drop in {effects.metric_name} [{units}]", column=1)
    figure.set_xaxes(showgrid=False)
    wide = panels((0.0, 0.48, 0.0, 1.0), (0.52, 1.0, 0.0, 1.0))
    wide |= {"height": 420, "margin.b": 100, "yaxis2.showticklabels": False}
    narrow = stacked(2, gap=0.18)
    narrow |= {"height": 780, "margin.b": 100, "yaxis2.showticklabels": True}
    return finish(
        figure,
        f"Single ablations, replacement: {effects.replacement}",
        f"each point: one component's mean over n = {effects.num_examples} examples;"
        f" {percent(effects.level)} bootstrap intervals on hover; positive: ablating hurts",
        wide=wide,
        narrow=narrow,
    )


def single_ablations_table(effects: SingleEffects) -> pl.DataFrame:
    """One row per model and component."""
    return pl.concat(
        pl.DataFrame(
            {
                "model": model,
                "component": effects.names(),
                "layer": effects.graph.source_layer[1:],
                "kind": np.where(effects.graph.source_head[1:] >= 0, "head", "MLP"),
                "replacement": effects.replacement,
                "drop": drops.value,
                "low": drops.low,
                "high": drops.high,
            }
        )
        for model, drops in _by_model(effects).items()
    )


def _by_model(effects: SingleEffects) -> dict[str, Estimates]:
    return {"arm": effects.arm, "mdm": effects.mdm}


def _box(effects: SingleEffects, model: str, rows: Int[np.ndarray, " component"]) -> Trace:
    drops, names = _by_model(effects)[model], effects.names()
    colour = MODEL_COLOURS[model]
    return box(
        x=[MODEL_NAMES[model]] * len(rows),
        y=drops.value[rows],
        boxpoints="all",
        jitter=0.6,
        pointpos=0,
        marker={"color": colour, "size": 5, "opacity": 0.8},
        line={"color": colour, "width": 1.5},
        fillcolor=translucent(colour, 0.12),
        customdata=np.stack([drops.low[rows], drops.high[rows]], axis=-1),
        text=[names[row] for row in rows],
        hoveron="points",
        hovertemplate="%{text}: %{y:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}]"
        f"<extra>{MODEL_NAMES[model]}</extra>",
        name=MODEL_NAMES[model],
        legendgroup=MODEL_NAMES[model],
    )


def _exhibits(task: TaskResults) -> tuple[Exhibit, ...]:
    record = SINGLE_ABLATIONS.of(task)
    if record is None:
        return ()
    return (
        Exhibit(
            name="single-ablations",
            figure=single_ablations_figure(record.single),
            table=single_ablations_table(record.single),
            reading="Each point is one head or MLP that writes"
            f" {_alone(WRITES_INSTEAD[record.single.replacement])}. A few far-off points: the"
            " model hangs on single components; a flat cloud: they can stand in for each other."
            " Rank correlation with attribution: ARM"
            f" {in_words(record.arm_agreement)}, MDM {in_words(record.mdm_agreement)}.",
        ),
    )


def _alone(written: str) -> str:
    return written.replace("their", "its").replace("they write", "it writes")


def _findings(task: TaskResults) -> tuple[Finding, ...]:
    record = SINGLE_ABLATIONS.of(task)
    if record is None:
        return ()
    single = record.single
    agreements = {"ARM": record.arm_agreement, "MDM": record.mdm_agreement}
    decided = [name for name, found in agreements.items() if found.interval.low > 0]
    if len(decided) == 2:
        verdict = "yes"
    else:
        verdict = f"only in the {decided[0]}" if decided else NOT_DECIDED
    return (
        Finding(
            question="Does attribution rank heads and MLPs as ablating them does?",
            verdict=verdict,
            sentence=f"Over {len(single.names())} heads and MLPs, what ablating each costs"
            f" ({single.replacement}, held-out examples) and its attribution (discovery examples)"
            f" have a rank correlation of {in_words(record.arm_agreement)} in the ARM and"
            f" {in_words(record.mdm_agreement)} in the MDM.",
        ),
    )


def _cell(model: Kind) -> Callable[[TaskResults], Cell]:
    def cell(task: TaskResults) -> Cell:
        record = SINGLE_ABLATIONS.of(task)
        if record is None:
            return Cell(text=NOT_MEASURED)
        return estimate_cell(record.arm_agreement if model == "arm" else record.mdm_agreement)

    return cell


def _method(settings: Mapping[str, Any]) -> tuple[Definition, ...]:
    if settings.get("ablation") is None:
        return ()
    written = WRITES_INSTEAD[stored_settings(settings["ablation"]).single_replacement]
    return (
        Definition(
            term="Single ablations",
            meaning="Every head and MLP by itself, replaced by"
            f" {written.replace('they write', 'it writes')}."
            " Rank agreement: Spearman's correlation over components of the mean loss with the mean"
            " sum of the scores of the edges out of the component.",
        ),
    )


SINGLE_ABLATIONS: Topic[ComponentAblations] = Topic(
    name="single-ablations",
    title="Single components ablated",
    rests_on="held-out",
    record_type=ComponentAblations,
    conclude=_conclude,
    reads=("ablation",),
    headline_name="Single components ablated",
    headline=(
        HeadlineRow(name="Rank agreement, ARM", explanation="with attribution", cell=_cell("arm")),
        HeadlineRow(name="Rank agreement, MDM", explanation="with attribution", cell=_cell("mdm")),
    ),
    findings=_findings,
    exhibits=_exhibits,
    method=_method,
)
