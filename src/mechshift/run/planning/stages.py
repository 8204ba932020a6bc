"""What does each stage of a run cost on one task and model: passes and FLOPs?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from inspect import signature
from typing import Literal

from mechshift.denoising.samplers import Sampler
from mechshift.graph import Graph
from mechshift.models import Kind, ModelShape
from mechshift.run.planning.batches import (
    Batch,
    Pass,
    canvas_batches,
    commits,
    decoding_passes,
)
from mechshift.run.planning.flops import (
    Flops,
    backward_flops,
    circuit_flops,
    contraction_flops,
    forward_flops,
)
from mechshift.run.planning.lengths import ExampleLengths
from mechshift.run.planning.methods import MethodPasses
from mechshift.run.settings import EvaluationSettings
from mechshift.tasks import PoolConfig, build_pool

Stage = Literal["pool", "attribution", "evaluation"]

DECODING_BATCH_SIZE: int = signature(build_pool).parameters["batch_size"].default
"""Examples that are decoded at once; `mechshift run` does not ask."""


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """Passes and operations of one stage, on one task, by one model."""

    stage: Stage
    task: str
    model: str
    """`arm`, `mdm`, or the name of a control."""
    forward_passes: int
    """Calls of the decoder."""
    backward_passes: int
    circuit_runs: int
    """Sparse runs of a circuit on a batch, which do not call the decoder as a whole."""
    flops: Flops


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelOnTask:
    """One model, one task, and how the task is run."""

    task: str
    model: str
    """`arm`, `mdm`, or the name of a control."""
    kind: Kind
    """How it reads the task."""
    shape: ModelShape
    graph: Graph
    lengths: ExampleLengths
    sampler: Sampler
    pool: PoolConfig
    passes: MethodPasses

    def decoding(self, solved: float) -> list[Pass]:
        """Every call of the decoder that finds the pool of both splits.

        Candidates are tried in rounds of as many as are wanted (`tasks.build_pool`).

        Args:
            solved: share of candidates that both models get right.
        """
        calls: list[Pass] = []
        for wanted in (self.pool.num_examples, self.pool.num_held_out):
            rounds = min(self.pool.max_candidates, math.ceil(1 / solved))
            batch = list(
                decoding_passes(
                    self.lengths.repeated(wanted),
                    self.kind,
                    self.sampler,
                    self.pool.num_steps,
                    batch_size=DECODING_BATCH_SIZE,
                )
            )
            calls += rounds * batch
        return calls

    def discovery_batches(self, batch_size: int, chunk_size: int | None) -> list[Batch]:
        """Of the examples that edges are scored on."""
        return self._batches(self.pool.num_examples, batch_size, chunk_size)

    def held_out_batches(self, batch_size: int) -> list[Batch]:
        """Of the examples that circuits are run on."""
        return self._batches(self.pool.num_held_out, batch_size, None)

    @cached_property
    def num_steps(self) -> int:
        """Denoising steps of the example that has most."""
        targets = (int(target) for target in self.lengths.target)
        per_example = (commits(self.sampler, target, self.pool.num_steps) for target in targets)
        return max(sum(count > 0 for count in counts) for counts in per_example)

    def _batches(self, num_examples: int, batch_size: int, chunk_size: int | None) -> list[Batch]:
        return list(
            canvas_batches(
                self.lengths.repeated(num_examples),
                self.kind,
                self.sampler,
                self.pool.num_steps,
                batch_size=batch_size,
                chunk_size=chunk_size,
            )
        )


def pool_cost(model: ModelOnTask, solved: float) -> StageCost:
    """Of decoding candidates until enough are right."""
    calls = model.decoding(solved)
    return StageCost(
        stage="pool",
        task=model.task,
        model=model.model,
        forward_passes=len(calls),
        backward_passes=0,
        circuit_runs=0,
        flops=sum((forward_flops(model.shape, call) for call in calls), Flops()),
    )


def attribution_cost(model: ModelOnTask, batches: Sequence[Batch]) -> StageCost:
    """Of scoring every edge on these batches."""
    passes = model.passes
    return StageCost(
        stage="attribution",
        task=model.task,
        model=model.model,
        forward_passes=len(batches) * (passes.forward + passes.intervened),
        backward_passes=sum(passes.backward(batch.slots) for batch in batches),
        circuit_runs=0,
        flops=sum((_scoring_flops(model, batch) for batch in batches), Flops()),
    )


def _scoring_flops(model: ModelOnTask, batch: Batch) -> Flops:
    shape, passes = model.shape, model.passes
    forward = passes.forward + (model.graph.num_edges if passes.intervened else 0)
    backward = passes.backward(batch.slots)
    flops = Flops(
        model=forward * forward_flops(shape, batch.forward).model
        + backward * backward_flops(shape, batch.forward, gim=passes.gim).model
    )
    if passes.num_points:
        flops += contraction_flops(shape, model.graph, batch, passes.num_points)
    return flops


def circuit_sizes_run(
    settings: EvaluationSettings, sizes: Sequence[int], compared: int
) -> list[int]:
    """Sizes of all circuits that one model runs: both models' circuits, and baselines.

    Args:
        settings: how many random circuits stand beside each model's own, and at which sizes.
        sizes: of each model's circuits.
        compared: the size at which circuits are compared.
    """
    baseline_sizes = sizes if settings.baseline_sizes == "all" else [compared]
    # Random ones, and one chosen by activation.
    num_baselines = settings.num_random + 1
    return [*sizes, *sizes, *(num_baselines * [*baseline_sizes])]


def num_measuring_passes(settings: EvaluationSettings) -> int:
    """Passes over discovery canvases before circuits are run, to choose baselines by activation.

    With mean ablation one more, at most: canvases of shapes that no held-out one has are left out.
    """
    return 3 if settings.ablation == "mean" else 2


def evaluation_cost(
    model: ModelOnTask,
    batches: Sequence[Batch],
    circuit_sizes: Sequence[int],
    measuring: Sequence[Batch] = (),
) -> StageCost:
    """Of running circuits of these sizes on these batches.

    Args:
        model: that runs them.
        batches: of held-out canvases; each is also run clean and corrupted.
        circuit_sizes: from `circuit_sizes_run`.
        measuring: batches of discovery canvases, once for each of `num_measuring_passes`.
    """
    forward = [*batches, *batches, *measuring]
    flops = sum((forward_flops(model.shape, batch.forward) for batch in forward), Flops())
    for batch in batches:
        for size in circuit_sizes:
            flops += circuit_flops(model.shape, model.graph, batch, size)
    return StageCost(
        stage="evaluation",
        task=model.task,
        model=model.model,
        forward_passes=len(forward),
        backward_passes=0,
        circuit_runs=len(batches) * len(circuit_sizes),
        flops=flops,
    )
