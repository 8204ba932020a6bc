"""The end of a training, killed before each of the changes that it makes on the disk."""

import shutil
import subprocess
import sys

import pytest

from mechshift.errors import PosttrainingError
from mechshift.posttraining import PosttrainConfig, posttrain
from mechshift.posttraining.training_folder import TrainingFolder

KILLED = """
import os
import shutil
import sys
from pathlib import Path

import torch

from mechshift.posttraining import PosttrainConfig, posttrain

torch.set_num_threads(1)
begun, parent, config, rooms = Path(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4])
config = PosttrainConfig(**eval(config))
CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir"}


def in_a_child(room, num_changes=None):
    \"\"\"The exit status of a training in `room`, killed before a change after so many.\"\"\"
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    done = 0

    def watch(event, arguments):
        nonlocal done
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_CREAT
        if (event in CHANGES or writes) and str(room) in str(arguments[0]):
            if done == num_changes:
                os._exit(77)
            done += 1

    sys.addaudithook(watch)
    posttrain(room / "out", parent=parent, config=config, quiet=True)
    os._exit(0)


for num_changes in range(1000):
    room = rooms / f"{num_changes:03d}"
    shutil.copytree(begun, room)
    if in_a_child(room, num_changes) != 77:
        break
    status = in_a_child(room)
    print(num_changes, status, flush=True)
"""


def settings(**overrides):
    return dict(
        mixture=(("ioi", 1.0, 6),),
        batch_size=2,
        num_steps=3,
        state_every=1,
        first_checkpoint=1,
        warmup_steps=1,
        annealing_steps=2,
        log_every=1,
        num_evaluated=0,
    ) | dict(overrides)


@pytest.fixture
def parent(tmp_path, micro_llama, tokenizer):
    folder = tmp_path / "micro-arm"
    micro_llama().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def begun(parent, tmp_path, monkeypatch):
    """A folder with a training that has one step and its end before it."""
    room = tmp_path / "begun"

    def stop(_folder):
        raise KeyboardInterrupt

    monkeypatch.setattr(TrainingFolder, "finish", stop)
    with pytest.raises(KeyboardInterrupt):
        posttrain(
            room / "out", parent=str(parent), config=PosttrainConfig(**settings()), quiet=True
        )
    monkeypatch.undo()
    return room


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_training_killed_before_any_change_of_its_end_is_finished_by_the_same_command(
    parent, begun, tmp_path
):
    config = PosttrainConfig(**settings())
    posttrain(tmp_path / "whole", parent=str(parent), config=config, quiet=True)
    whole = contents(tmp_path / "whole")
    words = [str(begun), str(parent), repr(settings()), str(tmp_path / "rooms")]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *words], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    *killed, last = sorted((tmp_path / "rooms").iterdir())
    assert len(killed) > 15, "too few to hold the end of a training"
    for line, room in zip(done.stdout.splitlines(), killed, strict=True):
        number, status = line.split()
        # Once all is done but the process' own end, the name is taken, as for any other training.
        assert status == "0", f"killed before change {number}: {done.stderr}"
        assert contents(room / "out") == whole, f"killed before change {number}"
        assert names_in(room) == ["out"], f"killed before change {number}"
    assert contents(last / "out") == whole and names_in(last) == ["out"]


def test_a_folder_has_its_name_before_its_state_goes(begun, parent, monkeypatch):
    config = PosttrainConfig(**settings())
    shutil.rmtree(begun / "out.partial" / "model" / "checkpoints")

    def killed(folder):
        assert (folder.out / "model.safetensors").exists() and folder.state.exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(TrainingFolder, "remove_rest", killed)
    with pytest.raises(KeyboardInterrupt):
        posttrain(begun / "out", parent=str(parent), config=config, quiet=True)
    monkeypatch.undo()
    finished = contents(begun / "out")
    other = PosttrainConfig(**settings(seed=1))
    with pytest.raises(PosttrainingError, match="out exists already"):
        posttrain(begun / "out", parent=str(parent), config=other, quiet=True)
    (begun / "out").rename(begun / "elsewhere")
    posttrain(begun / "out", parent=str(parent), config=other, quiet=True)
    assert (begun / "out" / "checkpoints").exists(), "it began again, and not from that state"
    assert contents(begun / "elsewhere") == finished


def test_a_name_that_was_taken_meanwhile_is_not_overwritten(begun, parent, monkeypatch):
    config = PosttrainConfig(**settings())
    finish = TrainingFolder.finish

    def taken(folder):
        folder.out.mkdir()
        finish(folder)

    monkeypatch.setattr(TrainingFolder, "finish", taken)
    with pytest.raises(PosttrainingError, match="out exists by now, so the training stays in .*"):
        posttrain(begun / "out", parent=str(parent), config=config, quiet=True)
    monkeypatch.undo()
    (begun / "out").rmdir()
    posttrain(begun / "out", parent=str(parent), config=config, quiet=True)
    assert names_in(begun) == ["out"]


def test_a_state_without_its_recipe_is_refused(begun, parent):
    (begun / "out.partial" / "model" / "recipe.json").unlink()
    before = contents(begun)
    with pytest.raises(PosttrainingError, match="recipe.json is missing, so .* put the file back"):
        posttrain(
            begun / "out", parent=str(parent), config=PosttrainConfig(**settings()), quiet=True
        )
    assert contents(begun) == before


def test_a_training_of_an_earlier_mechshift_is_left_alone(tmp_path, parent):
    partial = tmp_path / "out.partial"
    (partial / "state").mkdir(parents=True)
    (partial / "recipe.json").write_text("{}", encoding="utf-8")
    with pytest.raises(PosttrainingError, match="that an earlier mechshift began; finish it with"):
        posttrain(
            tmp_path / "out", parent=str(parent), config=PosttrainConfig(**settings()), quiet=True
        )
    assert names_in(partial) == ["recipe.json", "state"]
