"""A pair of models that are in memory already: after a training, or made by hand.

They pass the same checks as models that are loaded from folders.
"""

import hashlib
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from mechshift.errors import ModelError
from mechshift.models.architecture import decoder_parts
from mechshift.models.catalogue import ModelPair
from mechshift.models.language_model import (
    Attention,
    Kind,
    LanguageModel,
    freeze,
    probe_attention,
    set_attention,
)
from mechshift.models.stock_classes import check_layers, check_rope, check_stock_modules
from mechshift.models.tokenizers import naming_mask


def make_pair(
    arm: PreTrainedModel,
    mdm: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    *,
    name: str = "own",
    attention: Attention = "full",
    shift: bool = True,
    block_length: int | None = None,
    mask_token_id: int | None = None,
) -> ModelPair:
    """A pair of two models in memory, verified as `load_pair` verifies those that it loads.

    Both models are put into eval mode with frozen parameters, and their attention is set: give
    copies of models whose training is to go on.

    Args:
        arm: the autoregressive model, of a stock Hugging Face class.
        mdm: the masked diffusion model that was made of it.
        tokenizer: of both; it may know a mask token.
        name: how reports call the pair.
        attention: of the MDM.
        shift: whether the MDM's logits at position i predict token i + 1.
        block_length: positions in a block, for block-causal and causal-prefix attention.
        mask_token_id: the MDM's mask token; by default what its config or the tokenizer says.

    Raises:
        ModelError: one object for both, a class that is not supported, no mask token, attention
            that is not as claimed, or two models that do not match.
    """
    if arm is mdm:
        raise ModelError(
            "ARM and MDM are one object, whose attention cannot be causal and not; give"
            " copy.deepcopy(model) as one of them."
        )
    stated = getattr(mdm.config, "mask_token_id", None)
    known = (mask_token_id, stated, tokenizer.mask_token_id)
    mask = next((token for token in known if token is not None), None)
    return ModelPair(
        name=name,
        arm=_language_model(
            arm,
            tokenizer,
            f"{name}-arm",
            "arm",
            "causal",
            mask_token_id=tokenizer.mask_token_id,
        ),
        mdm=_language_model(
            mdm,
            tokenizer,
            f"{name}-mdm",
            "mdm",
            attention,
            shift=shift,
            block_length=block_length,
            mask_token_id=mask,
        ),
    )


def _language_model(
    module: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    name: str,
    kind: Kind,
    attention: Attention,
    *,
    shift: bool = True,
    block_length: int | None = None,
    mask_token_id: int | None = None,
) -> LanguageModel:
    decoder_parts(module)  # refuses a class that is not supported
    where = Path(f"{name} in memory")  # in messages, which name a folder elsewhere
    check_stock_modules(module, type(module), str(where))
    check_rope(where, module.config)
    check_layers(where, module)
    freeze(module)
    set_attention(module, attention)
    model = LanguageModel(
        name=name,
        kind=kind,
        module=module,
        tokenizer=naming_mask(tokenizer, mask_token_id),
        attention=attention,
        shift=shift,
        block_length=block_length,
        mask_token_id=mask_token_id,
        weights_hash=_hash(module),
    )
    probe_attention(module, attention, block_length)
    return model


def _hash(module: PreTrainedModel) -> str:
    """SHA-256 over the tensors by name; not that of a file, which holds more than they do."""
    found = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        found.update(
            tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        )
    return found.hexdigest()
