"""Edge scores of a run: how much each edge of each model matters on the pooled examples.

Scores can be averaged over shards of examples before they are stored. All shards must hold equally
many examples, or those of a smaller last one would count for more than the others; and there must
be as many shards as a comparison needs to resample and to halve. A pool is refused that cannot be
cut so. It is not cut short: what was pooled is scored.

Of the ARM's and the MDM's denoising steps, sums over groups of rows are kept beside the sum over
all steps (`attribution.step_sums`): curves over steps rest on them. Of controls, of checkpoints and
of other numbers of steps no stage reads a single step, so the sum is all that is kept.

The sample of candidates that not both models solve is scored alike, teacher-forced in the order in
which the MDM wrote its own answer, example by example. Of its steps the sum alone is kept too.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from mechshift.array_file import ArrayFile, ArrayShape
from mechshift.attribution import (
    EdgeScores,
    attribute,
    average_over_shards,
    concatenate_scores,
    score_dtype,
    step_groups,
    steps_by_example,
    sum_over_steps,
)
from mechshift.comparison import MIN_EXAMPLES as MIN_SHARDS
from mechshift.comparison import drawn_together, shard_clusters
from mechshift.denoising import (
    Canvas,
    Schedule,
    as_one_step,
    build_canvases,
    example_clusters,
)
from mechshift.errors import ConfigError
from mechshift.flat_records import read_record
from mechshift.models import LanguageModel, ModelPair
from mechshift.progress import Advance
from mechshift.run.folders import (
    KINDS,
    OTHERS,
    POOL,
    SCORES,
    member_title,
    others_folder,
    scores_folder,
)
from mechshift.run.pools import other_canvases, pooled_examples, pooled_task, pools_with_others
from mechshift.run.settings import AttributionSettings, RunSettings
from mechshift.run.stage import (
    ChunkedWork,
    ChunkTable,
    Piece,
    PlacedChunk,
    Stage,
    write_pieces,
)
from mechshift.run.store import model_inputs, pool_manifests, read_pool
from mechshift.tasks import CommonPool


def score_edges(
    run: Path, pair: ModelPair, settings: AttributionSettings, *, quiet: bool = False
) -> None:
    """Write the edge scores of every member of the pair on every pooled task, where missing.

    Raises:
        ArtifactError: the run has no pool, or holds other scores.
        ConfigError: a pool that cannot be cut into shards of this size.
        AttributionError: a batch does not fit in memory, or the method refuses the metric.
    """
    pieces = score_pieces(run, pair.members, pool_manifests(run), settings)
    write_pieces(run, ATTRIBUTE, pieces, quiet=quiet)


def score_others(
    run: Path, pair: ModelPair, settings: AttributionSettings, *, quiet: bool = False
) -> None:
    """Write the same of the sample of candidates that not both models solve, where a pool has one.

    Raises:
        ArtifactError: the run has no pool, or holds other scores.
        AttributionError: a batch does not fit in memory, or the method refuses the metric.
    """
    write_pieces(run, ATTRIBUTE_OTHERS, other_pieces(run, pair.members, settings), quiet=quiet)


def other_pieces(
    run: Path, members: Mapping[str, LanguageModel], settings: AttributionSettings
) -> Iterator[Piece]:
    """Nothing for a task whose candidates are all solved, or of which no others were kept."""
    for task, pool in pools_with_others(run):
        metric = settings.metric or pooled_task(task, pool).metric
        resolved = replace(settings, metric=metric, steps="summed", examples_per_shard=1)
        for member, model in members.items():
            yield Piece(
                folder=others_folder(run, task, member),
                config=score_config(task, model, resolved),
                inputs=model_inputs(run, task, model),
                prepare=partial(_other_work, task, member, model, pool, resolved),
                stage=SCORES,
            )


def _other_work(
    task: str, member: str, model: LanguageModel, pool: CommonPool, settings: AttributionSettings
) -> ChunkedWork:
    canvases = other_canvases(pool, model)
    title = f"{task}: score {member_title(member)}, not solved by both"
    return _canvases_work(title, model, canvases, settings, groups=None)


def score_pieces(
    run: Path,
    members: Mapping[str, LanguageModel],
    tasks: Iterable[str],
    settings: AttributionSettings,
) -> Iterator[Piece]:
    """The same for some models by the names of their folders, on some pooled tasks."""
    pools = {task: read_pool(run, task, "discovery") for task in tasks}
    for pool in pools.values():
        check_shards(len(pool.examples), settings.examples_per_shard)
    for task, pool in pools.items():
        metric = settings.metric or pooled_task(task, pool).metric
        resolved = replace(settings, metric=metric)
        for member, model in members.items():
            yield Piece(
                folder=scores_folder(run, task, member),
                config=score_config(task, model, resolved),
                inputs=model_inputs(run, task, model),
                prepare=partial(
                    score_work,
                    f"{task}: score {member_title(member)}",
                    model,
                    pool,
                    pool.schedule,
                    resolved,
                    by_step=member in KINDS,
                ),
            )


def score_config(task: str, model: LanguageModel, settings: AttributionSettings) -> dict[str, Any]:
    """What decides the scores of a model on the pool's own schedule, but for the pool."""
    return {
        "task": task,
        "model": model.name,
        "graph": asdict(model.graph(grouped=settings.grouped)),
        "attribution": settings.manifest_config(),
    }


def score_work(
    title: str,
    model: LanguageModel,
    pool: CommonPool,
    schedule: Schedule,
    settings: AttributionSettings,
    *,
    by_step: bool,
) -> ChunkedWork:
    """How the edge scores of a pool in some schedule are made, with a metric that is settled.

    No shard lies in two chunks, which `examples_per_chunk` sees to.

    Args:
        title: of the progress bar.
        model: that is scored.
        pool: the examples.
        schedule: in which order their targets are written.
        settings: with a metric.
        by_step: whether a stage reads scores at each step, so that sums over groups are kept.
    """
    canvases = build_canvases(model, pooled_examples(pool, model), schedule)
    groups = None
    if settings.steps == "grouped" and schedule.num_steps > 1 and by_step:
        clusters = shard_clusters(example_clusters(canvases), settings.examples_per_shard)
        groups = step_groups(drawn_together(clusters))
    return _canvases_work(title, model, canvases, settings, groups)


def _canvases_work(
    title: str,
    model: LanguageModel,
    canvases: list[Canvas],
    settings: AttributionSettings,
    groups: Int[np.ndarray, " row"] | None,
) -> ChunkedWork:
    """The same of canvases; `groups` of rows over which scores at each step are summed."""
    metric = settings.metric
    assert metric is not None

    def compute(canvases: list[Canvas], advance: Advance) -> EdgeScores:
        scores = attribute(
            model,
            canvases,
            metric=metric,
            method=settings.method,
            grouped=settings.grouped,
            batch_size=settings.batch_size,
            progress=advance,
            **settings.options(),
        )
        scores = average_over_shards(scores, settings.examples_per_shard)
        if settings.steps != "grouped":
            return scores
        start = canvases[0].example // settings.examples_per_shard
        of_rows = None if groups is None else groups[start : start + len(scores.values)]
        return sum_over_steps(scores, of_rows)

    if settings.steps == "summed":
        canvases = [as_one_step(canvas) for canvas in canvases]
    return ChunkedWork(
        title=title,
        canvases=canvases,
        chunk_size=settings.examples_per_chunk,
        compute=compute,
        read=partial(read_record, EdgeScores, stage=SCORES),
        join=concatenate_scores,
        table=_table(model, canvases, settings, groups),
    )


def _table(
    model: LanguageModel,
    canvases: Sequence[Canvas],
    settings: AttributionSettings,
    groups: Int[np.ndarray, " row"] | None,
) -> ChunkTable:
    """Where the scores of chunks belong among those of all canvases."""
    graph, shard = model.graph(grouped=settings.grouped), settings.examples_per_shard
    steps, dtype = steps_by_example(canvases), score_dtype(model.dtype)
    start, num_examples, num_steps = min(steps), len(steps), max(steps.values())
    num_rows = num_examples // shard
    stored_steps = 1 if settings.steps == "grouped" else num_steps
    of_step = ArrayShape("float64", (num_examples, num_steps))
    of_example = ArrayShape("int64", (num_examples,))
    arrays = {
        "values": ArrayShape(dtype, (num_rows, stored_steps, graph.num_edges)),
        "clusters": of_example,
        "num_steps": of_example,
        **dict.fromkeys(("clean_metric", "corrupted_metric", "input_score"), of_step),
    }
    if shard > 1:
        arrays["by_source"] = ArrayShape("float32", (num_examples, graph.num_sources))
    of_group = np.zeros(0, dtype=np.int64) if groups is None else np.bincount(groups)
    if groups is not None:
        arrays["step_groups"] = ArrayShape("int64", (num_rows,))
        arrays["step_sums"] = ArrayShape(dtype, (len(of_group), num_steps, graph.num_edges))

    def place(scores: EdgeScores, first: int) -> PlacedChunk:
        """Sums over groups that have rows in other chunks too are left, in float64."""
        rows = [
            (name, (first - start) // (shard if shape.shape[0] == num_rows else 1), values)
            for name, shape in arrays.items()
            if name != "step_sums" and (values := getattr(scores, name)) is not None
        ]
        if groups is None:
            return PlacedChunk(rows, {})
        assert scores.step_sums is not None
        assert scores.step_groups is not None
        numbers, counts = np.unique(scores.step_groups, return_counts=True)
        is_whole = counts == of_group[numbers]
        for number, sums in zip(numbers[is_whole], scores.step_sums[is_whole], strict=True):
            rows.append(("step_sums", int(number), sums[None].astype(dtype)))
        return PlacedChunk(
            rows, {"groups": numbers[~is_whole], "sums": scores.step_sums[~is_whole]}
        )

    def finish(file: ArrayFile, left: Sequence[Mapping[str, np.ndarray]]) -> EdgeScores:
        if groups is not None:
            for number in np.unique(np.concatenate([one["groups"] for one in left])):
                total = np.zeros((num_steps, graph.num_edges))  # in float64, as those of the chunks
                for one in left:
                    for at in np.flatnonzero(one["groups"] == number):
                        sums = one["sums"][at]
                        total[: len(sums)] += sums
                file.write("step_sums", int(number), total[None].astype(dtype))
        return EdgeScores(graph=graph, examples_per_shard=shard, **file.read())

    return ChunkTable(arrays=arrays, place=place, finish=finish)


def check_shards(num_examples: int, examples_per_shard: int) -> None:
    """Refuse shards into which a pool cannot be cut.

    Raises:
        ConfigError: a smaller last shard, or fewer shards than a comparison takes.
    """
    possible = possible_shards(num_examples)
    if examples_per_shard in possible:
        return
    left = num_examples % examples_per_shard
    if left:
        why = f"the last one would hold {left} and count as much as the others"
    else:
        why = (
            f"these are {num_examples // examples_per_shard}, and fewer than {MIN_SHARDS} do not"
            " say how certain a comparison is"
        )
    raise ConfigError(
        f"a pool of {num_examples} examples cannot be scored in shards of {examples_per_shard}:"
        f" {why}. examples_per_shard can be {', '.join(map(str, possible))}."
    )


def possible_shards(num_examples: int) -> list[int]:
    """The sizes of shards that a pool can be cut into, ascending; 1 always is one.

    A pool that is too small for any comparison is not refused here.
    """
    largest = num_examples // MIN_SHARDS
    return [1, *(size for size in range(2, largest + 1) if num_examples % size == 0)]


def check_settings(settings: RunSettings) -> None:
    """Refuse shards into which the pools of a run cannot be cut.

    Raises:
        ConfigError: see `check_shards`.
    """
    check_shards(settings.pool.num_examples, settings.attribution.examples_per_shard)


ATTRIBUTE = Stage(
    name=SCORES,
    command="attribute",
    about="scores every edge of both models and of their controls on the discovery examples",
    reads=(POOL,),
    check=check_settings,
    pieces=lambda given: score_pieces(
        given.run, given.pair.members, pool_manifests(given.run), given.settings.attribution
    ),
)

ATTRIBUTE_OTHERS = Stage(
    name=OTHERS,
    command="attribute",
    about="scores a sample of the candidates that not both models solve, unless --pool.num-others"
    " is 0",
    reads=(POOL,),
    pieces=lambda given: other_pieces(given.run, given.pair.members, given.settings.attribution),
)
