"""What of a run's flow, semantics and ablations stands in the report, as far as they were computed.

A stage counts where both models' results are whole; one that is missing is left out and named.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mechshift.artifacts import artifact_hash, is_written, read_manifest
from mechshift.comparison import ComparisonSettings, DirectionOfFlow, direction_of_flow
from mechshift.models import Kind
from mechshift.report import ModelSemantics, TaskSemantics
from mechshift.run.ablation_reporting import stored_settings
from mechshift.run.store import (
    ABLATION,
    EXPLANATIONS,
    FLOW,
    KINDS,
    SEMANTICS,
    ablation_folder,
    explanations_folder,
    flow_folder,
    read_flow,
    read_record,
    read_semantics,
    read_token_texts,
    semantics_folder,
)
from mechshift.run.sweep_reporting import sweep_notes
from mechshift.semantics import (
    Explanations,
    Semantics,
    SemanticsSettings,
    lens_profile,
    semantics_shift,
)

FOLDERS = {FLOW: flow_folder, SEMANTICS: semantics_folder, ABLATION: ablation_folder}

COMMANDS = {
    FLOW: "Flow between positions was not traced on {tasks}: `mechshift flow RUN` does it.",
    ABLATION: "No structures were ablated on {tasks}: `mechshift ablate RUN` does it.",
    SEMANTICS: "Components were not analysed on {tasks}: `mechshift analyse RUN` does it.",
}
"""What the report says of a stage that is missing."""


def reported_flow(run: Path, task: str, settings: ComparisonSettings) -> DirectionOfFlow | None:
    """The direction of both models' flow, on the resamples of the comparison.

    Raises:
        ArtifactError: damaged.
        ComparisonError: nothing flows in one of the models.
    """
    if not _is_there(run, FLOW, task):
        return None
    arm, mdm = (read_flow(flow_folder(run, task, kind)) for kind in KINDS)
    return direction_of_flow(arm, mdm, settings)


def reported_semantics(run: Path, task: str) -> TaskSemantics | None:
    """What both models' components do, and the shift between them.

    Raises:
        ArtifactError: damaged.
        SemanticsError: the models were analysed with different settings.
    """
    if not _is_there(run, SEMANTICS, task):
        return None
    arm, mdm = (read_semantics(run, task, kind) for kind in KINDS)
    sentences = [_explanations(run, task, kind) for kind in KINDS]
    texts = [read_token_texts(run, task, kind) for kind in KINDS]
    return TaskSemantics(
        arm=_of_model(arm, sentences[0]),
        mdm=_of_model(mdm, sentences[1]),
        shift=semantics_shift(arm, mdm),
        tokens=texts[0] | texts[1],
    )


def component_inputs(run: Path, tasks: Sequence[str]) -> dict[str, str]:
    """Hashes of what the report shows of these stages."""
    return {
        f"{task}.{stage}.{kind}": artifact_hash(folder(run, task, kind))
        for stage, folder in FOLDERS.items()
        for task in tasks
        if _is_there(run, stage, task)
        for kind in KINDS
    } | {
        f"{task}.{EXPLANATIONS}.{kind}": artifact_hash(explanations_folder(run, task, kind))
        for task in tasks
        for kind in KINDS
        if is_written(explanations_folder(run, task, kind))
    }


def component_config(run: Path, tasks: Sequence[str]) -> dict[str, Any]:
    """Settings of these stages by name, from the first task that has them."""
    return {
        stage: read_manifest(folder(run, task, "arm")).config[stage]
        for stage, folder in FOLDERS.items()
        for task in [task for task in tasks if _is_there(run, stage, task)][:1]
    }


def component_facts(run: Path, tasks: Sequence[str]) -> dict[str, Any]:
    """Fields of `RunFacts`: how these stages were computed, and where they were not."""
    config = component_config(run, tasks)
    missing = {
        stage: [task for task in tasks if not _is_there(run, stage, task)] for stage in FOLDERS
    }
    return {
        "flow": config.get(FLOW),
        "semantics": SemanticsSettings(**config[SEMANTICS]) if SEMANTICS in config else None,
        "ablation": stored_settings(config[ABLATION]) if ABLATION in config else None,
        "not_done": _sentences(missing) + sweep_notes(run, tasks),
    }


def _sentences(missing: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    return tuple(
        COMMANDS[stage].format(tasks=", ".join(tasks)) for stage, tasks in missing.items() if tasks
    )


def _explanations(run: Path, task: str, kind: Kind) -> Explanations | None:
    folder = explanations_folder(run, task, kind)
    return read_record(Explanations, folder, stage=EXPLANATIONS) if is_written(folder) else None


def _of_model(semantics: Semantics, explanations: Explanations | None) -> ModelSemantics:
    return ModelSemantics(
        lens=lens_profile(semantics.lens, semantics.settings),
        roles=semantics.roles,
        neurons=semantics.neurons,
        explanations=explanations,
    )


def _is_there(run: Path, stage: str, task: str) -> bool:
    return all(is_written(FOLDERS[stage](run, task, kind)) for kind in KINDS)
