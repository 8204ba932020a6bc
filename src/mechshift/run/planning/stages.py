"""Stages of a run as a plan knows them: what each does for one model on one task.

The table `PLANNED` has an entry for every stage of `mechshift.run.STAGES` but the report; order,
and what `--skip` and `--also` do, come from there. Adding a stage is adding an entry.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import ceil, prod
from typing import Literal, NamedTuple

import numpy as np

from mechshift.ablation import max_num_plans, whole_passes
from mechshift.ablation.decoded import decodable
from mechshift.ablation.single_components import num_forward_passes
from mechshift.attribution import NUM_GROUPS
from mechshift.attribution.position_flow_record import part_shapes
from mechshift.evaluation import NUM_REDISCOVERED
from mechshift.run import folders
from mechshift.run.planning import costs, memory
from mechshift.run.planning.costs import Work, forward, without_readouts
from mechshift.run.planning.machine import READ_BYTES
from mechshift.run.planning.memory import WIDE
from mechshift.run.planning.workload import Batches, ModelOnTask, make_batches
from mechshift.run.settings import EvaluationSettings, RunSettings
from mechshift.run.stages import STAGES
from mechshift.run.step_sweep import (
    default_num_steps,
    has_num_steps,
    longest_target,
    with_num_steps,
)
from mechshift.semantics.hidden_units import EXAMPLES_PER_CHUNK

CONCLUSION_SECONDS, REPORT_SECONDS = 1.0, 5.0
"""Of one member's quantities on one task, beside reading its scores, and of the page: guesses."""

SHIFTS_BY_TEMPLATE = 2
"""Shifts of one control that take as many rows as the MDM by template: as counted for eight
templates, their noise-free overlaps and as many random groups."""

SHIFTS_ON_CANDIDATES = 2
"""The same of a member on all candidates, on the others and on common ones, and without each of 32
blocks."""


class PlannedStage(NamedTuple):
    """Stage as a plan knows it."""

    members: Literal["all", "pair", "controls", "with the ARM", "mdm"]
    """Whom it does something for; `with the ARM`: those that are compared with it."""
    work: Callable[[ModelOnTask, int], Work]
    """For a model on a task, with so many canvases in a batch."""
    called: str
    """In a refusal."""
    option: str = ""
    """Settings that have its batch size, which is then chosen."""

    def is_about(self, member: str) -> bool:
        """Whether it does something for a member of the run."""
        return {
            "all": True,
            "pair": member in folders.KINDS,
            "controls": member not in folders.KINDS,
            "with the ARM": member != "arm",
            "mdm": member == "mdm",
        }[self.members]


def wanted_stages(settings: RunSettings) -> dict[str, PlannedStage]:
    """The stages of a run but the report, by name and in order."""
    names = [stage.name for stage in STAGES if stage.is_wanted(settings)]
    return {name: PLANNED[name] for name in names if name != folders.REPORT}


def _pool(model: ModelOnTask, _: int) -> Work:
    """Candidates are tried in rounds of as many as are wanted (`tasks.build_pool`)."""
    pool, rounds = model.settings.pool, _rounds(model)
    discovery, held_out = pool.num_examples, pool.num_held_out
    return costs.decoding(model, discovery, rounds) + costs.decoding(model, held_out, rounds)


def _rounds(model: ModelOnTask) -> int:
    return min(model.settings.pool.max_candidates, ceil(1 / model.solved))


def _num_others(model: ModelOnTask) -> int:
    """Of the candidates that are tried and not both models solve, those that are scored too."""
    pool = model.settings.pool
    tried = _rounds(model) * pool.num_examples
    return min(pool.num_others, round((1 - model.solved) * tried))


def _others(model: ModelOnTask, batch_size: int) -> Work:
    """Summed over steps; a chunk of them is no larger than one of the pool's."""
    num_others = _num_others(model)
    if not num_others:
        return Work()
    batches = model.canvases(num_others, batch_size, model.settings.attribution.chunk_size)
    stored = num_others * (model.graph.num_edges * WIDE + 3 * 8)
    scored = costs.scoring(model, replace(batches, slots=np.ones_like(batches.slots)))
    return scored + Work(disk_bytes=stored)


def _scores(model: ModelOnTask, batch_size: int) -> Work:
    chunk_size = model.settings.attribution.examples_per_chunk
    batches, num_steps = model.discovery(batch_size, chunk_size), model.schedule.num_steps
    return _scoring(model, batches, num_steps, by_step=model.is_read_by_step)


def _scoring(model: ModelOnTask, batches: Batches, num_steps: int, *, by_step: bool) -> Work:
    if model.settings.attribution.steps == "summed":  # an ARM's steps count as one
        batches = replace(batches, slots=np.ones_like(batches.slots))
    stored = _stored_bytes(model, num_steps, by_step=by_step)
    kept = Work(disk_bytes=stored, peaks=(memory.chunk(model),))
    return costs.scoring(model, batches) + kept


def _stored_bytes(model: ModelOnTask, num_steps: int, *, by_step: bool) -> int:
    """With both metrics and the sum out of `input` of every example and step."""
    small = num_steps * model.settings.pool.num_examples * 3 * 8
    return score_bytes(model, num_steps, by_step=by_step) + small


def score_bytes(model: ModelOnTask, num_steps: int, *, by_step: bool) -> int:
    """Scores of all edges in so many denoising steps, on disk; a shard has those of an example.

    Args:
        model: on a task.
        num_steps: denoising steps.
        by_step: whether sums over groups at each step are kept (`run.scores`).
    """
    rows, steps = model.num_rows, model.settings.attribution.steps
    kept = rows
    if steps == "each":
        kept = rows * num_steps
    elif steps == "grouped" and num_steps > 1 and by_step:
        kept = rows + min(NUM_GROUPS, rows) * num_steps
    return kept * model.graph.num_edges * WIDE


def _answers(model: ModelOnTask, _: int) -> Work:
    return costs.decoding(model, model.settings.pool.num_held_out)


def _flow(model: ModelOnTask, batch_size: int) -> Work:
    """Of the pooled examples, and of the candidates that not both models solve."""
    pool, chunk_size = model.settings.pool, model.settings.attribution.chunk_size
    parts = part_shapes(model.shape.num_layers, model.num_spans).values()
    of_example = model.schedule.num_steps * (sum(map(prod, parts)) * WIDE + 2 * 8)
    flow = costs.tracing_flow(model, model.discovery(batch_size, chunk_size))
    if num_others := _num_others(model):
        flow += costs.tracing_flow(model, model.canvases(num_others, batch_size, chunk_size))
    return flow + Work(disk_bytes=(pool.num_examples + num_others) * of_example)


def _semantics(model: ModelOnTask, batch_size: int) -> Work:
    settings, batches = model.settings.semantics, model.discovery(batch_size)
    first = np.arange(0, settings.num_sequences, batch_size)
    rows = np.diff(first, append=settings.num_sequences)
    lens = (model.graph.num_sources + model.shape.num_layers + 1) * (3 + settings.num_top_tokens)
    read = int(batches.readouts.sum()) * (lens + model.graph.num_sources) * WIDE
    components = (
        costs.reading(model, batches, num_patterns=2)
        + costs.reading(model, make_batches(rows, 2 * settings.sequence_length))
        + Work(disk_bytes=read)
    )
    if model.shape.num_experts:  # a mixture's neurons are not described
        if not model.settings.graph.experts:
            return components
        num_scores = model.shape.num_layers * model.shape.num_experts
        stored = 2 * 3 * num_scores * WIDE
        return components + costs.attributing_experts(model, batches) + Work(disk_bytes=stored)
    contexts = settings.num_neurons * settings.num_contexts * (2 * settings.context_radius + 1)
    return (
        components
        + costs.attributing_neurons(model, model.discovery(batch_size, EXAMPLES_PER_CHUNK))
        + forward(model, without_readouts(batches))  # what the chosen units do
        + Work(disk_bytes=contexts * 2 * 8)
    )


def circuit_sizes_run(
    settings: EvaluationSettings, sizes: Sequence[int], compared: int
) -> list[int]:
    """Sizes of all circuits that one model runs [edges].

    Both models' circuits, of `sizes`; baselines; and, at the compared size, those found on parts of
    the discovery examples.
    """
    baseline_sizes = sizes if settings.baseline_sizes == "all" else [compared]
    # Random ones, and one chosen by activation.
    baselines = (settings.num_random + 1) * [*baseline_sizes]
    return [*sizes, *sizes, *baselines, *(settings.rediscover * NUM_REDISCOVERED * [compared])]


def _faithfulness(model: ModelOnTask, batch_size: int) -> Work:
    settings, compared = model.settings.evaluation, model.compared_size
    sizes = settings.sizes(model.graph.num_edges, compared)
    # Baselines are chosen by activation; means take a pass more, at most: canvases of shapes that
    # no held-out one has are left out.
    measuring = forward(model, model.discovery(batch_size), 2 + (settings.ablation == "mean"))
    run = circuit_sizes_run(settings, sizes, compared)
    return measuring + costs.circuits(model, model.held_out(batch_size), run)


def _ablation(model: ModelOnTask, batch_size: int) -> Work:
    """At most: draws of a control that do not exist are not run."""
    settings, held_out = model.settings.ablation, model.settings.pool.num_held_out
    examples = min(settings.num_examples or held_out, held_out)
    plans = max_num_plans(model.graph, settings, with_circuit=True)
    single = num_forward_passes(model.graph, 1, settings.single_replacement)
    passes = 2 + plans * len(settings.replacements) + single
    means = ("mean" in settings.replacements) + (settings.single_replacement == "mean")
    whole = whole_passes(model.graph, settings)
    work = costs.ablating(model, model.canvases(examples, batch_size), passes, whole)
    if settings.decode:
        means += "mean" in decodable(settings)
        runs = 1 + plans * len(decodable(settings))
        work += forward(model, model.decoding(examples, batch_size), runs)
    # Norms, and means, are measured with passes of their own, and no logits.
    return work + costs.ablating(model, without_readouts(model.discovery(batch_size)), 1 + means)


def _comparison(model: ModelOnTask, _: int) -> Work:
    return costs.comparing(model, model.schedule.num_steps, whole=model.name == "mdm")


def _sweep(model: ModelOnTask, batch_size: int) -> Work:
    """Scores with every number of steps that is not the pool's own, and a comparison for each."""
    settings, longest = model.settings.sweep, longest_target(model.schedule)
    asked = {*(settings.num_steps or default_num_steps(model.schedule))}
    swept = [steps for steps in asked if steps <= longest > 1]
    shard = model.settings.attribution.examples_per_shard
    whole_shards = -(-settings.chunk_size // shard) * shard
    work = costs.comparing(model, 1, whole=False, times=len(swept))
    for steps in swept:
        if not has_num_steps(model.schedule, steps):
            schedule = with_num_steps(model.schedule, steps)
            examples = model.settings.pool.num_examples
            batches = model.canvases(examples, batch_size, whole_shards, schedule)
            work += _scoring(model, batches, schedule.num_steps, by_step=False)
    return work


def _alternatives(model: ModelOnTask, batch_size: int) -> Work:
    """At most: penalties that give one circuit are run once."""
    settings = model.settings.alternatives
    sizes = (1 + len({*settings.factors}) + len({*settings.shares})) * [model.compared_size]
    means = 2 * (model.settings.evaluation.ablation == "mean")
    return (
        costs.circuits(model, model.discovery(batch_size), sizes)
        + costs.circuits(model, model.held_out(batch_size), sizes)
        + forward(model, model.discovery(batch_size), means)
    )


def _conclusions(model: ModelOnTask, _: int) -> Work:
    """Every quantity of the MDM or a control; its scores and the ARM's are read once more.

    The MDM is measured by template too, unless scores are means over shards; every member on all
    candidates, where not both models solve some.
    """
    read = 2 * _stored_bytes(model, model.schedule.num_steps, by_step=model.is_read_by_step)
    work = Work(host_seconds=CONCLUSION_SECONDS + read / READ_BYTES)
    if model.name == "mdm" and model.settings.attribution.examples_per_shard == 1:
        work += costs.comparing(model, 1, whole=False, times=SHIFTS_BY_TEMPLATE)
    if _num_others(model):
        work += costs.comparing(model, 1, whole=False, times=SHIFTS_ON_CANDIDATES)
    return work


PLANNED: Mapping[str, PlannedStage] = {
    folders.POOL: PlannedStage("pair", _pool, "decoding"),
    folders.SCORES: PlannedStage("all", _scores, "attribution", "attribution"),
    folders.OTHERS: PlannedStage("all", _others, "attribution", "attribution"),
    folders.CONTROLS: PlannedStage("controls", _answers, "decoding"),
    folders.FLOW: PlannedStage("all", _flow, "flow", "attribution"),
    folders.SEMANTICS: PlannedStage("pair", _semantics, "semantics", "semantics"),
    folders.FAITHFULNESS: PlannedStage("pair", _faithfulness, "circuit evaluation", "evaluation"),
    folders.ABLATION: PlannedStage("pair", _ablation, "ablation", "ablation"),
    folders.COMPARISON: PlannedStage("with the ARM", _comparison, "comparing scores"),
    folders.SWEEP: PlannedStage("mdm", _sweep, "the sweep", "sweep"),
    folders.ALTERNATIVES: PlannedStage("pair", _alternatives, "other circuits", "alternatives"),
    folders.CONCLUSIONS: PlannedStage("with the ARM", _conclusions, "conclusions"),
}
"""Stage -> what it does."""
