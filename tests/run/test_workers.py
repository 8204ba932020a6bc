"""Runs on several devices, which are two processes on a CPU here."""

import multiprocessing
import os
import shutil
import signal
import time
from dataclasses import replace
from threading import Thread

import pytest

from mechshift.errors import ArtifactError, ConfigError
from mechshift.run import run_experiment
from mechshift.run.pair_options import find_devices
from mechshift.testing import files_of

REMADE = ("scores", "faithfulness", "comparison", "conclusions", "quantities", "report")
"""Stages in chunks, of one model on one task, on all cores at once, and of many small pieces."""


@pytest.fixture
def run(small_run, tmp_path):
    """The small run without most of what was made of its task `infilling`."""
    folder = shutil.copytree(small_run, tmp_path / "run")
    for stage in REMADE:
        shutil.rmtree(folder / stage / ("infilling" if stage in REMADE[:-1] else ""))
    return folder


def kill_a_worker_when(is_time):
    """Kill one of this process's workers with SIGKILL once it is time."""

    def watch():
        while not is_time():
            time.sleep(0.01)
        os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)

    watcher = Thread(target=watch, daemon=True)
    watcher.start()
    return watcher


def test_two_workers_write_the_bytes_of_one_though_one_of_them_is_killed(small_run, small, run):
    """What was saved when it was killed is kept, and the other has ended too."""
    chunks = run / "scores" / "infilling"
    watcher = kill_a_worker_when(lambda: any(chunks.glob("*.chunks/*/manifest.json")))
    with pytest.raises(ArtifactError, match="a worker process ended without a word.* is kept"):
        run_experiment(run, small, device="cpu", devices=2, quiet=True)
    watcher.join()
    assert not multiprocessing.active_children()
    saved = [path for path in chunks.glob("**/manifest.json") if path.is_file()]
    assert saved and not (run / "report").exists()
    written = {path: path.stat().st_mtime_ns for path in saved if ".chunks" not in str(path)}

    run_experiment(run, small, device="cpu", devices=2, quiet=True)
    assert files_of(run) == files_of(small_run)
    assert all(path.stat().st_mtime_ns == time for path, time in written.items())


def test_what_a_worker_refuses_is_told_by_the_run(small, run):
    other = replace(small, attribution=replace(small.attribution, ig_steps=3))
    with pytest.raises(
        ArtifactError, match="was made with other settings .config.attribution.ig_steps: 2 there, 3"
    ):
        run_experiment(run, other, device="cpu", devices=2, quiet=True)
    assert not multiprocessing.active_children()


def test_one_device_is_named_as_it_was_and_a_cpu_is_shared_by_so_many_processes(monkeypatch):
    assert find_devices("cuda:3", 1) == find_devices("cuda:3", "auto") == ("cuda:3",)
    assert find_devices("cpu", 1) == find_devices("cpu", "auto") == ("cpu",)
    monkeypatch.setattr("mechshift.run.pair_options.num_workers", lambda: 4)
    assert find_devices("cpu", 4) == ("cpu",) * 4


def test_every_gpu_has_a_worker(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    assert find_devices("cuda", "auto") == ("cuda:0", "cuda:1", "cuda:2")
    assert find_devices("cuda", 2) == ("cuda:0", "cuda:1")


@pytest.mark.parametrize(
    ("device", "devices", "message"),
    [
        ("cuda:1", 2, "--device cuda:1 is one device, and --devices 2 .*give --device cuda"),
        ("cuda", 4, "--devices 4: there are 3 CUDA devices; give a number from 1 to 3"),
        ("cpu", 5, "--devices 5: there are 4 CPU cores, .*; give a number from 1 to 4"),
        ("cpu", 0, "--devices 0: .* from 1 to 4"),
        ("cuda", -1, "--devices -1: .* from 1 to 3"),
    ],
)
def test_more_devices_than_there_are_are_refused(monkeypatch, device, devices, message):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    monkeypatch.setattr("mechshift.run.pair_options.num_workers", lambda: 4)
    with pytest.raises(ConfigError, match=message):
        find_devices(device, devices)
