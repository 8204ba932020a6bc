"""Other circuits than a model's own: the stage, its command, and what stands in the run."""

import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from mechshift.artifacts import read_manifest
from mechshift.circuits import select_top_edges
from mechshift.cli.main import main
from mechshift.errors import ArtifactError, ConfigError
from mechshift.run import (
    AlternativesSettings,
    alternatives_table,
    find_alternatives,
    load_stored_pair,
    run_experiment,
)
from mechshift.run.folders import KINDS, alternatives_folder
from mechshift.run.stored import RunTask
from mechshift.testing import files_of
from mechshift.topics.alternatives import concluded_alternatives

QUIET = ["--device", "cpu", "--quiet"]

NEEDED = ("pool", "scores", "faithfulness", "comparison")

FEW = AlternativesSettings(factors=(0.0, 0.5, 0.9), shares=(0.5, 0.2))


def copy_of(run, to, tasks=("ioi",), stages=NEEDED):
    for stage in stages:
        for task in tasks:
            shutil.copytree(run / stage / task, to / stage / task)
    return to


@pytest.fixture(scope="module")
def pair(small_run):
    return load_stored_pair(small_run, "cpu")


@pytest.fixture(scope="module")
def searched(small_run, pair, tmp_path_factory):
    """Both tasks of the small run."""
    run = copy_of(small_run, tmp_path_factory.mktemp("other") / "run", ("ioi", "infilling"))
    find_alternatives(run, pair, FEW, quiet=True)
    return run


def test_the_first_circuit_scores_what_it_scores_where_the_runs_circuits_are_run(searched):
    """On held-out examples, step by step; and it has the edges that the run compares."""
    for task in ("ioi", "infilling"):
        size = RunTask(run=searched, task=task).comparison().circuit_size
        for kind in KINDS:
            runs = RunTask(run=searched, task=task).alternatives(kind)
            own = RunTask(run=searched, task=task).circuit_metrics(kind)[kind]
            (place,) = np.flatnonzero(own.sizes == size)
            np.testing.assert_allclose(runs.held_out.metric[0], own.metric[place], atol=1e-5)
            np.testing.assert_allclose(runs.held_out.full, own.full, atol=1e-5)
            np.testing.assert_allclose(runs.held_out.empty, own.empty, atol=1e-5)
            np.testing.assert_array_equal(runs.held_out.clusters, own.clusters)
            scores = RunTask(run=searched, task=task).scores(kind)
            first = select_top_edges(scores.graph, scores.mean(), size)
            assert sorted(first.edges.tolist()) == runs.edges[0].tolist()
            # The discovery examples are those on which the edges were scored.
            np.testing.assert_allclose(runs.discovery.full, scores.clean_metric, atol=1e-4)


def test_candidates_are_those_of_the_ladder(searched):
    for kind in KINDS:
        runs = RunTask(run=searched, task="ioi").alternatives(kind)
        assert runs.factors.tolist() == [1.0, 0.9, 0.5, 0.0, 0.0, 0.0]
        size, overlap = runs.edges.shape[1], runs.overlap.tolist()
        assert runs.num_penalised[:4].tolist() == [size] * 4
        assert overlap[0] == 1.0 and overlap[:4] == sorted(overlap[:4], reverse=True)
        assert overlap[3] == 0
        # Dropped edges do not come back, so their number says what is shared.
        dropped = runs.num_penalised[4:]
        assert 0.2 * size <= dropped[0] < 0.5 * size <= dropped[1] < size
        np.testing.assert_allclose(overlap[4:], (size - dropped) / (size + dropped))
        assert (runs.held_out.sizes == runs.edges.shape[1]).all()
    manifest = read_manifest(alternatives_folder(searched, "ioi", "mdm"))
    assert manifest.config["alternatives"] == {
        "factors": [0.9, 0.5, 0.0],
        "shares": [0.2, 0.5],
        "ablation": "resample",
    }
    assert {"pool", "mdm_scores"} <= manifest.inputs.keys()


def test_the_same_run_gives_the_same_bytes_and_what_is_there_is_kept(
    searched, small_run, pair, tmp_path
):
    run = copy_of(small_run, tmp_path / "run")
    find_alternatives(run, pair, FEW, quiet=True)
    of_task = {
        name: one for name, one in files_of(searched / "alternatives").items() if "ioi" in name
    }
    assert files_of(run / "alternatives") == of_task
    # A run that was killed between its models goes on, and ends with the same bytes.
    shutil.rmtree(alternatives_folder(run, "ioi", "mdm"))
    before = alternatives_folder(run, "ioi", "arm").stat().st_mtime_ns
    find_alternatives(run, pair, FEW, quiet=True)
    assert files_of(run / "alternatives") == of_task
    assert alternatives_folder(run, "ioi", "arm").stat().st_mtime_ns == before


def test_other_factors_are_refused_where_a_result_is_and_another_batch_size_is_not(
    searched, pair, capsys
):
    before = files_of(searched / "alternatives")
    find_alternatives(searched, pair, replace(FEW, batch_size=3), quiet=True)
    assert main(["alternatives", str(searched), "--factors", "0.3", *QUIET]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "factors" in line and "alternatives/ioi/arm" in line
    assert files_of(searched / "alternatives") == before


def test_the_ablation_is_that_of_the_runs_circuits(small_run, pair, searched, tmp_path):
    run = copy_of(small_run, tmp_path / "run")
    path = run / "faithfulness" / "ioi" / "arm" / "manifest.json"
    path.write_text(path.read_text().replace('"ablation": "resample"', '"ablation": "zero"'))
    find_alternatives(run, pair, AlternativesSettings(factors=(0.5,), shares=()), quiet=True)
    zero, resampled = (
        RunTask(run=one, task="ioi").alternatives("arm").held_out for one in (run, searched)
    )
    np.testing.assert_allclose(zero.full, resampled.full, atol=1e-5)
    assert np.abs(zero.empty - resampled.empty).max() > 0.1


def test_the_command_prints_the_floor_of_each_model(searched, capsys):
    words = [
        "alternatives",
        str(searched),
        "--factors",
        "0.5",
        "0.9",
        "0",
        "--shares",
        "0.2",
        "0.5",
        *QUIET,
    ]
    assert main(words) == 0
    shown = capsys.readouterr().out
    table = alternatives_table(searched)
    assert table["model"].to_list() == ["ARM", "MDM", "ARM", "MDM"]
    assert table["task"].to_list() == ["ioi", "ioi", "infilling", "infilling"]
    for name in (*table.columns, "infilling"):
        assert name in shown
    record = concluded_alternatives(RunTask(run=searched, task="infilling"))
    floors = [record.floors.get(kind) for kind in KINDS]
    found = table.filter(task="infilling")["floor"].to_list()
    assert found == [None if one is None else one.value for one in floors]


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("scores", "no scores of the ARM on 'ioi'; run `mechshift attribute"),
        ("faithfulness", "no runs of circuits on 'ioi'; run `mechshift evaluate"),
        ("comparison", "no comparison of 'ioi'; run `mechshift compare"),
    ],
)
def test_a_run_that_lacks_a_stage_is_refused_with_what_to_do(
    small_run, pair, tmp_path, missing, message
):
    run = copy_of(small_run, tmp_path / "run", stages=[one for one in NEEDED if one != missing])
    with pytest.raises(ArtifactError, match=message):
        find_alternatives(run, pair, FEW, quiet=True)
    assert not (run / "alternatives").exists()


@pytest.mark.parametrize("factors", [(), (1.0,), (0.5, -0.1), (float("nan"),)])
def test_factors_outside_their_range_are_refused(factors):
    with pytest.raises(ConfigError, match=r"must lie in \[0, 1\), one at least"):
        AlternativesSettings(factors=factors)
    with pytest.raises(ConfigError, match=r"shares of alternatives must lie in \(0, 1\], not \(0"):
        AlternativesSettings(shares=(0.0,))
    with pytest.raises(ConfigError, match="batch_size must be at least 1, not 0"):
        AlternativesSettings(batch_size=0)


def test_a_run_searches_if_it_is_asked_to_and_the_page_shows_it(
    small_run, small, searched, tmp_path
):
    run = tmp_path / "run"
    for stage in (*NEEDED, "controls"):
        shutil.copytree(small_run / stage, run / stage)
    settings = replace(
        small, skip=("flow", "semantics", "ablation"), also=("alternatives",), alternatives=FEW
    )
    page = run_experiment(run, settings, device="cpu", quiet=True)
    assert files_of(run / "alternatives") == files_of(searched / "alternatives")
    table = pl.read_csv(page.parent / "infilling-alternatives.csv")
    assert table["model"].to_list() == ["arm"] * 6 + ["mdm"] * 6
    text = page.read_text(encoding="utf-8").replace("&#39;", "'")
    assert 'id="infilling-alternatives"' in text
    assert "Lowest overlap inside the ARM" in text and "Lowest overlap inside the MDM" in text
    assert "Could another circuit of the ARM do as well?" in text
    assert "times 0.9, 0.5, 0; or none of the weakest sides" in text
    assert "mechshift alternatives RUN" not in text
    concluded = read_manifest(run / "conclusions" / "infilling" / "alternatives").inputs
    assert {f"alternatives/infilling/{kind}" for kind in KINDS} <= concluded.keys()
    whole = (small_run / "report" / "report.html").read_text(encoding="utf-8")
    assert "`mechshift alternatives RUN` does it." in whole
    assert "Lowest overlap inside" not in whole
