"""Other numbers of denoising steps: the scores of a pool that has them, and the run's own."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from mechshift.artifacts import read_manifest, write_artifact
from mechshift.attribution import METHODS, EdgeScores
from mechshift.cli.main import main
from mechshift.denoising import Schedule, build_canvases, left_to_right
from mechshift.errors import ArtifactError
from mechshift.flat_records import read_record, record_files
from mechshift.run import (
    SweepSettings,
    left_out,
    load_stored_pair,
    run_experiment,
    score_edges,
    sweep_num_steps,
)
from mechshift.run.folders import SCORES, sweep_folder
from mechshift.run.records import TaskPools
from mechshift.run.step_sweep import chosen_num_steps, sweep_point
from mechshift.run.store import read_pool
from mechshift.run.stored import RunTask
from mechshift.testing import files_of, random_examples, random_language_model
from mechshift.topics.num_steps import concluded_sweep

QUIET = ["--device", "cpu", "--quiet"]

IN_CHUNKS = SweepSettings(chunk_size=4)
"""As the small run is scored; chunks of other sizes round differently."""


@pytest.fixture(scope="module")
def pair(small_run):
    return load_stored_pair(small_run, "cpu")


def copy_of(run, to, *tasks):
    """What a sweep needs of these tasks, and nothing else."""
    for task in tasks:
        shutil.copytree(run / "pool" / task, to / "pool" / task)
        for folder in ("scores/{}/arm", "scores/{}/mdm", "comparison/{}/mdm"):
            shutil.copytree(run / folder.format(task), to / folder.format(task))
    return to


@pytest.fixture(scope="module")
def swept(small_run, pair, tmp_path_factory):
    """Both tasks of the small run with the default numbers of steps."""
    run = copy_of(small_run, tmp_path_factory.mktemp("swept") / "run", "ioi", "infilling")
    sweep_num_steps(run, pair, IN_CHUNKS, quiet=True)
    return run


def pools_of(by_split):
    """The record of a task's pools from pools by split."""
    return TaskPools(discovery=by_split["discovery"], held_out=by_split["held-out"])


@pytest.mark.parametrize("metric", ["logit_diff", "prob_diff", "log_prob", "kl"])
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("eap-ig", {}),
        ("eap-ig", {"gim": True}),
        ("eap", {"gradient_at": "corrupted"}),  # at the clean end the gradient of kl is zero
        ("exact", {}),
    ],
)
def test_an_arms_score_summed_over_steps_does_not_depend_on_their_number(method, options, metric):
    """The law by which a sweep scores the MDM alone; the MDM's sums are there to break it."""
    deviations = {}
    for kind in ("arm", "mdm"):
        model = random_language_model("llama", kind, dtype=torch.float64, num_layers=1)
        examples = random_examples(2, kind=kind, num_targets=4, contrasts=True)
        found = {}
        for num_steps in (1, 2, 4):
            canvases = build_canvases(model, examples, left_to_right([4, 4], num_steps))
            scores = METHODS[method](model, canvases, metric=metric, **options)
            assert scores.values.shape[1] == num_steps
            found[num_steps] = scores.values.sum(axis=1)
        scale = np.abs(found[1]).max()
        deviations[kind] = max(np.abs(found[s] - found[1]).max() / scale for s in (2, 4))
    assert deviations["arm"] < 1e-10 and deviations["mdm"] > 0.1


def test_with_the_pools_own_number_of_steps_the_runs_scores_are_compared(swept, small):
    """Nothing is scored anew, and the numbers are those of the run's own comparison."""
    assert sorted(path.name for path in (swept / "sweep" / "infilling").iterdir()) == ["1", "2"]
    assert not (sweep_folder(swept, "infilling", 2) / "mdm").exists()
    shift = RunTask(run=swept, task="infilling").swept()[2].shift
    comparison = RunTask(run=swept, task="infilling").comparison()
    index = comparison.overlap.index_of(shift.circuit_size)
    for name in ("edges", "ratio", "noise_p"):
        found, expected = getattr(shift.overlap, name), getattr(comparison.overlap, name)
        if name != "noise_p":
            found, expected = found.value, expected.value
        assert found[0] == pytest.approx(expected[index])
    for side in ("source", "destination"):
        found, expected = (getattr(one.circuit_depth, side) for one in (shift, comparison))
        np.testing.assert_allclose(found.cross_fitted.value, expected.cross_fitted.value)
        np.testing.assert_allclose(found.cross_fitted.low, expected.cross_fitted.low)
    assert shift.settings == replace(
        small.comparison, circuit_size=shift.circuit_size, sizes=(shift.circuit_size,)
    )


def test_the_scores_are_those_of_a_run_whose_pool_has_that_schedule(swept, small, pair, tmp_path):
    """The same examples in a pool of one step, scored by the stage that scores every run."""
    pools = {split: read_pool(swept, "infilling", split) for split in ("discovery", "held-out")}
    one_step = {
        split: replace(pool, schedule=Schedule(commit_step=0 * pool.schedule.commit_step))
        for split, pool in pools.items()
    }
    manifest = read_manifest(swept / "pool" / "infilling")
    write_artifact(
        tmp_path / "pool" / "infilling",
        stage="pool",
        config=manifest.config,
        inputs=manifest.inputs,
        **vars(
            record_files(TaskPools(discovery=one_step["discovery"], held_out=one_step["held-out"]))
        ),
    )
    score_edges(tmp_path, replace(pair, controls={}), small.attribution, quiet=True)
    found = read_record(EdgeScores, sweep_folder(swept, "infilling", 1) / "mdm", stage=SCORES)
    expected = RunTask(run=tmp_path, task="infilling").scores("mdm")
    for name, values in vars(expected).items():
        np.testing.assert_array_equal(getattr(found, name), values)
    # A pool of one step has the run's own scores of the ARM, but for where they are booked.
    arm = [RunTask(run=run, task="infilling").scores("arm") for run in (swept, tmp_path)]
    sums = [scores.values.sum(axis=1) for scores in arm]
    np.testing.assert_allclose(*sums, rtol=0, atol=1e-5 * np.abs(sums[0]).max())
    point = sweep_point("infilling", arm[1], expected, small.comparison)
    stored = RunTask(run=swept, task="infilling").swept()[1]
    assert point.shift.overlap.edges.value[0] == stored.shift.overlap.edges.value[0]


def test_every_point_is_in_the_record_with_the_shift_in_concentration(swept):
    sweep = concluded_sweep(RunTask(run=swept, task="infilling"))
    assert sweep.depth.points.tolist() == [1, 2]
    for index, steps in enumerate((1, 2)):
        point = RunTask(run=swept, task="infilling").swept()[steps]
        assert sweep.ratio.value[index] == point.shift.overlap.ratio.value[0]
        concentration = point.concentration.shift.effective_number
        assert sweep.effective_number.value[index] == concentration.value
    assert sweep.overlap.value[0] != sweep.overlap.value[1]


def test_a_task_of_single_tokens_is_named_and_nothing_is_written_for_it(
    small_run, tmp_path, capsys
):
    run = copy_of(small_run, tmp_path / "run", "ioi")
    assert main(["sweep", str(run), *QUIET]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "The targets of ioi are single tokens, so there is one number of denoising steps, 1, and"
        " nothing to sweep over."
    ]
    assert not (run / "sweep").exists()


def test_a_sweep_that_was_killed_goes_on_and_ends_with_the_same_bytes(swept, small_run, tmp_path):
    run = copy_of(small_run, tmp_path / "run", "infilling")
    words = ["sweep", str(run), "--chunk-size", "4", *QUIET]
    process = subprocess.Popen(
        [sys.executable, "-c", "from mechshift.cli.main import main; main()", *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    target = sweep_folder(run, "infilling", 1)
    first_chunk = target / "mdm.chunks" / "000000-000003" / "manifest.json"
    deadline = time.monotonic() + 120
    while not first_chunk.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the sweep ended before it could be killed"
    assert not (target / "mdm").exists()
    assert main(words) == 0
    assert files_of(run / "sweep") == files_of(swept / "sweep")


def test_a_second_sweep_adds_numbers_of_steps_and_changes_no_byte(small_run, pair, swept, tmp_path):
    run = copy_of(small_run, tmp_path / "run", "infilling")
    sweep_num_steps(run, pair, SweepSettings(num_steps=(2,)), quiet=True)
    assert list(files_of(run / "sweep")) == [
        "infilling/2/shift/arrays.safetensors",
        "infilling/2/shift/manifest.json",
        "infilling/2/shift/values.json",
    ]
    for _ in range(2):
        sweep_num_steps(run, pair, IN_CHUNKS, quiet=True)
        assert files_of(run / "sweep") == files_of(swept / "sweep")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--num-steps", "1", "3"],
            "no task has 3 denoising steps; the longest targets have so many tokens: ioi 1,"
            " infilling 2.",
        ),
        (["--num-steps", "0"], "a number of steps must be at least 1, not 0."),
        (["--batch-size", "0"], "sweep setting batch_size must be at least 1, not 0."),
    ],
)
def test_an_impossible_number_of_steps_is_one_line_and_nothing_is_written(
    words, message, small_run, tmp_path, capsys
):
    run = copy_of(small_run, tmp_path / "run", "ioi", "infilling")
    assert main(["sweep", str(run), *words, *QUIET]) == 2
    assert capsys.readouterr().err == f"mechshift: {message}\n"
    assert not (run / "sweep").exists()


def test_a_task_with_fewer_tokens_than_were_asked_for_is_left_out_and_named(small_run, tmp_path):
    """Beside infilling a pool that differs in its targets alone, which have three tokens."""
    run = copy_of(small_run, tmp_path / "run", "infilling")
    pools = {split: read_pool(run, "infilling", split) for split in ("discovery", "held-out")}
    longer = {
        split: replace(pool, schedule=left_to_right([3] * len(pool.examples)))
        for split, pool in pools.items()
    }
    manifest = read_manifest(run / "pool" / "infilling")
    write_artifact(
        run / "pool" / "longer",
        stage="pool",
        config=manifest.config | {"position": 9},
        inputs=manifest.inputs,
        **vars(record_files(pools_of(longer))),
    )
    settings = SweepSettings(num_steps=(3, 1))
    assert left_out(run, settings) == (
        "The targets of infilling have at most 2 tokens, so it is left out at 3 steps.",
    )
    schedules = {
        task: read_pool(run, task, "discovery").schedule for task in ("infilling", "longer")
    }
    assert chosen_num_steps(schedules, settings) == {"infilling": [1], "longer": [1, 3]}


def test_a_run_that_is_not_scored_or_not_compared_is_refused(small_run, pair, tmp_path):
    run = copy_of(small_run, tmp_path / "run", "infilling")
    shutil.rmtree(run / "comparison")
    with pytest.raises(ArtifactError, match="no comparison of 'infilling'; run `mechshift compare"):
        sweep_num_steps(run, pair, quiet=True)
    shutil.rmtree(run / "scores")
    with pytest.raises(ArtifactError, match="no scores of the ARM on 'infilling'; run `mechshift"):
        sweep_num_steps(run, pair, quiet=True)
    assert not (run / "sweep").exists()


def test_a_run_sweeps_if_it_is_asked_to_and_the_page_shows_it(small_run, small, swept, tmp_path):
    run = tmp_path / "run"
    for stage in ("pool", "scores", "faithfulness", "comparison", "controls"):
        shutil.copytree(small_run / stage, run / stage)
    settings = replace(
        small, skip=("flow", "semantics", "ablation"), also=("sweep",), sweep=IN_CHUNKS
    )
    page = run_experiment(run, settings, device="cpu", quiet=True)
    assert files_of(run / "sweep") == files_of(swept / "sweep")
    table = pl.read_csv(page.parent / "infilling-num-steps.csv")
    sweep = concluded_sweep(RunTask(run=swept, task="infilling"))
    assert table["num_steps"].to_list() == [1, 2]
    assert table["ratio"].to_list() == pytest.approx(sweep.ratio.value.tolist())
    text = page.read_text(encoding="utf-8")
    assert 'id="infilling-num-steps"' in text and 'id="ioi-num-steps"' not in text
    assert "The targets of ioi are single tokens" in text
    assert "mechshift sweep RUN" not in text
    concluded = "conclusions/infilling/num-steps"
    assert concluded in read_manifest(page.parent).inputs
    shown = read_manifest(page.parents[1] / concluded).inputs
    assert {f"sweep/infilling/{steps}/shift" for steps in (1, 2)} <= shown.keys()
    whole = (small_run / "report" / "report.html").read_text(encoding="utf-8")
    assert "were not compared on infilling: `mechshift sweep RUN` does it." in whole
