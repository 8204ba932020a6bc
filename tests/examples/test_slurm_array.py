"""The recipe for Slurm, with submitit's executor for one machine."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mechshift.testing import files_of

pytest.importorskip("submitit", reason="the extra `cluster` is not installed")

SCRIPT = Path(__file__).parents[2] / "examples" / "slurm_array.py"

SMALL = """
    --tasks ioi infilling --pool.num-examples 12 --pool.num-held-out 10 --pool.seed 4
    --attribution.ig-steps 2 --attribution.chunk-size 4 --evaluation.fractions 0.01 0.1 1.0
    --comparison.num-resamples 50 --comparison.num-splits 10 --comparison.num-shuffles 5
    --comparison.num-exchanges 20 --ablation.kinds heads --ablation.num-control-draws 1
    --ablation.num-resamples 50 --semantics.ig-steps 1 --semantics.num-neurons 3
    --semantics.num-contexts 2 --semantics.num-sequences 10 --semantics.num-resamples 50
"""
"""The settings of `small_run`."""


def jobs_of(folder):
    """Processes in which jobs of this folder run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue  # it has just ended
        if b"submitit.core._submit" in words and os.fsencode(folder) in b" ".join(words):
            found.append(int(path.parent.name))
    return found


def test_jobs_that_are_preempted_go_on_and_make_the_run_of_one_process(small_run, tmp_path):
    run, parts = tmp_path / "run", tmp_path / "run.parts"
    for folder in small_run.glob("[!.]*/*/"):
        if folder.name in ("ioi", "infilling") and folder.parent.name != "conclusions":
            shutil.copytree(folder, parts / folder.name / folder.parent.name / folder.name)
    scores = parts / "infilling" / "scores" / "infilling"
    shutil.rmtree(scores)
    for stage in ("faithfulness", "comparison", "quantities"):
        shutil.rmtree(parts / "infilling" / stage / "infilling", ignore_errors=True)

    words = [sys.executable, SCRIPT, run, "--executor", "local", "--", *SMALL.split()]
    with subprocess.Popen(words) as script:
        while not any(scores.glob("*.chunks/*/manifest.json")):
            assert script.poll() is None
            time.sleep(0.01)
        preempted = jobs_of(tmp_path / "run.jobs")
        for process in preempted:
            os.kill(process, signal.SIGUSR2)  # what Slurm sends before it ends a job
        assert script.wait() == 0
    assert preempted
    logs = "".join(path.read_text() for path in (tmp_path / "run.jobs").glob("*_log.*"))
    assert "Requeued job" in logs
    assert files_of(run) == files_of(small_run)
