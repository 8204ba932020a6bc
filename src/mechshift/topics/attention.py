"""Attention roles: which heads look where a role says, in both models.

For readers who know heads by what they attend to, such as induction heads, and ask which of them
the MDM kept. A head holds a role where the whole interval of its attention beyond uniform lies
above a threshold (`semantics.attention_roles`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool

from mechshift.errors import ReportError
from mechshift.page.elements import Definition, Exhibit
from mechshift.page.figure import Figure, Trace, scatter
from mechshift.page.theme import (
    DOTTED,
    MODEL_COLOURS,
    MODEL_NAMES,
    Patch,
    finish,
    panels,
    percent,
    translucent,
)
from mechshift.semantics import AttentionRoles
from mechshift.topics.topic import StoredTask, TaskResults, Topic

OFFSETS = {"arm": -0.17, "mdm": 0.17}
"""Place of a model's heads beside a role's place on the axis."""

MAX_FAINT = 100
"""Heads without a role that are drawn of each model at each role: a model of 7B parameters has 800,
which lie on each other around 0 and take seconds to draw. The table has all of them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RolesOfPair:
    """Both models' attention roles on one task."""

    arm: AttentionRoles
    mdm: AttentionRoles


def _conclude(stored: StoredTask) -> RolesOfPair | None:
    arm, mdm = stored.semantics("arm"), stored.semantics("mdm")
    if arm is None or mdm is None:
        return None
    return RolesOfPair(arm=arm.roles, mdm=mdm.roles)


def attention_roles(arm: AttentionRoles, mdm: AttentionRoles) -> Figure:
    """A point for each head and role; heads that hold a role are filled, the others faint.

    Of the others only the highest are drawn where there are more than `MAX_FAINT` at a role.

    Raises:
        ReportError: the models were measured for different roles or with different thresholds.
    """
    models = _same_roles(arm, mdm)
    figure = Figure()
    for model, roles in models.items():
        for held in (False, True):
            figure.add(_points(roles, model, held))
    figure.set_xaxes(
        tickvals=np.arange(len(arm.roles)),
        ticktext=[_label(models, index) for index in range(len(arm.roles))],
        range=[-0.6, len(arm.roles) - 0.4],
        showgrid=False,
    )
    figure.set_yaxes(title="attention beyond uniform")
    figure.add_hline(arm.threshold, line=DOTTED, opacity=0.8)
    return finish(
        figure,
        "Roles of attention heads",
        f"filled: the whole {percent(arm.level)} bootstrap interval is above {arm.threshold:g};"
        f" n = {_samples(models)} sequences or examples",
        wide=_shape(height=460, below=110, angle=0, label_size=13),
        narrow=_shape(height=560, below=150, angle=-90, label_size=10),
    )


def _label(models: dict[str, AttentionRoles], index: int) -> str:
    """A role's name, one word a line, and which model could not be measured for it."""
    words = models["arm"].roles[index].split("_")
    without = [MODEL_NAMES[m] for m, roles in models.items() if roles.num_samples[index] == 0]
    return "<br>".join([*words, *(f"(no {name})" for name in without)])


def _samples(models: dict[str, AttentionRoles]) -> str:
    counts = np.concatenate([roles.num_samples for roles in models.values()])
    counts = counts[counts > 0]
    low, high = int(counts.min()), int(counts.max())
    return f"{low}" if low == high else f"{low} to {high}"


def _points(roles: AttentionRoles, model: str, held: bool) -> Trace:
    excess = roles.excess
    drawn = np.isfinite(excess.value) & (roles.holds if held else _highest_faint(roles))
    role, layer, head = np.nonzero(drawn)
    names = np.reshape(head_names(roles), roles.holds.shape[1:])[layer, head]
    at = role, layer, head
    # Heads of a role stand side by side by depth, so that equal values do not hide each other.
    depth = (layer + 0.5) / roles.graph.num_layers - 0.5
    colour = MODEL_COLOURS[model]
    label = MODEL_NAMES[model] if held else f"{MODEL_NAMES[model]}, no role"
    return scatter(
        x=role + OFFSETS[model] + 0.26 * depth,
        y=excess.value[at],
        mode="markers",
        marker={
            "size": 10 if held else 6,
            "symbol": "circle" if model == "arm" else "diamond",
            "color": colour if held else translucent(colour, 0.35),
        },
        text=names,
        customdata=np.stack(
            [excess.low[at], excess.high[at], roles.share.value[at], roles.uniform[role, layer]],
            axis=1,
        ),
        hovertemplate="%{text}: %{y:.2f} (%{customdata[0]:.2f} to %{customdata[1]:.2f})<br>"
        "share %{customdata[2]:.2f}, uniform %{customdata[3]:.2f}<extra>"
        + MODEL_NAMES[model]
        + "</extra>",
        name=label,
    )


def _highest_faint(roles: AttentionRoles) -> Bool[np.ndarray, "role layer head"]:
    """The heads without a role that are drawn at each role."""
    height = np.where(roles.holds, -np.inf, np.nan_to_num(roles.excess.value, nan=-np.inf))
    by_role = height.reshape(len(height), -1)
    highest = np.argsort(-by_role, axis=1, kind="stable")[:, :MAX_FAINT]
    chosen = np.zeros(by_role.shape, dtype=bool)
    np.put_along_axis(chosen, highest, np.take_along_axis(by_role, highest, axis=1) > -np.inf, 1)
    return chosen.reshape(height.shape)


def _shape(*, height: int, below: int, angle: int, label_size: int) -> Patch:
    """The single panel, which has no title of its own, and its labels, which must not touch."""
    place = panels((0.0, 1.0, 0.0, 1.0)).items()
    return {name: value for name, value in place if not name.startswith("annotations")} | {
        "height": height,
        "margin.b": below,
        "xaxis.tickangle": angle,
        "xaxis.tickfont.size": label_size,
    }


def attention_roles_table(arm: AttentionRoles, mdm: AttentionRoles) -> pl.DataFrame:
    """One row per model, role and head."""
    parts = []
    for model, roles in _same_roles(arm, mdm).items():
        shape = roles.holds.shape
        parts.append(
            pl.DataFrame(
                {
                    "model": model,
                    "role": np.repeat(roles.roles, shape[1] * shape[2]),
                    "head": head_names(roles) * shape[0],
                    "share": roles.share.value.ravel(),
                    "uniform": np.repeat(roles.uniform.ravel(), shape[2]),
                    "excess": roles.excess.value.ravel(),
                    "low": roles.excess.low.ravel(),
                    "high": roles.excess.high.ravel(),
                    "holds": roles.holds.ravel(),
                    "num_samples": np.repeat(roles.num_samples, shape[1] * shape[2]),
                }
            )
        )
    return pl.concat(parts).fill_nan(None)


def _same_roles(arm: AttentionRoles, mdm: AttentionRoles) -> dict[str, AttentionRoles]:
    if arm.roles != mdm.roles or arm.threshold != mdm.threshold:
        raise ReportError(
            f"the ARM has roles {', '.join(arm.roles)} above {arm.threshold:g} and the MDM"
            f" {', '.join(mdm.roles)} above {mdm.threshold:g}; measure the same of both."
        )
    return {"arm": arm, "mdm": mdm}


def head_names(roles: AttentionRoles) -> list[str]:
    """Names of all heads, layer by layer."""
    graph = roles.graph
    return [
        graph.source_name(graph.head_source(layer, head))
        for layer in range(graph.num_layers)
        for head in range(graph.num_heads)
    ]


def _exhibits(task: TaskResults) -> tuple[Exhibit, ...]:
    found = ATTENTION.of(task)
    if found is None:
        return ()
    return (
        Exhibit(
            name="attention-roles",
            figure=attention_roles(found.arm, found.mdm),
            table=attention_roles_table(found.arm, found.mdm),
            reading="How much more a head looks where its role says than uniform attention would."
            " The first five roles are looked for on random repeated tokens, the last two on this"
            f" task. At each role the {MAX_FAINT} highest heads of those without it are drawn; the"
            " table has all. Hover for the head.",
        ),
    )


def _method(settings: Mapping[str, Any]) -> tuple[Definition, ...]:
    semantics = settings.get("semantics")
    if semantics is None:
        return ()
    return (
        Definition(
            term="Attention roles",
            meaning="Attention to the role's places beyond what uniform attention gives them, as a"
            " share of the rest. A head holds a role where the whole interval lies above"
            f" {semantics['role_threshold']:g}; in a name mover, what it copies must"
            " also lead to the answer. Attention shows where a head reads, not what is made of it.",
        ),
    )


ATTENTION: Topic[RolesOfPair] = Topic(
    name="attention",
    title="Attention roles",
    record_type=RolesOfPair,
    conclude=_conclude,
    reads=("semantics",),
    exhibits=_exhibits,
    terms=(
        Definition(
            term="Role, neuron",
            meaning="A head has a role if it reliably looks where the role says, for example at the"
            " previous word. A neuron is one hidden unit of an MLP.",
        ),
    ),
    method=_method,
)
