"""How long must each stage of a 7B run take on a GPU at the very least, and what do we expect?

Computed, not measured: `mechshift plan` counts what a stage does, and a data sheet says how fast it
could be done.

1. Products: operations in the model's dtype over the peak of its tensor cores, and those that are
   in float32 whatever the model's dtype over the peak of float32.
2. Bytes: every forward or backward pass, and every run of a circuit, reads the weights of the
   layers once.
3. The floor is the larger of the two: a stage overlaps them at best. What the host does by itself,
   the comparison and the conclusions, has none here.

Expected is the time of the plan, whose passes reach a share of the peak (`--share-of-peak`), or
that of the bytes at four fifths of the bandwidth, whichever is longer.

    python benchmarks/floors.py --help
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import tyro
from measuring import show

from mechshift.ablation import AblationSettings, max_num_plans, whole_passes
from mechshift.graph import Graph
from mechshift.run import RunSettings
from mechshift.run.folders import ABLATION
from mechshift.run.pair_options import PairOptions
from mechshift.run.planning import MachineOptions, RunPlan, plan_run
from mechshift.run.planning.machine import SHARE_OF_PEAK


@dataclass(frozen=True, kw_only=True)
class Device:
    """Peaks of a data sheet, without sparsity."""

    bfloat16: float
    """Matrix products [1/s]."""
    float32: float
    """The same, without TF32."""
    bandwidth: float
    """Of its memory [bytes/s]."""
    memory_gb: float


SHARE_OF_BANDWIDTH = 0.8
"""Of a data sheet's bandwidth that reading weights is expected to reach: a guess."""

DEVICES = {
    "H100 SXM": Device(bfloat16=989e12, float32=67e12, bandwidth=3.35e12, memory_gb=80.0),
    "H200": Device(bfloat16=989e12, float32=67e12, bandwidth=4.8e12, memory_gb=141.0),
}


@dataclass(frozen=True)
class Options:
    pair: str = "dream-7b"
    tasks: tuple[str, ...] = ("ioi", "countdown-3")
    devices: tuple[Literal["H100 SXM", "H200"], ...] = ("H100 SXM", "H200")
    share_of_peak: float = SHARE_OF_PEAK
    """Of the peak of matrix products that passes are expected to reach."""


def main(options: Options) -> None:
    for name in options.devices:
        device = DEVICES[name]
        settings = RunSettings(
            models=PairOptions(pair=options.pair, dtype="bfloat16"), tasks=options.tasks
        )
        machine = MachineOptions(
            device="cuda",
            memory_gb=device.memory_gb,
            matmul_tflops=device.bfloat16 / 1e12,
            float32_tflops=device.float32 / 1e12,
            share_of_peak=options.share_of_peak,
        )
        plan = plan_run(settings, machine)
        columns = ("", "products s", "bytes s", "floor s", "expected s", "x floor")
        title = f"{options.pair} on an {name}, computed; passes at {options.share_of_peak:.0%}"
        show(title, columns, stage_rows(plan, device, settings.ablation))


@dataclass
class Stage:
    """Of one stage on one task, all members together."""

    products: float = 0.0
    bytes: float = 0.0
    expected: float = 0.0


def stage_rows(plan: RunPlan, device: Device, ablation: AblationSettings) -> list[Sequence[str]]:
    """Those of the stages that run models."""
    shape = plan.shapes.arm
    per_layer = shape.attention_weights + shape.mlp_weights
    weights = 2 * shape.num_layers * per_layer
    graph = Graph(
        num_layers=shape.num_layers,
        num_heads=shape.num_heads,
        num_key_value_groups=shape.num_heads,
    )
    stages: dict[str, Stage] = defaultdict(Stage)
    for one in plan.stages:
        work = one.work
        passes = work.forward_passes + work.backward_passes + work.circuit_runs
        if not passes:
            continue
        share = share_of_layers(graph, ablation) if one.stage == ABLATION else 1.0
        stage = stages[f"{one.stage}, {one.task}"]
        products = work.flops / device.bfloat16 + work.float32_flops / device.float32
        stage.products += products
        stage.bytes += share * passes * weights / device.bandwidth
        stage.expected += one.seconds
    rows = []
    for name, stage in stages.items():
        floor = max(stage.products, stage.bytes)
        expected = max(stage.expected, stage.bytes / SHARE_OF_BANDWIDTH)
        numbers = (stage.products, stage.bytes, floor, expected, expected / floor)
        rows.append((name, *(f"{number:,.1f}" for number in numbers)))
    return rows


def share_of_layers(graph: Graph, settings: AblationSettings) -> float:
    """Of the layers of as many whole passes as a plan's ablations are, those computed."""
    plans = max_num_plans(graph, settings, with_circuit=True) * len(settings.replacements)
    return whole_passes(graph, settings) / (2 + plans + 2 + graph.num_sources - 1)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
