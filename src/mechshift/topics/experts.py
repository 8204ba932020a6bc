"""Experts: which experts of each layer's mixture carry its attribution, in both models.

For readers of mixtures of experts who ask whether post-training moved a task from some experts to
others. There only where the run was asked for it (`--graph.experts`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from mechshift.page.elements import Definition, Exhibit
from mechshift.page.figure import Figure, Trace, heat_map
from mechshift.page.theme import (
    MODEL_COLOURS,
    MODEL_NAMES,
    colour_bar,
    colour_bar_below,
    colour_bar_right,
    finish,
    panels,
    stacked,
    thinned,
)
from mechshift.semantics import ExpertShares
from mechshift.topics.topic import StoredTask, TaskResults, Topic


@dataclass(frozen=True, kw_only=True, eq=False)
class ExpertsOfPair:
    """Both models' experts on one task."""

    arm: ExpertShares
    mdm: ExpertShares

    def __post_init__(self) -> None:
        assert self.arm.share.value.shape == self.mdm.share.value.shape

    @property
    def models(self) -> dict[str, ExpertShares]:
        """By the names of the theme."""
        return {"arm": self.arm, "mdm": self.mdm}


def _conclude(stored: StoredTask) -> ExpertsOfPair | None:
    arm, mdm = stored.semantics("arm"), stored.semantics("mdm")
    if arm is None or mdm is None or arm.experts is None or mdm.experts is None:
        return None
    return ExpertsOfPair(arm=arm.experts, mdm=mdm.experts)


def expert_view(found: ExpertsOfPair) -> Figure:
    """Heat maps of the share of each expert in its layer, ARM and MDM side by side."""
    figure = Figure(tuple(MODEL_NAMES.values()), columns=2)
    for column, (model, shares) in enumerate(found.models.items(), start=1):
        figure.add(_heat_map(shares, model), column=column)
    figure.set_xaxes(
        title="expert",
        tickvals=thinned(found.arm.num_experts, 8),
        range=[-0.6, found.arm.num_experts - 0.4],
        showgrid=False,
    )
    figure.set_yaxes(tickvals=thinned(found.arm.num_layers, 10), showgrid=False)
    figure.set_yaxes(title="layer", column=1)
    figure.colour_titles(MODEL_COLOURS.values())
    largest = max(float(np.nanmax(one.share.value, initial=0)) for one in found.models.values())
    figure.set_layout(coloraxis=colour_bar("share of its<br>layer", largest or 1.0))
    wide = panels((0.0, 0.43, 0.0, 1.0), (0.46, 0.89, 0.0, 1.0)) | colour_bar_right()
    wide |= {"height": 460, "margin.b": 64, "yaxis2.showticklabels": False}
    narrow = stacked(2, gap=0.14, bottom=0.2) | colour_bar_below()
    narrow |= {"height": 760, "margin.b": 40, "yaxis2.showticklabels": True}
    return finish(
        figure,
        "Experts",
        f"share of the |mean score| of all experts of the layer; n = {_examples(found)} examples",
        wide=wide,
        narrow=narrow,
    )


def _examples(found: ExpertsOfPair) -> str:
    low, high = sorted(one.num_examples for one in found.models.values())
    return f"{low}" if low == high else f"{low} and {high}"


def _heat_map(shares: ExpertShares, model: str) -> Trace:
    return heat_map(
        x=np.arange(shares.num_experts),
        y=np.arange(shares.num_layers),
        z=shares.share.value,
        coloraxis="coloraxis",
        customdata=np.stack([shares.share.low, shares.share.high, shares.score.value], axis=-1),
        hovertemplate="layer %{y}, expert %{x}: %{z:.1%} (%{customdata[0]:.1%} to"
        " %{customdata[1]:.1%})<br>score %{customdata[2]:.3g}<extra>"
        + MODEL_NAMES[model]
        + "</extra>",
        name=MODEL_NAMES[model],
    )


def expert_table(found: ExpertsOfPair) -> pl.DataFrame:
    """One row per model, layer and expert."""
    parts = []
    for model, shares in found.models.items():
        layer, expert = np.indices(shares.share.value.shape).reshape(2, -1)
        columns: dict[str, Any] = {
            "model": [model] * len(layer),
            "layer": layer,
            "expert": [f"m{at}.e{index}" for at, index in zip(layer, expert, strict=True)],
        }
        for name, estimates in (("score", shares.score), ("share", shares.share)):
            columns[name] = estimates.value.ravel()
            columns[f"{name}_low"] = estimates.low.ravel()
            columns[f"{name}_high"] = estimates.high.ravel()
        parts.append(pl.DataFrame(columns))
    return pl.concat(parts).fill_nan(None)


def _exhibits(task: TaskResults) -> tuple[Exhibit, ...]:
    found = EXPERTS.of(task)
    if found is None:
        return ()
    return (
        Exhibit(
            name="experts",
            figure=expert_view(found),
            table=expert_table(found),
            reading="How the attribution of each layer's mixture is shared among its experts. An"
            " expert that no token is sent to has none. Post-training that moves a task to other"
            " experts shows as other bright cells in a row; hover for interval and score.",
        ),
    )


def _method(settings: Mapping[str, Any]) -> tuple[Definition, ...]:
    semantics = settings.get("semantics")
    if semantics is None or not semantics.get("experts"):
        return ()
    return (
        Definition(
            term="Expert",
            meaning="A node that writes its routing weight times what it returns; the router is"
            " part of each. Its score is that of node attribution, integrated over"
            f" {semantics['ig_steps']} points; those of a layer add up to its mixture's, which"
            " edges and circuits take as one node. Its share is |mean score| over the sum of the"
            " layer's; noise adds to it, so shares of a quiet layer look more alike than they are.",
        ),
    )


EXPERTS: Topic[ExpertsOfPair] = Topic(
    name="experts",
    title="Experts",
    record_type=ExpertsOfPair,
    conclude=_conclude,
    reads=("semantics",),
    exhibits=_exhibits,
    method=_method,
)
