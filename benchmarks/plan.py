"""How close is a plan to what a run really takes: passes, operations, memory and time?

Two workloads: EAP-IG and circuits on one batch size of a random Qwen2 of 20 M parameters, as in
benchmarks/attribution.py, and the whole run of the embedded pair. Memory is that of live tensors
(`mechshift.testing.measuring`); an allocator adds to it.

    python benchmarks/plan.py --help
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import Qwen2Config, Qwen2ForCausalLM

from mechshift.attribution import eap_ig
from mechshift.circuits import Circuit
from mechshift.denoising import EncodedExample, build_canvases, left_to_right, sampler_named
from mechshift.evaluation import circuit_sizes, evaluate_circuits
from mechshift.experiment import RunSettings, evaluate_pair, make_pools, score_edges
from mechshift.experiment.planning import MachineOptions, find_machine, plan_run
from mechshift.experiment.planning.lengths import ExampleLengths
from mechshift.experiment.planning.machine import Machine
from mechshift.experiment.planning.memory import MemoryModel
from mechshift.experiment.planning.methods import MethodPasses
from mechshift.experiment.planning.plan import estimated_seconds
from mechshift.experiment.planning.stages import (
    ModelOnTask,
    StageCost,
    attribution_cost,
    evaluation_cost,
)
from mechshift.models import LanguageModel, freeze, load_pair, model_shape, set_attention
from mechshift.tasks import PoolConfig, find_tasks
from mechshift.testing import toy_tokenizer
from mechshift.testing.measuring import LiveBytes, MatrixFlops, counted_passes

VOCAB_SIZE = 2048


@dataclass(frozen=True)
class Options:
    """By default a few minutes on two cores."""

    rows: int = 64
    """Examples of the random model."""
    batch: int = 16
    tokens: int = 30
    ig_steps: int = 5
    examples: int = 60
    """Of each of the embedded pair's tasks."""
    threads: int = 2


def main(options: Options) -> None:
    """Print one table for each workload."""
    torch.set_num_threads(options.threads)
    machine = find_machine(MachineOptions(device="cpu"), torch.float32)
    print(machine.note)
    random_model_workload(options, machine)
    embedded_pair_workload(options)


def random_model_workload(options: Options, machine: Machine) -> None:
    model = random_model()
    work = planned_work(model, options)
    canvases = random_canvases(model, options)
    memory = MemoryModel(
        shape=work.shape,
        graph=work.graph,
        itemsize=model.dtype.itemsize,
        weights=work.shape.num_parameters * model.dtype.itemsize,
        metric="logit_diff",
    )
    batches = work.discovery_batches(options.batch, None)
    peak = max(memory.gradients(b, options.ig_steps, 0).total for b in batches)
    peak = max(peak, *(memory.contract(b, options.ig_steps, 0).total for b in batches))
    show(
        "EAP-IG, random Qwen2",
        attribution_cost(work, batches),
        machine,
        peak,
        model,
        lambda: eap_ig(
            model,
            canvases,
            metric="logit_diff",
            ig_steps=options.ig_steps,
            batch_size=options.batch,
        ),
    )
    sizes = circuit_sizes(work.graph.num_edges).tolist()
    circuits = [random_circuit(work.graph, size) for size in sizes]
    show(
        f"{len(sizes)} random circuits, random Qwen2",
        evaluation_cost(work, batches, sizes),
        machine,
        max(memory.circuits(b, size).total for b in batches for size in sizes),
        model,
        lambda: evaluate_circuits(
            model, canvases, circuits, num_examples=options.rows, batch_size=options.batch
        ),
    )


def show(
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
    table = Table(title=title)
    for name in ("", "planned", "measured", "planned / measured"):
        table.add_column(name, justify="right")
    for name, planned, measured in (
        ("forward passes", cost.forward_passes, passes.forward),
        ("backward passes", cost.backward_passes, passes.backward),
        ("GFLOP", cost.flops.total / 1e9, counter.get_total_flops() / 1e9),
        ("peak [MB]", peak / 1e6, live.peak / 1e6),
        ("seconds", estimated_seconds(cost, machine), seconds),
    ):
        ratio = f"{planned / measured:.2f}" if measured else ""
        table.add_row(name, f"{planned:,.2f}", f"{measured:,.2f}", ratio)
    Console().print(table)


def embedded_pair_workload(options: Options) -> None:
    settings = RunSettings(
        pool=PoolConfig(num_examples=options.examples, num_held_out=options.examples),
        skip=("controls",),
    )
    plan = plan_run(settings, MachineOptions(device="cpu"), solved=0.9)
    attribution = replace(settings.attribution, batch_size=plan.attribution_batch_size)
    evaluation = replace(settings.evaluation, batch_size=plan.evaluation_batch_size)
    pair, tasks = load_pair("tiny"), find_tasks(settings.task_names())
    table = Table(title=f"the embedded pair, {options.examples} examples of each task")
    for name in ("stage", "planned passes", "passes", "planned s", "s", "planned / measured s"):
        table.add_column(name, justify="right")
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
            planned = sum(s.seconds for s in own)
            table.add_row(
                stage,
                f"{sum(s.cost.forward_passes + s.cost.backward_passes for s in own):,}",
                f"{arm.forward + arm.backward + mdm.forward + mdm.backward:,}",
                f"{planned:.1f}",
                f"{seconds:.1f}",
                f"{planned / seconds:.2f}",
            )
    Console().print(table)


def planned_work(model: LanguageModel, options: Options) -> ModelOnTask:
    ones = np.ones(options.rows, dtype=np.int64)
    return ModelOnTask(
        task="random",
        model="arm",
        kind="arm",
        shape=model_shape(model.module.config),
        graph=model.graph(),
        lengths=ExampleLengths(prefix=options.tokens * ones, target=ones, suffix=0 * ones),
        sampler=sampler_named("left-to-right"),
        pool=PoolConfig(num_examples=options.rows, num_held_out=options.rows),
        passes=MethodPasses(num_points=options.ig_steps, forward=options.ig_steps + 1),
    )


def random_model() -> LanguageModel:
    """A model whose weights mean nothing; time and memory do not depend on them."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=VOCAB_SIZE,
        hidden_size=512,
        intermediate_size=2048,
        num_hidden_layers=6,
        num_attention_heads=8,
        num_key_value_heads=2,
        tie_word_embeddings=False,
    )
    module = Qwen2ForCausalLM(config)
    freeze(module)
    set_attention(module, "causal")
    return LanguageModel(
        name="random",
        kind="arm",
        module=module,
        tokenizer=toy_tokenizer(["word"]),
        attention="causal",
        shift=True,
        mask_token_id=None,
        weights_hash="made in memory",
    )


def random_canvases(model: LanguageModel, options: Options):
    generator = np.random.default_rng(1)

    def draw(count: int) -> tuple[int, ...]:
        return tuple(generator.integers(VOCAB_SIZE, size=count).tolist())

    examples = [
        EncodedExample(
            id=f"{row}",
            task="random",
            prefix_ids=draw(options.tokens),
            corrupted_prefix_ids=draw(options.tokens),
            target_ids=draw(1),
            distractor_ids=draw(1),
        )
        for row in range(options.rows)
    ]
    return build_canvases(model, examples, left_to_right([1] * len(examples)))


def random_circuit(graph, num_edges: int) -> Circuit:
    chosen = np.random.default_rng(0).choice(graph.num_edges, num_edges, replace=False)
    return Circuit(graph=graph, edges=np.sort(chosen), scores=np.ones(num_edges))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
