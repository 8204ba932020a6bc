"""What holds for every test: one thread a process, and no network but a server of our own."""

import gc
import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

# Set before torch or a tokenizer is imported. The tests run in several processes, one per core.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "disabled"  # transformer-lens imports wandb

import jaxtyping
import pytest
import torch
from filelock import FileLock
from hypothesis import settings

from typechecking import begin_test, checked

# Models are small and the machine may be busy: no deadlines, and the same examples every time.
settings.register_profile("mechshift", deadline=None, derandomize=True)
settings.load_profile("mechshift")

torch.set_num_threads(1)
jaxtyping.jaxtyped = checked  # before a module of the package is imported

SLOW = (
    "test_documentation.py",
    "ablation/test_decoded.py",
    "ablation/test_pooling.py",
    "ablation/test_run.py",
    "ablation/test_single_components.py",
    "ablation/test_sweep.py",
    "attribution/",
    "benchmarks/",
    "comparison/test_comparisons.py",
    "comparison/test_false_positives.py",
    "comparison/test_planted_shifts.py",
    "evaluation/",
    "examples/",
    "models/test_offloading.py",
    "pairs/",
    "posttraining/",
    "run/",
    "semantics/test_semantics.py",
    "tasks/",
    "test_artifacts.py",
    "test_full_disk.py",
    "test_locks.py",
    "topics/test_other_circuit.py",
    "topics/test_selection.py",
    "topics/test_wording.py",
)
"""Files and folders whose tests take more than some seconds: `make quick` leaves them out. So it
does whatever needs a whole run, by its fixtures."""

OF_A_RUN = {"small_run", "results", "ioi", "infilling"}

UNCHECKED = (
    "test_documentation.py",
    "test_full_disk.py",
    "benchmarks/",
    "comparison/test_false_positives.py",
    "comparison/test_planted_shifts.py",
    "comparison/test_noise_free.py",
    "comparison/test_workers.py",
    "evaluation/test_alternative_circuits.py",
    "examples/",
    "pairs/",
    "posttraining/test_resuming.py",
    "posttraining/test_training_folder.py",
    "run/",
    "topics/test_selection.py",
)
"""Whole runs and simulations. Types and shapes of what functions take and give are not checked in
them, which would take as long again: tests of each function check them, and `small_run` does so for
all stages together."""


def pytest_collection_modifyitems(items):
    """Mark the slow tests, and begin with them: a long one that is last keeps a core idle."""
    root = Path(__file__).parent
    for item in items:
        place = item.path.relative_to(root).as_posix()
        if place.startswith(SLOW) or OF_A_RUN & set(item.fixturenames):
            item.add_marker("slow")
        if place.startswith(UNCHECKED):
            item.add_marker("unchecked")
    items.sort(
        key=lambda item: (item.get_closest_marker("slow") is None, item.path.name != LONGEST)
    )


def pytest_collection_finish():
    """Modules and tests stay to the end: the garbage collector need not look at them again."""
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Before the fixtures of the test."""
    begin_test()
    check_shapes(item.get_closest_marker("unchecked") is None)


def check_shapes(on):
    jaxtyping.config.update("jaxtyping_disable", not on)


LONGEST = "test_documentation.py"
"""Its test of the guide takes as long as a hundred others."""


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Start every test from the same global seed, so that one run alone is as in the suite."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """Have a folder made by the first worker that needs it; every worker gets a copy of its own."""

    def folder(name, make):
        base = tmp_path_factory.getbasetemp()
        shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
        with FileLock(shared / f"{name}.lock"):
            if not (shared / f"{name}.made").exists():
                make(shared / name)
                (shared / f"{name}.made").touch()
        return Path(shutil.copytree(shared / name, tmp_path_factory.mktemp("made") / name))

    return folder


@pytest.fixture(scope="session")
def random_pair():
    """Two random models, which agree on one prompt and not on another."""
    from mechshift.models import ModelPair
    from mechshift.testing import random_language_model

    return ModelPair(
        name="random",
        arm=random_language_model("llama", "arm", seed=1),
        mdm=random_language_model("llama", "mdm", seed=2),
    )


@pytest.fixture(scope="session")
def answer_of():
    """A function: the word that a model writes after a prompt, by a bare pass; None: no word."""

    @torch.no_grad()
    def answer(model, prompt):
        ids = model.tokenizer(prompt)["input_ids"]
        masked = ids if model.kind == "arm" else [*ids, model.mask_token_id]
        logits = model.module(torch.tensor([masked])).logits[0, len(ids) - 1]
        if model.kind == "mdm":
            logits[model.mask_token_id] = -torch.inf
        word = model.tokenizer.convert_ids_to_tokens(int(logits.argmax()))
        return word if word in {f"w{index}" for index in range(19)} else None

    return answer


@pytest.fixture(scope="session")
def small():
    """The settings of a small run of the embedded pair."""
    from mechshift.ablation import AblationSettings
    from mechshift.comparison import ComparisonSettings
    from mechshift.run import AttributionSettings, EvaluationSettings, RunSettings
    from mechshift.semantics import SemanticsSettings
    from mechshift.tasks import PoolConfig

    return RunSettings(
        tasks=("ioi", "infilling"),
        # Of this seed no held-out example is of a length that none for discovery has, so that means
        # are known of all positions.
        pool=PoolConfig(num_examples=12, num_held_out=10, seed=4),
        attribution=AttributionSettings(ig_steps=2, chunk_size=4),
        evaluation=EvaluationSettings(fractions=(0.01, 0.1, 1.0)),
        comparison=ComparisonSettings(
            num_resamples=50, num_splits=10, num_shuffles=5, num_exchanges=20
        ),
        ablation=AblationSettings(kinds=("heads",), num_control_draws=1, num_resamples=50),
        semantics=SemanticsSettings(
            ig_steps=1, num_neurons=3, num_contexts=2, num_sequences=10, num_resamples=50
        ),
    )


@pytest.fixture(scope="session")
def small_run(made_once, small):
    """The folder of a finished run of these settings."""
    from mechshift.run import run_experiment

    def make(folder):
        unchecked = jaxtyping.config.jaxtyping_disable
        check_shapes(True)
        run_experiment(folder, small, device="cpu", quiet=True)
        check_shapes(not unchecked)

    return made_once("small-run", make)


HOLD = """
import sys
import time
from pathlib import Path

from mechshift.locks import hold_folder

with hold_folder(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def held_elsewhere():
    """A context in which another process, which it gives, holds a folder."""

    @contextmanager
    def hold(folder):
        words = [sys.executable, "-c", HOLD, str(folder)]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()
        process.wait()
        process.stdout.close()

    return hold


class Endpoint:
    """A server that speaks the protocol; `answer` maps a prompt to a reply."""

    def __init__(self):
        self.answer = lambda prompt: ""
        self.raw = None
        self.status = 200
        self.requests = []
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                endpoint.requests.append((self.path, dict(self.headers), body))
                reply = endpoint.answer(body["messages"][0]["content"])
                message = {"choices": [{"message": {"role": "assistant", "content": reply}}]}
                self.send_response(endpoint.status)
                if endpoint.status == 307:
                    self.send_header("Location", "/v1/elsewhere")
                self.end_headers()
                self.wfile.write(endpoint.raw or json.dumps(message).encode())

            def log_message(self, *_args):
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"


@pytest.fixture
def endpoint():
    made = Endpoint()
    thread = Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()
