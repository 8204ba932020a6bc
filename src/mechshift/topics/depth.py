"""Depth of the two circuits: which layers write them, which read them, and what moved.

For readers who ask whether post-training moved the work to earlier or later layers.

Rules, on cross-fitted shifts, so that a noisier model does not look moved:

1. depth: front-loaded where the early share rose, back-loaded where it fell.
2. Earlier or later: the interval of the shift of the centre of mass excludes 0.
3. Either is too noisy where it is undefined in so many resamples that it has no interval.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np
import polars as pl

from mechshift.comparison import (
    CROSS_FITTED,
    CircuitShift,
    Comparison,
    CrossFitted,
    DepthProfiles,
    LayerProfile,
)
from mechshift.page.elements import Definition, Exhibit, Finding
from mechshift.page.figure import Figure, Trace, scatter
from mechshift.page.formats import Cell, entry_cell, in_words, number, percentage, shift_cell
from mechshift.page.theme import (
    DOTTED,
    MODEL_COLOURS,
    MODEL_NAMES,
    band,
    finish,
    panels,
    percent,
    stacked,
    thinned,
)
from mechshift.statistics import Estimate, Estimates
from mechshift.topics.decisions import TOO_NOISY, by_sign
from mechshift.topics.topic import (
    HeadlineRow,
    Measured,
    Plain,
    Quantity,
    Rule,
    Statement,
    StoredMember,
    TaskResults,
    Test,
    Topic,
)

EARLY, CENTRE = "early share shift", "centre of mass shift"
EARLY_READ, CENTRE_READ = "early share shift, as read", "centre of mass shift, as read"

"""Instead of a verdict, where the scores on one half of the examples do not carry over."""

Side = Literal["source", "destination"]

SIDES: tuple[Side, ...] = ("source", "destination")
PANEL_TITLES = ("written by layer", "read by layer")


def depth_profiles(profiles: DepthProfiles) -> Figure:
    """Two panels, sources and destinations, each with ARM and MDM and their intervals."""
    figure = Figure(PANEL_TITLES, columns=2, shared_yaxes=True)
    for column, side in enumerate(SIDES, start=1):
        for model in MODEL_NAMES:
            profile = getattr(getattr(profiles, side), model)
            for trace in _traces(profile, profiles.num_layers, side, model):
                figure.add(trace, column=column)
        _layer_axis(figure, profiles.num_layers, side, column)
    figure.set_yaxes(tickformat=".0%", rangemode="tozero")
    figure.set_yaxes(title="share of |score|", column=1)
    wide = panels((0.0, 0.48, 0.0, 1.0), (0.52, 1.0, 0.0, 1.0))
    wide |= {"height": 400, "margin.b": 84, "yaxis2.showticklabels": False}
    narrow = stacked(2, gap=0.2)
    narrow |= {"height": 740, "margin.b": 84, "yaxis2.showticklabels": True}
    return finish(
        figure,
        "Depth of the circuit" if profiles.scope == "circuit" else "Depth of all edges",
        f"{_scope_words(profiles)}; n = {profiles.num_examples} {profiles.unit}s; bands:"
        f" {percent(profiles.level)} bootstrap intervals; dotted lines: early, middle, late",
        wide=wide,
        narrow=narrow,
    )


def depth_profiles_table(profiles: DepthProfiles) -> pl.DataFrame:
    """One row per side, model and layer; `layer` is also `input` or `logits`."""
    parts = []
    for side in SIDES:
        for model in MODEL_NAMES:
            share = getattr(getattr(profiles, side), model).share
            parts.append(
                pl.DataFrame(
                    {
                        "scope": profiles.scope,
                        "side": side,
                        "model": model,
                        "layer": layer_names(profiles.num_layers, side),
                        "share": share.value,
                        "low": share.low,
                        "high": share.high,
                    }
                )
            )
    return pl.concat(parts)


def layer_names(num_layers: int, side: str) -> list[str]:
    """Names along `layer_or_end`, as stored in a profile of that side."""
    layers = [str(layer) for layer in range(num_layers)]
    return ["input", *layers] if side == "source" else [*layers, "logits"]


def _traces(profile: LayerProfile, num_layers: int, side: str, model: str) -> tuple[Trace, Trace]:
    """Interval and curve; a gap keeps `input` and `logits` apart from the layers."""
    share = profile.share
    end, layer = 0 if side == "source" else num_layers, np.arange(num_layers, dtype=np.float64)
    x = np.insert(layer, end, _end_position(num_layers, side))
    layers = slice(1, None) if side == "source" else slice(None, -1)
    cut = 1 if side == "source" else num_layers
    names = layer_names(num_layers, side)
    curve = scatter(
        x=np.insert(x, cut, np.nan),
        y=np.insert(share.value, cut, np.nan),
        error_y=_end_bar(share, end, cut),
        mode="lines+markers",
        line={"color": MODEL_COLOURS[model], "width": 2.5},
        marker={"size": 7, "symbol": "circle" if model == "arm" else "diamond"},
        cliponaxis=False,
        text=[*names[:cut], "", *names[cut:]],
        hovertemplate="%{text}: %{y:.2%}<extra>" + MODEL_NAMES[model] + "</extra>",
        name=MODEL_NAMES[model],
        legendgroup=MODEL_NAMES[model],
        showlegend=side == "source",
    )
    inner = Estimates(
        value=share.value[layers],
        low=share.low[layers],
        high=share.high[layers],
        level=share.level,
    )
    return band(x[layers], inner, MODEL_COLOURS[model], group=MODEL_NAMES[model]), curve


def _end_bar(share: Estimates, end: int, cut: int) -> dict[str, object]:
    """An error bar at `input` or `logits`, which no band reaches."""
    above, below = np.zeros((2, len(share.value)))
    above[end] = share.high[end] - share.value[end]
    below[end] = share.value[end] - share.low[end]
    return {
        "type": "data",
        "array": np.insert(above, cut, 0),
        "arrayminus": np.insert(below, cut, 0),
        "width": 4,
        "thickness": 1.5,
    }


def _end_position(num_layers: int, side: str) -> float:
    """Where `input` or `logits` stands: far enough from the layers for its label."""
    distance = max(1.0, num_layers / 8)
    return -distance if side == "source" else num_layers - 1 + distance


def _layer_axis(figure: Figure, num_layers: int, side: str, column: int) -> None:
    layers = thinned(num_layers, 8)
    end, name = _end_position(num_layers, side), "input" if side == "source" else "logits"
    room = 0.5 + num_layers / 30
    figure.set_xaxes(
        tickvals=[end, *layers],
        ticktext=[name, *map(str, layers)],
        range=[min(end, 0) - room, max(end, num_layers - 1) + room],
        title="layer",
        showgrid=False,
        column=column,
    )
    for third in (1, 2):
        figure.add_vline(
            x=num_layers * third / 3 - 0.5,
            line=DOTTED,
            opacity=0.6,
            column=column,
        )


def _scope_words(profiles: DepthProfiles) -> str:
    if profiles.scope == "all":
        return f"all {profiles.circuit_size:,} edges"
    return f"each model's top {profiles.circuit_size:,} edges"


def depth_shift(comparison: Comparison | CircuitShift, of: CrossFitted) -> Estimate | None:
    """A cross-fitted shift, by writing layer; None where it is undefined."""
    return comparison.circuit_depth.source.cross_fitted_shift(of)


def too_noisy(comparison: Comparison | CircuitShift, of: CrossFitted, side: Side = "source") -> str:
    """Words for a shift without an interval: how often half of the examples do not carry over."""
    profiles, index = getattr(comparison.circuit_depth, side), CROSS_FITTED.index(of)
    if not np.isfinite(profiles.cross_fitted.value[index]):
        return f"{TOO_NOISY} (undefined on the examples themselves)"
    undefined = 1 - float(np.isfinite(profiles.cross_fitted_draws[:, index]).mean())
    return f"{TOO_NOISY} (undefined in {percentage(undefined)} of the resamples)"


def _measure(of: CrossFitted, side: Side = "source") -> Callable[[StoredMember], Measured]:
    def measure(member: StoredMember) -> Measured:
        shift = member.shift()
        profiles = getattr(shift.circuit_depth, side)
        estimate = profiles.cross_fitted_shift(of)
        if estimate is None:
            return Measured(reason=too_noisy(shift, of, side))
        draws = profiles.cross_fitted_draws[:, CROSS_FITTED.index(of)]
        return Measured(estimate=estimate, draws=draws)

    return measure


def _words(task: TaskResults, shift: Estimate | None) -> str:
    missing = too_noisy(task.comparison, "early")
    return by_sign(shift, above="front-loaded", below="back-loaded", missing=missing)


def _decide(task: TaskResults) -> tuple[Statement, ...]:
    return (
        Statement.of(
            "depth",
            task.mdm.estimate(EARLY),
            partial(_words, task),
            "The early layers' share of the circuit changed by {}",
        ),
    )


def _findings(task: TaskResults) -> tuple[Finding, ...]:
    return _early_share(task), _centre_of_mass(task)


def _early_share(task: TaskResults) -> Finding:
    source, shift = task.comparison.circuit_depth.source, task.mdm.estimate(EARLY)
    arm, mdm = source.arm.thirds.at(0), source.mdm.thirds.at(0)
    assert arm and mdm  # depth_profile refuses what has no depth
    return Finding(
        question="Does the MDM rely more on early layers?",
        verdict=by_sign(shift, above="yes, more", below="no, less", missing=TOO_NOISY),
        sentence=f"Early layers write {in_words(mdm)} of the MDM's circuit and {in_words(arm)} of"
        f" the ARM's. {_cross_fitted(task.comparison, 'early')}.",
    )


def _centre_of_mass(task: TaskResults) -> Finding:
    depth, shift = task.comparison.circuit_depth, task.mdm.estimate(CENTRE)
    unit = " layers"
    if shift is not None and depth.num_layers > 1:
        share = 100 * shift.value / (depth.num_layers - 1)
        unit += f", {number(share, 1, signed=True)}\N{NO-BREAK SPACE}% of the depth"
    return Finding(
        question="Did the circuit as a whole move in depth?",
        verdict=by_sign(shift, above="yes, later", below="yes, earlier", missing=TOO_NOISY),
        sentence="Its centre of mass lies at layer"
        f" {number(depth.source.mdm.centre_of_mass.value)} in the MDM and at"
        f" {number(depth.source.arm.centre_of_mass.value)} in the ARM."
        f" {_cross_fitted(task.comparison, 'centre_of_mass', unit)}.",
    )


def _cross_fitted(comparison: Comparison, of: CrossFitted, unit: str = "") -> str:
    shift = depth_shift(comparison, of)
    if shift is None:
        return (
            f"Cross-fitted, the difference is {too_noisy(comparison, of)}: what half of the"
            " examples choose does not carry over to the other half"
        )
    return f"Cross-fitted, the difference is {in_words(shift, signed=True)}{unit}"


def _exhibits(task: TaskResults) -> tuple[Exhibit, ...]:
    comparison = task.comparison
    return (
        Exhibit(
            name="depth",
            figure=depth_profiles(comparison.circuit_depth),
            table=depth_profiles_table(comparison.circuit_depth),
            reading="Where the circuit's score is written and where it is read. Mass further left"
            " means earlier layers.",
        ),
        Exhibit(
            name="depth-all-edges",
            figure=depth_profiles(comparison.all_depth),
            table=depth_profiles_table(comparison.all_depth),
            reading="The same over every edge: does the picture depend on the choice of K?",
        ),
    )


def _early_cell(model: str) -> Callable[[TaskResults], Cell]:
    return lambda task: entry_cell(getattr(task.comparison.circuit_depth.source, model).thirds, 0)


def _shift_cell(of: CrossFitted) -> Callable[[TaskResults], Cell]:
    def cell(task: TaskResults) -> Cell:
        shift = depth_shift(task.comparison, of)
        return Cell(text=TOO_NOISY) if shift is None else shift_cell(shift)

    return cell


def _share_test(comparison: Comparison) -> tuple[float, float]:
    source = comparison.circuit_depth.source
    return float(source.tested[CROSS_FITTED.index("early")]), float(source.thirds_p[0])


def _centre_test(comparison: Comparison) -> tuple[float, float]:
    source = comparison.circuit_depth.source
    p = source.centre_of_mass_p
    tested = float(source.tested[CROSS_FITTED.index("centre_of_mass")])
    return tested, np.nan if p is None else p


def _distance_test(comparison: Comparison) -> tuple[float, float]:
    distance = comparison.circuit_depth.source.distance
    return _or_nan(distance.tested), _or_nan(distance.noise_p)


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value


DEPTH: Topic[None] = Topic(
    name="depth",
    title="Depth",
    quantities=(
        Quantity(
            name=EARLY,
            unit="of |score|",
            neutral=0.0,
            meaning="share of the circuit's score that the first third of the layers writes, minus"
            " the ARM's",
            measure=_measure("early"),
            at_a_glance=True,
            explained=True,
            limits=(-1.0, 1.0),
            mixes=True,
        ),
        Quantity(
            name=CENTRE,
            unit="layers",
            neutral=0.0,
            meaning="mean depth at which the circuit's score is written, minus the ARM's",
            measure=_measure("centre_of_mass"),
        ),
        Quantity(
            name=EARLY_READ,
            unit="of |score|",
            neutral=0.0,
            meaning="share of the circuit's score that the first third of the layers reads, minus"
            " the ARM's",
            measure=_measure("early", "destination"),
            limits=(-1.0, 1.0),
            mixes=True,
        ),
        Quantity(
            name=CENTRE_READ,
            unit="layers",
            neutral=0.0,
            meaning="mean depth at which the circuit's score is read, minus the ARM's",
            measure=_measure("centre_of_mass", "destination"),
        ),
    ),
    rules=(
        Rule(
            axis="depth",
            quantity=EARLY,
            words="early share, MDM minus ARM, cross-fitted: above 0 front-loaded, below 0"
            " back-loaded",
            decide=_decide,
            reads=lambda task, measured: _words(task, measured.estimate),
            plain={
                "front-loaded": Plain(words="does more of its work in early layers", moved=True),
                "back-loaded": Plain(words="does less of its work in early layers", moved=True),
            },
        ),
    ),
    tests=(
        Test(
            name="early_share",
            title="Early share",
            hypothesis="the early layers write the same share of both circuits",
            statistic_name="shift, cross-fitted",
            measure=_share_test,
        ),
        Test(
            name="centre_of_mass",
            title="Centre of mass",
            hypothesis="the centre of mass, by writing layer, did not move",
            statistic_name="shift [layers], cross-fitted",
            measure=_centre_test,
        ),
        Test(
            name="profile_distance",
            title="Depth profile",
            hypothesis="the profiles, by writing layer, differ by no more than sampling noise",
            statistic_name="Wasserstein distance [layers], cross-fitted",
            measure=_distance_test,
        ),
    ),
    headline_name="Depth, by writing layer",
    headline=(
        HeadlineRow(
            name="Early share, ARM",
            explanation="first third of the layers",
            cell=_early_cell("arm"),
        ),
        HeadlineRow(
            name="Early share, MDM",
            explanation="first third of the layers",
            cell=_early_cell("mdm"),
        ),
        HeadlineRow(
            name="Early share, shift",
            explanation="MDM minus ARM, cross-fitted",
            cell=_shift_cell("early"),
        ),
        HeadlineRow(
            name="Middle share, shift",
            explanation="MDM minus ARM, cross-fitted",
            cell=_shift_cell("middle"),
        ),
        HeadlineRow(
            name="Late share, shift",
            explanation="MDM minus ARM, cross-fitted",
            cell=_shift_cell("late"),
        ),
        HeadlineRow(
            name="Centre of mass, shift",
            explanation="layers, cross-fitted; below 0: earlier",
            cell=_shift_cell("centre_of_mass"),
        ),
    ),
    findings=_findings,
    exhibits=_exhibits,
    method=lambda _: (
        Definition(
            term="Depth",
            meaning="Share of |mean score| by the layer that writes (or reads) an edge. Thirds and"
            " centre of mass leave out input and logits; a layer belongs to the third in which its"
            " midpoint lies.",
        ),
        Definition(
            term="Shift in depth",
            meaning="MDM minus ARM, cross-fitted: half of the examples say which edges are in the"
            " circuit and with which sign, the other half how much they score. Noise, which makes"
            " every |mean score| larger, then adds up to nothing. So a shift is not exactly the"
            " difference of the shares shown beside it.",
        ),
    ),
)
