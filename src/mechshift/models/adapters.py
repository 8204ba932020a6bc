"""A LoRA adapter merged into the model that it was trained on, in memory.

mechshift compares weights, so an adapter is never left beside them: its product is added to every
weight that it adapts, and the model is then a plain one of its class. The adapter is peft's format,
in safetensors.

1. peft puts the adapter's modules on the model, as adapter_config.json says.
2. The stored tensors must be the ones of these modules, by name and shape: peft would leave others
   out, and missing ones at their random start.
3. peft adds scale * B @ A to each weight and puts the class's own modules back.
"""

import hashlib
import warnings
from pathlib import Path

import torch
from peft import (
    PeftConfig,
    get_peft_model,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from safetensors.torch import load_file
from transformers import PreTrainedModel

from mechshift.errors import ModelError
from mechshift.models.folders import ADAPTER_NAMES, first_line


def adapter_hash(folder: Path) -> str:
    """SHA-256 [hexadecimal] over the adapter's settings and weights.

    Raises:
        ModelError: a file is missing; peft would look for a pickle or ask the hub.
    """
    digest = hashlib.sha256()
    for name in ADAPTER_NAMES:
        if not (folder / name).is_file():
            raise ModelError(f"{folder} is no adapter in safetensors: it has no {name}.")
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def merge_into(module: PreTrainedModel, adapter: Path, base: Path) -> PreTrainedModel:
    """The model with an adapter merged in; the one that is given is used up.

    Args:
        module: the model, in float32: a sum in a coarser type is rounded twice.
        adapter: folder of the adapter.
        base: where the model is from, for messages.

    Raises:
        ModelError: no such adapter, one that cannot be merged, or one of another model.
    """
    adapter_hash(adapter)
    try:
        stored = load_file(adapter / ADAPTER_NAMES[1])
        settings = PeftConfig.from_pretrained(str(adapter))
        if settings.is_prompt_learning:
            raise ValueError(f"{settings.peft_type.value} adds to the text, not to weights")
        if getattr(settings, "megatron_config", None):
            raise ValueError("it was trained with Megatron, whose code peft would import")
        settings.base_model_name_or_path = None  # a path of another machine says nothing here
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            # peft 0.21 asks a question of transformers 5.23 by a name that is to go.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            adapted = get_peft_model(module, settings)
        expected = get_peft_model_state_dict(adapted, save_embedding_layers=False)
        _check_same_tensors(stored, expected, adapter, base)
        set_peft_model_state_dict(adapted, stored)
        merged: PreTrainedModel = adapted.merge_and_unload(safe_merge=True)
    except ModelError:
        raise
    except Exception as error:  # peft runs into whatever its settings lead to
        raise ModelError(f"cannot merge {adapter} into {base}: {first_line(error)}") from error
    return merged


def _check_same_tensors(
    stored: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], adapter: Path, base: Path
) -> None:
    ours, theirs = (
        {name: list(tensor.shape) for name, tensor in tensors.items()}
        for tensors in (expected, stored)
    )
    names = [*ours, *(name for name in theirs if name not in ours)]
    differing = [name for name in names if ours.get(name) != theirs.get(name)]
    if differing:
        name = differing[0]
        raise ModelError(
            f"{adapter} was not trained on the model in {base}: {len(differing)} of {len(names)}"
            f" tensors differ, such as '{name}', which is {theirs.get(name, 'absent')} in the"
            f" adapter and {ours.get(name, 'absent')} for this model; give the adapter's own base."
        )
