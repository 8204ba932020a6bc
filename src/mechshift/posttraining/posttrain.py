"""How does a folder with a model become a folder with the model trained on?

1. Load the parent: a folder, a hub id, or the untrained start of the embedded pair.
2. Train it (trainer.py).
3. Write weights (safetensors), tokenizer, `recipe.json` and `training_log.jsonl` to a hidden folder
   and rename it, so that a folder under its final name is whole.
"""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from tempfile import mkdtemp

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from mechshift.errors import PosttrainingError
from mechshift.models import load_language_model, without_progress_bar
from mechshift.posttraining.tiny_pair import untrained_tiny_arm
from mechshift.posttraining.tiny_tokenizer import tiny_tokenizer
from mechshift.posttraining.trainer import PosttrainConfig, train

UNTRAINED_TINY = "untrained-tiny"
"""The parent that stands for the embedded ARM before its first step."""

RECIPE_NAME = "recipe.json"
LOG_NAME = "training_log.jsonl"


def posttrain(out: Path, *, parent: str, config: PosttrainConfig, quiet: bool = False) -> None:
    """Train a model and write it to `out`, where the stock class and mechshift can load it.

    Args:
        out: a folder that does not exist yet.
        parent: a folder or hub id of an ARM, or `untrained-tiny`.
        config: the recipe.
        quiet: no progress bar.

    Raises:
        PosttrainingError: `out` exists, or training fails.
        ModelError: the parent cannot be loaded.
    """
    if out.exists():
        raise PosttrainingError(f"{out} exists already; choose another folder or delete it.")
    module, tokenizer, parent_hash = _load_parent(parent)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(mkdtemp(prefix=f".{out.name}.partial-", dir=out.parent))
    try:
        train(module, tokenizer, config, log_file=partial / LOG_NAME, quiet=quiet)
        if config.objective == "mdm":
            module.config.mask_token_id = tokenizer.mask_token_id
        with without_progress_bar():
            module.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        _write_recipe(partial, parent, parent_hash, config)
        partial.chmod(0o755)  # mkdtemp makes it private
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_recipe(
    folder: Path, parent: str, parent_hash: str | None, config: PosttrainConfig
) -> None:
    recipe = {
        # A path says nothing on another machine, and the hash says which weights they were.
        "parent": Path(parent).name if Path(parent).exists() else parent,
        "parent_weights": parent_hash,
        "config": asdict(config),
        "torch": torch.__version__.partition("+")[0],
        "threads": torch.get_num_threads(),
    }
    (folder / RECIPE_NAME).write_text(json.dumps(recipe, indent=2) + "\n", encoding="utf-8")


def _load_parent(parent: str) -> tuple[PreTrainedModel, PreTrainedTokenizerFast, str | None]:
    """Module, tokenizer and weights hash; the untrained start has no hash."""
    if parent == UNTRAINED_TINY:
        tokenizer = tiny_tokenizer()
        return untrained_tiny_arm(tokenizer), tokenizer, None
    model = load_language_model(parent, name=parent, kind="arm", attention="causal", shift=True)
    for parameter in model.module.parameters():
        parameter.requires_grad_(True)
    return model.module, model.tokenizer, model.weights_hash
