import re
from dataclasses import replace

import pytest
from mechshift.report import PoolSummary, ReportInput, RunFacts, TaskReport, task_slug

from mechshift.errors import ReportError
from mechshift.statistics import proportion_interval


def test_a_pools_accuracies_are_shares_of_the_candidates(pool: PoolSummary) -> None:
    assert pool.arm_accuracy.value == 18 / 20
    assert pool.mdm_accuracy.value == 15 / 20
    assert pool.arm_accuracy.interval == proportion_interval(18, 20, 0.95)


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


def test_a_report_of_nothing_is_refused(facts: RunFacts) -> None:
    with pytest.raises(ReportError, match="at least one task"):
        ReportInput(facts=facts, tasks=())


def test_tasks_that_would_share_their_files_are_refused(facts: RunFacts, ioi: TaskReport) -> None:
    twin = replace(ioi, comparison=replace(ioi.comparison, task="ioi!"))
    with pytest.raises(ReportError, match=re.escape("tasks ['ioi', 'ioi!'] would share file")):
        ReportInput(facts=facts, tasks=(ioi, twin))


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("greater-than", "greater-than"),
        ("my tasks/a.jsonl", "my-tasks-a-jsonl"),
        ("../../etc", "etc"),
        ("日本", "task"),
    ],
)
def test_a_tasks_name_becomes_a_file_name(name: str, slug: str) -> None:
    assert task_slug(name) == slug
