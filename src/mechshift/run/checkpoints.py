"""Checkpoints that a post-training left, and how one of them is read.

    FOLDER                             the final model, and recipe.json with its number of steps
    FOLDER/checkpoints/step-000032     the model after that many steps, a folder like any other

A training of another seed may have no checkpoints: then its ends alone are followed.

Whatever can be wrong with the folders is looked for before a model is loaded: a training of another
parent or objective, a checkpoint of another shape, one beyond the end, one without weights.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from msgspec import Struct
from transformers import PreTrainedTokenizerFast

from mechshift.errors import ModelError
from mechshift.input_files import read_json
from mechshift.models import LanguageModel, ModelSource, PairEntry, read_shape
from mechshift.models.catalogue import (
    check_same_shape,
    check_same_tokens,
    load_entry_arm,
    load_entry_mdm,
)
from mechshift.models.controls import ARM_CONTINUED, ARM_FULL, MDM_OTHER_SEED, control_name
from mechshift.models.folders import folder_at, resolve_folder, settings_hash, weights_hash
from mechshift.topics.trajectory import (
    TRAINING_KINDS,
    Training,
    TrainingKind,
    training_kind,
    training_name,
    training_place,
)

CHECKPOINTS = "checkpoints"
RECIPE_NAME = "recipe.json"

STEP_FOLDER = re.compile(r"step-(\d+)")

AR_OBJECTIVE = "ar"
"""Objective that the recipe of a control names; any other objective makes an MDM."""

FIRST_MEMBERS: dict[TrainingKind, str] = {"diffusion": ARM_FULL, "control": "arm"}
"""The parent is a member of every run, and has the same names here."""


def final_member(training: Training) -> str:
    """The end of a training is a member of every run too."""
    kind, (_, number) = training_kind(training), training_place(training)
    if kind == "control":
        return control_name(ARM_CONTINUED, number)
    return "mdm" if number == 1 else control_name(MDM_OTHER_SEED, number - 1)


def final_sources(entry: PairEntry) -> dict[Training, ModelSource]:
    """The final model of every training of a pair, in the order in which they are shown."""
    of_kind: dict[TrainingKind, tuple[ModelSource, ...]] = {
        "diffusion": (entry.mdm, *entry.other_mdms),
        "control": entry.continued_arms,
    }
    return {
        training_name(kind, number): source
        for kind in TRAINING_KINDS
        for number, source in enumerate(of_kind[kind], start=1)
    }


def option_of(training: Training) -> str:
    """The option that names its final model."""
    if training_kind(training) == "control":
        return "--continued-arm"
    return "--mdm" if training_place(training)[1] == 1 else "--other-mdm"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A model after some steps of a post-training."""

    training: Training
    step: int
    member: str
    """What its folders in a run are called."""
    source: ModelSource | None
    """None: the parent itself, at step 0."""
    weights_hash: str
    settings_hash: str
    """Of its configuration and tokenizer (`LanguageModel.settings_hash`)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Parent:
    """The model that the checkpoints come from."""

    arm: LanguageModel
    as_mdm: LanguageModel | None
    """The same weights, read as the MDM is; None where they cannot be."""
    mdm_tokenizer: PreTrainedTokenizerFast
    """Of the pair's MDM: the examples of the pools are drawn with it."""
    why_not: str = ""
    """Why they cannot."""


def find_checkpoints(entry: PairEntry, steps: Iterable[int] = ()) -> tuple[Checkpoint, ...]:
    """The checkpoints of a pair's post-trainings, ends included and parents not, by step.

    Args:
        entry: its trained models are folders on this machine; the ARM may be a hub id.
        steps: of these some; empty: all. The final models are always among them.

    Raises:
        ModelError: a folder is missing, incomplete or mixed up with another training, or a copy.
    """
    check_no_adapters(entry)
    wanted, found = set(steps), []
    parent = parent_hash(entry)
    for training, final in final_sources(entry).items():
        folder = _folder(final, option_of(training))
        found += wanted_of(finished_checkpoints(folder, entry, training, parent), wanted)
    _check_no_copies(found)
    unknown = wanted - {one.step for one in found}
    if unknown:
        raise ModelError(
            f"there is no checkpoint after {', '.join(map(str, sorted(unknown)))} steps; there are"
            f" some after {', '.join(map(str, sorted({one.step for one in found})))}."
        )
    return tuple(found)


def parent_hash(entry: PairEntry) -> str:
    """SHA-256 [hexadecimal] of the weights that the trainings of a pair began with."""
    return weights_hash(resolve_folder(entry.arm.path, entry.arm.revision))


def wanted_of(checkpoints: Iterable[Checkpoint], steps: Collection[int]) -> list[Checkpoint]:
    """Those after some of these steps, and final models; no steps: all."""
    return [
        one
        for one in checkpoints
        if not steps or one.step in steps or one.member == final_member(one.training)
    ]


def finished_checkpoints(
    folder: Path, entry: PairEntry, training: Training, parent: str
) -> list[Checkpoint]:
    """Every checkpoint of one training that has ended, and last its final model.

    Args:
        folder: what the training wrote.
        entry: the pair.
        training: which of its trainings.
        parent: hash of the parent's weights.

    Raises:
        ModelError: the folder is incomplete or mixed up with another training.
    """
    num_steps = read_plan(folder, entry, training, parent).num_steps
    return _of_training(folder, final_sources(entry)[training], training, num_steps, parent)


def parent_checkpoints(parent: Parent, kinds: Iterable[TrainingKind]) -> tuple[Checkpoint, ...]:
    """Step 0 of each kind; none where the parent cannot be read as its checkpoints are."""
    return tuple(
        Checkpoint(
            training=kind,
            step=0,
            member=FIRST_MEMBERS[kind],
            source=None,
            weights_hash=parent.arm.weights_hash,
            settings_hash=parent.arm.settings_hash,
        )
        for kind in kinds
        if kind == "control" or parent.as_mdm is not None
    )


def load_checkpoint(
    checkpoint: Checkpoint, parent: Parent, entry: PairEntry, *, dtype: str
) -> LanguageModel:
    """Load one checkpoint to the parent's device: read as the final model of its training is.

    Raises:
        ModelError: it cannot be loaded, or does not match the parent.
    """
    without_diffusion = training_kind(checkpoint.training) == "control"
    if checkpoint.source is None:
        model = parent.arm if without_diffusion else parent.as_mdm
        assert model is not None
        return model
    device, name = parent.arm.place or str(parent.arm.device), f"{entry.name}-{checkpoint.member}"
    if without_diffusion:
        model = load_entry_arm(checkpoint.source, name, device=device, dtype=dtype)
    else:
        described = replace(entry, mdm=checkpoint.source)
        model = load_entry_mdm(described, parent.arm.tokenizer, device=device, dtype=dtype)
        model = replace(model, name=name)
    if model.weights_hash != checkpoint.weights_hash:
        raise ModelError(
            f"{checkpoint.source.path} was written anew while it was looked at; give the same"
            " command again."
        )
    check_same_shape(parent.arm, model)
    check_same_tokens(parent.arm, model)
    return model


def check_no_adapters(entry: PairEntry) -> None:
    """Refuse adapters: a recipe names the weights that it began with, checkpoints are whole models.

    Raises:
        ModelError: one of the pair's models has an adapter.
    """
    trained = ((option_of(training), source) for training, source in final_sources(entry).items())
    for option, source in (("--arm", entry.arm), *trained):
        if source.adapter is not None:
            raise ModelError(
                f"a trajectory follows whole models, and {option}-adapter {source.adapter} would"
                f" change {option} alone; leave it out, and give the folder that the training"
                " wrote."
            )


def _check_no_copies(found: Iterable[Checkpoint]) -> None:
    """Refuse a training that ends with the weights of another: it says nothing on chance."""
    ends: dict[str, str] = {}
    for one in found:
        if one.member != final_member(one.training):
            continue
        if one.weights_hash in ends:
            raise ModelError(
                f"{one.member} holds the weights of {ends[one.weights_hash]}: a copy is no further"
                " training; give a model of another seed, or leave it out."
            )
        ends[one.weights_hash] = one.member


def _folder(source: ModelSource, option: str) -> Path:
    folder = folder_at(source.path)
    if folder is None:
        raise ModelError(
            f"{option} {source.path} is not a folder that a post-training wrote; a trajectory needs"
            " one that `mechshift posttrain --first-checkpoint` filled."
        )
    return folder


class TrainingPlan(Struct):
    """Parts that are read of a recipe's settings, which another trainer may have written."""

    num_steps: int
    objective: str
    shift: bool | None = None
    first_checkpoint: int | None = None
    """After so many steps a model is kept, and after twice as many, and so on; 0: none is."""


class _Recipe(Struct):
    config: TrainingPlan
    parent_weights: str | None = None
    """SHA-256 [hexadecimal]."""


def read_plan(folder: Path, entry: PairEntry, training: Training, parent: str) -> TrainingPlan:
    """The recipe of a training, which must be of this kind and this parent.

    Raises:
        ModelError: it is not, or cannot be read.
    """
    path = folder / RECIPE_NAME
    recipe = read_json(path, _Recipe, error=ModelError)
    objective = recipe.config.objective
    shift = entry.shift if recipe.config.shift is None else recipe.config.shift
    kind = training_kind(training)
    if kind == "diffusion" and shift != entry.shift:
        raise ModelError(
            f"{folder} was trained with shift {shift}; give {'--shift' if shift else '--no-shift'}."
        )
    if (objective == AR_OBJECTIVE) != (kind == "control"):
        wanted = f"'{AR_OBJECTIVE}'" if kind == "control" else "one of diffusion"
        raise ModelError(
            f"{folder} was trained with the objective '{objective}', and {option_of(training)} asks"
            f" for {wanted}; are two folders mixed up?"
        )
    if recipe.parent_weights != parent:
        raise ModelError(
            f"{folder} was not trained from the weights of --arm: {RECIPE_NAME} says"
            f" {str(recipe.parent_weights)[:12]}, and those are {parent[:12]}."
        )
    return recipe.config


def _of_training(
    folder: Path, final: ModelSource, training: Training, num_steps: int, parent: str
) -> list[Checkpoint]:
    """Every checkpoint of one training, and last its final model."""
    ends = {0: parent, num_steps: weights_hash(folder)}
    shape = read_shape(folder)
    found = []
    for step, path in step_folders(folder).items():
        if step > num_steps:
            raise ModelError(
                f"{path} lies beyond the {num_steps} steps of {folder / RECIPE_NAME}; are the"
                " checkpoints of two trainings mixed up?"
            )
        if read_shape(path) != shape:
            raise ModelError(
                f"the model in {path} is of another shape than the final one in {folder}; are the"
                " checkpoints of two trainings mixed up?"
            )
        weights = weights_hash(path)
        if step not in ends:
            found.append(_checkpoint(path, step, weights, folder, final, training))
        elif weights != ends[step]:
            whose = "the parent" if step == 0 else f"the final model in {folder}"
            raise ModelError(f"{path} holds other weights than {whose} after as many steps.")
    if not found and training in TRAINING_KINDS:
        raise ModelError(
            f"{folder} holds no {CHECKPOINTS}/step-000032 or alike between its start and its end;"
            " train it with --first-checkpoint."
        )
    last = Checkpoint(
        training=training,
        step=num_steps,
        member=final_member(training),
        source=final,
        weights_hash=ends[num_steps],
        settings_hash=_settings_hash(folder, final),
    )
    return [*found, last]


def checkpoint_on_the_way(
    path: Path, step: int, folder: Path, final: ModelSource, training: Training
) -> Checkpoint:
    """A checkpoint of a training that goes on.

    Args:
        path: the checkpoint's folder.
        step: of the training.
        folder: of the training.
        final: where its final model is going to be, and with which tokenizer it is read.
        training: which of the pair's.

    Raises:
        ModelError: it has no weights or no config.json.
        OSError: it is gone.
    """
    return _checkpoint(path, step, weights_hash(path), folder, final, training)


def _checkpoint(
    path: Path, step: int, weights: str, folder: Path, final: ModelSource, training: Training
) -> Checkpoint:
    source = ModelSource(path=str(path), tokenizer_path=_tokenizer(path, folder, final))
    return Checkpoint(
        training=training,
        step=step,
        member=f"{final_member(training)}-{path.name}",
        source=source,
        weights_hash=weights,
        settings_hash=_settings_hash(path, source),
    )


def _settings_hash(folder: Path, source: ModelSource) -> str:
    named = source.tokenizer_path
    return settings_hash(folder, folder if named is None else resolve_folder(named, None))


def step_folders(folder: Path) -> dict[int, Path]:
    """Step -> folder, ascending; a trainer's own files beside them are none of ours."""
    by_step: dict[int, Path] = {}
    for path in sorted((folder / CHECKPOINTS).glob("*")):
        match = STEP_FOLDER.fullmatch(path.name)
        if match is None:
            continue
        step = int(match[1])
        if step in by_step:
            raise ModelError(f"{path} and {by_step[step].name} are both of step {step}.")
        by_step[step] = path
    return dict(sorted(by_step.items()))


def _tokenizer(checkpoint: Path, folder: Path, final: ModelSource) -> str | None:
    """Its own; else that of the final model, which reads the same text."""
    if (checkpoint / "tokenizer.json").is_file():
        return None
    return final.tokenizer_path or str(folder)
