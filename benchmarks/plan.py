"""How close is a plan to what a run really takes: passes, operations, memory and time?

Three workloads: EAP-IG and circuits on the random model of `random_problem`, the comparison of
random scores, and every stage of a run of the embedded pair. Memory is that of live tensors,
weights among them (`mechshift.testing.measuring`); an allocator adds to it.

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
from mechshift.attribution import EdgeScores, eap_ig
from mechshift.circuits import Circuit
from mechshift.comparison import ComparisonSettings, circuit_shift
from mechshift.comparison import compare as compare_scores
from mechshift.evaluation import circuit_sizes, evaluate_circuits
from mechshift.graph import Graph
from mechshift.models import LanguageModel, load_controls, load_pair, model_shape
from mechshift.models.catalogue import PAIRS
from mechshift.run import RunSettings
from mechshift.run.planning import MachineOptions, find_machine, plan_run
from mechshift.run.planning.costs import (
    Work,
    circuits_work,
    comparison_work,
    path_passes,
    scoring_work,
)
from mechshift.run.planning.machine import Machine
from mechshift.run.planning.memory import MemoryModel
from mechshift.run.planning.workload import Batch
from mechshift.run.stage import Given, write_pieces
from mechshift.run.stages import STAGES
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
    resamples: int = 20
    """Of random scores that are compared."""
    threads: int = 2


def main(options: Options) -> None:
    """Print one table for each workload."""
    torch.set_num_threads(options.threads)
    machine = find_machine(MachineOptions(device="cpu"), torch.float32)
    print(machine.note)
    random_model_workload(options, machine)
    comparison_workload(machine, options.resamples)
    embedded_pair_workload(options)


def random_model_workload(options: Options, machine: Machine) -> None:
    problem = options.problem
    model = problem.model()
    num_examples = options.batches * problem.batch
    shape, graph = model_shape(model.module.config), model.graph()
    canvases = problem.canvases(model, num_examples)
    memory = MemoryModel(
        shape=shape,
        graph=graph,
        itemsize=model.dtype.itemsize,
        weights=shape.num_parameters * model.dtype.itemsize,
        metric="logit_diff",
    )
    batch = Batch(rows=problem.batch, positions=problem.tokens, readouts=problem.batch)
    passes = path_passes("left", problem.ig_steps, "logit_diff")
    compare(
        "EAP-IG",
        scoring_work(shape, graph, passes, batch) * options.batches,
        machine,
        max(use.total for use in (memory.gradients(batch, 0), memory.contract(batch, 0))),
        model,
        lambda: eap_ig(
            model,
            canvases,
            metric="logit_diff",
            ig_steps=problem.ig_steps,
            batch_size=problem.batch,
        ),
    )
    sizes = circuit_sizes(graph.num_edges).tolist()
    circuits = [random_circuit(graph, size) for size in sizes]
    compare(
        f"{len(sizes)} random circuits",
        circuits_work(shape, graph, sizes, batch) * options.batches,
        machine,
        max(memory.circuits(batch, size).total for size in sizes),
        model,
        lambda: evaluate_circuits(
            model, canvases, circuits, num_examples=num_examples, batch_size=problem.batch
        ),
    )


def comparison_workload(machine: Machine, num_resamples: int) -> None:
    """Comparisons on graphs of two sizes, with few resamples."""
    settings = ComparisonSettings(
        num_resamples=num_resamples,
        num_splits=6,
        num_splits_per_resample=2,
        num_shuffles=num_resamples,
        num_exchanges=num_resamples,
    )
    rows = []
    for graph in (
        Graph(num_layers=6, num_heads=8, num_key_value_groups=8),
        Graph(num_layers=12, num_heads=16, num_key_value_groups=16),
    ):
        for num_examples in (20, 200):
            scores = [random_scores(graph, num_examples, seed) for seed in (0, 1)]
            for method in (compare_scores, circuit_shift):
                start = time.perf_counter()
                method("random", *scores, settings)
                seconds = time.perf_counter() - start
                whole = method is compare_scores
                host = comparison_work(settings, graph, num_examples, 1, whole=whole)
                work = Work(host=host)
                name = f"{method.__name__}, {graph.num_edges} edges, {num_examples} examples"
                rows.append(row(name, machine.seconds(work), seconds))
    show("comparison [seconds]", ("", *COLUMNS), rows)


def random_scores(graph: Graph, num_examples: int, seed: int) -> EdgeScores:
    shape = (num_examples, 1)
    values = np.random.default_rng(seed).standard_normal((*shape, graph.num_edges))
    return EdgeScores(
        graph=graph,
        values=values.astype(np.float32),
        num_steps=np.ones(num_examples, dtype=np.int64),
        clean_metric=np.ones(shape),
        corrupted_metric=np.zeros(shape),
        input_score=np.ones(shape),
    )


def compare(
    title: str,
    cost: Work,
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
            ("seconds", machine.seconds(cost), seconds),
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
        also=("sweep", "alternatives"),
    )
    plan = plan_run(settings, MachineOptions(device="cpu", measure=True), solved=0.9)
    print(plan.machine.note)
    size = plan.attribution_batch_size
    assert plan.semantics_batch_size is not None and plan.ablation_batch_size is not None
    assert plan.alternatives_batch_size is not None
    settings = replace(
        settings,
        attribution=replace(settings.attribution, batch_size=size),
        evaluation=replace(settings.evaluation, batch_size=plan.evaluation_batch_size),
        semantics=replace(settings.semantics, batch_size=plan.semantics_batch_size),
        ablation=replace(settings.ablation, batch_size=plan.ablation_batch_size),
        sweep=replace(settings.sweep, batch_size=size),
        alternatives=replace(settings.alternatives, batch_size=plan.alternatives_batch_size),
    )
    pair = load_pair("tiny")
    pair = replace(pair, controls=load_controls(pair, PAIRS["tiny"]).models)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        tasks = find_tasks(settings.task_names())
        given = Given(run=run, pair=pair, tasks=tasks, settings=settings)
        for stage in STAGES:
            if stage.pieces is None or not stage.is_wanted(settings):
                continue
            own = [one for one in plan.stages if one.cost.stage == stage.name]
            start = time.perf_counter()
            with ExitStack() as stack:
                counts = [
                    stack.enter_context(counted_passes(model)) for model in pair.members.values()
                ]
                write_pieces(run, stage, stage.pieces(given), quiet=True)
            seconds = time.perf_counter() - start
            passes = sum(s.cost.forward_passes + s.cost.backward_passes for s in own)
            measured = sum(count.forward + count.backward for count in counts)
            files = [path.stat().st_size for path in (run / stage.name).rglob("*.*")]
            disk = sum(s.cost.disk_bytes for s in own) / 1e6
            rows.append(row(f"{stage.name}: passes", passes, measured))
            rows.append(row(f"{stage.name}: seconds", sum(s.seconds for s in own), seconds))
            rows.append(row(f"{stage.name}: disk [MB]", disk, sum(files) / 1e6))
    show(f"the embedded pair, {num_examples} examples of each task", ("", *COLUMNS), rows)


def random_circuit(graph: Graph, num_edges: int) -> Circuit:
    chosen = np.random.default_rng(0).choice(graph.num_edges, num_edges, replace=False)
    return Circuit(graph=graph, edges=np.sort(chosen), scores=np.ones(num_edges))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
