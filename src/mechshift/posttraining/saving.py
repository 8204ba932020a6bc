"""Saving of a trained model, as the stock class and mechshift load it."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mechshift.disk import move_into_place
from mechshift.models import without_reports
from mechshift.posttraining.config import PosttrainConfig

CHECKPOINTS = "checkpoints"


def checkpoint_folder(out: Path, step: int) -> Path:
    """Where the model after so many steps is kept."""
    return out / CHECKPOINTS / f"step-{step:06d}"


def write_checkpoint(
    folder: Path,
    module: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    config: PosttrainConfig,
) -> None:
    """Write a model, in float32, to a folder that is whole once it has its name."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    write_model(partial, module, tokenizer, replace(config, save_dtype="float32"))
    # One that is there already is of a training that was killed before its next state.
    move_into_place(partial, folder, replace=True)


def write_model(
    folder: Path,
    module: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    config: PosttrainConfig,
) -> None:
    """Write weights (safetensors), configuration and tokenizer, in the recipe's precision."""
    saved = module
    if config.save_dtype != "float32":
        dtype = getattr(torch, config.save_dtype)
        saved = stock_copy(module, {name: t.to(dtype) for name, t in module.state_dict().items()})
    if config.objective == "mdm":
        saved.config.mask_token_id = tokenizer.mask_token_id
    with without_reports():
        saved.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def stock_copy(module: PreTrainedModel, weights: Mapping[str, Tensor]) -> PreTrainedModel:
    """A model of the same class that holds `weights`, to be written and not to be run."""
    with torch.device("meta"):  # no memory for weights that are about to be replaced
        copy = type(module)(module.config)
    copy.load_state_dict(dict(weights), assign=True)
    copy.tie_weights()
    return copy
