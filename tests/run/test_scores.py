"""Every method through the command: the scores of its function, and a report that names it."""

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mechshift.artifacts import read_manifest
from mechshift.attribution import eap, eap_ig, exact_edge_scores
from mechshift.cli.main import main
from mechshift.comparison import ComparisonSettings
from mechshift.run import (
    AttributionSettings,
    EvaluationSettings,
    PairOptions,
    RunSettings,
    make_pools,
    run_experiment,
    score_edges,
)
from mechshift.run.folders import KINDS, scores_folder
from mechshift.run.pools import pool_canvases
from mechshift.run.store import read_pool
from mechshift.run.stored import RunTask
from mechshift.tasks import PoolConfig, load_tasks

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TASK = "random-words"


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """The files of a random pair of two layers, on which exact patching takes a moment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        small = importlib.import_module("small_commands")
        return small.write_random_pair(tmp_path_factory.mktemp("pair"), small.SHAPE)


@pytest.fixture(scope="module")
def options(stored):
    return PairOptions(pair="random", arm=str(stored.arm), mdm=str(stored.mdm))


@pytest.fixture(scope="module")
def pair(options):
    return options.load("cpu")


@pytest.fixture(scope="module")
def pooled(stored, options, pair, tmp_path_factory):
    """A run folder with a pool of two examples, and nothing else."""
    run = tmp_path_factory.mktemp("pooled")
    config = PoolConfig(num_examples=2, num_held_out=2)
    make_pools(run, pair, options, load_tasks((str(stored.task),)), config, quiet=True)
    return run


@pytest.fixture
def run(pooled, tmp_path):
    """A copy of it to score."""
    shutil.copytree(pooled, tmp_path / "run")
    return tmp_path / "run"


METHODS = [
    ("--rule midpoint --ig-steps 2", eap_ig, {"rule": "midpoint", "ig_steps": 2, "gim": False}),
    ("--method eap-ig --gim --ig-steps 1", eap_ig, {"rule": "left", "ig_steps": 1, "gim": True}),
    ("--method eap --gradient-at corrupted", eap, {"gradient_at": "corrupted", "gim": False}),
    ("--method exact --edges-per-pass 128", exact_edge_scores, {}),
]


@pytest.mark.parametrize(("words", "method", "given"), METHODS)
def test_the_command_stores_the_scores_of_the_methods_own_function(words, method, given, run, pair):
    assert main(["attribute", str(run), *words.split(), "--device", "cpu", "--quiet"]) == 0
    first, _ = pool_canvases(read_pool(run, TASK, "discovery"), pair.mdm)
    expected = method(pair.mdm, [first], metric="logit_diff", **given).values
    found = RunTask(run=run, task=TASK).scores("mdm").values[:1]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    name = next((word for word in words.split() if word in ("eap", "exact")), "eap-ig")
    for kind in KINDS:
        shared = {
            "method": name,
            "metric": "logit_diff",
            "grouped": False,
            "steps": "grouped",
            "examples_per_shard": 1,
        }
        config = read_manifest(scores_folder(run, TASK, kind)).config
        assert config["attribution"] == shared | given


def test_an_option_of_another_method_is_one_line_and_nothing_is_written(run, capsys):
    assert main(["attribute", str(run), "--method", "exact", "--ig-steps", "3"]) == 2
    message = "method 'exact' has no option 'ig_steps'; it has: edges_per_pass."
    assert capsys.readouterr().err == f"mechshift: {message}\n"
    assert not (run / "scores").exists()


def test_scores_by_another_method_are_refused_and_kept(run, capsys):
    assert main(["attribute", str(run), "--method", "eap", "--device", "cpu", "--quiet"]) == 0
    before = [RunTask(run=run, task=TASK).scores(kind).values for kind in KINDS]
    assert main(["attribute", str(run), "--device", "cpu", "--quiet"]) == 2
    assert "eap" in capsys.readouterr().err
    after = [RunTask(run=run, task=TASK).scores(kind).values for kind in KINDS]
    np.testing.assert_array_equal(before, after)


def test_scores_of_one_gradient_go_through_every_stage_and_the_report_says_so(tmp_path):
    settings = RunSettings(
        tasks=("ioi",),
        pool=PoolConfig(num_examples=10, num_held_out=2),
        attribution=AttributionSettings(method="eap"),
        evaluation=EvaluationSettings(fractions=(0.1,)),
        comparison=ComparisonSettings(num_resamples=20, num_splits=4, num_shuffles=2),
        skip=("flow", "semantics", "ablation"),
    )
    page = run_experiment(tmp_path / "run", settings, device="cpu", quiet=True)
    text = page.read_text(encoding="utf-8")
    assert "at the destination&#39;s input on the clean prompt" in text
    assert "One gradient follows a straight line" in text
    assert "EAP-IG" not in text


def test_a_run_folder_is_never_larger_than_the_scores_that_it_will_hold(tmp_path, monkeypatch):
    """Looked at whenever a file is flushed; what chunks say of themselves is a few kB."""
    run, sizes, fsync = tmp_path / "run", [0], os.fsync
    pair = PairOptions().load("cpu")
    config = PoolConfig(num_examples=12, num_held_out=2, num_others=0)
    make_pools(run, pair, PairOptions(), load_tasks(("infilling",)), config, quiet=True)

    def looking(descriptor):
        fsync(descriptor)
        sizes.append(size_of(run / "scores"))

    monkeypatch.setattr(os, "fsync", looking)
    score_edges(run, pair, AttributionSettings(ig_steps=1, chunk_size=5), quiet=True)
    final = size_of(run / "scores")
    stored = RunTask(run=run, task="infilling").scores("mdm")
    assert stored.step_sums is not None and len(sizes) > 20
    assert max(sizes) < final + 20_000 < final + stored.values.nbytes


def size_of(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


SMALL_DISK = ("unshare", "--mount", "sh", "-c")
"""A shell in which a disk can be mounted that nobody else sees."""


def small_disks_can_be_made():
    mount = [*SMALL_DISK, "mount -t tmpfs -o size=1m none /mnt"]
    try:
        return subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not small_disks_can_be_made(), reason="mounting a small disk takes root")
def test_scores_for_which_the_disk_has_no_room_are_refused_before_they_are_written():
    fills = (
        "from pathlib import Path\n"
        "from mechshift.array_file import ArrayFile, ArrayShape\n"
        "from mechshift.artifacts import explained_refusal\n"
        "from mechshift.errors import ArtifactError\n"
        "def reserve(name, size):\n"
        "    with explained_refusal(Path('/mnt') / name):\n"
        "        arrays = {'values': ArrayShape('float32', (size,))}\n"
        "        file = ArrayFile(Path('/mnt') / name, arrays)\n"
        "        file.reserve()\n"
        "reserve('small', 1000)\n"
        "try:\n"
        "    reserve('large', 1_000_000)\n"
        "except ArtifactError as error:\n"
        "    print(error)\n"
        "print(sorted(path.name for path in Path('/mnt').iterdir()))\n"
    )
    done = subprocess.run(
        [*SMALL_DISK, 'mount -t tmpfs -o size=1m none /mnt && "$0" -c "$1"', sys.executable, fills],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("cannot write /mnt/large: No space left on device; free the disk")
    assert done.stdout.endswith("['small']\n")
