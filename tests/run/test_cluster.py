"""Runs on a Ray cluster, whose machines are nodes on this one, of one CPU each."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest

from mechshift.cli.main import main
from mechshift.errors import ArtifactError, ConfigError
from mechshift.locks import hold_folder
from mechshift.run import ClusterOptions, run_experiment
from mechshift.run.scores import ATTRIBUTE
from mechshift.run.workers import WorkerPool
from mechshift.testing import files_of

ray = pytest.importorskip("ray", reason="the extra `cluster` is not installed")
from ray.cluster_utils import Cluster  # noqa: E402

from mechshift.run.cluster import Actors  # noqa: E402

pytestmark = [
    # Of Ray's own, and of what its processes leave open when they are ended.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

REMADE = ("scores", "faithfulness", "comparison", "conclusions", "quantities", "report")
"""Stages in chunks, of one model on one task, on all cores at once, and of many small pieces."""


JOINS_WITHIN = 300.0
"""Seconds in which a node that is added must have been given something to do."""


def started(start):
    """What `start` gives: on a busy machine Ray's time for it, 15 seconds, may be too short."""
    for attempt in range(4):
        try:
            return start()
        except Exception as refusal:
            if attempt == 3 or "timed out during startup" not in str(refusal):
                raise


@pytest.fixture(scope="module")
def cluster():
    """Two nodes; tests may add some, and are to remove them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        head = {"num_cpus": 1, "include_dashboard": False}
        nodes = started(lambda: Cluster(initialize_head=True, head_node_args=head))
        started(lambda: nodes.add_node(num_cpus=1))
        yield nodes
        nodes.shutdown()


@pytest.fixture
def options(cluster):
    return ClusterOptions(address=cluster.address)


@pytest.fixture
def run(small_run, tmp_path):
    """The small run without most of what was made of its task `infilling`."""
    folder = shutil.copytree(small_run, tmp_path / "run")
    for stage in REMADE:
        shutil.rmtree(folder / stage / ("infilling" if stage in REMADE[:-1] else ""))
    return folder


def workers_here():
    """Processes of this machine that do a job on a cluster, by Ray's titles."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(b"ray::Actor"):
                found.append(int(path.parent.name))
        except OSError:
            pass  # it has just ended
    return found


def when(is_time, act):
    """Do something in a thread once it is time."""

    def watch():
        while not is_time():
            time.sleep(0.01)
        act()

    watcher = Thread(target=watch, daemon=True)
    watcher.start()
    return watcher


def test_a_killed_worker_loses_its_shard_alone_and_the_bytes_are_those_of_one_process(
    small_run, small, run, options
):
    killed = []

    def kill():
        killed.append(workers_here()[0])
        os.kill(killed[0], signal.SIGKILL)

    chunks = run / "scores" / "infilling"
    watcher = when(lambda: any(chunks.glob("*.chunks/*/manifest.json")), kill)
    run_experiment(run, small, device="cpu", cluster=options, quiet=True)
    watcher.join()
    assert killed and files_of(run) == files_of(small_run)
    assert not ray.is_initialized(), "the cluster is left as it was found"


DRIVER = """
import pickle, sys
from mechshift.run import run_experiment
run, settings, options = pickle.loads(sys.stdin.buffer.read())
run_experiment(run, settings, device="cpu", devices=1, cluster=options, quiet=True)
"""


def test_a_killed_driver_goes_on_with_what_it_has_and_a_node_that_joins_gets_work(
    small_run, small, run, options, cluster
):
    scores = run / "scores" / "infilling"

    def chunks():
        return list(scores.glob("*.chunks/[0-9]*/manifest.json"))

    with subprocess.Popen([sys.executable, "-c", DRIVER], stdin=subprocess.PIPE) as driver:
        driver.stdin.write(pickle.dumps((run, small, options)))
        driver.stdin.close()
        while not chunks():
            assert driver.poll() is None
            time.sleep(0.01)
        driver.kill()

    with hold_folder(run):
        engine = Actors(run, small, options, device="cpu", quiet=True)
        with WorkerPool(engine, quiet=True) as workers:
            workers.load()
            saved = len(chunks())
            done = workers.write(ATTRIBUTE)
            again = [one for one in done if one.job.chunk is not None]
            assert len(again) == 3 * len(done[0].left) - saved, "three chunks a piece"
            assert files_of(run / "scores") == files_of(small_run / "scores")
            added = started(lambda: cluster.add_node(num_cpus=1))
            nodes, latest = set(), time.monotonic() + JOINS_WITHIN
            while added.node_id not in nodes:  # a worker is there once it has loaded the models
                assert time.monotonic() < latest, f"{added.node_id} had no work, only {nodes}"
                shutil.rmtree(scores)
                nodes |= {one.worker.partition("/")[0] for one in workers.write(ATTRIBUTE)}
    cluster.remove_node(added)
    assert files_of(run / "scores") == files_of(small_run / "scores")


def test_what_a_worker_refuses_is_told_by_the_run(small, run, options):
    other = replace(small, attribution=replace(small.attribution, ig_steps=3))
    with pytest.raises(
        ArtifactError, match="was made with other settings .config.attribution.ig_steps: 2 there, 3"
    ):
        run_experiment(run, other, device="cpu", devices=1, cluster=options, quiet=True)


def test_workers_of_other_versions_or_without_the_run_folder_are_refused(
    small, options, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        ours = {"python": "3.11.7", "mechshift": "0.0.9"}
        patch.setattr("mechshift.run.cluster.package_versions", lambda: ours)
        with pytest.raises(ConfigError, match="has mechshift 0.1.0, and this process 0.0.9; inst"):
            run_experiment(
                tmp_path / "run", small, device="cpu", devices=1, cluster=options, quiet=True
            )
    monkeypatch.setattr("mechshift.run.cluster.HOLDER_NAME", "of-this-machine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "of-this-machine").write_text("another folder of the same name")
    with pytest.raises(ArtifactError, match="does not see the run folder .*run; put it on a file"):
        run_experiment(
            tmp_path / "run", small, device="cpu", devices=1, cluster=options, quiet=True
        )


def test_what_no_machine_of_the_cluster_has_is_refused(small, cluster, tmp_path):
    for options, device, message in (
        (ClusterOptions(address=cluster.address, cpus_per_worker=64), "cpu", "has 64 CPUs for a"),
        (ClusterOptions(address=cluster.address), "cuda", "has 1 GPU and 1 CPU for a"),
        (ClusterOptions(address=cluster.address), "cuda:1", "Ray chooses it; give --device cuda"),
    ):
        with pytest.raises(ConfigError, match=message):
            run_experiment(tmp_path / "run", small, device=device, cluster=options, quiet=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:1", "--cluster 127.0.0.1:1 does not answer .*Connection refused.*HOST:PORT"),
        ("127.0.0.1:many", "--cluster 127.0.0.1:many does not answer"),
        ("ray://127.0.0.1:10001", "is no HOST:PORT of a Ray cluster, and not auto"),
    ],
)
def test_an_address_that_does_not_answer_is_one_line_and_status_2(
    address, message, tmp_path, capsys
):
    assert main(["run", str(tmp_path / "run"), "--cluster", address]) == 2
    shown = capsys.readouterr().err
    assert len(shown.splitlines()) == 1
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(shown)
