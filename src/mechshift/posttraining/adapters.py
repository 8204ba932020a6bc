"""Training of low-rank adapters, and the whole weights that they are merged into.

LoRA on every projection inside the blocks (peft). The embedding of the mask token is trained too:
the ARM never saw that token, so what it starts with means nothing.

Source: Hu et al. 2021, arXiv:2106.09685.
"""

import warnings
from copy import deepcopy
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel

from mechshift.posttraining.config import PosttrainConfig

ADAPTER = "adapter"
"""Folder, in that of the trained model, with the adapters by themselves."""


def with_adapters(
    module: PreTrainedModel, config: PosttrainConfig, *, mask_token_id: int | None
) -> PeftModel:
    """The model with adapters that start at zero and are all that is trained."""
    tokens = None if mask_token_id is None or config.objective == "ar" else [mask_token_id]
    with torch.random.fork_rng(), warnings.catch_warnings():
        torch.manual_seed(config.seed)
        # peft asks transformers for a property under its old name.
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", module="transform")
        return get_peft_model(
            module,
            LoraConfig(
                r=config.lora_rank,
                lora_alpha=config.lora_alpha,
                target_modules="all-linear",
                trainable_token_indices=tokens,
            ),
        )


def whole_model(module: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """A model of the stock class: itself, or a copy with the adapters merged into its weights.

    A copy, since merging and unmerging would not give back the same bits.
    """
    if isinstance(module, PeftModel):
        return deepcopy(module).merge_and_unload()
    return module


def write_adapters(folder: Path, module: PreTrainedModel | PeftModel) -> None:
    """Write the adapters beside the whole model, where there are any (peft's format)."""
    if isinstance(module, PeftModel):
        for settings in module.peft_config.values():
            # A path says nothing elsewhere, and for None peft writes that of the parent.
            settings.base_model_name_or_path = ""
        module.save_pretrained(str(folder / ADAPTER))
        (folder / ADAPTER / "README.md").unlink(missing_ok=True)  # a form that nobody filled in
