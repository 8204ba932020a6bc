"""A folder is held by one process at a time, and by nobody once that process is gone."""

import json
import os
import platform
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from mechshift.errors import ArtifactError, PosttrainingError
from mechshift.locks import hold_folder


@pytest.fixture
def holder(held_elsewhere, tmp_path):
    """Another process that holds `tmp_path/run`."""
    with held_elsewhere(tmp_path / "run") as process:
        yield process


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_second_process_hears_in_one_line_who_holds_the_folder_and_since_when(holder, tmp_path):
    with pytest.raises(ArtifactError) as refusal, hold_folder(tmp_path / "run"):
        pass
    found = re.fullmatch(
        r"(.*) is in use by process (\d+) on (.*) since (.*); wait until it has ended, or choose"
        r" another folder\.",
        str(refusal.value),
    )
    folder, process, host, since = found.groups()
    assert Path(folder) == tmp_path / "run"
    assert (int(process), host) == (holder.pid, platform.node())
    age = datetime.now().astimezone() - datetime.fromisoformat(since)
    assert timedelta(seconds=-1) < age < timedelta(minutes=5)
    assert names_in(tmp_path / "run") == [".lock", ".lock-holder.json"], "the holder's own"


def test_a_killed_process_locks_nobody_out(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "run" / ".lock").exists(), "it had no time to tidy up"
    with hold_folder(tmp_path / "run"):
        signed = json.loads((tmp_path / "run" / ".lock-holder.json").read_text(encoding="utf-8"))
        assert signed["process"] == os.getpid()
    assert names_in(tmp_path / "run") == []


def test_a_thread_may_hold_its_folder_again_and_another_thread_may_not(tmp_path):
    def hold():
        with hold_folder(tmp_path):
            return names_in(tmp_path)

    with ThreadPoolExecutor(1) as other, hold_folder(tmp_path):
        assert hold() == [".lock", ".lock-holder.json"]
        assert names_in(tmp_path) == [".lock", ".lock-holder.json"], "held on"
        with pytest.raises(ArtifactError, match=f"in use by process {os.getpid()} on"):
            other.submit(hold).result()
    assert names_in(tmp_path) == []
    assert hold() == [".lock", ".lock-holder.json"]


def test_a_holder_that_has_not_signed_yet_is_another_process(holder, tmp_path):
    (tmp_path / "run" / ".lock-holder.json").write_text("", encoding="utf-8")
    with pytest.raises(ArtifactError, match="in use by another process; wait"):
        with hold_folder(tmp_path / "run"):
            pass


def test_what_is_left_of_a_hold_is_what_was_written(tmp_path):
    with hold_folder(tmp_path / "a" / "b"):
        (tmp_path / "a" / "kept.txt").write_text("kept", encoding="utf-8")
    assert names_in(tmp_path / "a") == ["kept.txt"], "an empty folder that was made goes again"
    with hold_folder(tmp_path / "c"):
        (tmp_path / "c" / "kept.txt").write_text("kept", encoding="utf-8")
    assert names_in(tmp_path / "c") == ["kept.txt"]
    (tmp_path / "d").mkdir()
    with pytest.raises(KeyboardInterrupt), hold_folder(tmp_path / "d"):
        raise KeyboardInterrupt
    assert names_in(tmp_path / "d") == [], "an empty folder that was there stays"


@pytest.mark.parametrize("inner", ["", "inner"])
def test_a_file_in_the_way_is_named(tmp_path, inner):
    (tmp_path / "run").write_text("a file", encoding="utf-8")
    with pytest.raises(
        PosttrainingError, match=r"cannot write in .*run.*: (File exists|Not a dir)"
    ):
        with hold_folder(tmp_path / "run" / inner, error=PosttrainingError):
            pass
    assert (tmp_path / "run").read_text(encoding="utf-8") == "a file"


def test_a_folder_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    def read_only(*_arguments, **_options):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(ArtifactError, match="cannot write in .*: Read-only file system; choose"):
        with hold_folder(tmp_path):
            pass


@pytest.mark.parametrize("refusal", [OSError(37, "No locks available"), NotImplementedError()])
def test_where_there_are_no_locks_work_goes_on_without(tmp_path, monkeypatch, refusal):
    def no_locks(*_arguments, **_options):
        raise refusal

    monkeypatch.setattr("mechshift.locks.FileLock.acquire", no_locks)
    with hold_folder(tmp_path / "run"):
        (tmp_path / "run" / "made.txt").write_text("made", encoding="utf-8")
    assert "made.txt" in names_in(tmp_path / "run")
