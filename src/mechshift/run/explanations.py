"""Explanations of neurons: sentences on when they fire. Only asked for, never part of a run.

What is needed lies in the run: contexts and activations of each neuron, and the text of each token.
So the models of the pair are not loaded, and the text model may be asked on another machine.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from mechshift.artifacts import artifact_hash, is_written
from mechshift.errors import ArtifactError
from mechshift.models import Kind
from mechshift.models.folders import resolve_folder, settings_hash, weights_hash
from mechshift.progress import Advance
from mechshift.run.folders import (
    EXPLANATIONS,
    KINDS,
    SEMANTICS,
    explanations_folder,
    member_title,
    semantics_folder,
)
from mechshift.run.pair_options import find_device
from mechshift.run.settings import ExplanationSettings
from mechshift.run.stage import Piece, Stage, Work, write_pieces
from mechshift.run.store import pool_manifests
from mechshift.run.stored import RunTask
from mechshift.semantics import (
    Explanations,
    TextModel,
    explain_neurons,
    load_local_model,
)


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
    write_pieces(run, EXPLAIN, _pieces(run, settings, text_model, weights), quiet=quiet)


def _pieces(
    run: Path, settings: ExplanationSettings, text_model: TextModel, weights: Mapping[str, str]
) -> Iterator[Piece]:
    for task in pool_manifests(run):
        for kind in KINDS:
            yield Piece(
                folder=explanations_folder(run, task, kind),
                config={
                    "task": task,
                    "explainer": text_model.name,
                    "num_neurons": settings.num_neurons,
                    "max_tokens": settings.max_tokens,
                },
                inputs={"semantics": artifact_hash(semantics_folder(run, task, kind)), **weights},
                prepare=partial(_work, run, task, kind, settings, text_model),
            )


EXPLAIN = Stage(
    name=EXPLANATIONS,
    command="explain",
    about="asks a language model for one sentence on when each described neuron fires",
    reads=(SEMANTICS,),
    when="by itself",
)


def _work(
    run: Path, task: str, kind: Kind, settings: ExplanationSettings, text_model: TextModel
) -> Work:
    stored = RunTask(run=run, task=task)
    semantics = stored.semantics(kind)
    assert semantics is not None  # `explain_run` refuses a run without
    neurons = semantics.neurons

    def compute(advance: Advance) -> Explanations:
        return explain_neurons(
            neurons,
            stored.token_texts(kind),
            text_model,
            num_neurons=settings.num_neurons,
            progress=advance,
        )

    total = min(settings.num_neurons, len(neurons.names))
    return Work(title=f"{task}: explain {member_title(kind)}", total=total, compute=compute)


def _text_model(settings: ExplanationSettings, device: str) -> tuple[TextModel, dict[str, str]]:
    """The text model, and the hashes of what it is read from where they can be known."""
    if settings.local is None:
        endpoint = settings.endpoint_model()
        assert endpoint is not None
        return endpoint, {}
    model = load_local_model(
        settings.local, device=find_device(device), max_new_tokens=settings.max_tokens
    )
    folder = resolve_folder(settings.local, None)
    return model, {
        "explainer": weights_hash(folder),
        "explainer_settings": settings_hash(folder, folder),
    }
