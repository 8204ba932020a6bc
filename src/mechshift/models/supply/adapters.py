"""How does a LoRA adapter become a model of its own?

mechshift compares weights, so an adapter is merged into the weights that it was trained on: from
then on it is a plain folder like any other. The adapter is peft's format, in safetensors.
"""

import hashlib
import warnings
from pathlib import Path

from peft import PeftModel
from safetensors import SafetensorError

from mechshift.errors import ModelError
from mechshift.models.folders import first_line
from mechshift.models.language_model import Kind
from mechshift.models.loading import load_language_model, without_progress_bar

ADAPTER_NAMES = ("adapter_config.json", "adapter_model.safetensors")


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


def merge_adapter(base: Path, adapter: Path, out: Path, *, kind: Kind) -> None:
    """Write a model with its adapter merged in, in float32, with the model's tokenizer.

    Args:
        base: folder of the model that the adapter was trained on.
        adapter: folder of the adapter.
        out: a folder that exists.
        kind: an MDM's config.json also states its mask token.

    Raises:
        ModelError: no such model or adapter, or the two do not fit.
    """
    adapter_hash(adapter)
    model = load_language_model(base, name=base.name, kind="arm", attention="causal", shift=True)
    try:
        with warnings.catch_warnings():
            # peft 0.21 asks a question of transformers 5.23 by a name that is to go.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            adapted = PeftModel.from_pretrained(model.module, adapter)
        merged = adapted.merge_and_unload(safe_merge=True)
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"cannot merge {adapter} into {base}: {first_line(error)}") from error
    if kind == "mdm":
        merged.config.mask_token_id = model.mask_token_id
    with without_progress_bar():
        merged.save_pretrained(out)
    model.tokenizer.save_pretrained(out)
