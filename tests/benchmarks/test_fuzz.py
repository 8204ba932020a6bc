"""Damaged files of every kind: benchmarks/fuzz.py in short, with a fixed seed."""

import contextlib
import importlib
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from mechshift.errors import ConfigError

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
NUM_INPUTS = 20_000

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")


@pytest.fixture
def fuzz(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("fuzz")


def test_20_000_damaged_files_get_an_answer_or_one_line(fuzz, small_run):
    found = fuzz.Found(seed=0)
    with TemporaryDirectory(dir=fuzz.in_memory()) as folder:
        files = fuzz.outside_files(Path(folder) / "files", small_run)
        fuzz.examine_inputs(files, found, NUM_INPUTS)
    assert not found.faults, fuzz.table(found)
    assert found.tallies.keys() == {file.name for file in files}
    # Some are still good files: the damage is not so coarse that all end at the first check.
    assert sum(tally.read for tally in found.tallies.values()) > NUM_INPUTS / 20


def lists(count):
    return [0] * count


def forever():
    while True:
        pass


def refuse_in_two_lines():
    error = ConfigError("first")
    error.__class__ = type("Odd", (ConfigError,), {"__str__": lambda _: "first\nsecond"})
    raise error


@pytest.mark.parametrize(
    ("read", "what"),
    [
        (lambda: json.loads("{"), "JSONDecodeError: Expecting property name"),
        (lambda: lists(2**28), "MemoryError"),
        (forever, "more than 0.2 s"),
        (refuse_in_two_lines, "a message of several lines"),
        (lambda: sys.exit(3), "SystemExit: 3"),
    ],
)
def test_what_is_neither_an_answer_nor_one_line_is_a_fault(fuzz, tmp_path, monkeypatch, read, what):
    monkeypatch.setattr(fuzz, "SECONDS", 0.2)
    path = tmp_path / "own.json"
    path.write_text("[1]", encoding="utf-8")
    found = fuzz.Found(seed=0)
    file = fuzz.Outside(name="own", form="json", path=path, read=read)
    fuzz.examine_inputs([file], found, 1)
    (fault,) = found.faults
    assert fault.what.startswith(what)
    assert path.read_text(encoding="utf-8") == "[1]"
    assert "FAULT 1 x own" in fuzz.table(found)


def test_time_that_runs_out_just_as_a_reader_ends_is_that_inputs_fault(fuzz, tmp_path, monkeypatch):
    def timer(_which, seconds):
        if not seconds and not found.tallies:
            raise fuzz.TooLong

    monkeypatch.setattr(fuzz.signal, "setitimer", timer)
    path = tmp_path / "own.json"
    path.write_text("[1]", encoding="utf-8")
    found = fuzz.Found(seed=0)
    with monkeypatch.context() as patch:
        patch.setattr(fuzz, "limits", contextlib.nullcontext)
        file = fuzz.Outside(name="own", form="json", path=path, read=lambda: 1)
        fuzz.examine_inputs([file], found, 2)
    (fault,) = found.faults
    assert (fault.number, fault.what) == (0, "more than 2 s")
    assert path.read_text(encoding="utf-8") == "[1]"


def test_a_refusal_and_an_answer_are_no_faults(fuzz, tmp_path):
    path = tmp_path / "own.json"
    path.write_text("[1]", encoding="utf-8")

    def refuse():
        raise ConfigError("no.")

    for read in (refuse, lambda: 1):
        found = fuzz.Found(seed=0)
        fuzz.examine_inputs(
            [fuzz.Outside(name="own", form="json", path=path, read=read)], found, 20
        )
        assert not found.faults and found.tallies["own"].inputs == 20


def test_a_process_that_dies_or_does_not_get_on_is_noticed(fuzz, tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz, "TO_BEGIN", 1.2)
    for code, ended in (
        ("import os; os.abort()", "died with status -6"),
        ("import time; time.sleep(600)", "did not get on for 1 s"),
        ("pass", ""),
    ):
        process = subprocess.Popen([sys.executable, "-c", code])
        assert fuzz.wait_for(process, tmp_path / "at") == ended


def test_a_fuzz_goes_on_after_the_input_at_which_its_process_died(fuzz, tmp_path):
    options = fuzz.Options(inputs=30, seed=3, out=tmp_path)
    found = fuzz.Found(seed=3)
    found.next = 10
    found.faults.append(fuzz.Fault(number=12, file="", what="died", where=fuzz.DIED))
    fuzz.keep(options, found)
    assert fuzz.restored(options) == found
    path = tmp_path / "own.json"
    path.write_text("[1]", encoding="utf-8")
    fuzz.work(options, [fuzz.Outside(name="own", form="json", path=path, read=lambda: 1)])
    found = fuzz.restored(options)
    assert found.next == 30 and found.tallies["own"].inputs == 19
