"""A disk that refuses at the n-th write: one line, status 2, nothing finished is lost, same bytes.

Each command runs in this process and is refused at some write (benchmarks/file_events.py), then at
some later write of the same command given again, and so on until it ends well.

    make faults   # many more than the suite does
"""

import errno
import importlib
import os
import random
import sys
from http.client import HTTPConnection
from pathlib import Path
from threading import Thread

import pytest

from mechshift.cli.main import main
from mechshift.errors import ConfigError
from mechshift.page.browser import find_browser
from mechshift.run import runs_server
from mechshift.testing import files_of

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc for names of files")

NAMES = (
    *("run", "posttrain", "trajectory", "attribute", "conclude", "report"),
    "alternatives",
    *("export mib-json", "export graphml", "export safetensors", "pairs pack", "pairs get"),
    *("index", "tables", "figures"),
)
"""Of benchmarks/small_commands.py."""

NUM_FAULTS = int(os.environ.get("MECHSHIFT_FAULTS", "3"))
"""Refusals of each command; `make faults` asks for more."""

REFUSALS = (errno.ENOSPC, errno.EROFS, errno.EIO)


@pytest.fixture(scope="module")
def disk():
    """The disk below a folder of one's own, whose writes may be refused."""
    with imported("file_events").listening() as listening:
        yield listening


def imported(name):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        return importlib.import_module(name)


def checkpoints(folder):
    """Of a training, whose folder has another name once it is finished."""
    return {
        name.split("/", 1)[1].removeprefix("model/"): digest
        for name, digest in files_of(folder).items()
        if "/checkpoints/step" in name
    }


def finished(folder):
    """What a command has finished: the files that stand under their own names."""
    return {
        name: digest
        for name, digest in files_of(folder).items()
        if not any(part.startswith(".") or part.endswith(".chunks") for part in Path(name).parts)
    }


@pytest.fixture(scope="module")
def commands(disk, tmp_path_factory):
    """Every command by name, where a run was made for those that go on with one."""
    out = tmp_path_factory.mktemp("disk")
    small_commands = imported("small_commands")
    undisturbed(disk, small_commands.small_commands(out)["run"], out / small_commands.WHOLE)
    return small_commands.small_commands(out)


def undisturbed(disk, command, whole):
    """How many writes a command makes, where none is refused."""
    command.begin(whole)
    with disk.below(whole):
        assert main(command.words(whole)) == 0
    return disk.num_writes


def has_browser():
    try:
        return bool(find_browser())
    except ConfigError:
        return False


@pytest.mark.parametrize("name", NAMES)
def test_a_command_survives_a_disk_that_refuses(disk, commands, capsys, tmp_path, name):
    """It is refused at one write after the other, and ends with the same files."""
    if name == "figures" and not has_browser():
        pytest.skip("Chromium is not installed, which draws the figures")
    command, whole, refused = commands[name], tmp_path / "whole", tmp_path / "refused"
    num_writes = undisturbed(disk, command, whole)
    kept = checkpoints if name == "posttrain" else finished
    command.begin(refused)
    generator = random.Random(0)
    attempt = 0
    while attempt < NUM_FAULTS:
        # Mostly soon: an attempt begins with what is there by then.
        left = int(num_writes * generator.random() ** 2)
        before = kept(refused)
        refusal = REFUSALS[attempt % len(REFUSALS)]
        capsys.readouterr()
        with disk.below(refused, left=left, refusal=refusal):
            status = main(command.words(refused))
        said = capsys.readouterr().err
        what = f"{os.strerror(refusal)} at write {left} of {disk.refused[:1]}: {said[-1500:]}"
        assert status == (2 if disk.refused else 0), what
        after = kept(refused)
        lost = [name for name, digest in before.items() if after.get(name) != digest]
        assert not lost, f"lost {lost} after {what}"
        if disk.refused:
            attempt += 1
            *earlier, line = said.splitlines()
            assert line.startswith("mechshift: ") and os.strerror(refusal) in line, what
            said_before = [one for one in earlier if not one.startswith("mechshift: getting")]
            assert not any(one.startswith(("mechshift: ", "Traceback")) for one in said_before), (
                what
            )
        else:
            assert files_of(refused) == files_of(whole)
            command.begin(refused)
    assert main(command.words(refused)) == 0, capsys.readouterr().err
    assert files_of(refused) == files_of(whole)


def test_a_disk_that_refuses_every_write_is_no_matter_to_the_server(disk, commands, tmp_path):
    commands["index"].begin(tmp_path / "served")
    before = files_of(tmp_path / "served")
    with (
        disk.below(tmp_path, left=0, refusal=errno.EROFS),
        runs_server([tmp_path / "served"], 0) as server,
    ):
        answers = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        answers.start()
        try:
            connection = HTTPConnection("127.0.0.1", server.server_port)
            for path in ("/", "/runs/run/report.html"):
                connection.request("GET", path)
                reply = connection.getresponse()
                assert (reply.status, b"<html" in reply.read()) == (200, True), path
            connection.close()
        finally:
            server.shutdown()
            answers.join()
    assert not disk.refused, "nothing was to be written"
    assert files_of(tmp_path / "served") == before
