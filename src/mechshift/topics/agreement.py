"""Agreement beyond the edge sets: nodes, weights, ranks and signs of the two circuits.

Two circuits may hold the same edges and still work differently. Each measure comes with the same
ceilings, ratio and null as the overlap of edges.
"""

from collections.abc import Callable

import numpy as np
import polars as pl

from mechshift.comparison import Agreement, AgreementCurve, Comparison
from mechshift.page.elements import Exhibit
from mechshift.page.figure import Figure, Trace, scatter
from mechshift.page.theme import (
    ARM_COLOUR,
    MDM_COLOUR,
    NEUTRAL_COLOUR,
    PAIR_COLOUR,
    finish,
    panels,
    percent,
    stacked,
)
from mechshift.topics.topic import TaskResults, Test, Topic

MEASURES = {
    "nodes": "nodes (weighted Jaccard)",
    "weighted": "edges (weighted Jaccard)",
    "rank": "ranks (Spearman)",
    "sign": "signs (share alike)",
}
"""Field of the record -> title of its panel."""

SERIES = (
    ("value", "ARM and MDM", PAIR_COLOUR, "circle"),
    ("ceiling_arm", "ceiling: ARM with itself", ARM_COLOUR, "triangle-up"),
    ("ceiling_mdm", "ceiling: MDM with itself", MDM_COLOUR, "diamond"),
    ("null", "null: shuffled scores", NEUTRAL_COLOUR, "x-thin-open"),
)
"""Field of the curve, legend name, colour and marker."""

FIELDS = ("value", "ceiling_arm", "ceiling_mdm", "halves", "ratio", "null")


def agreement_points(record: Agreement) -> Figure:
    """One panel for each measure; a group of points for each circuit size."""
    figure = Figure(tuple(MEASURES.values()), columns=2)
    for panel, measure in enumerate(MEASURES):
        row, column = panel // 2 + 1, panel % 2 + 1
        for place, series in enumerate(SERIES):
            trace = _agreement_series(
                record, getattr(record, measure), place, series, legend=panel == 0
            )
            figure.add(trace, row=row, column=column)
    figure.set_xaxes(
        tickvals=np.arange(len(record.sizes)),
        ticktext=_size_names(record),
        range=[-0.5, len(record.sizes) - 0.5],
        showgrid=False,
    )
    figure.set_xaxes(title="circuit size K [edges]", row=2)
    figure.set_yaxes(title="agreement", column=1)
    return finish(
        figure,
        "Agreement beyond the edge sets",
        f"n = {record.num_examples} {record.unit}s; bars: {percent(record.level)} bootstrap"
        f" intervals ({record.num_resamples:,} resamples), for the null the spread of"
        f" {record.num_shuffles:,} shuffles",
        wide=panels(
            (0.0, 0.46, 0.6, 1.0),
            (0.54, 1.0, 0.6, 1.0),
            (0.0, 0.46, 0.0, 0.4),
            (0.54, 1.0, 0.0, 0.4),
        )
        | {"height": 640, "margin.b": 110},
        narrow=stacked(4, gap=0.09) | {"height": 1300, "margin.b": 200},
    )


def agreement_table(record: Agreement) -> pl.DataFrame:
    """One row per measure and size: every estimate with its interval, and both p-values."""
    parts = []
    for measure in MEASURES:
        curve = getattr(record, measure)
        columns: dict[str, object] = {"measure": measure, "size": record.sizes}
        for field in FIELDS:
            estimates = getattr(curve, field)
            columns[field] = estimates.value
            columns[f"{field}_low"] = estimates.low
            columns[f"{field}_high"] = estimates.high
        columns |= {"layout_p": curve.layout_p, "noise_p": curve.noise_p}
        parts.append(pl.DataFrame(columns))
    return pl.concat(parts).fill_nan(None)


def _agreement_series(
    record: Agreement,
    curve: AgreementCurve,
    place: int,
    series: tuple[str, str, str, str],
    *,
    legend: bool,
) -> Trace:
    """One series of one measure, beside the others at each size."""
    field, name, colour, symbol = series
    estimates = getattr(curve, field)
    offset = 0.14 * (place - (len(SERIES) - 1) / 2)
    hover = "%{text} edges: %{y:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}]"
    if field == "value":
        hover += (
            "<br>ratio to ceiling %{customdata[2]:.3f}"
            "<br>p: no more than layout %{customdata[3]:.3f}, no less than noise"
            " %{customdata[4]:.3f}"
        )
    return scatter(
        x=np.arange(len(record.sizes)) + offset,
        y=estimates.value,
        error_y={
            "type": "data",
            "array": estimates.high - estimates.value,
            "arrayminus": estimates.value - estimates.low,
            "width": 3,
            "thickness": 1.5,
        },
        mode="markers",
        marker={
            "size": 9,
            "symbol": symbol,
            "color": colour,
            "line": {"color": colour, "width": 2},
        },
        text=_size_names(record),
        customdata=np.stack(
            [estimates.low, estimates.high, curve.ratio.value, curve.layout_p, curve.noise_p],
            axis=-1,
        ),
        hovertemplate=hover + f"<extra>{name}</extra>",
        cliponaxis=False,
        name=name,
        legendgroup=name,
        showlegend=legend,
    )


def _size_names(record: Agreement) -> list[str]:
    return [f"all {size:,}" if size == record.num_edges else f"{size:,}" for size in record.sizes]


def _exhibits(task: TaskResults) -> tuple[Exhibit, ...]:
    comparison = task.comparison
    return (
        Exhibit(
            name="agreement",
            figure=agreement_points(comparison.agreement),
            table=agreement_table(comparison.agreement),
            reading="Two circuits may hold the same edges and still work differently. Do they run"
            " through the same nodes, weigh and rank their edges alike, and push the same way?"
            " Where green lies below blue and orange, they differ; where it lies on grey, layers"
            " and edge types alone would agree as well. The ceilings come from half the examples;"
            " hover for the ratio, which compares like with like.",
        ),
    )


def _test(name: str) -> Callable[[Comparison], tuple[float, float]]:
    def measure(comparison: Comparison) -> tuple[float, float]:
        index = comparison.agreement.index_of(comparison.circuit_size)
        assert index is not None  # agreement_sizes always holds the circuit's own size
        curve: AgreementCurve = getattr(comparison.agreement, name)
        return float(curve.value.value[index]), float(curve.noise_p[index])

    return measure


AGREEMENT: Topic[None] = Topic(
    name="agreement",
    title="Agreement beyond edges",
    tests=(
        Test(
            name="nodes_noise",
            title="Nodes",
            hypothesis="they differ in their nodes' scores by no more than sampling noise",
            statistic_name="weighted Jaccard of nodes",
            measure=_test("nodes"),
        ),
        Test(
            name="weighted_noise",
            title="Weights",
            hypothesis="they differ in their edges' weights by no more than sampling noise",
            statistic_name="weighted Jaccard of edges",
            measure=_test("weighted"),
        ),
        Test(
            name="rank_noise",
            title="Order",
            hypothesis="they differ in the order of their edges by no more than sampling noise",
            statistic_name="Spearman's correlation",
            measure=_test("rank"),
        ),
        Test(
            name="sign_noise",
            title="Signs",
            hypothesis="their common edges differ in sign by no more than sampling noise",
            statistic_name="share of signs alike",
            measure=_test("sign"),
        ),
    ),
    exhibits=_exhibits,
    notes=lambda task: task.comparison.agreement.notes,
)
