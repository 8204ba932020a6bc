"""Help in two screens, and all of it."""

import re
import subprocess
import sys

import pytest

from mechshift.cli.help import ASKS_ALL, TWO_SCREENS, shortened
from mechshift.cli.main import main


def help_of(capsys, *words):
    with pytest.raises(SystemExit) as stopped:
        main([*words])
    assert stopped.value.code == 0
    return capsys.readouterr().out


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")


def test_the_help_of_a_run_fits_two_screens_and_names_every_group(capsys):
    short, whole = help_of(capsys, "run", "--help"), help_of(capsys, "run", ASKS_ALL)
    assert len(short.splitlines()) <= TWO_SCREENS + 5 < len(whole.splitlines()) / 2
    options = set(re.findall(r"^│ (--[a-z-]+)", short, re.MULTILINE))
    assert {"--tasks", "--pair", "--skip", "--device", "--quiet"} <= options
    groups = set(re.findall(r"^│ --([a-z]+)\.", whole, re.MULTILINE))
    assert groups == set(re.findall(r"^  --([a-z]+)\.\*", short, re.MULTILINE))
    assert re.search(r"^  --pool\.\* +Which examples\.$", short, re.MULTILINE)
    assert short.splitlines()[0] == whole.splitlines()[0]
    assert help_of(capsys, "run", "-h") == short


NEEDS_NO_TORCH = (
    "import sys\n"
    "from mechshift.cli.main import main\n"
    "try:\n"
    "    status = main(sys.argv[1:])\n"
    "except SystemExit as end:\n"
    "    status = end.code or 0\n"
    "heavy = {'torch', 'transformers'} & set(sys.modules)\n"
    "sys.exit(f'imported {heavy}' if heavy else status)\n"
)


@pytest.mark.parametrize(
    ("words", "status"),
    [
        *((f"{name} --help", 0) for name in ("index", "serve", "figures", "tables", "tasks")),
        ("tasks --num-examples 0", 2),
        ("index nowhere", 2),
        ("serve nowhere", 2),
        ("tables nowhere", 2),
    ],
)
def test_help_and_refusals_of_what_only_reads_need_no_torch(words, status, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", NEEDS_NO_TORCH, *words.split()],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == status, done.stderr


def test_short_help_is_shown_whole(capsys):
    for command in ("report", "tasks"):
        assert help_of(capsys, command, "--help") == help_of(capsys, command, ASKS_ALL)
    assert "run" in help_of(capsys, ASKS_ALL)


def test_colours_do_not_hide_a_group():
    box = [
        "\x1b[1m╭─\x1b[0m pool options ─────╮",
        "│ \x1b[2mWhich examples.\x1b[0m │",
        "│ --pool.n │",
        "╰──╯",
    ]
    text = "\n".join(["x"] * TWO_SCREENS + box) + "\n"
    assert shortened(text).endswith("\n  --pool.*  Which examples.\n")
    assert "--pool.n" not in shortened(text)
