"""What the script that compares run folders finds, and what it does not mind."""

import importlib
import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mechshift.artifacts import write_artifact

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("same_numbers")


def write(run, *, scores=(1.0, np.nan), csv="a,b\n1,0.10\n", value=1, inputs="abc"):
    """A run folder of one stage with a file of every kind."""
    write_artifact(
        run / "flow" / "ioi" / "arm",
        stage="flow",
        config={"task": "ioi", "options": {"steps": 5}},
        inputs={"pool": inputs},
        arrays={"values": np.array(scores)},
        tables={"examples": pl.DataFrame({"size": [1, 2], "metric": [0.5, None]})},
        texts={
            "values.json": json.dumps({"spans": ["IO", "rest"], "level": value}),
            "overlap.csv": csv,
            "report.html": "<p>0.25</p>",
        },
    )
    return run


def test_the_same_numbers_are_the_same_whatever_they_were_made_from(script, tmp_path, capsys):
    """NaN equals itself; hashes of inputs are no numbers; JSON may write 1 as 1.0."""
    old = write(tmp_path / "old")
    new = write(tmp_path / "new", inputs="def", value=1.0)
    assert script.main(script.Options(old, new)) == 0
    assert capsys.readouterr().out.startswith("the same: ")


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        (
            {"scores": (1.0 + 2**-52, np.nan)},
            "flow/ioi/arm/arrays: values: 1 of 2 numbers differ, first at [0]:",
        ),
        (
            {"scores": (1.0, 2.0)},
            "flow/ioi/arm/arrays: values: 1 of 2 numbers differ, first at [1]",
        ),
        ({"scores": (1.0,)}, "float64(2,) before, float64(1,) now"),
        ({"csv": "a,b\n1,0.1\n"}, "flow/ioi/arm/overlap: b: [0] from character 3"),
        ({"csv": "a\n1\n"}, "flow/ioi/arm/overlap: b: only in"),
        ({"value": 2}, "flow/ioi/arm/values: level: 1 before, 2 now"),
        ({"value": True}, "flow/ioi/arm/values: level: 1 before, True now"),
    ],
)
def test_every_difference_is_a_line_that_names_its_place(changed, line, script, tmp_path, capsys):
    old, new = write(tmp_path / "old"), write(tmp_path / "new", **changed)
    assert script.main(script.Options(old, new)) == 1
    (shown,) = capsys.readouterr().out.splitlines()
    assert line in shown


def test_a_stage_that_is_missing_is_named(script, tmp_path):
    old, new = write(tmp_path / "old"), write(tmp_path / "new")
    shutil.copytree(new / "flow" / "ioi" / "arm", new / "flow" / "ioi" / "mdm")
    found = list(script.differences(old, new))
    assert found and all(line.endswith(f"only in {new}") for line in found)
    assert {line.split(": ")[0] for line in found} >= {"flow/ioi/mdm/arrays", "flow/ioi/mdm/report"}


def test_folders_of_the_first_format_are_read_as_the_records_are_stored_now(script):
    config = {"comparison": {"level": 0.9}}
    table = {
        "quantity": ["overlap", "own circuit"],
        "value": [0.5, None],
        "low": [0.4, None],
        "high": [0.6, None],
        "reason": ["", "nothing is gained"],
    }
    files = {"manifest": {"stage": "points", "config": config}, "arrays": {}, "measured": table}
    assert script.as_stored_now(files)["values"]["measured"] == {
        "overlap": {
            "reason": "",
            "estimate.value": 0.5,
            "estimate.interval.low": 0.4,
            "estimate.interval.high": 0.6,
            "estimate.interval.level": 0.9,
        },
        "own circuit": {"reason": "nothing is gained", "estimate": None},
    }
    arrays = {"values": np.zeros(2)}
    untouched = {"manifest": {"stage": "scores"}, "arrays": arrays}
    assert script.as_stored_now(untouched) == {"manifest": {"stage": "scores"}, "arrays": arrays}
