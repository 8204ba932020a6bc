"""The pool: counts that add up, as the run's own examples say, and what the page shows of them."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from scipy.stats import binomtest

from mechshift.comparison import Comparison
from mechshift.errors import ReportError
from mechshift.flat_records import from_flat, to_flat
from mechshift.page.formats import Cell, percentage_cell
from mechshift.page.html import render_part
from mechshift.run.stored import RunTask
from mechshift.topics.pool import POOL, PoolSummary, pool_rows
from mechshift.topics.topic import TaskResults


def test_a_pools_accuracies_are_shares_of_the_candidates(pool: PoolSummary) -> None:
    assert pool.arm_accuracy.value == 18 / 20
    assert pool.mdm_accuracy.value == 15 / 20
    interval = pool.arm_accuracy.interval
    wilsons = binomtest(18, 20).proportion_ci(0.95, method="wilson")
    assert (interval.low, interval.high) == pytest.approx(wilsons)


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_candidates": 17},
        {"num_both_correct": 16},
        {"pool_size": 15},
        {"num_candidates": 0, "num_arm_correct": 0, "num_mdm_correct": 0},
    ],
)
def test_a_pool_that_does_not_add_up_is_refused(pool: PoolSummary, wrong: dict) -> None:
    with pytest.raises(ReportError, match="does not add up"):
        replace(pool, **wrong)


@pytest.mark.parametrize("task", ["ioi", "infilling"])
def test_the_summary_counts_what_both_models_answered(
    small_run, results: dict[str, TaskResults], task: str
) -> None:
    stored, found = RunTask(run=small_run, task=task).pool("discovery"), POOL.of(results[task])
    assert found is not None and found.pool_size == len(stored.examples) == 12
    answers = list(zip(stored.arm_correct.tolist(), stored.mdm_correct.tolist(), strict=True))
    assert found.num_candidates == len(answers)
    assert found.num_arm_correct == sum(arm for arm, _ in answers)
    assert found.num_mdm_correct == sum(mdm for _, mdm in answers)
    assert found.num_both_correct == answers.count((True, True))
    assert found.num_candidates == found.pool_size + sum(found.dropped.values())


def test_the_record_comes_back_from_its_parts(pool: PoolSummary) -> None:
    assert from_flat(PoolSummary, to_flat(pool)) == pool


def test_the_table_runs_from_the_examples_tried_to_those_scored(
    pool: PoolSummary, comparison: Comparison
) -> None:
    rows = pool_rows(pool, comparison)
    assert [(row.name, row.count) for row in rows] == [
        ("examples tried", "20"),
        ("ARM correct", "18"),
        ("MDM correct", "15"),
        ("both correct", "14"),
        ("right but not needed", "2"),
        ("in the pool", "12"),
        ("clusters of these", "9"),
        ("held-out examples", "8"),
        ("clusters of these", "7"),
    ]
    assert rows[1].share == percentage_cell(pool.arm_accuracy)
    assert rows[2].share == percentage_cell(pool.mdm_accuracy)
    assert [row.share for row in rows if "correct" not in row.name] == 6 * [None]


def test_shards_have_a_row_of_their_own(pool: PoolSummary, comparison: Comparison) -> None:
    sharded = replace(comparison, unit="shard", examples_per_shard=4)
    last = pool_rows(pool, sharded)[-3]
    assert (last.name, last.count) == ("shards of 4 of them", "12")


def test_a_reason_to_leave_out_examples_is_no_markup(
    pool: PoolSummary, planted: Callable[..., TaskResults]
) -> None:
    task = planted("identical")
    hostile = replace(pool, dropped={"<b>bold</b>": 2})
    (part,) = POOL.parts(replace(task, records={"pool": hostile}))
    html = str(render_part(part.template, part=part.content, anchor="ioi", open_words=()))
    assert "<b>" not in html and "&lt;b&gt;bold&lt;/b&gt;" in html


def test_the_headline_has_accuracies_pool_and_circuit_size(
    planted: Callable[..., TaskResults], pool: PoolSummary
) -> None:
    """Six layers of two heads and an MLP have 388 edges: 54 + 21 x 15 into them, 19 to logits."""
    cells = {row.name: row.cell(planted("identical")) for row in POOL.headline}
    assert cells == {
        "ARM accuracy": percentage_cell(pool.arm_accuracy),
        "MDM accuracy": percentage_cell(pool.mdm_accuracy),
        "Pool": Cell(text="12", interval="in 9 clusters"),
        "Circuit size K": Cell(text="10", interval="of 388"),
    }


def test_the_default_circuit_is_a_tenth_of_all_edges(ioi: TaskResults) -> None:
    """Six layers of four heads, each with its own key and value, and an MLP."""
    into_layers = sum(12 * (1 + 5 * layer) + (1 + 5 * layer + 4) for layer in range(6))
    assert into_layers + 31 == 1108
    cells = {row.name: row.cell(ioi) for row in POOL.headline}
    assert cells["Circuit size K"] == Cell(text="111", interval="of 1,108")
