"""Trainings that are followed: folders as `mechshift posttrain` fills them, and a real one."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import polars as pl
import pytest

from mechshift.cli.main import main
from mechshift.errors import ModelError
from mechshift.models import ModelSource, PairEntry
from mechshift.run import following
from mechshift.run.following import Following
from mechshift.run.store import read_pool
from mechshift.testing import files_of

TASK = "infilling"

WORDS = (
    f"--tasks {TASK} --pool.num-examples 12 --pool.num-held-out 10 --pool.num-others 0"
    " --attribution.ig-steps 2 --skip flow"
    " --comparison.num-resamples 50 --comparison.num-splits 10 --comparison.num-shuffles 5"
    " --comparison.num-exchanges 20 --device cpu --follow"
).split()

TRAIN = """
import sys
from pathlib import Path

import torch

from mechshift.posttraining import PosttrainConfig, posttrain

torch.set_num_threads(1)
config = PosttrainConfig(
    mixture=(("infilling", 1.0, 64),), num_steps=8, batch_size=24, warmup_steps=2,
    annealing_steps=4, first_checkpoint=4, state_every=8, num_evaluated=0,
)
posttrain(Path(sys.argv[1]), parent=sys.argv[2], config=config, quiet=True)
"""


@pytest.fixture
def while_waiting(monkeypatch):
    """Have these things done in order, one at each wait between two looks."""

    def plan(*deeds):
        left = iter(deeds)
        monkeypatch.setattr(following, "time", SimpleNamespace(sleep=lambda _: next(left)()))

    return plan


@pytest.fixture
def training(tmp_path, link_model):
    """A training that has kept a checkpoint after 32 of its 1,600 steps."""
    model = tmp_path / "mdm.partial" / "model"
    model.mkdir(parents=True)
    link_model(tmp_path / "finished", "mdm")
    shutil.copy(tmp_path / "finished" / "recipe.json", model)
    link_model(model / "checkpoints" / "step-000032", "other-mdm")
    return model


@pytest.fixture
def entry(tmp_path, tiny):
    return PairEntry(
        name="own",
        arm=ModelSource(path=str(tiny / "arm")),
        mdm=ModelSource(path=str(tmp_path / "mdm")),
        shift=True,
    )


def end(training):
    """End a training as `mechshift posttrain` does: the model first, then its name."""
    for path in (training.parent.parent / "finished").iterdir():
        if path.name != "recipe.json":
            path.rename(training / path.name)
    training.rename(training.parents[1] / "mdm")
    shutil.rmtree(training.parent)


def test_checkpoints_come_as_they_appear_and_the_final_model_last(
    entry, training, link_model, while_waiting
):
    follows = Following(entry, quiet=True)
    assert follows.first().step == 32
    new = training / "checkpoints" / ".step-000064.partial"
    link_model(new, "continued-arm", "mdm")
    while_waiting(lambda: new.rename(new.with_name("step-000064")), lambda: end(training))
    come = [[(one.step, one.member) for one in found] for found in follows.appearing()]
    assert come == [[(32, "mdm-step-000032")], [(64, "mdm-step-000064")], [(1600, "mdm")]]


def test_a_recipe_and_a_first_checkpoint_are_waited_for(entry, training, while_waiting):
    recipe, checkpoints = training / "recipe.json", training / "checkpoints"
    for path in (recipe, checkpoints):
        path.rename(path.with_suffix(".later"))
    follows = Following(entry, quiet=True)
    while_waiting(
        *(
            lambda path=path: path.with_suffix(".later").rename(path)
            for path in (recipe, checkpoints)
        )
    )
    assert follows.first().step == 32


def test_only_the_wanted_steps_and_the_end_are_given(entry, training):
    follows = Following(entry, (64,), quiet=True)
    assert follows.first().step == 32  # what the pool is made with
    end(training)
    assert [one.step for found in follows.appearing() for one in found] == [1600]


def test_a_checkpoint_whose_training_ends_meanwhile_is_found_at_its_new_place(entry, training):
    follows = Following(entry, quiet=True)
    checkpoint = follows.first()
    assert follows.moved(checkpoint) is None
    end(training)
    moved = follows.moved(checkpoint)
    assert moved.source.path == str(training.parents[1] / "mdm" / "checkpoints" / "step-000032")
    assert (moved.weights_hash, moved.member) == (checkpoint.weights_hash, checkpoint.member)


def test_what_is_waited_for_is_shown_with_the_last_step_of_the_log(
    entry, training, while_waiting, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "200")
    (training / "training_log.jsonl").write_text('{"step": 48, "loss": 1.0}\n{"st')
    (training.parent / ".lock-holder.json").touch()
    follows = Following(entry, quiet=False)
    while_waiting(lambda: end(training))
    list(follows.appearing())
    shown = capsys.readouterr().err
    assert "wait for diffusion, step 64" in shown and "trained to step 48" in shown
    assert "stopped" not in shown


def test_a_training_that_nobody_goes_on_with_is_said_to_have_stopped(
    entry, training, while_waiting, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "200")
    follows = Following(entry, quiet=False)
    while_waiting(lambda: end(training))
    list(follows.appearing())
    assert "and stopped: give its command again" in capsys.readouterr().err


def spoil_recipe(training, **values):
    recipe = json.loads((training / "recipe.json").read_text())
    recipe["config"] |= values
    (training / "recipe.json").write_text(json.dumps(recipe))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda training: shutil.rmtree(training.parent), "there is no training to follow: --mdm"),
        (lambda training: spoil_recipe(training, objective="ar"), "are two folders mixed up"),
        (lambda training: spoil_recipe(training, first_checkpoint=0), "keeps no checkpoints, so"),
        (
            lambda training: (training / "checkpoints/step-000032/model.safetensors").unlink(),
            "step-000032 has no weights",
        ),
    ],
)
def test_what_cannot_be_followed_is_refused_at_once(entry, training, spoil, message):
    spoil(training)
    with pytest.raises(ModelError, match=message) as refused:
        Following(entry, quiet=True).first()
    assert len(str(refused.value).splitlines()) == 1


def wait_until(condition, process):
    deadline = time.monotonic() + 240
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    assert condition(), "it did not come to that"


def test_a_real_training_is_followed_to_its_end_with_the_bytes_of_a_call_after_it(tmp_path, tiny):
    out, run = tmp_path / "mdm", tmp_path / "run"
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    trains = subprocess.Popen(
        [sys.executable, "-c", TRAIN, str(out), str(tiny / "arm")], env=one_thread
    )
    words = ["trajectory", str(run), "--arm", str(tiny / "arm"), "--mdm", str(out), *WORDS]
    try:
        first = tmp_path / "mdm.partial" / "model" / "checkpoints" / "step-000004"
        wait_until(first.exists, trains)
        trains.send_signal(signal.SIGSTOP)
        assert not out.exists(), "the training ended before it could be stopped"
        follows = subprocess.Popen(
            [sys.executable, "-c", "from mechshift.cli import entry_point; entry_point()"] + words,
            env=one_thread,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        page = run / "trajectory" / "trajectory.html"
        wait_until(page.exists, follows)
        assert "the training goes on" in page.read_text(encoding="utf-8")
        time.sleep(0.5)  # it waits for the next one
        follows.send_signal(signal.SIGINT)
        shown = follows.communicate(timeout=120)[1]
        assert follows.returncode == 130, shown
        assert "stopped; the same command goes on from here" in shown and "Traceback" not in shown
        assert not list(run.glob(".lock*"))
        measured = {path.name for path in (run / "points" / TASK).iterdir()}
        assert {"arm-full", "mdm-step-000004"} <= measured and "mdm" not in measured
    finally:
        trains.send_signal(signal.SIGCONT)
    assert main([*words, "--quiet"]) == 0
    assert trains.wait() == 0
    table = pl.read_parquet(run / "trajectory" / "trajectory.parquet")
    assert table["step"].unique().sort().to_list() == [0, 4, 8]
    assert "the training goes on" not in page.read_text(encoding="utf-8")

    after = tmp_path / "after"
    assert main(["trajectory", str(after), *words[2:], "--quiet"]) == 0
    assert files_of(after) == files_of(run)

    # Its pool is the parent's, and what the first checkpoint solves is known beside it.
    pool = read_pool(run, TASK, "held-out")
    solved = [one for one, right in zip(pool.candidate_ids, pool.arm_correct, strict=True) if right]
    assert [example.id for example in pool.examples] == solved[:10]
    assert not pool.mdm_correct.all()
