"""How close is a plan to what a run really takes: passes, operations, memory and time?

Two workloads: EAP-IG and circuits on the random model of `random_problem`, and pool, attribution
and evaluation of the embedded pair. Memory is that of live tensors, weights among them
(`mechshift.testing.measuring`); an allocator adds to it.

    python benchmarks/plan.py --help
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
import tyro
from measuring import show
from random_problem import Problem
from torch.nn.attention import SDPBackend, sdpa_kernel

from mechshift.attribution import eap_ig
from mechshift.circuits import Circuit
from mechshift.denoising import sampler_named
from mechshift.evaluation import circuit_sizes, evaluate_circuits
from mechshift.graph import Graph
from mechshift.models import LanguageModel, load_pair, model_shape
from mechshift.run import RunSettings, evaluate_pair, make_pools, score_edges
from mechshift.run.planning import MachineOptions, find_machine, plan_run
from mechshift.run.planning.lengths import ExampleLengths
from mechshift.run.planning.machine import Machine
from mechshift.run.planning.memory import MemoryModel
from mechshift.run.planning.methods import MethodPasses
from mechshift.run.planning.plan import estimated_seconds
from mechshift.run.planning.stages import (
    ModelOnTask,
    StageCost,
    attribution_cost,
    evaluation_cost,
)
from mechshift.tasks import PoolConfig, find_tasks
from mechshift.testing.measuring import LiveBytes, MatrixFlops, counted_passes


@dataclass(frozen=True)
class Options:
    """By default a few minutes on two cores."""

    problem: Problem = field(default_factory=Problem)
    batches: int = 4
    """Of the random model's examples."""
    tasks: tuple[str, ...] = ()
    """Of the embedded pair; by default all four."""
    examples: int = 60
    """Of each of them, and as many held out."""
    threads: int = 2


def main(options: Options) -> None:
    """Print one table for each workload."""
    torch.set_num_threads(options.threads)
    machine = find_machine(MachineOptions(device="cpu"), torch.float32)
    print(machine.note)
    random_model_workload(options, machine)
    embedded_pair_workload(options)


def random_model_workload(options: Options, machine: Machine) -> None:
    problem = options.problem
    model = problem.model()
    num_examples = options.batches * problem.batch
    work = planned_work(model, problem, num_examples)
    canvases = problem.canvases(model, num_examples)
    memory = MemoryModel(
        shape=work.shape,
        graph=work.graph,
        itemsize=model.dtype.itemsize,
        weights=work.shape.num_parameters * model.dtype.itemsize,
        metric="logit_diff",
    )
    batches = work.discovery_batches(problem.batch, None)
    compare(
        "EAP-IG",
        attribution_cost(work, batches),
        machine,
        max(use.total for b in batches for use in (memory.gradients(b, 0), memory.contract(b, 0))),
        model,
        lambda: eap_ig(
            model,
            canvases,
            metric="logit_diff",
            ig_steps=problem.ig_steps,
            batch_size=problem.batch,
        ),
    )
    sizes = circuit_sizes(work.graph.num_edges).tolist()
    circuits = [random_circuit(work.graph, size) for size in sizes]
    compare(
        f"{len(sizes)} random circuits",
        evaluation_cost(work, batches, sizes),
        machine,
        max(memory.circuits(b, size).total for b in batches for size in sizes),
        model,
        lambda: evaluate_circuits(
            model, canvases, circuits, num_examples=num_examples, batch_size=problem.batch
        ),
    )


def compare(
    title: str,
    cost: StageCost,
    machine: Machine,
    peak: int,
    model: LanguageModel,
    work: Callable[[], object],
) -> None:
    """One table of what was planned and what was measured."""
    work()  # what happens once only
    start = time.perf_counter()
    with counted_passes(model) as passes:
        work()
    seconds = time.perf_counter() - start
    # The counter sees attention only where it is made of matrix products.
    with MatrixFlops() as counter, sdpa_kernel(SDPBackend.MATH):
        work()
    with LiveBytes(*model.module.parameters()) as live:
        work()
    rows = [
        row(name, planned, measured)
        for name, planned, measured in (
            ("forward passes", cost.forward_passes, passes.forward),
            ("backward passes", cost.backward_passes, passes.backward),
            ("GFLOP", cost.flops.total / 1e9, counter.get_total_flops() / 1e9),
            ("peak [MB]", peak / 1e6, live.peak / 1e6),
            ("seconds", estimated_seconds(cost, machine), seconds),
        )
    ]
    show(f"{title}, random model", ("", *COLUMNS), rows)


COLUMNS = ("planned", "measured", "planned / measured")


def row(name: str, planned: float, measured: float) -> list[str]:
    ratio = f"{planned / measured:.2f}" if measured else ""
    return [name, f"{planned:,.2f}", f"{measured:,.2f}", ratio]


def embedded_pair_workload(options: Options) -> None:
    settings = RunSettings(
        tasks=options.tasks,
        pool=PoolConfig(num_examples=options.examples, num_held_out=options.examples),
        skip=("controls",),
    )
    plan = plan_run(settings, MachineOptions(device="cpu"), solved=0.9)
    attribution = replace(settings.attribution, batch_size=plan.attribution_batch_size)
    evaluation = replace(settings.evaluation, batch_size=plan.evaluation_batch_size)
    pair, tasks = load_pair("tiny"), find_tasks(settings.task_names())
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        stages: dict[str, Callable[[], object]] = {
            "pool": lambda: make_pools(
                run, pair, settings.models, tasks, settings.pool, quiet=True
            ),
            "attribution": lambda: score_edges(run, pair, attribution, quiet=True),
            "evaluation": lambda: evaluate_pair(run, pair, evaluation, quiet=True),
        }
        for stage, work in stages.items():
            own = [s for s in plan.stages if s.cost.stage == stage]
            start = time.perf_counter()
            with counted_passes(pair.arm) as arm, counted_passes(pair.mdm) as mdm:
                work()
            seconds = time.perf_counter() - start
            passes = sum(s.cost.forward_passes + s.cost.backward_passes for s in own)
            measured = arm.forward + arm.backward + mdm.forward + mdm.backward
            rows.append(row(f"{stage}: passes", passes, measured))
            rows.append(row(f"{stage}: seconds", sum(s.seconds for s in own), seconds))
    show(f"the embedded pair, {options.examples} examples of each task", ("", *COLUMNS), rows)


def planned_work(model: LanguageModel, problem: Problem, num_examples: int) -> ModelOnTask:
    ones = np.ones(num_examples, dtype=np.int64)
    return ModelOnTask(
        task="random",
        model="arm",
        kind="arm",
        shape=model_shape(model.module.config),
        graph=model.graph(),
        lengths=ExampleLengths(prefix=problem.tokens * ones, target=ones, suffix=0 * ones),
        sampler=sampler_named("left-to-right"),
        pool=PoolConfig(num_examples=num_examples, num_held_out=num_examples),
        passes=MethodPasses(num_points=problem.ig_steps, forward=problem.ig_steps + 1),
    )


def random_circuit(graph: Graph, num_edges: int) -> Circuit:
    chosen = np.random.default_rng(0).choice(graph.num_edges, num_edges, replace=False)
    return Circuit(graph=graph, edges=np.sort(chosen), scores=np.ones(num_edges))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
