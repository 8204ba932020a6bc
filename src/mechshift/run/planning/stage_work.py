"""Work of each stage of a run: what it does for one model on one task, and in which batches."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from mechshift.ablation._standard_plans import max_num_plans
from mechshift.ablation.decoded import decodable
from mechshift.ablation.single_components import num_forward_passes
from mechshift.attribution.position_flow_record import part_shapes
from mechshift.run.folders import (
    ABLATION,
    ALTERNATIVES,
    COMPARISON,
    CONCLUSIONS,
    CONTROLS,
    FAITHFULNESS,
    FLOW,
    KINDS,
    POOL,
    SCORES,
    SEMANTICS,
    SWEEP,
)
from mechshift.run.planning.costs import (
    HostWork,
    Work,
    circuits_work,
    comparison_work,
    flow_work,
    forward_work,
    neurons_work,
    num_measuring_passes,
    reading_work,
    scoring_work,
)
from mechshift.run.planning.memory import WIDE
from mechshift.run.planning.model_on_task import ModelOnTask
from mechshift.run.planning.workload import Batch
from mechshift.run.settings import RunSettings
from mechshift.semantics.hidden_units import EXAMPLES_PER_CHUNK

Members = Literal["all", "pair", "controls", "with the ARM", "mdm"]
"""Of a run; `with the ARM`: those that are compared with it."""

CONCLUSION_SECONDS = 1.0
"""Of one member's quantities on one task, beside reading its scores: a guess."""

SHIFTS_BY_TEMPLATE = 2
"""Shifts of one control that take as many rows as the MDM by template: as counted for eight
templates, their noise-free overlaps and as many random groups."""

READ_BYTES = 1e9
"""Of stored scores that are read and added up in a second: a guess for a disk that is not slow."""


@dataclass(frozen=True, eq=False)
class Asked:
    """One model on one task, in one stage."""

    model: ModelOnTask
    batch_size: int
    solved: float
    """Share of candidates that both models get right."""

    @property
    def settings(self) -> RunSettings:
        return self.model.settings

    def on(self, batches: Iterable[Batch], work: Callable[[Batch], Work]) -> Work:
        """The sum over batches."""
        return sum(map(work, batches), Work())

    def forward(self, batches: Iterable[Batch], times: int = 1) -> Work:
        """Plain passes."""
        return self.on(batches, lambda batch: forward_work(self.model.shape, batch, times))


def _pool(asked: Asked) -> Work:
    """Candidates are tried in rounds of as many as are wanted (`tasks.build_pool`)."""
    pool, work = asked.settings.pool, Work()
    rounds = min(pool.max_candidates, math.ceil(1 / asked.solved))
    for wanted in (pool.num_examples, pool.num_held_out):
        work += asked.forward(asked.model.decoding(wanted)) * rounds
    return work


def _scores(asked: Asked) -> Work:
    attribution, model = asked.settings.attribution, asked.model
    batches = model.discovery(asked.batch_size, attribution.examples_per_chunk)
    return _scoring(asked, batches) + Work(disk_bytes=_stored_scores(asked, model.num_steps))


def _scoring(asked: Asked, batches: Iterable[Batch]) -> Work:
    model = asked.model
    if asked.settings.attribution.steps == "summed":
        batches = (replace(batch, slots=1) for batch in batches)
    return asked.on(
        batches, lambda batch: scoring_work(model.shape, model.graph, model.passes, batch)
    )


def _stored_scores(asked: Asked, num_steps: int) -> int:
    """With both metrics and the sum out of `input` of every example and step."""
    edges = asked.model.stored_numbers(num_steps) * asked.model.graph.num_edges * WIDE
    return edges + num_steps * asked.settings.pool.num_examples * 3 * 8


def _answers(asked: Asked) -> Work:
    return asked.forward(asked.model.decoding(asked.settings.pool.num_held_out))


def _flow(asked: Asked) -> Work:
    model, settings = asked.model, asked.settings
    spans, layers = model.lengths.num_spans, model.shape.num_layers
    batches = model.discovery(asked.batch_size, settings.attribution.chunk_size)
    numbers = sum(math.prod(shape) for shape in part_shapes(layers, spans).values())
    stored = settings.pool.num_examples * model.num_steps * (numbers * WIDE + 2 * 8)
    return asked.on(
        batches, lambda batch: flow_work(model.shape, model.flow_passes, spans, batch)
    ) + Work(disk_bytes=stored)


def _semantics(asked: Asked) -> Work:
    model, settings = asked.model, asked.settings.semantics
    shape, size = model.shape, asked.batch_size
    batches = model.discovery(size)
    habits = [
        Batch(
            rows=min(size, settings.num_sequences - first), positions=2 * settings.sequence_length
        )
        for first in range(0, settings.num_sequences, size)
    ]
    readouts = sum(batch.readouts for batch in batches)
    lens = (model.graph.num_sources + shape.num_layers + 1) * (3 + settings.num_top_tokens)
    contexts = settings.num_neurons * settings.num_contexts * (2 * settings.context_radius + 1)
    stored = readouts * (lens + model.graph.num_sources) * WIDE + contexts * 2 * 8
    return (
        asked.on(
            model.discovery(size, EXAMPLES_PER_CHUNK),
            lambda batch: neurons_work(shape, model.metric, settings.ig_steps, batch),
        )
        + asked.on(batches, lambda batch: reading_work(shape, batch, num_patterns=2))
        + asked.on(habits, lambda batch: reading_work(shape, batch))
        # What the chosen units do.
        + asked.forward(replace(batch, readouts=0) for batch in batches)
        + Work(disk_bytes=stored)
    )


def _faithfulness(asked: Asked) -> Work:
    model, size = asked.model, asked.batch_size
    sizes = model.circuit_sizes
    measuring = asked.forward(
        model.discovery(size), num_measuring_passes(asked.settings.evaluation)
    )
    stored = (len(sizes) + 4 * 2) * asked.settings.pool.num_held_out * model.num_steps * 8
    return (
        measuring
        + asked.on(
            model.held_out(size),
            lambda batch: circuits_work(model.shape, model.graph, sizes, batch),
        )
        + Work(disk_bytes=stored)
    )


def _ablation(asked: Asked) -> Work:
    """At most: draws of a control that do not exist are not run."""
    model, settings, size = asked.model, asked.settings.ablation, asked.batch_size
    plans = max_num_plans(model.graph, settings, with_circuit=True)
    replaced = plans * len(settings.replacements)
    each = num_forward_passes(model.graph, 1, settings.single_replacement)
    means = ("mean" in settings.replacements) + (settings.single_replacement == "mean")
    work = asked.forward(model.canvases(model.num_ablated, size), 2 + replaced + each)
    if settings.decode:
        means += "mean" in decodable(settings)
        runs = 1 + plans * len(decodable(settings))
        work += asked.forward(model.decoding(model.num_ablated, size)) * runs
    measured = replaced * (8 + 1 + settings.decode) + 8 * model.graph.num_sources
    # Norms are measured with a pass of their own, and no logits.
    return (
        work
        + asked.forward((replace(b, readouts=0) for b in model.discovery(size)), 1 + means)
        + Work(disk_bytes=model.num_ablated * measured)
    )


def _comparison(asked: Asked) -> Work:
    whole = asked.model.model == "mdm"
    return Work(host=_compared(asked, asked.model.num_steps, whole=whole))


def _compared(asked: Asked, num_steps: int, *, whole: bool) -> HostWork:
    model = asked.model
    return comparison_work(
        asked.settings.comparison, model.graph, model.num_rows, num_steps, whole=whole
    )


def _sweep(asked: Asked) -> Work:
    model, pool, work = asked.model, asked.settings.pool, Work()
    for num_steps in model.swept:
        if not model.has_num_steps(num_steps):
            chunk = asked.settings.sweep.chunk_size
            per_shard = asked.settings.attribution.examples_per_shard
            chunk = -(-chunk // per_shard) * per_shard
            batches = model.canvases(pool.num_examples, asked.batch_size, chunk, num_steps)
            work += _scoring(asked, batches)
            work += Work(disk_bytes=_stored_scores(asked, num_steps))
        work += Work(host=_compared(asked, 1, whole=False))
    return work


def _alternatives(asked: Asked) -> Work:
    """At most: penalties that give one circuit are run once."""
    model, size, settings = asked.model, asked.batch_size, asked.settings.alternatives
    num_penalties = len(set(settings.factors)) + len(set(settings.shares))
    sizes = (1 + num_penalties) * (model.compared_size,)
    work = asked.on(
        (*model.discovery(size), *model.held_out(size)),
        lambda batch: circuits_work(model.shape, model.graph, sizes, batch),
    )
    if asked.settings.evaluation.ablation == "mean":
        work += asked.forward(model.discovery(size), 2)
    pool = asked.settings.pool
    num_examples = pool.num_examples + pool.num_held_out
    metrics = (len(sizes) + 2) * num_examples * model.num_steps + 2 * num_examples
    return work + Work(disk_bytes=8 * (metrics + len(sizes) * model.compared_size))


def _conclusions(asked: Asked) -> Work:
    """Every quantity of the MDM or a control; its scores and the ARM's are read once more.

    The MDM is measured by template too, unless scores are means over shards.
    """
    read = 2 * _stored_scores(asked, asked.model.num_steps)
    work = Work(host=HostWork(seconds=CONCLUSION_SECONDS + read / READ_BYTES))
    if asked.model.model == "mdm" and asked.settings.attribution.examples_per_shard == 1:
        work += Work(host=_compared(asked, 1, whole=False) * SHIFTS_BY_TEMPLATE)
    return work


STAGE_WORK: Mapping[str, tuple[Members, Callable[[Asked], Work]]] = {
    POOL: ("pair", _pool),
    SCORES: ("all", _scores),
    CONTROLS: ("controls", _answers),
    FLOW: ("all", _flow),
    SEMANTICS: ("pair", _semantics),
    FAITHFULNESS: ("pair", _faithfulness),
    ABLATION: ("pair", _ablation),
    COMPARISON: ("with the ARM", _comparison),
    SWEEP: ("mdm", _sweep),
    ALTERNATIVES: ("pair", _alternatives),
    CONCLUSIONS: ("with the ARM", _conclusions),
}
"""Which members a stage is about, and what it does for one of them on one task."""


def is_about(stage: str, model: str) -> bool:
    """Whether a stage does something for a member."""
    return {
        "all": True,
        "pair": model in KINDS,
        "controls": model not in KINDS,
        "with the ARM": model != "arm",
        "mdm": model == "mdm",
    }[STAGE_WORK[stage][0]]
