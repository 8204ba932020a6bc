"""Loading: from a folder of weights to a `LanguageModel`, running nothing from the folder.

1. A hub id is downloaded first: configuration, tokenizer and safetensors files only, no code and
   no pickles. From here on there is a local folder.
2. `config.json` is read as plain JSON, and its `architectures` (or `model_type`) choose a stock
   class (see `checkpoints`, `stock_classes`). `auto_map` is ignored: Auto classes are never asked.
3. The weights are read from safetensors, renamed where the checkpoint's names are not the class's;
   every key of the class must be there, and no other. Every module must be one that the class
   itself makes: an adapter in the folder is refused, not attached.
   An adapter that is named is merged into them in float32, and its bytes are hashed with theirs.
4. Attention is set, and probed (see `language_model`).
"""

import hashlib
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from mechshift.errors import ModelError
from mechshift.models.adapters import adapter_hash, merge_into
from mechshift.models.checkpoints import checkpoint_format
from mechshift.models.folders import (
    ModelSource,
    check_no_adapter,
    first_line,
    hub_commit,
    read_config,
    resolve_folder,
    settings_hash,
    weight_files,
    weights_hash,
)
from mechshift.models.language_model import (
    Attention,
    Kind,
    LanguageModel,
    freeze,
    probe_attention,
    set_attention,
)
from mechshift.models.offloading import OFFLOAD, Place, split_place
from mechshift.models.stock_classes import (
    check_depth,
    check_keys,
    check_layers,
    check_loadable,
    check_num_weights,
    check_rope,
    check_stock_modules,
    check_stored,
    stock_config,
    without_reports,
)
from mechshift.models.tokenizers import (
    has_tokenizer,
    naming_mask,
    read_tokenizer,
    tokenizer_from_parent,
)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def load_language_model(
    source: ModelSource | Path | str,
    *,
    name: str,
    kind: Kind,
    attention: Attention,
    shift: bool,
    block_length: int | None = None,
    mask_token_id: int | None = None,
    parent_tokenizer: PreTrainedTokenizerFast | None = None,
    dtype: str = "float32",
    device: str = "cpu",
) -> LanguageModel:
    """Load, verify and freeze one model. Nothing in its folder is executed or unpickled.

    Args:
        source: a folder, a hub id, or a `ModelSource`.
        name: how reports call it.
        kind: "arm" or "mdm".
        attention: how it attends; the probe refuses a model that does not.
        shift: whether the logits at position i predict token i + 1.
        block_length: positions in a block, for block-causal and causal-prefix attention.
        mask_token_id: None: from config.json, else from the tokenizer.
        parent_tokenizer: the ARM's, used for an MDM whose own needs remote code.
        dtype: "float32" or "bfloat16".
        device: a torch device, such as "cpu" or "cuda"; with `+offload` weights that do not fit lie
            elsewhere (`offloading`).

    Raises:
        ModelError: an unsupported class, missing or unexpected weights or ones that are no real
            numbers, pickled weights only, an adapter, no tokenizer that can be read, no usable mask
            token or two different ones, rotary angles that depend on the batch, or attention that
            is not as claimed.
    """
    if not isinstance(source, ModelSource):
        source = ModelSource(path=str(source))
    place = _place(device)
    folder = resolve_folder(source.path, source.revision)
    check_no_adapter(folder)
    config = read_config(folder)
    adapter = None if source.adapter is None else resolve_folder(source.adapter, None)
    module = _load_module(folder, config, adapter, _dtype(dtype), place)
    set_attention(module, attention)
    if not place.offloads:
        module.to(device=place.device)  # type: ignore[call-arg]
    freeze(module)
    named = source.tokenizer_path
    tokenizer_folder = folder if named is None else resolve_folder(named, None)
    tokenizer = _tokenizer(tokenizer_folder, named, parent_tokenizer)
    mask = _mask_token_id(folder, mask_token_id, config, tokenizer, kind)
    model = LanguageModel(
        name=name,
        kind=kind,
        module=module,
        tokenizer=naming_mask(tokenizer, mask),
        attention=attention,
        shift=shift,
        block_length=block_length,
        mask_token_id=mask,
        weights_hash=_hash(folder, adapter),
        settings_hash=settings_hash(folder, tokenizer_folder),
        revision=hub_commit(folder),
        place=device,
    )
    probe_attention(module, attention, block_length)
    return model


def _tokenizer(
    folder: Path, named: str | None, parent: PreTrainedTokenizerFast | None
) -> PreTrainedTokenizerFast:
    """That of the folder; its parent's with what it adds, where none is named and it has none."""
    if named is None and parent is not None and not has_tokenizer(folder):
        return tokenizer_from_parent(parent, folder)
    return read_tokenizer(folder)


def _mask_token_id(
    folder: Path,
    given: int | None,
    config: dict[str, Any],
    tokenizer: PreTrainedTokenizerFast,
    kind: Kind,
) -> int | None:
    """The caller's, else that of config.json, else the tokenizer's; the files must agree."""
    stated, named = config.get("mask_token_id"), tokenizer.mask_token_id
    if None not in (given, stated) and given != stated:
        raise ModelError(
            f"{folder}/config.json says that the mask token is {stated}, not {given};"
            " leave mask_token_id out, or correct the file if it is wrong."
        )
    # An ARM reads no masks.
    if kind == "mdm" and given is None and None not in (stated, named) and stated != named:
        raise ModelError(
            f"{folder}/config.json says that the mask token is {stated}, and the tokenizer's"
            f" '{tokenizer.mask_token}' is {named}; correct the file that is wrong, or give"
            f" --mask-token-id {stated} if config.json is right."
        )
    return next((i for i in (given, stated, named) if i is not None), None)


def _hash(folder: Path, adapter: Path | None) -> str:
    """That of the weight files; with an adapter, one over the two hashes."""
    weights = weights_hash(folder)
    if adapter is None:
        return weights
    return hashlib.sha256(f"{weights} {adapter_hash(adapter)}".encode()).hexdigest()


def _load_module(
    folder: Path, config: dict[str, Any], adapter: Path | None, dtype: torch.dtype, place: Place
) -> PreTrainedModel:
    if place.offloads and adapter is not None:
        raise ModelError(
            f"the adapter {adapter} is merged into weights that lie in one place; merge it into a"
            f" folder of its own first, or leave out {OFFLOAD}."
        )
    check_loadable(config, str(folder))
    files = weight_files(folder)
    checkpoint = checkpoint_format(config, str(folder))
    model_class = checkpoint.model_class
    settings = stock_config(checkpoint, config, str(folder))
    check_rope(folder, settings)
    module: PreTrainedModel
    info: dict[str, Any]
    try:
        check_stored(files, model_class)
        check_depth(settings.to_dict(), files, str(folder))
        check_num_weights(lambda: model_class(deepcopy(settings)), files, str(folder))
        with without_reports():
            module, info = model_class.from_pretrained(  # type: ignore[misc]
                folder,
                config=settings,
                dtype=dtype if adapter is None else torch.float32,
                attn_implementation="sdpa",
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                key_mapping=dict(checkpoint.renamed) or None,
                **place.loading_options(),
            )
    except ModelError:
        raise
    except AssertionError as error:  # of torch's embedding, the only one that depends on a config
        raise ModelError(
            f"cannot load {folder} as {model_class.__name__}: its config.json has pad_token_id"
            f" {settings.pad_token_id} for a vocabulary of {settings.vocab_size}"
            f" ({first_line(error)}); set it to null or to one of these in a copy of the folder."
        ) from error
    except Exception as error:  # a class runs into whatever its settings lead to
        raise ModelError(
            f"cannot load {folder} as {model_class.__name__}: {first_line(error)}"
        ) from error
    check_keys(folder, model_class, info)
    if adapter is not None:
        module = merge_into(module, adapter, folder)
        for parameter in module.parameters():  # and no buffer, as in from_pretrained
            parameter.data = parameter.data.to(dtype)
    check_stock_modules(module, model_class, str(folder))
    check_layers(folder, module)
    return module


def _dtype(name: str) -> torch.dtype:
    if name not in DTYPES:
        raise ModelError(f"unknown dtype '{name}'; known: {', '.join(DTYPES)}.")
    return DTYPES[name]


def _place(name: str) -> Place:
    device, offloads, weights_gb = split_place(name)
    return Place(device=_device(device), offloads=offloads, weights_gb=weights_gb)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ModelError(f"unknown device '{name}'; use 'cpu' or 'cuda'.") from error
    if device.type not in ("cpu", "cuda"):
        raise ModelError(
            f"the device '{name}' is untested with mechshift, and other tools report wrong numbers"
            " on some of its kind; use 'cpu' or 'cuda'."
        )
    if device.type == "cpu" and device.index:
        raise ModelError(f"the device '{name}' is not there: there is one 'cpu'.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ModelError(
            f"the device '{name}' is not there: torch sees {torch.cuda.device_count()} CUDA"
            " devices. Use 'cpu'."
        )
    return device
