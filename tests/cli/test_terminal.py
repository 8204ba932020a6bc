"""The command as a process: how soon it answers, and what it does when it is stopped or cut off."""

import os
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import polars as pl
import pytest

from mechshift.cli.main import COMMANDS, main
from mechshift.cli.tables import print_table
from mechshift.printable import printable

COMMAND = [sys.executable, "-m", "mechshift"]

WAITS = (
    "import sys, time\n"
    "import mechshift.cli.main as command\n"
    "def wait(words, imported):\n"
    "    imported()\n"
    "    print('ready', flush=True)\n"
    "    time.sleep(60)\n"
    "command._run = wait\n"
    "command.entry_point()\n"
)
"""The command, doing something that takes long."""


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["rum"]])
def test_help_version_and_misspelt_names_do_not_import_what_takes_seconds(words):
    lists = (
        "import sys\n"
        "from mechshift.cli.main import main\n"
        "try:\n"
        "    main(sys.argv[1:])\n"
        "except SystemExit:\n"
        "    pass\n"
        "heavy = {'torch', 'transformers', 'polars', 'plotly', 'scipy'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", lists, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_list_of_commands_says_of_each_what_its_docstring_says(command):
    function = getattr(import_module(f"mechshift.cli.{command.module}"), command.function)
    assert function.__doc__.splitlines()[0] == command.summary


@pytest.mark.parametrize(
    ("signum", "words"),
    [
        (signal.SIGINT, "stopped; the same command goes on"),
        (signal.SIGTERM, "stopped by SIGTERM; the same command goes on"),
        (signal.SIGHUP, "stopped by SIGHUP; the same command goes on"),
    ],
)
def test_a_signal_ends_the_command_in_one_line_that_says_how_to_go_on(signum, words):
    # As from a terminal, also where the tests themselves are run by nohup.
    listening = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
    process = subprocess.Popen(
        [sys.executable, "-c", listening + WAITS],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signum)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signum
    assert len(errors.splitlines()) == 1
    assert words in errors


INTERRUPTED = (
    "import os, runpy, signal, sys\n"
    "wanted, sys.argv[1:] = sys.argv[1], sys.argv[2:]\n"
    "class Finder:\n"
    "    def find_spec(name, path, target=None):\n"
    "        if name == wanted:\n"
    "            os.kill(os.getpid(), signal.SIGINT)\n"
    "sys.meta_path.insert(0, Finder)\n"
    "runpy.run_module('mechshift', run_name='__main__')\n"
)
"""A command, interrupted when it comes to import a module."""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mechshift.cli.main", ["tasks"]),
        ("tyro", ["tasks"]),
        ("mechshift.cli.listings", ["tasks"]),
        ("torch", ["report", "runs/first"]),
    ],
)
def test_an_interrupt_while_modules_are_imported_ends_the_command_without_a_word(name, words):
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, name, *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_an_interrupt_while_a_command_imports_what_it_needs_is_one_line():
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, "torch", "tasks"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.splitlines() == ["mechshift: stopped; the same command goes on from here."]


def test_a_command_that_has_ended_is_not_stopped_while_python_ends():
    late = (
        "import atexit, os, signal\n"
        "atexit.register(lambda: [os.kill(os.getpid(), one) for one in (signal.SIGINT, 15, 1)])\n"
        "from mechshift.cli import main as command\n"
        "command._run = lambda words, imported: imported()\n"
        "command.entry_point()\n"
    )
    done = subprocess.run([sys.executable, "-c", late], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_hang_up_that_nohup_ignores_is_ignored():
    ignoring = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    short = WAITS.replace("sleep(60)", "sleep(0.5)")
    process = subprocess.Popen(
        [sys.executable, "-c", ignoring + short], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGHUP)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, b"")


def test_a_reader_that_has_enough_is_no_error():
    reading, writing = os.pipe()
    os.close(reading)  # as `mechshift --version | true`
    done = subprocess.run(
        [*COMMAND, "--version"], stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_an_output_that_is_full_is_one_line():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, "--version"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr == "mechshift: the system refuses: No space left on device.\n"


def test_a_terminal_of_few_letters_gets_escapes_for_the_others():
    shows = (
        "from mechshift.cli import main as command\n"
        "command._run = lambda words, imported: print(words)\n"
        "command.entry_point()"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-c", shows, "⟨🙂⟩"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "['\\u27e8\\U0001f642\\u27e9']\n")


def test_escape_codes_of_texts_are_shown_and_not_obeyed(capsys, tmp_path):
    assert printable("é\n中🙂") == "é\n中🙂"
    assert printable("\x1b[2J\a\x9b0m\u202e") == "\\x1b[2J\\x07\\x9b0m\\u202e"
    print_table(pl.DataFrame({"na\x1bme": ["te\x1b]0;xt"]}))
    assert "\x1b" not in capsys.readouterr().out
    assert main(["tasks", str(tmp_path / "a\x1b[31m" / "b.jsonl")]) == 2
    assert "a\\x1b[31m/b.jsonl" in capsys.readouterr().err
