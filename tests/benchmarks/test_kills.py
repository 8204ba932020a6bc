"""Commands that are killed at file events: benchmarks/kills.py in short, with a fixed seed."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc for names of files")


COMMANDS = tuple("run posttrain trajectory attribute conclude report index tables".split())
"""All that need no browser."""


@pytest.fixture
def kills(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("kills")


def test_commands_that_are_killed_20_times_end_with_the_bytes_of_those_that_were_not(
    kills, tmp_path
):
    """A process of its own, since it forks."""
    words = [sys.executable, str(BENCHMARKS / "kills.py"), "--kills", "20", "--out", str(tmp_path)]
    words += ["--per-round", "2", "--commands", *COMMANDS]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "seed 0: 20 kills, 0 rounds that did not end" in ended.stdout
    # The same call again has nothing left to do, and says the same.
    options = kills.Options(kills=20, per_round=2, commands=COMMANDS, out=tmp_path)
    rounds = list(kills.rounds(options))
    assert ended.stdout.count("same bytes\n") == len(rounds) + 1
    assert {one.command for one in rounds} == {*COMMANDS}


def test_a_command_that_a_kill_changes_is_noticed(kills, tmp_path, monkeypatch):
    """It appends to its file, instead of writing it anew."""

    def forked(words, folder, left, said):
        with (folder / "log").open("a") as file:
            file.write("line\n")
        said.write_text("")
        return (0 if left < 0 else kills.KILLED), 3

    monkeypatch.setattr(kills, "forked", forked)
    command = kills.Command(name="append", words=lambda folder: ())
    options = kills.Options(out=tmp_path)
    assert kills.killed_round(command, 0, 0, options).differing == ()
    found = kills.killed_round(command, 0, 2, options)
    assert found.kills == 2 and found.differing == ("log",)
