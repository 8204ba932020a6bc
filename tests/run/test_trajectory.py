import json
import shutil

import numpy as np
import polars as pl
import pytest

from mechshift.cli.main import main
from mechshift.errors import ConfigError
from mechshift.page.browser import find_browser
from mechshift.run.store import (
    read_pool,
    scored_members,
)
from mechshift.run.stored import RunTask
from mechshift.testing import files_of
from mechshift.topics.registry import tracked_quantities
from mechshift.topics.trajectory import TRAINING_KINDS, training_place

TASK = "infilling"

WORDS = (
    f"--tasks {TASK} --pool.num-examples 12 --pool.num-held-out 10 --pool.seed 4"
    " --attribution.ig-steps 2 --attribution.chunk-size 4"
    " --comparison.num-resamples 50 --comparison.num-splits 10 --comparison.num-shuffles 5"
    " --comparison.num-exchanges 20 --device cpu --quiet"
).split()
"""The settings of the small experiment (conftest.py) on the command line."""


@pytest.fixture(scope="module")
def trainings(tmp_path_factory, link_model):
    """Trainings whose checkpoints are known models.

    After 100 steps the MDM still has its parent's weights, and after 200 the final ones.
    """
    root = tmp_path_factory.mktemp("trainings")
    checkpoints = root / "mdm" / "checkpoints"
    link_model(root / "mdm", "mdm")
    link_model(checkpoints / "step-000100", "arm", "mdm")
    link_model(checkpoints / "step-000200", "mdm")
    link_model(root / "control", "continued-arm")
    link_model(root / "control" / "checkpoints" / "step-000100", "continued-arm")
    return root


@pytest.fixture(scope="module")
def words(trainings, tiny):
    """The command's words after the run folder."""
    models = ["--arm", str(tiny / "arm"), "--mdm", str(trainings / "mdm")]
    further = ["--other-mdm", str(tiny / "other-mdm")]  # its ends alone: it has no checkpoints
    return [*models, "--continued-arm", str(trainings / "control"), *further, *WORDS]


@pytest.fixture(scope="module")
def run(tmp_path_factory, words):
    folder = tmp_path_factory.mktemp("runs") / "trajectory"
    assert main(["trajectory", str(folder), *words]) == 0
    return folder


def numbers(run, training, step):
    """Quantity -> (value, low, high) of one checkpoint."""
    table = pl.read_parquet(run / "trajectory" / "trajectory.parquet")
    rows = table.filter((pl.col("training") == training) & (pl.col("step") == step))
    return {row["quantity"]: (row["value"], row["low"], row["high"]) for row in rows.to_dicts()}


def test_the_table_has_a_row_for_each_checkpoint_and_quantity(run):
    table = pl.read_parquet(run / "trajectory" / "trajectory.parquet")
    expected = [("diffusion", step) for step in (0, 100, 200, 1600)]
    expected += [("diffusion-2", step) for step in (0, 1600)]
    expected += [("control", step) for step in (0, 100, 1600)]
    found = table.select("training", "step", "quantity").rows()
    assert found == [
        (*point, tracked.name) for point in expected for tracked in tracked_quantities()
    ]
    assert set(table["task"]) == {TASK}
    assert (table["low"] <= table["value"]).all() and (table["value"] <= table["high"]).all()
    assert pl.read_csv(run / "trajectory" / "trajectory.csv").height == table.height


def test_a_folder_in_which_another_process_runs_is_refused(words, held_elsewhere, tmp_path, capsys):
    folder = tmp_path / "trajectory"
    with held_elsewhere(folder):
        assert main(["trajectory", str(folder), *words]) == 2
    assert "trajectory is in use by process" in capsys.readouterr().err
    assert {path.name for path in folder.iterdir()} == {".lock", ".lock-holder.json"}


def test_a_checkpoint_with_the_final_weights_measures_as_the_pair_does(run, small_run):
    """Held against another folder's run of the pair: its verdicts and its circuits."""
    found = numbers(run, "diffusion", 200)
    assert found == numbers(run, "diffusion", 1600)
    verdicts = json.loads((small_run / "report" / "verdicts.json").read_text(encoding="utf-8"))
    by_axis = {one["axis"]: one["estimate"] for one in verdicts["tasks"][TASK]["statements"]}
    for axis, quantity in (
        ("structure", "noise-free overlap"),
        ("depth", "early share shift"),
        ("specialisation", "effective components shift"),
        ("direction", "right-to-left share"),
    ):
        interval = by_axis[axis]["interval"]
        expected = (by_axis[axis]["value"], interval["low"], interval["high"])
        assert found[quantity] == pytest.approx(expected, abs=1e-6)
    size = RunTask(run=small_run, task=TASK).comparison().circuit_size
    for quantity, model, owner in (
        ("own circuit", "mdm", "mdm"),
        ("the ARM's circuit in it", "mdm", "arm"),
        ("its circuit in the ARM", "arm", "mdm"),
    ):
        curve = RunTask(run=small_run, task=TASK).circuit_metrics(model)[owner].curve()
        estimate = curve.interval(num_resamples=50).at(int((curve.sizes == size).argmax()))
        expected = (estimate.value, estimate.interval.low, estimate.interval.high)
        assert found[quantity] == pytest.approx(expected, abs=1e-5)
    assert found["accuracy"][0] == read_pool(small_run, TASK, "held-out").mdm_accuracy


def test_a_checkpoint_with_its_parents_weights_is_step_0(run):
    assert numbers(run, "diffusion", 100) == numbers(run, "diffusion", 0)


def test_the_control_begins_as_its_parent_and_never_reads_from_the_right(run):
    at_start = numbers(run, "control", 0)
    assert at_start["noise-free overlap"] == pytest.approx((1.0, 1.0, 1.0))
    for shift in ("early share shift", "centre of mass shift", "effective components shift"):
        assert at_start[shift] == (0.0, 0.0, 0.0)
    for step in (0, 100, 1600):
        assert numbers(run, "control", step)["right-to-left share"] == (0.0, 0.0, 0.0)
    assert numbers(run, "diffusion", 0)["right-to-left share"][1] > 0


def test_a_measured_checkpoint_needs_neither_its_weights_loaded_nor_its_scores(
    run, words, tmp_path
):
    again = tmp_path / "run"
    shutil.copytree(run, again)
    shutil.rmtree(again / "scores" / TASK / "mdm-step-000100")
    assert main(["trajectory", str(again), *words]) == 0
    assert not (again / "scores" / TASK / "mdm-step-000100").exists()
    assert files_of(again / "trajectory") == files_of(run / "trajectory")


def test_checkpoints_are_no_controls_of_the_run_whose_folder_they_share(run):
    members = ["arm", "mdm", "arm-continued", "arm-full", "mdm-other-seed"]
    assert scored_members(run, TASK) == members


def test_the_explorer_of_a_report_reads_the_checkpoints_of_the_run(run):
    found = RunTask(run=run, task=TASK).checkpoints()
    rows = pl.read_parquet(run / "trajectory" / "trajectory.parquet")
    shown = rows.select("training", "step").rows()
    # The table shows the parent as the beginning of the further trainings too.
    wanted = {(training, step) for training, step in shown if step or training in TRAINING_KINDS}
    assert {(one.training, one.step) for one in found} == wanted
    order = [(training_place(one.training), one.step) for one in found]
    assert order == sorted(order)
    (half_way,) = (one for one in found if (one.training, one.step) == ("diffusion", 100))
    scores = RunTask(run=run, task=TASK).scores("mdm-step-000100").mean()
    np.testing.assert_array_equal(half_way.scores, scores)


def test_the_figures_of_a_trajectory_are_drawn_too(run, tmp_path, capsys):
    try:
        find_browser()
    except ConfigError as none:
        pytest.skip(str(none))
    words = ["figures", str(run), "--out", str(tmp_path), "--format", "svg", "--quiet"]
    assert main([*words, "--style", "slides"]) == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert capsys.readouterr().out.split() and names == {
        "captions.md",
        "trajectory.svg",
        f"trajectory-{TASK}-depth.svg",
        f"trajectory-{TASK}-circuit-diffusion.svg",
        f"trajectory-{TASK}-circuit-control.svg",
    }
    assert 'width="254mm"' in (tmp_path / "trajectory.svg").read_text()
    assert "The mechanism over training" in (tmp_path / "captions.md").read_text()
    assert main([*words, "--task", "ioi"]) == 2
    assert "has no task 'ioi'" in capsys.readouterr().err


def test_other_settings_in_the_same_folder_are_refused_in_one_line(run, words, capsys):
    assert main(["trajectory", str(run), *words, "--comparison.num-resamples", "60"]) == 2
    shown = capsys.readouterr().err
    assert "num_resamples: 50 there, 60 now" in shown
    assert len(shown.strip().splitlines()) == 1


def test_without_flow_its_share_is_missing_with_its_reason(words, run, tmp_path):
    again = tmp_path / "run"
    for stage in ("pool", "scores", "answers", "crossed"):
        shutil.copytree(run / stage, again / stage)
    assert main(["trajectory", str(again), *words, "--steps", "200", "--skip", "flow"]) == 0
    table = pl.read_parquet(again / "trajectory" / "trajectory.parquet")
    flow = table.filter(pl.col("quantity") == "right-to-left share")
    assert flow["value"].null_count() == flow.height == 7
    assert set(flow["reason"]) == {"flow between positions was not traced"}
    assert not (again / "flow").exists()


def test_a_training_without_checkpoints_is_refused_before_anything_is_loaded(
    tiny, tmp_path, capsys
):
    models = ["--arm", str(tiny / "arm"), "--mdm", str(tiny / "mdm")]
    bare = tmp_path / "bare"
    shutil.copytree(tiny / "mdm", bare, ignore=shutil.ignore_patterns("checkpoints"))
    models[-1] = str(bare)
    assert main(["trajectory", str(tmp_path / "run"), *models, *WORDS]) == 2
    assert "holds no checkpoints/step-000032 or alike" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
