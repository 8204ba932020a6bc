"""The code that the documentation shows runs as it stands."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from mechshift.cli.main import main

ROOT = Path(__file__).parents[1]
FINISHED = "runs/first"
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
def test_every_python_example_runs(code, tmp_path, monkeypatch, capsys, request):
    """In an empty folder, but for the finished run that an example reads."""
    if FINISHED in code:
        shutil.copytree(request.getfixturevalue("small_run"), tmp_path / FINISHED)
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


def test_the_guide_runs_as_written(tmp_path, monkeypatch, capsys):
    """Every command of the guide in its order, in a folder where nothing is there yet."""
    monkeypatch.chdir(tmp_path)
    guide = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
    commands = re.findall(r"^\$ mechshift (.*)$", guide, re.MULTILINE)
    assert len(commands) == 5
    for command in commands:
        assert main(shlex.split(command)) == 0, capsys.readouterr().err
    card = Path("my-mdm/README.md").read_text(encoding="utf-8")
    assert float(re.search(r"\| ioi \| (0\.\d+|1\.000) \|", card)[1]) >= 0.95
    assert Path("runs/when/trajectory/trajectory.html").stat().st_size > 1e6
    assert Path("runs/ends/report/report.html").stat().st_size > 1e6
