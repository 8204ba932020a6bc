"""How close is a plan to what a run really takes: passes, operations, memory and time?

Two workloads: EAP-IG and circuits on the random model of `random_problem`, and every stage of a run
of the embedded pair. Memory is that of live tensors, weights among them
(`mechshift.testing.measuring`); an allocator adds to it. `comparison.py` times comparisons.

    python benchmarks/plan.py --help
"""

import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
import tyro
from measuring import show
from random_problem import Problem
from torch.nn.attention import SDPBackend, sdpa_kernel

from mechshift.ablation import MIN_EXAMPLES
from mechshift.attribution import eap_ig
from mechshift.circuits import Circuit
from mechshift.evaluation import circuit_sizes, evaluate_circuits
from mechshift.graph import Graph
from mechshift.models import LanguageModel, model_shape
from mechshift.run import AttributionSettings, RunSettings
from mechshift.run.planning import MachineOptions, costs, find_machine, plan_run
from mechshift.run.planning.costs import Work
from mechshift.run.planning.machine import Machine
from mechshift.run.planning.workload import Lengths, ModelOnTask
from mechshift.run.settings import Addable, Skippable
from mechshift.run.stage import Given, write_pieces
from mechshift.run.stages import STAGES
from mechshift.tasks import PoolConfig, load_tasks
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
    skip: tuple[Skippable, ...] = ()
    """Stages that are left out of the run."""
    also: tuple[Addable, ...] = ("sweep", "alternatives")
    """Stages that are added to it."""
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
    canvases = problem.canvases(model, num_examples)
    sizes = circuit_sizes(model.graph().num_edges).tolist()
    circuits = [random_circuit(model.graph(), size) for size in sizes]
    shape = model_shape(model.module.config)
    planned = ModelOnTask(
        task="random",
        name="arm",
        kind="arm",
        shape=shape,
        graph=model.graph(),
        examples=(Lengths(problem.tokens, 1, 0),),
        num_spans=0,
        metric="logit_diff",
        settings=RunSettings(attribution=AttributionSettings(ig_steps=problem.ig_steps)),
        weights=shape.num_parameters * model.dtype.itemsize,
        host_is_device=False,
    )
    batches = planned.canvases(num_examples, problem.batch)
    compare(
        "EAP-IG",
        costs.scoring(planned, batches),
        machine,
        model,
        lambda: eap_ig(
            model,
            canvases,
            metric="logit_diff",
            ig_steps=problem.ig_steps,
            batch_size=problem.batch,
        ),
    )
    compare(
        f"{len(sizes)} random circuits",
        costs.circuits(planned, batches, sizes),
        machine,
        model,
        lambda: evaluate_circuits(
            model, canvases, circuits, num_examples=num_examples, batch_size=problem.batch
        ),
    )


def compare(
    title: str,
    planned: Work,
    machine: Machine,
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
    flops = planned.flops + planned.float32_flops
    peak = max(peak.total_bytes for peak in planned.peaks if peak.memory == "device")
    rows = [
        row(name, expected, measured)
        for name, expected, measured in (
            ("forward passes", planned.forward_passes, passes.forward),
            ("backward passes", planned.backward_passes, passes.backward),
            ("GFLOP", flops / 1e9, counter.get_total_flops() / 1e9),
            ("peak [MB]", peak / 1e6, live.peak / 1e6),
            ("seconds", machine.seconds(planned), seconds),
        )
    ]
    show(f"{title}, random model", ("", *COLUMNS), rows)


COLUMNS = ("planned", "measured", "planned / measured")


def row(name: str, planned: float, measured: float) -> list[str]:
    ratio = f"{planned / measured:.2f}" if measured else ""
    return [name, f"{planned:,.2f}", f"{measured:,.2f}", ratio]


def embedded_pair_workload(options: Options) -> None:
    """Every stage of a run, with the batch sizes that were planned."""
    num_examples = max(options.examples, MIN_EXAMPLES)
    settings = RunSettings(
        tasks=options.tasks,
        pool=PoolConfig(num_examples=num_examples, num_held_out=num_examples),
        skip=options.skip,
        also=options.also,
    )
    plan = plan_run(settings, MachineOptions(device="cpu", measure=True), solved=0.9)
    print(plan.machine.note)
    for name, size in plan.batch_sizes.items():
        settings = replace(settings, **{name: replace(getattr(settings, name), batch_size=size)})
    pair = settings.models.load("cpu", controls="controls" not in options.skip)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        tasks = load_tasks(settings.task_names())
        given = Given(run=run, pair=pair, tasks=tasks, settings=settings)
        for stage in STAGES:
            if stage.pieces is None or not stage.is_wanted(settings):
                continue
            own = [one for one in plan.stages if one.stage == stage.name]
            start = time.perf_counter()
            with ExitStack() as stack:
                counts = [
                    stack.enter_context(counted_passes(model)) for model in pair.members.values()
                ]
                write_pieces(run, stage, stage.pieces(given), quiet=True)
            seconds = time.perf_counter() - start
            passes = sum(s.work.forward_passes + s.work.backward_passes for s in own)
            measured = sum(count.forward + count.backward for count in counts)
            files = [path.stat().st_size for path in (run / stage.name).rglob("*.*")]
            disk = sum(s.work.disk_bytes for s in own) / 1e6
            rows.append(row(f"{stage.name}: passes", passes, measured))
            rows.append(row(f"{stage.name}: seconds", sum(s.seconds for s in own), seconds))
            rows.append(row(f"{stage.name}: disk [MB]", disk, sum(files) / 1e6))
    show(f"the embedded pair, {num_examples} examples of each task", ("", *COLUMNS), rows)


def random_circuit(graph: Graph, num_edges: int) -> Circuit:
    chosen = np.random.default_rng(0).choice(graph.num_edges, num_edges, replace=False)
    return Circuit(graph=graph, edges=np.sort(chosen), scores=np.ones(num_edges))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
