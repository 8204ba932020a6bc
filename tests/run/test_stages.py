"""The one list of stages, and what is made from it."""

from pathlib import Path
from typing import get_args

from mechshift.cli.main import main
from mechshift.run import STAGES, Addable, RunSettings, Skippable, stage_lines

DOCS = Path(__file__).parents[2] / "docs" / "architecture.md"


def numbered():
    """The stages as a list for people."""
    return [f"{place}. {line}." for place, line in enumerate(stage_lines(), start=1)]


def test_the_stages_stand_in_order_and_each_reads_earlier_ones_only():
    names = [stage.name for stage in STAGES]
    assert names == [
        "pool",
        "scores",
        "others",
        "controls",
        "flow",
        "semantics",
        "faithfulness",
        "ablation",
        "comparison",
        "sweep",
        "alternatives",
        "explanations",
        "conclusions",
        "report",
    ]
    for place, stage in enumerate(STAGES):
        assert set(stage.reads) <= set(names[:place]), stage.name


def test_what_can_be_skipped_or_added_are_the_stages_that_say_so():
    by_condition = {
        when: {stage.name for stage in STAGES if stage.when == when}
        for when in ("unless skipped", "if added", "by itself")
    }
    assert by_condition["unless skipped"] == set(get_args(Skippable))
    assert by_condition["if added"] == set(get_args(Addable))
    assert {stage.name for stage in STAGES if stage.pieces is None} == by_condition["by itself"]


def test_a_run_does_what_is_not_skipped_and_what_is_added():
    settings = RunSettings(skip=("flow", "ablation"), also=("alternatives", "sweep"))
    done = [stage.name for stage in STAGES if stage.is_wanted(settings)]
    assert done == [
        *("pool", "scores", "others", "controls", "semantics", "faithfulness", "comparison"),
        *("sweep", "alternatives", "conclusions", "report"),
    ]


def test_the_page_on_architecture_lists_these_stages():
    text = DOCS.read_text(encoding="utf-8")
    section = text.partition("## The stages of a run")[2]
    block = section.split("```")[1].removeprefix("text\n").strip()
    assert block.splitlines() == numbered()


def test_the_help_of_a_run_lists_these_stages(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    try:
        main(["run", "--help"])
    except SystemExit:
        pass
    shown = capsys.readouterr().out
    for line in numbered():
        assert line in shown


def test_every_command_of_a_stage_is_one_of_the_command_lines(capsys):
    try:
        main(["--help"])
    except SystemExit:
        pass
    shown = capsys.readouterr().out
    assert all(f"• {stage.command} " in shown for stage in STAGES)
