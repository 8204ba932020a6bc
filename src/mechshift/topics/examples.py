"""Examples by themselves: the metric of each one, whole model and circuits side by side.

For readers who ask what means and faithfulness hide. A single example has no faithfulness, because
its own full and empty metric may lie next to each other, so the metrics themselves are given.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from jaxtyping import Float

from mechshift.errors import ReportError
from mechshift.evaluation import AblationName, CircuitMetrics, per_example
from mechshift.models import Kind
from mechshift.page.elements import Exhibit
from mechshift.page.figure import Figure, box
from mechshift.page.html import task_slug
from mechshift.page.theme import (
    MODEL_COLOURS,
    MODEL_NAMES,
    NEUTRAL_COLOUR,
    finish,
    panels,
    stacked,
    translucent,
)
from mechshift.topics.faithfulness_figure import EMPTY_NAMES, Origin
from mechshift.topics.topic import KINDS, StoredTask, TaskResults, Topic

Condition = Literal["full", "own", "other", "empty"]

TABLE = "per-example"
"""Name of the table of every example."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MetricSample:
    """Metric of one model on every example under one condition."""

    model: Kind
    condition: Condition
    """Whole model; on its own circuit; on the other model's circuit; every edge ablated."""
    values: Float[np.ndarray, " example"]
    """Summed over denoising steps [metric units]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RunCircuits:
    """Metrics of one model on circuits of one origin, at every size and step."""

    model: Kind
    circuit: Origin
    """As of `FaithfulnessSeries`."""
    metrics: CircuitMetrics
    """Of random circuits: all sizes of the first draw, then all of the next."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ExampleMetrics:
    """Metrics of both models on every held-out example."""

    ablation: AblationName
    """What edges outside a circuit carry."""
    circuit_size: int
    """At which the samples were taken [edges]."""
    samples: tuple[MetricSample, ...]
    """By model, then by condition; empty where that size was not run."""
    circuits: tuple[RunCircuits, ...]


def _conclude(stored: StoredTask) -> ExampleMetrics:
    circuits = tuple(one for model in KINDS for one in _circuits(stored, model))
    size = stored.settings.circuit_size_in(circuits[0].metrics.num_edges)
    settings = stored.stage_settings("evaluation")
    assert settings is not None  # the metrics came from its folder
    return ExampleMetrics(
        ablation=settings["ablation"],
        circuit_size=size,
        samples=tuple(one for model in KINDS for one in _samples(circuits, model, size)),
        circuits=circuits,
    )


def _circuits(stored: StoredTask, model: Kind) -> tuple[RunCircuits, ...]:
    by_owner, baselines = stored.circuit_metrics(model), stored.baselines(model)
    by_origin: dict[Origin, CircuitMetrics] = {
        "arm": by_owner["arm"],
        "mdm": by_owner["mdm"],
        "random": baselines.random,
        "activation": baselines.activation,
    }
    return tuple(
        RunCircuits(model=model, circuit=origin, metrics=metrics)
        for origin, metrics in by_origin.items()
    )


def _samples(circuits: tuple[RunCircuits, ...], model: Kind, size: int) -> list[MetricSample]:
    """What every example scores at the circuit size; nothing where that size was not run."""
    curves = {one.circuit: one.metrics for one in circuits if one.model == model}
    (other,) = set(KINDS) - {model}
    own_curve, other_curve = curves[model].curve(), curves[other].curve()
    if size not in own_curve.sizes:
        return []
    row = int((own_curve.sizes == size).argmax())
    values: dict[Condition, Float[np.ndarray, " example"]] = {
        "full": own_curve.full,
        "own": own_curve.metric[row],
        "other": other_curve.metric[row],
        "empty": own_curve.empty,
    }
    return [
        MetricSample(model=model, condition=condition, values=of_examples)
        for condition, of_examples in values.items()
    ]


def metric_distributions(record: ExampleMetrics, *, metric: str) -> Figure:
    """A box per condition, in a panel for each of the two models.

    Args:
        record: with samples in the order in which the boxes stand.
        metric: its name, for the axis.

    Raises:
        ReportError: there is nothing to draw.
    """
    samples = record.samples
    if not samples:
        raise ReportError("there are no metrics of examples to draw.")
    columns = {model: column for column, model in enumerate(MODEL_NAMES, start=1)}
    figure = Figure(list(MODEL_NAMES.values()), columns=len(columns))
    for sample in samples:
        colour = NEUTRAL_COLOUR if sample.condition == "empty" else MODEL_COLOURS[sample.model]
        figure.add(
            box(
                y=sample.values,
                name=_label(sample, record.ablation),
                boxpoints="outliers",
                boxmean=True,
                line={"color": colour, "width": 1.8},
                fillcolor=translucent(colour, 0.0 if sample.condition == "other" else 0.25),
                marker={"size": 4},
                hoverinfo="y",
                showlegend=False,
            ),
            column=columns[sample.model],
        )
    figure.colour_titles(MODEL_COLOURS.values())
    figure.set_yaxes(title=f"{metric}, summed over steps", column=1)
    return finish(
        figure,
        "The metric, example by example",
        f"n = {len(samples[0].values)} examples; circuits of {record.circuit_size:,} edges; box:"
        " quartiles, dashed: mean",
        wide=panels((0.0, 0.46, 0.0, 1.0), (0.54, 1.0, 0.0, 1.0)) | {"height": 430, "margin.b": 60},
        narrow=stacked(2, gap=0.16) | {"height": 760, "margin.b": 60},
    )


def metric_distributions_table(record: ExampleMetrics) -> pl.DataFrame:
    """One row per model, condition and example."""
    return pl.concat(
        pl.DataFrame(
            {
                "model": sample.model,
                "condition": sample.condition,
                "example": np.arange(len(sample.values)),
                "metric": sample.values,
            }
        )
        for sample in record.samples
    )


def _label(sample: MetricSample, ablation: AblationName) -> str:
    other = {"arm": "mdm", "mdm": "arm"}[sample.model]
    label = {
        "full": "whole model",
        "own": "own circuit",
        "other": f"{MODEL_NAMES[other]}'s circuit",
        "empty": EMPTY_NAMES[ablation],
    }[sample.condition]
    return "<br>".join(label.rsplit(" ", maxsplit=1))  # four stand side by side on a phone


def per_example_table(record: ExampleMetrics) -> pl.DataFrame:
    """What every example scored: each model on every circuit, at every size and step."""
    return pl.concat(
        per_example(one.metrics).select(
            pl.lit(one.model).alias("model"),
            pl.lit(one.circuit).alias("owner"),
            (pl.col("circuit") // max(1, len(np.unique(one.metrics.sizes)))).alias("draw"),
            pl.exclude("circuit"),
        )
        for one in record.circuits
    )


def _exhibits(task: TaskResults) -> tuple[Exhibit, ...]:
    record = EXAMPLES.of(task)
    if record is None or not record.samples:
        return ()
    return (
        Exhibit(
            name="examples",
            figure=metric_distributions(record, metric=task.metric),
            table=metric_distributions_table(record),
            reading="Faithfulness compares means; here is what they are means of. A single"
            " example has no faithfulness, because its own two ends may lie next to each other."
            f" Every size and step: {task_slug(task.task)}-{TABLE}.parquet, beside this page.",
        ),
    )


def _examples(task: TaskResults) -> Mapping[str, pl.DataFrame]:
    record = EXAMPLES.of(task)
    return {} if record is None else {TABLE: per_example_table(record)}


EXAMPLES: Topic[ExampleMetrics] = Topic(
    name="examples",
    title="Example by example",
    record_type=ExampleMetrics,
    conclude=_conclude,
    reads=("faithfulness",),
    exhibits=_exhibits,
    examples=_examples,
)
