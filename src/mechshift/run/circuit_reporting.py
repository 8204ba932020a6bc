"""What does the report say of circuits that were run: their curves, rivals and single examples?"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float64

from mechshift.artifacts import read_manifest
from mechshift.comparison import Comparison
from mechshift.evaluation import (
    BaselineCurve,
    Baselines,
    CircuitMetrics,
    FaithfulnessCurve,
    advantage,
    baseline_curve,
    per_example,
)
from mechshift.figures import FaithfulnessSeries, MetricSample
from mechshift.figures.faithfulness_curves import Origin
from mechshift.figures.metric_distributions import Condition
from mechshift.models import Kind
from mechshift.report import BaselineComparison, OtherCircuit
from mechshift.run.store import (
    KINDS,
    faithfulness_folder,
    read_baselines,
    read_circuit_metrics,
)
from mechshift.statistics import Estimate, centred_estimate


def faithfulness_parts(run: Path, task: str, comparison: Comparison) -> dict[str, Any]:
    """The fields of a task's report that come from running circuits.

    Raises:
        ArtifactError: circuits were not run, or the results are damaged.
        EvaluationError: faithfulness is undefined.
    """
    series: list[FaithfulnessSeries] = []
    others: list[OtherCircuit] = []
    compared: list[BaselineComparison] = []
    samples: list[MetricSample] = []
    for model in KINDS:
        by_owner = read_circuit_metrics(run, task, model)
        baselines = read_baselines(run, task, model)
        for owner, metrics in by_owner.items():
            series.append(_series(model, owner, metrics.curve(), comparison))
        difference = other_minus_own(run, task, model, comparison)
        if difference is not None:
            others.append(OtherCircuit(model=model, difference=difference))
        if len(baselines.random.sizes):
            random = baseline_curve(baselines.random)
            series.append(_series(model, "random", random, comparison))
            compared += _compared(model, by_owner[model].curve(), baselines, comparison)
        activation = baseline_curve(baselines.activation)
        series.append(_series(model, "activation", activation, comparison))
        samples += _metric_samples(model, by_owner, comparison.circuit_size)
    return {
        "faithfulness": tuple(series),
        "other_circuits": tuple(others),
        "baselines": tuple(compared),
        "metric_samples": tuple(samples),
        "ablation": evaluation_config(run, task)["ablation"],
    }


def other_minus_own(run: Path, task: str, model: Kind, comparison: Comparison) -> Estimate | None:
    """A model's faithfulness on the other's circuit minus that on its own, on the same resamples.

    None where the circuit size was not run.

    Raises:
        ArtifactError: circuits were not run, or the results are damaged.
        EvaluationError: faithfulness is undefined.
    """
    settings, size = comparison.settings, comparison.circuit_size
    (other,) = set(KINDS) - {model}
    curves = [read_circuit_metrics(run, task, model)[owner].curve() for owner in (other, model)]
    if size not in curves[0].sizes:
        return None
    at = int((curves[0].sizes == size).argmax())
    values = [float(curve.faithfulness[at]) for curve in curves]
    samples = [
        curve.resampled(num_resamples=settings.num_resamples, seed=settings.seed)[:, at]
        for curve in curves
    ]
    return centred_estimate(values[0] - values[1], samples[0] - samples[1], level=settings.level)


def _series(
    model: Kind,
    circuit: Origin,
    curve: FaithfulnessCurve | BaselineCurve,
    comparison: Comparison,
) -> FaithfulnessSeries:
    found = curve.interval(**_interval_options(comparison))
    return FaithfulnessSeries(
        model=model,
        circuit=circuit,
        sizes=curve.sizes,
        faithfulness=found.value,
        low=found.low,
        high=found.high,
        level=found.level,
        num_examples=curve.num_examples,
        num_edges=curve.num_edges,
    )


def _compared(
    model: Kind, own: FaithfulnessCurve, baselines: Baselines, comparison: Comparison
) -> list[BaselineComparison]:
    """The own circuit against its baselines; nothing where the circuit size was not run."""
    size, random = comparison.circuit_size, baseline_curve(baselines.random)
    if size not in own.sizes or size not in random.sizes:
        return []
    place = int((random.sizes == size).argmax())
    return [
        BaselineComparison(
            model=model,
            advantage=advantage(own, random, size, **_interval_options(comparison)),
            num_draws=len(random.draws),
            num_forced=int(baselines.num_forced[place]),
            num_live_by_activation=int(baselines.activation.live_sizes[place]),
        )
    ]


def _interval_options(comparison: Comparison) -> dict[str, Any]:
    settings = comparison.settings
    return {
        "level": settings.level,
        "num_resamples": settings.num_resamples,
        "seed": settings.seed,
    }


def _metric_samples(
    model: Kind, by_owner: Mapping[Kind, CircuitMetrics], size: int
) -> list[MetricSample]:
    """What every example scores at the circuit size; nothing where that size was not run."""
    (other,) = set(KINDS) - {model}
    own_curve, other_curve = by_owner[model].curve(), by_owner[other].curve()
    if size not in own_curve.sizes:
        return []
    row = int((own_curve.sizes == size).argmax())
    values: dict[Condition, Float64[np.ndarray, " example"]] = {
        "full": own_curve.full,
        "own": own_curve.metric[row],
        "other": other_curve.metric[row],
        "empty": own_curve.empty,
    }
    return [
        MetricSample(model=model, condition=condition, values=of_examples)
        for condition, of_examples in values.items()
    ]


def per_example_table(run: Path, task: str) -> pl.DataFrame:
    """What every example scored: each model on every circuit, at every size and step."""
    tables = []
    for model in KINDS:
        baselines = read_baselines(run, task, model)
        by_owner = read_circuit_metrics(run, task, model)
        by_origin: dict[Origin, CircuitMetrics] = {
            "arm": by_owner["arm"],
            "mdm": by_owner["mdm"],
            "random": baselines.random,
            "activation": baselines.activation,
        }
        for origin, metrics in by_origin.items():
            num_sizes = max(1, len(np.unique(metrics.sizes)))
            tables.append(
                per_example(metrics).select(
                    pl.lit(model).alias("model"),
                    pl.lit(origin).alias("owner"),
                    (pl.col("circuit") // num_sizes).alias("draw"),
                    pl.exclude("circuit"),
                )
            )
    return pl.concat(tables)


def evaluation_config(run: Path, task: str) -> dict[str, Any]:
    """With which settings the circuits of a task were run."""
    config = read_manifest(faithfulness_folder(run, task, "arm")).config
    return {**config["evaluation"], "sizes": config["sizes"]}
