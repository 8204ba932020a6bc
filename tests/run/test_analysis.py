"""The analysis plan: stored once and first, and what the page says of it."""

import shutil

import pytest

from mechshift.comparison import ComparisonSettings
from mechshift.errors import ArtifactError
from mechshift.run.analysis import (
    analysis_folder,
    analysis_words,
    read_analysis_plan,
    store_analysis_plan,
)
from mechshift.topics.registry import rules

SETTINGS = ComparisonSettings(circuit_size=20)


def test_a_plan_is_stored_once_and_stands_before_the_scores(tmp_path):
    assert read_analysis_plan(tmp_path) is None
    store_analysis_plan(tmp_path, SETTINGS, ("ioi",))
    plan = read_analysis_plan(tmp_path)
    assert plan.before_scores and plan.circuit_size == 20 and plan.tasks == ("ioi",)
    assert dict(plan.rules) == {rule.axis: rule.words for rule in rules()}
    store_analysis_plan(tmp_path, SETTINGS, ("ioi", "infilling"))
    assert read_analysis_plan(tmp_path) == plan
    words = analysis_words(plan, SETTINGS, ("ioi", "infilling"))
    assert "before any edge was scored" in words and words.endswith("Added since: infilling.")


def test_another_circuit_size_is_refused_and_a_new_plan_is_known_to_be_late(tmp_path):
    store_analysis_plan(tmp_path, SETTINGS, ("ioi",))
    other = ComparisonSettings(circuit_size=30)
    with pytest.raises(ArtifactError, match="analysis"):
        store_analysis_plan(tmp_path, other, ("ioi",))
    assert "exploration" in analysis_words(read_analysis_plan(tmp_path), other, ("ioi",))
    (tmp_path / "scores" / "ioi" / "arm").mkdir(parents=True)
    shutil.rmtree(analysis_folder(tmp_path))
    store_analysis_plan(tmp_path, other, ("ioi",))
    plan = read_analysis_plan(tmp_path)
    assert not plan.before_scores
    assert "younger than some scores" in analysis_words(plan, other, ("ioi",))


def test_stages_done_one_by_one_have_no_plan():
    assert "No analysis plan" in analysis_words(None, SETTINGS, ("ioi",))


def test_the_page_of_a_run_says_that_its_plan_came_first(small_run):
    page = (small_run / "report" / "report.html").read_text(encoding="utf-8")
    assert "stored before any edge was scored" in page
    assert read_analysis_plan(small_run).tasks == ("ioi", "infilling")
