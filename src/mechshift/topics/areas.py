"""Areas under faithfulness: MIB's CPR and CMD, one number for each model's circuits of all sizes.

For readers who know the circuit track of MIB (arXiv:2504.13151). Its ten sizes are ours too, and
its linear axis, on which circuits of half the edges or more weigh most. Its ranking for CPR is not:
MIB takes the edges of largest score (`select_top_edges(signed=True)`), and here every circuit has
those of largest |score|, as MIB's have for CMD.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl

from mechshift.comparison import ComparisonSettings
from mechshift.evaluation import FaithfulnessCurve, circuit_sizes, cmd, cpr
from mechshift.models import Kind
from mechshift.page.elements import Definition
from mechshift.page.formats import NOT_MEASURED, Cell, estimate_cell
from mechshift.statistics import Estimate, centred_estimate, percentile_interval
from mechshift.topics.topic import KINDS, HeadlineRow, StoredTask, TaskResults, Topic

Area = Literal["cpr", "cmd"]

AREAS: dict[Area, str] = {
    "cpr": "area under faithfulness, own circuits by |score| (MIB: by signed score)",
    "cmd": "area between faithfulness and 1, own circuits; 0 is best",
}
"""Field of `ModelAreas` -> what the headline says of it."""


@dataclass(frozen=True, kw_only=True)
class ModelAreas:
    """Of one model on its own circuits, over the share of edges kept."""

    cpr: Estimate
    """Area under faithfulness f; 0.999 where f is 1 at every size."""
    cmd: Estimate
    """Area under |1 - f|; 0 is best."""


@dataclass(frozen=True, kw_only=True)
class CircuitAreas:
    """Of both models."""

    arm: ModelAreas
    mdm: ModelAreas

    def of(self, model: Kind, area: Area) -> Estimate:
        """One of the four numbers."""
        found: Estimate = getattr({"arm": self.arm, "mdm": self.mdm}[model], area)
        return found


def _conclude(stored: StoredTask) -> CircuitAreas | None:
    """None where circuits of one of MIB's sizes were not run.

    Raises EvaluationError where faithfulness is undefined.
    """
    curves = [stored.circuit_metrics(model)[model].curve() for model in KINDS]
    if not all(np.isin(circuit_sizes(one.num_edges), one.sizes).all() for one in curves):
        return None
    arm, mdm = (_areas(curve, stored.settings) for curve in curves)
    return CircuitAreas(arm=arm, mdm=mdm)


def _areas(curve: FaithfulnessCurve, settings: ComparisonSettings) -> ModelAreas:
    draws = curve.resampled(num_resamples=settings.num_resamples, seed=settings.seed)
    at = np.isin(curve.sizes, circuit_sizes(curve.num_edges))
    fractions, draws = curve.fractions[at], draws[:, at]
    return ModelAreas(
        cpr=Estimate(
            value=curve.cpr,
            interval=percentile_interval(cpr(fractions, draws), settings.level),
        ),
        # Noise in f makes |1 - f| larger, the more so in resamples, so these are moved back.
        cmd=centred_estimate(
            curve.cmd, cmd(fractions, draws), level=settings.level, bounds=(0.0, np.inf)
        ),
    )


def areas_table(record: CircuitAreas) -> pl.DataFrame:
    """One row per model and area."""
    rows = [(model, area, record.of(model, area)) for model in KINDS for area in AREAS]
    return pl.DataFrame(
        {
            "model": [model for model, _, _ in rows],
            "area": [area for _, area, _ in rows],
            "value": [found.value for _, _, found in rows],
            "low": [found.interval.low for _, _, found in rows],
            "high": [found.interval.high for _, _, found in rows],
        }
    )


def _tables(task: TaskResults) -> Mapping[str, pl.DataFrame]:
    record = CIRCUIT_AREAS.of(task)
    return {} if record is None else {"cpr-cmd": areas_table(record)}


def _cell(model: Kind, area: Area) -> Callable[[TaskResults], Cell]:
    def cell(task: TaskResults) -> Cell:
        record = CIRCUIT_AREAS.of(task)
        if record is None:
            return Cell(text=NOT_MEASURED)
        return estimate_cell(record.of(model, area))

    return cell


def _method(_: Mapping[str, Any]) -> tuple[Definition, ...]:
    return (
        Definition(
            term="CPR and CMD",
            meaning="MIB's areas under faithfulness f and under |1 − f|, over the share of edges"
            " kept, by the trapezoid rule over ten sizes from a thousandth of the edges to all of"
            " them; of each model on its own circuits, ranked by |score| as everywhere here. For"
            " CPR, MIB ranks by the score with its sign, which leaves edges that hurt to the end,"
            " so a CPR of this page is not to be held against one of MIB's. Intervals: bootstrap"
            " over examples, of CPR the percentiles, of CMD centred on the estimate.",
        ),
    )


CIRCUIT_AREAS: Topic[CircuitAreas] = Topic(
    name="circuit-areas",
    title="Areas under faithfulness",
    rests_on="held-out",
    record_type=CircuitAreas,
    conclude=_conclude,
    reads=("faithfulness",),
    absent="CPR and CMD were not measured on {tasks}: circuits of MIB's sizes were not all run.",
    headline_name="What the circuits carry",
    headline=tuple(
        HeadlineRow(
            name=f"{model.upper()}, {area.upper()}",
            explanation=explanation,
            cell=_cell(model, area),
        )
        for area, explanation in AREAS.items()
        for model in KINDS
    ),
    tables=_tables,
    method=_method,
)
