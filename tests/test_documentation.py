"""The code that the documentation shows runs as it stands."""

import re
import shlex
from pathlib import Path

import pytest

from mechshift.cli.main import main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language):
    """Every fenced block of a language, with the page and line where it begins."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(rf"```{language}\n(.*?)```", text, re.DOTALL):
            line = text[: match.start()].count("\n") + 2
            found.append(pytest.param(match[1], id=f"{page.name}:{line}"))
    return found


@pytest.mark.parametrize("code", blocks("python"))
def test_every_python_example_runs(code, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "example", "exec"), {})
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("commands", blocks("console"))
def test_every_command_that_is_shown_exists_with_its_options(commands, tmp_path, capsys):
    for line in commands.splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True)
        if words[:1] != ["mechshift"] or "--help" in words:
            continue
        # With --help at the end every word is parsed and nothing is run.
        with pytest.raises(SystemExit) as stopped:
            main([*words[1:], "--help"])
        assert stopped.value.code == 0, line
        assert "Unrecognized" not in capsys.readouterr().out, line
