"""The end of a training, killed before each of the changes that it makes on the disk."""

import errno
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module

import pytest
from safetensors import SafetensorError

from mechshift.cli.main import main
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
    # Killed once all is done but the process's own end, there is nothing to go on with.
    is_done = os.listdir(room) == ["out"]
    status = 0 if is_done else in_a_child(room)
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


# What the disk refuses.


@pytest.fixture
def no_wait(monkeypatch):
    """Whoever loads a model or makes a corpus has waited for nothing."""

    def waited(*_arguments, **_options):
        pytest.fail("a wait before the refusal")

    monkeypatch.setattr(import_module("mechshift.posttraining._posttrain"), "_load_parent", waited)
    monkeypatch.setattr("mechshift.posttraining.trainer.build_mixture", waited)


@pytest.mark.parametrize(
    ("place", "is_file", "message"),
    [
        ("out.partial", True, "cannot write in .*out.partial: File exists"),
        ("out.partial/model", True, "out.partial/model is a file, and a folder is to go there"),
        ("out.partial/state", True, "out.partial/state is a file, and a folder is to go there"),
        ("out.partial/model/checkpoints", True, "checkpoints is a file, and a folder"),
        ("out.partial/model/recipe.json", False, "recipe.json is a folder, and a file is to go"),
        ("out.partial/model/training_log.jsonl", False, "log.jsonl is a folder, and a file"),
        ("events", True, "cannot write TensorBoard's events in .*events: File exists"),
    ],
)
def test_what_is_in_the_way_is_named_before_any_wait(tmp_path, no_wait, place, is_file, message):
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    if is_file:
        (tmp_path / place).write_text("mine", encoding="utf-8")
    else:
        (tmp_path / place).mkdir()
    with pytest.raises(PosttrainingError, match=message):
        posttrain(
            tmp_path / "out",
            parent="some-arm",
            config=PosttrainConfig(**settings()),
            tensorboard=tmp_path / "events",
            quiet=True,
        )
    assert (tmp_path / place).exists()
    assert not list(tmp_path.rglob(".lock*"))


def test_a_file_instead_of_a_folder_above_is_refused_by_the_command(tmp_path, no_wait, capsys):
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    out = tmp_path / "file" / "out"
    words = ["--mixture", "ioi", "1", "6"]
    assert main(["posttrain", str(out), "--parent", "some-arm", *words, "--quiet"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "out.partial: Not a directory; choose another folder" in line


def test_a_folder_without_permission_is_refused_before_any_wait(begun, no_wait, monkeypatch):
    access = os.access

    def read_only(path, mode, **options):
        return not str(path).endswith("state") and access(path, mode, **options)

    monkeypatch.setattr(os, "access", read_only)
    with pytest.raises(PosttrainingError, match="state may not be written; change its permissions"):
        posttrain(
            begun / "out", parent="some-arm", config=PosttrainConfig(**settings()), quiet=True
        )


FULL = OSError(errno.ENOSPC, "No space left on device", "some/file")
FULL_IN_RUST = "I/O error: No space left on device (os error 28)"


@pytest.mark.parametrize(
    ("call", "refusal"),
    [
        ("training_state.save_file", SafetensorError(FULL_IN_RUST)),
        ("training_state.move_into_place", FULL),
        ("training_state.file_hash", FULL),
        ("saving.move_into_place", FULL),
        ("_posttrain.write_model", SafetensorError(FULL_IN_RUST)),
        ("_posttrain.write_model", Exception("No space left on device (os error 28)")),
        ("training_folder.write_whole", FULL),
        ("journal.os.fsync", FULL),
    ],
)
def test_a_full_disk_ends_a_training_in_one_line_and_it_goes_on(
    parent, tmp_path, monkeypatch, call, refusal
):
    out, config = tmp_path / "out", PosttrainConfig(**settings())

    def full(*_arguments, **_options):
        raise refusal

    # The package has a function of the module's name.
    module, *inner, name = call.split(".")
    owner = import_module(f"mechshift.posttraining.{module}")
    monkeypatch.setattr(getattr(owner, inner[0]) if inner else owner, name, full)
    message = r"cannot write .*: .*No space left on device.*; make room .* it goes on from the log"
    with pytest.raises(PosttrainingError, match=message) as said:
        posttrain(out, parent=str(parent), config=config, quiet=True)
    assert "\n" not in str(said.value)
    monkeypatch.undo()
    posttrain(out, parent=str(parent), config=config, quiet=True)
    posttrain(tmp_path / "whole", parent=str(parent), config=config, quiet=True)
    assert contents(out) == contents(tmp_path / "whole")


def test_an_error_of_ours_is_not_called_one_of_the_disk(tmp_path):
    with pytest.raises(ZeroDivisionError), TrainingFolder(out=tmp_path / "out").explained():
        _ = 1 / 0


def test_two_trainings_in_one_folder_are_told_apart(begun, parent, no_wait):
    config = PosttrainConfig(**settings())
    again = partial(posttrain, begun / "out", parent=str(parent), config=config, quiet=True)
    with ThreadPoolExecutor(1) as other, TrainingFolder(out=begun / "out").held():
        before = contents(begun)
        message = rf"out.partial is in use by process {os.getpid()} on .* since .*; wait until"
        with pytest.raises(PosttrainingError, match=message):
            other.submit(again).result()
        assert contents(begun) == before


def test_a_training_that_another_process_finished_meanwhile_is_left_alone(tmp_path):
    folder = TrainingFolder(out=tmp_path / "out")
    folder.out.mkdir()
    with pytest.raises(PosttrainingError, match="out exists already"), folder.held():
        pass
    assert names_in(tmp_path) == ["out"]
