"""The state of a training, from which a killed one goes on with the same bits.

Weights and optimizers as safetensors, and the step, the state of the generator and the losses since
the last line of the log beside them. No pickle. A new state is complete before the old one goes,
and its manifest holds the SHA-256 of each file, without which a flipped bit would go on unseen.

Gathering and spreading over processes is left to torch.distributed.checkpoint.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec import Struct
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_state_dict,
)
from torch.optim import Optimizer

from mechshift.artifacts import file_hash
from mechshift.disk import move_into_place
from mechshift.errors import PosttrainingError
from mechshift.input_files import read_json

_WEIGHTS, _OPTIMIZERS, _REST = "weights.safetensors", "optimizers.safetensors", "state.json"
_MANIFEST = "manifest.json"
_GENERATOR = "generator"
_OF = "//"
"""Between the name of a parameter and that of what an optimizer remembers of it."""
_PREFIX = "state-"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Progress of a training, besides its weights and optimizers."""

    step: int
    """Steps that are done."""
    losses: tuple[float, ...]
    """Of the steps since the last line of the log."""
    generator: Tensor
    """The state of what draws batches and noise."""


class _Rest(Struct):
    """Parts of a state beside its tensors."""

    step: int
    losses: tuple[float, ...]
    param_groups: list[dict[str, Any]]


class _Manifest(Struct):
    """The files of a state."""

    files: dict[str, str]
    """Name -> SHA-256 [hexadecimal]."""


def save_state(
    folder: Path,
    model: nn.Module,
    optimizers: Sequence[Optimizer],
    progress: Progress,
    *,
    is_main: bool,
) -> None:
    """Write a state into `folder` and remove older ones; every process must call it."""
    gathered: Any = get_state_dict(model, list(optimizers), options=_options())
    weights, moments = gathered
    if not is_main:
        return
    name = f"{_PREFIX}{progress.step:08d}"
    partial, final = folder / f".{name}.partial", folder / name
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    _save(weights, partial / _WEIGHTS)
    tensors = {
        f"{parameter}{_OF}{name}": tensor
        for parameter, own in moments["state"].items()
        for name, tensor in own.items()
    }
    _save({**tensors, _GENERATOR: progress.generator}, partial / _OPTIMIZERS)
    rest = {
        "step": progress.step,
        "losses": progress.losses,
        "param_groups": moments["param_groups"],
    }
    (partial / _REST).write_text(json.dumps(rest), encoding="utf-8")
    files = {path.name: file_hash(path) for path in sorted(partial.iterdir())}
    (partial / _MANIFEST).write_text(json.dumps({"files": files}, indent=2), encoding="utf-8")
    move_into_place(partial, final, replace=True)
    for older in _states(folder):
        if older != final:
            shutil.rmtree(older)


def load_state(folder: Path, model: nn.Module, optimizers: Sequence[Optimizer]) -> Progress | None:
    """Put the last state in `folder` into the model and its optimizers; None: there is none.

    Raises:
        PosttrainingError: the state is damaged, or no longer as it was written.
    """
    states = _states(folder)
    if not states:
        return None
    try:
        _check_files(states[-1])
        weights: dict[str, Any] = dict(load_file(states[-1] / _WEIGHTS))
        tensors = load_file(states[-1] / _OPTIMIZERS)
        rest = read_json(states[-1] / _REST, _Rest, error=PosttrainingError)
        generator = tensors.pop(_GENERATOR)
        progress = Progress(step=rest.step, losses=rest.losses, generator=generator)
        moments: dict[str, Any] = {}
        for key, tensor in tensors.items():
            parameter, _, name = key.partition(_OF)
            moments.setdefault(parameter, {})[name] = tensor
        set_state_dict(
            model,
            list(optimizers),
            model_state_dict=weights,
            optim_state_dict={"state": moments, "param_groups": rest.param_groups},
            options=_options(),
        )
    except (
        OSError,
        ValueError,
        TypeError,
        KeyError,
        RuntimeError,
        SafetensorError,
        PosttrainingError,
    ) as error:
        raise PosttrainingError(
            f"the state {states[-1]} cannot be read ({error}); delete it to begin again from step"
            " 0: checkpoints stay until the same step writes them anew."
        ) from error
    return progress


def _check_files(state: Path) -> None:
    """Raise a ValueError that says which file is not as it was written."""
    files = read_json(state / _MANIFEST, _Manifest, error=PosttrainingError).files
    for name in (_WEIGHTS, _OPTIMIZERS, _REST):
        if file_hash(state / name) != files.get(name):
            raise ValueError(f"{name} was changed after it was written: its SHA-256 differs")


def saved_step(folder: Path) -> int | None:
    """The step of the last state in `folder`; None: there is none."""
    states = _states(folder)
    return int(states[-1].name.removeprefix(_PREFIX)) if states else None


def gathered_weights(model: nn.Module) -> dict[str, Any]:
    """All weights, in the main process; every process must call it."""
    weights: dict[str, Any] = get_model_state_dict(model, options=_options())
    return weights


def _options() -> StateDictOptions:
    return StateDictOptions(full_state_dict=True, cpu_offload=True)


def _states(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{_PREFIX}*"))


def _save(tensors: dict[str, Any], path: Path) -> None:
    """Tied weights are written once under each of their names: a state is short-lived."""
    save_file(
        {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}, path
    )
