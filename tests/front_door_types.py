"""Types of the front door, which `make lint` has mypy check; nothing here is run."""

from pathlib import Path
from typing import assert_type

import polars as pl

import mechshift

run = mechshift.open_run("runs/first")
assert_type(run, mechshift.RunFolder)
assert_type(run.verdicts(), mechshift.Verdicts)
assert_type(run.verdicts().to_frame(), pl.DataFrame)
assert_type(mechshift.load_pair("tiny"), mechshift.ModelPair)
assert_type(mechshift.run_experiment("runs/first"), Path)
mechshift.load_pairs("tiny")  # type: ignore[attr-defined]  # strict: an ignore too many is an error
