"""Between which positions of the text does attributed information flow, in each model?

Flow takes the gradients of EAP-IG, whichever method scored the edges and without GIM's rules:
exact patching knows no positions, and so all runs have one kind of flow.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mechshift.artifacts import artifact_hash
from mechshift.attribution import (
    PositionFlow,
    concatenate_position_flows,
    method_options,
    position_flow,
)
from mechshift.denoising import Canvas, EncodedExample, build_canvases
from mechshift.experiment.chunks import ChunkedRecord, write_in_chunks
from mechshift.experiment.pooling import pooled_examples, pooled_task
from mechshift.experiment.settings import AttributionSettings
from mechshift.experiment.stores import (
    FLOW,
    flow_folder,
    member_title,
    pool_folder,
    pool_manifests,
    read_flow,
    read_pool,
    record_contents,
)
from mechshift.models import LanguageModel, ModelPair
from mechshift.progress import Advance

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
    trace_members(run, pair.members, pool_manifests(run), settings, quiet=quiet)


def trace_members(
    run: Path,
    members: Mapping[str, LanguageModel],
    tasks: Iterable[str],
    settings: AttributionSettings,
    *,
    quiet: bool = False,
) -> None:
    """The same for some models by the names of their folders, on some pooled tasks.

    Raises:
        ArtifactError: see `trace_flow`.
        AttributionError: see `trace_flow`.
    """
    for task_name in tasks:
        pool = read_pool(run, task_name, "discovery")
        options = _options(settings, pooled_task(task_name, pool).metric)
        for member, model in members.items():
            examples = pooled_examples(pool, model)
            made_from: dict[str, Any] = {
                "stage": FLOW,
                "config": {"task": task_name, "model": model.name, "flow": options},
                "inputs": {
                    "pool": artifact_hash(pool_folder(run, task_name)),
                    **model.hashes,
                },
            }
            title = f"{task_name}: trace {member_title(member)}"
            write_in_chunks(
                flow_folder(run, task_name, member),
                made_from,
                build_canvases(model, examples, pool.schedule),
                _flow(title, model, examples, options | {"batch_size": settings.batch_size}),
                chunk_size=settings.chunk_size,
                quiet=quiet,
            )


def _options(settings: AttributionSettings, task_metric: str) -> dict[str, Any]:
    """What can change a flow; options that are not set stand with EAP-IG's defaults."""
    known = method_options("eap-ig") | settings.options()
    return {"metric": settings.metric or task_metric} | {name: known[name] for name in PATH_OPTIONS}


def _flow(
    title: str, model: LanguageModel, examples: list[EncodedExample], options: dict[str, Any]
) -> ChunkedRecord[PositionFlow]:
    def make(canvases: list[Canvas], advance: Advance) -> PositionFlow:
        return position_flow(model, canvases, examples, progress=advance, **options)

    return ChunkedRecord(
        title=title,
        make=make,
        contents=record_contents,
        read=read_flow,
        join=lambda flows, _: concatenate_position_flows(flows),
    )
