"""How much longer does a circuit run than the model, once the corrupted values are cached?

A forward pass over the same batch, up to the logits of the scored positions, is the floor. Circuits
are the edges that EAP-IG scores highest, as many at random, and all; the edges that no signal
reaches or leaves are dropped from each.

    python benchmarks/circuit_run.py --help
"""

from dataclasses import dataclass, field

import numpy as np
import torch
import tyro
from measuring import peak_megabytes, show, timed_in_turn
from random_problem import Problem

from mechshift.attribution import eap_ig
from mechshift.circuits import select_top_edges
from mechshift.denoising import CanvasBatch, batch_canvases, readout_logits
from mechshift.evaluation._corrupted_cache import corrupted_cache
from mechshift.evaluation.circuit_plan import plan_circuit
from mechshift.evaluation.circuit_run import run_circuit
from mechshift.models import LanguageModel


@dataclass(frozen=True)
class Options:
    problem: Problem = field(default_factory=Problem)
    edges: int = 1000
    rounds: int = 15
    """Timings of each, after one that does not count."""
    threads: int = 1
    seed: int = 0
    """Of the random circuit."""


def main(options: Options) -> None:
    torch.set_num_threads(options.threads)
    problem = options.problem
    model = problem.model()
    canvases = problem.canvases(model)
    graph = model.graph()
    scores = {
        "top": eap_ig(model, canvases, metric="logit_diff", batch_size=problem.batch).mean(),
        "random": np.random.default_rng(options.seed).standard_normal(graph.num_edges),
    }
    sizes = {"top": options.edges, "random": options.edges, "all": graph.num_edges}
    plans = {
        name: plan_circuit(model, select_top_edges(graph, scores.get(name, scores["top"]), size))
        for name, size in sizes.items()
    }
    (batch,) = batch_canvases(model, canvases, problem.batch)
    cache = corrupted_cache(model, batch)
    works = {"forward pass": lambda: forward(model, batch)} | {
        name: lambda plan=plan: run_circuit(model, cache, plan) for name, plan in plans.items()
    }
    timings = timed_in_turn(works, options.rounds)
    rows = [
        (
            f"{name}, {sizes[name]:,} edges" if name in plans else name,
            f"{plans[name].num_live_edges:,}" if name in plans else "",
            f"{timings.median(name):.3f}",
            f"{timings.ratio(name, 'forward pass'):.2f}",
            f"{peak_megabytes(work):.1f}",
        )
        for name, work in works.items()
    ]
    show(problem.title(model), ("", "live edges", "seconds", "x forward", "peak MB"), rows)


@torch.no_grad()
def forward(model: LanguageModel, batch: CanvasBatch) -> object:
    hidden = model.hidden(batch.clean_ids, batch.attention_mask, batch.position_ids)
    return readout_logits(model, hidden, batch)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
