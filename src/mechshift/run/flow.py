"""Flow in a run: between which positions of the text attributed information moves, in each model.

Flow takes the gradients of EAP-IG, whichever method scored the edges and without GIM's rules:
exact patching knows no positions, and so all runs have one kind of flow. The sample of candidates
that not both models solve is traced alike, where a pool has one.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from mechshift.attribution import (
    PositionFlow,
    concatenate_position_flows,
    method_options,
    position_flow,
)
from mechshift.denoising import Canvas
from mechshift.flat_records import read_record
from mechshift.models import LanguageModel, ModelPair
from mechshift.progress import Advance
from mechshift.run.folders import FLOW, POOL, flow_folder, member_title, others_flow_folder
from mechshift.run.pools import (
    other_canvases,
    other_examples,
    pool_canvases,
    pooled_examples,
    pooled_task,
    pools_with_others,
)
from mechshift.run.settings import AttributionSettings
from mechshift.run.stage import ChunkedWork, Piece, Stage, write_pieces
from mechshift.run.store import model_inputs, pool_manifests, read_pool
from mechshift.tasks import CommonPool

PATH_OPTIONS = ("ig_steps", "rule")
"""Options of EAP-IG that flow has too."""


def trace_flow(
    run: Path, pair: ModelPair, settings: AttributionSettings, *, quiet: bool = False
) -> None:
    """Write the flow of every member of the pair on every pooled task, where missing.

    Args:
        run: a run folder with a pool.
        pair: the models of the pool.
        settings: metric, points of the path, batch and chunk size; the rest does not matter.
        quiet: no progress bars.

    Raises:
        ArtifactError: the run has no pool, or holds other flows.
        AttributionError: a batch does not fit in memory.
    """
    write_pieces(run, FLOW_STAGE, all_flow_pieces(run, pair.members, settings), quiet=quiet)


def all_flow_pieces(
    run: Path, members: Mapping[str, LanguageModel], settings: AttributionSettings
) -> Iterator[Piece]:
    """Of the pooled examples, then of the candidates that not both models solve."""
    return chain(
        flow_pieces(run, members, pool_manifests(run), settings),
        other_flow_pieces(run, members, settings),
    )


def flow_pieces(
    run: Path,
    members: Mapping[str, LanguageModel],
    tasks: Iterable[str],
    settings: AttributionSettings,
) -> Iterator[Piece]:
    """Of the pooled examples of some tasks, for some models by the names of their folders."""
    for task in tasks:
        pool = read_pool(run, task, "discovery")
        options = _options(settings, pooled_task(task, pool).metric)
        for member, model in members.items():
            title = f"{task}: trace {member_title(member)}"
            yield Piece(
                folder=flow_folder(run, task, member),
                config={"task": task, "model": model.name, "flow": options},
                inputs=model_inputs(run, task, model),
                prepare=partial(_work, title, model, pool, options, settings),
            )


def other_flow_pieces(
    run: Path, members: Mapping[str, LanguageModel], settings: AttributionSettings
) -> Iterator[Piece]:
    """Nothing for a task whose candidates are all solved, or of which no others were kept."""
    for task, pool in pools_with_others(run):
        options = _options(settings, pooled_task(task, pool).metric)
        for member, model in members.items():
            title = f"{task}: trace {member_title(member)}, not solved by both"
            yield Piece(
                folder=others_flow_folder(run, task, member),
                config={"task": task, "model": model.name, "flow": options},
                inputs=model_inputs(run, task, model),
                prepare=partial(_work, title, model, pool, options, settings, others=True),
            )


FLOW_STAGE = Stage(
    name=FLOW,
    command="flow",
    about="traces between which positions of the text attributed information flows",
    reads=(POOL,),
    when="unless skipped",
    pieces=lambda given: all_flow_pieces(given.run, given.pair.members, given.settings.attribution),
)


def _options(settings: AttributionSettings, task_metric: str) -> dict[str, Any]:
    """What can change a flow; options that are not set stand with EAP-IG's defaults."""
    known = method_options("eap-ig") | settings.options()
    return {"metric": settings.metric or task_metric} | {name: known[name] for name in PATH_OPTIONS}


def _work(
    title: str,
    model: LanguageModel,
    pool: CommonPool,
    options: Mapping[str, Any],
    settings: AttributionSettings,
    *,
    others: bool = False,
) -> ChunkedWork:
    """Of the pooled examples, or of the candidates that not both models solve."""
    examples = (other_examples if others else pooled_examples)(pool, model)
    canvases = (other_canvases if others else pool_canvases)(pool, model)

    def compute(canvases: list[Canvas], advance: Advance) -> PositionFlow:
        return position_flow(
            model,
            canvases,
            examples,
            batch_size=settings.batch_size,
            progress=advance,
            **options,
        )

    return ChunkedWork(
        title=title,
        canvases=canvases,
        chunk_size=settings.chunk_size,
        compute=compute,
        read=partial(read_record, PositionFlow, stage=FLOW),
        join=concatenate_position_flows,
    )
