"""What holds for every test: one thread a process, and no network but a server of our own.

And a trajectory made by hand.
"""

import json
import os
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

# Set before torch or a tokenizer is imported. The tests run in several processes, one per core.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "disabled"  # transformer-lens imports wandb

import numpy as np
import pytest
import torch
from hypothesis import settings

from mechshift.graph import Graph
from mechshift.statistics import Estimate, Estimates, Interval
from mechshift.verdict import TRACKED, Measured, Trajectory, TrajectoryPoint

# Models are small and the machine may be busy: no deadlines, and the same examples every time.
settings.register_profile("mechshift", deadline=None, derandomize=True)
settings.load_profile("mechshift")

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Start every test from the same global seed, so that one run alone is as in the suite."""
    torch.manual_seed(0)


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


def _trajectory_point(training, step, *, missing=()):
    """Random numbers; those that are missing have a reason with markup in it."""
    generator = np.random.default_rng(step + len(training))
    values = generator.uniform(0.2, 0.8, size=len(TRACKED)).tolist()
    measured = {
        tracked.name: Measured(
            estimate=Estimate(value=v, interval=Interval(low=v - 0.1, high=v + 0.2, level=0.95))
        )
        for tracked, v in zip(TRACKED, values, strict=True)
    }
    reason = Measured(reason="full and empty score alike <b>here</b>")
    share = generator.dirichlet(np.ones(4))
    return TrajectoryPoint(
        training=training,
        step=step,
        measured=measured | dict.fromkeys(missing, reason),
        share=Estimates(value=share, low=share - 0.01, high=share + 0.01, level=0.95),
        scores=generator.normal(size=_GRAPH.num_edges),
    )


_GRAPH = Graph(num_layers=3, num_heads=2, num_key_value_groups=1)


@pytest.fixture(scope="session")
def make_trajectory():
    """A trajectory of a task by its name; after 32 steps its MDM's own circuit is undefined."""

    def make(task):
        points = [_trajectory_point("diffusion", 0)]
        points.append(_trajectory_point("diffusion", 32, missing=("own circuit",)))
        points += [_trajectory_point("diffusion", step) for step in (64, 1000)]
        points += [_trajectory_point("control", step) for step in (0, 32, 500)]
        return Trajectory(
            task=task,
            graph=_GRAPH,
            circuit_size=20,
            parent_scores=np.random.default_rng(1).normal(size=_GRAPH.num_edges),
            points=tuple(points),
            num_examples=12,
            num_held_out=10,
            num_asked=14,
            level=0.95,
        )

    return make
