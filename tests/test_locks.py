"""A folder is held by one process at a time, and by nobody once that process is gone."""

import errno
import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from mechshift.errors import ArtifactError, PosttrainingError
from mechshift.locks import hold_folder, is_held


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


def no_locks(*_arguments, **_options):
    raise OSError(errno.ENOLCK, "No locks available")


def granted(*_arguments, **_options):
    """As where the system's lock reaches no further than this machine."""


@pytest.mark.parametrize("refusal", [errno.ENOLCK, errno.EOPNOTSUPP, None])
def test_where_there_are_no_locks_the_signature_keeps_others_out(tmp_path, monkeypatch, refusal):
    def refuse(*_arguments, **_options):
        raise NotImplementedError if refusal is None else OSError(refusal, os.strerror(refusal))

    monkeypatch.setattr("mechshift.locks.FileLock.acquire", refuse)

    def hold():
        with hold_folder(tmp_path / "run"):
            return names_in(tmp_path / "run")

    with ThreadPoolExecutor(1) as other, hold_folder(tmp_path / "run"):
        assert hold() == [".lock-holder.json"]
        with pytest.raises(ArtifactError, match=f"in use by process {os.getpid()} on"):
            other.submit(hold).result()
    assert not (tmp_path / "run").exists()


def test_without_locks_a_killed_process_of_this_machine_locks_nobody_out(
    holder, tmp_path, monkeypatch
):
    monkeypatch.setattr("mechshift.locks.FileLock.acquire", no_locks)
    with pytest.raises(ArtifactError, match=f"in use by process {holder.pid} on"):
        with hold_folder(tmp_path / "run"):
            pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with hold_folder(tmp_path / "run"):
        pass


ELSEWHERE = """
import signal, sys, time
from pathlib import Path
from mechshift import locks
from mechshift.errors import ArtifactError

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
locks._machine = locks.platform.node = lambda: "elsewhere"
locks.FileLock.acquire = lambda *_, **__: None
locks.BEAT, locks.STALE, locks.SETTLING = 0.1, 2.0, 0.2
try:
    with locks.hold_folder(Path(sys.argv[1])):
        print("held", flush=True)
        time.sleep(600)
except ArtifactError as error:
    print(error, flush=True)
"""
"""A process of another machine, to which the system's lock does not reach."""


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """It holds `tmp_path/run`; both machines are quicker to forget than machines are."""
    monkeypatch.setattr("mechshift.locks.FileLock.acquire", granted)
    monkeypatch.setattr("mechshift.locks.STALE", 2.0)
    monkeypatch.setattr("mechshift.locks.SETTLING", 0.2)
    words = [sys.executable, "-c", ELSEWHERE, str(tmp_path / "run")]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def is_refused(folder):
    try:
        with hold_folder(folder):
            return False
    except ArtifactError as error:
        assert "on elsewhere since" in str(error) and "last heard of" in str(error)
        assert "; wait until it has ended" in str(error)
        return True


def test_another_machine_is_kept_out_while_the_holder_touches_its_signature(elsewhere, tmp_path):
    until = time.monotonic() + 3  # longer than an untouched signature counts
    while time.monotonic() < until:
        assert is_refused(tmp_path / "run")
        time.sleep(0.2)
    assert is_held(tmp_path / "run")
    elsewhere.kill()
    elsewhere.wait()
    assert is_refused(tmp_path / "run"), "it may as well be alive"
    time.sleep(2.1)
    assert not is_held(tmp_path / "run")
    assert not is_refused(tmp_path / "run")
    assert not is_refused(tmp_path / "run"), "nothing is left of it"


def test_a_holder_that_was_suspended_too_long_ends_in_one_line(elsewhere, tmp_path):
    elsewhere.send_signal(signal.SIGSTOP)
    time.sleep(2.1)
    with hold_folder(tmp_path / "run"):
        elsewhere.send_signal(signal.SIGCONT)
        line = elsewhere.stdout.readline()
        assert re.search(
            rf"run was taken over by process {os.getpid()} on .* since .*, since", line
        )
        assert elsewhere.wait() == 0
        assert names_in(tmp_path / "run") == [".lock-holder.json"], "ours is not removed"


@pytest.mark.parametrize("content", ['{"host": "b", "process": 1, "since": "x"}', ""])
def test_of_two_that_replace_a_signature_the_later_one_holds(tmp_path, monkeypatch, content):
    signed = tmp_path / ".lock-holder.json"
    signed.write_text(content, encoding="utf-8")
    os.utime(signed, (0, 0))
    theirs = {"host": "c", "process": 2, "since": "now", "machine": "c", "token": "theirs"}

    def meanwhile(_seconds):
        signed.write_text(json.dumps(theirs), encoding="utf-8")

    with monkeypatch.context() as patch:
        patch.setattr("mechshift.locks.time.sleep", meanwhile)
        with pytest.raises(ArtifactError, match="in use by process 2 on c since now"):
            with hold_folder(tmp_path):
                pass
    assert json.loads(signed.read_text(encoding="utf-8")) == theirs


def test_a_signature_that_another_put_in_place_of_ours_is_left_to_it(tmp_path):
    theirs = {"host": "c", "process": 2, "since": "now", "machine": "c", "token": "theirs"}
    signed = tmp_path / ".lock-holder.json"
    with hold_folder(tmp_path):
        signed.write_text(json.dumps(theirs), encoding="utf-8")
    assert json.loads(signed.read_text(encoding="utf-8")) == theirs


def test_a_clock_that_is_wrong_makes_nobody_gone(elsewhere, tmp_path, monkeypatch):
    monkeypatch.setattr("mechshift.locks.time.time", lambda: time.monotonic() + 1e6)
    assert is_refused(tmp_path / "run")
