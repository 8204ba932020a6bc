"""A run folder, opened in Python."""

import json
import shutil

import plotly.graph_objects as go
import polars as pl
import pytest

from mechshift.attribution import EdgeScores
from mechshift.errors import ArtifactError
from mechshift.run import open_run


def test_an_opened_run_gives_back_what_the_report_says(small_run):
    run = open_run(str(small_run))
    assert list(run.tasks) == ["ioi", "infilling"]
    assert isinstance(run.tasks["ioi"].scores("arm"), EdgeScores)
    assert len(run.tasks["ioi"].pool("held-out").examples) == 10
    stored = json.loads((small_run / "report" / "verdicts.json").read_text(encoding="utf-8"))
    frame = run.verdicts().to_frame()
    assert frame.columns[:3] == ["task", "axis", "verdict"]
    for task, said in stored["tasks"].items():
        of_task = frame.filter(pl.col("task") == task)
        assert of_task["sentence"].to_list() == [one["sentence"] for one in said["statements"]]
        assert run.verdicts()[task].paragraph == said["paragraph"]
    table = pl.read_csv(small_run / "report" / "ioi-overlap.csv")
    assert run.exhibit("overlap", "ioi").table.columns == table.columns
    assert isinstance(run.figure("overlap", "ioi"), go.Figure)
    assert isinstance(run.glance(), go.Figure)
    shown = run._repr_html_() + run.verdicts()._repr_html_()
    assert "infilling" in shown and "too few clusters (12)" in shown
    assert len(shown) < 30_000
    assert len(repr(run)) + len(repr(run.verdicts())) < 300
    with pytest.raises(ArtifactError, match="no figure 'overlaps' of 'ioi'; there are .*overlap"):
        run.figure("overlaps", "ioi")
    with pytest.raises(ArtifactError, match="has no task 'chess'; it has ioi, infilling"):
        run.results("chess")


def test_a_run_that_is_not_finished_shows_what_it_has(small_run, tmp_path):
    shutil.copytree(small_run / "pool", tmp_path / "<b>" / "pool")
    run = open_run(tmp_path / "<b>")
    assert run.to_frame()["task"].unique().sort().to_list() == ["infilling", "ioi"]
    assert "not yet" in run._repr_html_() and "<b>" not in run._repr_html_()
    with pytest.raises(ArtifactError, match="holds no conclusions on 'ioi'; run `mechshift report"):
        run.verdicts()


def test_a_folder_that_is_no_run_is_one_clear_line(tmp_path):
    with pytest.raises(ArtifactError, match="is no folder; give one that `mechshift run`"):
        open_run(tmp_path / "none")
    with pytest.raises(ArtifactError, match="holds no pool"):
        open_run(tmp_path)
