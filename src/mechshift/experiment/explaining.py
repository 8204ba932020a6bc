"""Can a sentence say when the described neurons fire? Only asked for, never part of a run.

What is needed lies in the run: contexts and activations of each neuron, and the text of each token.
So the models of the pair are not loaded, and the text model may be asked on another machine.
"""

from pathlib import Path
from typing import Any

from mechshift.artifacts import artifact_hash, is_current, is_written, write_artifact
from mechshift.errors import ArtifactError
from mechshift.experiment.settings import ExplanationSettings, find_device
from mechshift.experiment.stores import (
    EXPLANATIONS,
    KINDS,
    explanations_folder,
    member_title,
    pool_manifests,
    read_semantics,
    read_token_texts,
    record_contents,
    semantics_folder,
)
from mechshift.models.folders import resolve_folder, settings_hash, weights_hash
from mechshift.progress import progress_bar
from mechshift.semantics import EndpointModel, TextModel, explain_neurons, load_local_model


def explain_run(
    run: Path, settings: ExplanationSettings, *, device: str = "auto", quiet: bool = False
) -> None:
    """Write a sentence for each neuron, and how well it predicts, where they are missing.

    Args:
        run: a run folder whose components were analysed.
        settings: the text model, and how many neurons of each model and task.
        device: of a local text model: `cpu`, `cuda`, `cuda:1`, or `auto`.
        quiet: no progress bars.

    Raises:
        ArtifactError: components were not analysed, or the run holds other explanations.
        SemanticsError: the text model cannot be loaded or does not answer.
    """
    tasks = list(pool_manifests(run))
    for task in tasks:
        for kind in KINDS:
            if not is_written(semantics_folder(run, task, kind)):
                raise ArtifactError(
                    f"{run} holds no neurons of the {kind.upper()} on '{task}'; run"
                    f" `mechshift analyse {run}` first."
                )
    text_model, weights = _text_model(settings, device)
    for task in tasks:
        for kind in KINDS:
            folder = explanations_folder(run, task, kind)
            made_from: dict[str, Any] = {
                "stage": EXPLANATIONS,
                "config": {
                    "task": task,
                    "explainer": text_model.name,
                    "num_neurons": settings.num_neurons,
                    "max_tokens": settings.max_tokens,
                },
                "inputs": {"semantics": artifact_hash(semantics_folder(run, task, kind))} | weights,
            }
            if is_current(folder, **made_from):
                continue
            neurons = read_semantics(run, task, kind).neurons
            total = min(settings.num_neurons, len(neurons.names))
            title = f"{task}: explain {member_title(kind)}"
            with progress_bar(title, total, quiet=quiet) as advance:
                explanations = explain_neurons(
                    neurons,
                    read_token_texts(run, task, kind),
                    text_model,
                    num_neurons=settings.num_neurons,
                    progress=advance,
                )
            write_artifact(folder, **made_from, **record_contents(explanations))


def _text_model(settings: ExplanationSettings, device: str) -> tuple[TextModel, dict[str, str]]:
    """The text model, and the hashes of what it is read from where they can be known."""
    if settings.local is None:
        assert settings.endpoint is not None and settings.model is not None
        endpoint = EndpointModel(
            base_url=settings.endpoint,
            model=settings.model,
            api_key_variable=settings.api_key_variable,
            max_tokens=settings.max_tokens,
            timeout=settings.timeout,
        )
        return endpoint, {}
    model = load_local_model(
        settings.local, device=find_device(device), max_new_tokens=settings.max_tokens
    )
    folder = resolve_folder(settings.local, None)
    return model, {
        "explainer": weights_hash(folder),
        "explainer_settings": settings_hash(folder, folder),
    }
