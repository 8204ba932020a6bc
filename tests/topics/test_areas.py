"""MIB's areas: cases solved by hand, and where they are shown."""

from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl
import pytest

from mechshift.comparison import ComparisonSettings
from mechshift.evaluation import MIB_FRACTIONS, CircuitMetrics
from mechshift.flat_records import from_flat, to_flat
from mechshift.page.formats import NOT_MEASURED, Cell
from mechshift.topics.areas import CIRCUIT_AREAS, CircuitAreas, areas_table
from mechshift.topics.registry import not_done
from mechshift.topics.topic import StoredTask, TaskResults

NUM_EDGES = 1000
FRACTIONS = np.array(MIB_FRACTIONS)
SCALE = np.linspace(1.0, 2.0, 10)
"""What the full model scores on ten examples; the empty circuit scores nothing."""


@dataclass
class Stored(StoredTask):
    """A task on which models keep these shares on their own circuits and none on the other's."""

    arm: np.ndarray
    mdm: np.ndarray
    sizes: np.ndarray = field(default_factory=lambda: (FRACTIONS * NUM_EDGES).round().astype(int))
    noise: float = 0.0
    task: str = "by hand"
    settings: ComparisonSettings = field(default=ComparisonSettings(num_resamples=200))

    def circuit_metrics(self, kind):
        kept = np.array([self.arm, self.mdm][kind == "mdm"], dtype=float)
        noise = self.noise * np.random.default_rng(0).normal(size=(len(kept), 10, 1))
        own = CircuitMetrics(
            sizes=self.sizes,
            live_sizes=self.sizes,
            num_edges=NUM_EDGES,
            metric=(kept[:, None, None] + noise) * SCALE[:, None],
            full=SCALE[:, None],
            empty=0 * SCALE[:, None],
            num_steps=np.ones(10, dtype=np.int64),
        )
        other = {"arm": "mdm", "mdm": "arm"}[kind]
        return {kind: own, other: replace(own, metric=0 * own.metric)}


def concluded(arm, mdm, **changes) -> CircuitAreas | None:
    assert CIRCUIT_AREAS.conclude is not None
    return CIRCUIT_AREAS.conclude(Stored(arm=arm, mdm=mdm, **changes))


@pytest.fixture
def record() -> CircuitAreas:
    """The ARM's circuits keep half of everything, the MDM's the share of edges that they hold."""
    found = concluded(np.full(10, 0.5), FRACTIONS)
    assert found is not None
    return found


def test_areas_of_lines_are_those_of_geometry(record: CircuitAreas) -> None:
    """Between 0.001 and 1: of a line at 0.5; and of the diagonal, whose trapezoids are exact."""
    assert record.arm.cpr.value == pytest.approx(0.4995)
    assert record.arm.cmd.value == pytest.approx(0.4995)
    assert record.mdm.cpr.value == pytest.approx((1 - 0.001**2) / 2)
    assert record.mdm.cmd.value == pytest.approx(0.999**2 / 2)
    # Every example keeps the same share, so every resample does.
    for model in ("arm", "mdm"):
        for area in ("cpr", "cmd"):
            interval = record.of(model, area).interval
            assert (interval.low, interval.high) == pytest.approx(
                2 * (record.of(model, area).value,)
            )


def test_more_than_the_full_metric_adds_to_cpr_and_to_cmd() -> None:
    record = concluded(np.full(10, 1.25), np.full(10, 0.75))
    assert record is not None
    assert record.arm.cpr.value == pytest.approx(1.25 * 0.999)
    assert record.mdm.cpr.value == pytest.approx(0.75 * 0.999)
    for model in ("arm", "mdm"):
        assert record.of(model, "cmd").value == pytest.approx(0.25 * 0.999)


def test_noise_leaves_no_distance_outside_its_own_interval() -> None:
    """Of circuits as faithful as can be, resamples are farther from 1 than the examples are."""
    record = concluded(np.ones(10), np.ones(10), noise=0.3)
    assert record is not None
    cmd = record.arm.cmd
    assert 0 <= cmd.interval.low <= cmd.value <= cmd.interval.high
    assert cmd.interval.low < cmd.interval.high
    assert record.arm.cpr.interval.contains(record.arm.cpr.value)


def test_a_size_that_is_not_mibs_changes_no_area(record: CircuitAreas) -> None:
    sizes = np.array([1, 2, 5, 7, 10, 20, 50, 100, 200, 500, 1000])
    kept = np.where(sizes == 7, 100.0, 0.5)
    further = concluded(kept, kept, sizes=sizes)
    assert further is not None
    assert further.arm.cpr.value == pytest.approx(record.arm.cpr.value)


def test_without_all_of_mibs_sizes_there_are_no_areas_and_the_page_says_so(
    ioi: TaskResults, infilling: TaskResults
) -> None:
    """The small run leaves most of the sizes out."""
    assert concluded(np.ones(2), np.ones(2), sizes=np.array([100, 1000])) is None
    assert CIRCUIT_AREAS.of(ioi) is None
    assert CIRCUIT_AREAS.tables(ioi) == {}
    assert {row.cell(ioi) for row in CIRCUIT_AREAS.headline} == {Cell(text=NOT_MEASURED)}
    assert (
        "CPR and CMD were not measured on ioi, infilling: circuits of MIB's sizes were not all run."
        in not_done((ioi, infilling))
    )


def test_the_headline_and_a_table_show_both_areas_of_both_models(
    ioi: TaskResults, record: CircuitAreas
) -> None:
    task = replace(ioi, records={**ioi.records, "circuit-areas": record})
    rows = {row.name: row for row in CIRCUIT_AREAS.headline}
    assert list(rows) == ["ARM, CPR", "MDM, CPR", "ARM, CMD", "MDM, CMD"]
    assert rows["ARM, CPR"].cell(task) == Cell(text="0.50", interval="[0.50, 0.50]")
    assert "MIB: by signed score" in rows["MDM, CPR"].explanation
    table = CIRCUIT_AREAS.tables(task)["cpr-cmd"]
    assert table.equals(areas_table(record))
    assert table.columns == ["model", "area", "value", "low", "high"]
    mdm = table.filter((pl.col("model") == "mdm") & (pl.col("area") == "cmd"))
    assert mdm["value"].to_list() == [record.mdm.cmd.value]
    (defined,) = CIRCUIT_AREAS.method({})
    assert "MIB ranks by the score with its sign" in defined.meaning


def test_the_record_can_be_stored(record: CircuitAreas) -> None:
    assert from_flat(CircuitAreas, to_flat(record)) == record
