"""Loading: from a folder of weights to a `LanguageModel`, running nothing from the folder.

1. A hub id is downloaded first: configuration, tokenizer and safetensors files only, no code and
   no pickles. From here on there is a local folder.
2. `config.json` is read as plain JSON, and its `architectures` (or `model_type`) choose a stock
   class (see `checkpoints`). `auto_map` is ignored: Auto classes are never asked.
3. The weights are read from safetensors, renamed where the checkpoint's names are not the class's;
   every key of the class must be there, and no other. Every module must be one that the class
   itself makes: an adapter in the folder is refused, not attached.
   An adapter that is named is merged into them in float32, and its bytes are hashed with theirs.
4. Attention is set, and probed (see `language_model`).
"""

import hashlib
import logging
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from mechshift.errors import ModelError
from mechshift.models.adapters import adapter_hash, merge_into
from mechshift.models.checkpoints import CheckpointFormat, checkpoint_format
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
from mechshift.models.tokenizers import (
    has_tokenizer,
    naming_mask,
    read_tokenizer,
    tokenizer_from_parent,
)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

STORED_DTYPES = ("F16", "BF16", "F32", "F64")
"""What weights may be stored as, by safetensors' names."""

FIXED_ROPE_TYPES = ("default", "linear", "yarn", "llama3", "proportional")
"""Rotary embeddings whose angles depend on the configuration and the position alone."""

IGNORED_CONFIG_KEYS = (
    "architectures",
    "auto_map",
    "model_type",
    "transformers_version",
    "dtype",
    "torch_dtype",
)
"""Keys of config.json that would name another class or precision than the caller's."""

LAYERS = ("num_hidden_layers", "n_layer")
"""What classes call their number of layers."""

MAX_LAYERS, MAX_SIZE = 2**12, 2**26
"""More than any model has: of layers, and of any other size; a class makes a list of some."""

SIZES = (
    *LAYERS,
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "hidden_size",
    "intermediate_size",
    "vocab_size",
    "n_head",
    "n_embd",
    "n_inner",
    "num_experts",
    "num_experts_per_tok",
    "moe_intermediate_size",
)
"""Settings that are whole numbers above 0 where they are given: a class divides by some of them."""

REDIRECTING_CONFIG_KEYS = ("transformers_weights", "fusion_config", "distributed_config")
"""Keys of config.json that make transformers read other files, or change its classes."""


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
    if config.get("quantization_config"):
        raise ModelError(
            f"{folder}/config.json describes quantized weights, which mechshift cannot"
            " differentiate; use the unquantized checkpoint."
        )
    if redirecting := [name for name in REDIRECTING_CONFIG_KEYS if config.get(name) is not None]:
        raise ModelError(
            f"{folder}/config.json sets {redirecting[0]} to {config[redirecting[0]]!r}, by which"
            " transformers would read other weights or another class; save the model without it."
        )
    files = weight_files(folder)
    checkpoint = checkpoint_format(config, str(folder))
    model_class = checkpoint.model_class
    settings = stock_config(checkpoint, config, str(folder))
    check_rope(folder, settings)
    module: PreTrainedModel
    info: dict[str, Any]
    try:
        _check_stored(files, model_class)
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
    _check_keys(folder, model_class, info)
    if adapter is not None:
        module = merge_into(module, adapter, folder)
        for parameter in module.parameters():  # and no buffer, as in from_pretrained
            parameter.data = parameter.data.to(dtype)
    check_stock_modules(module, model_class, str(folder))
    check_layers(folder, module)
    return module


def _check_stored(files: list[Path], model_class: type[PreTrainedModel]) -> None:
    """Refuse tensors that are no real numbers, and one that two files hold, of which the last wins.

    Tables that the class ignores, such as the causal mask of old GPT-2 checkpoints, may be any.
    """
    ignored = list(getattr(model_class, "_keys_to_ignore_on_load_unexpected", None) or ())
    holders: dict[str, Path] = {}
    for path in files:
        with safe_open(path, framework="pt") as file:
            dtypes = {name: file.get_slice(name).get_dtype() for name in file.keys()}
        for name, dtype in dtypes.items():
            if any(re.search(pattern, name) for pattern in ignored):
                continue
            if dtype not in STORED_DTYPES:
                raise ModelError(
                    f"{path} stores '{name}' as {dtype}, and weights must be real numbers:"
                    f" {', '.join(STORED_DTYPES)}. Convert it, or use another checkpoint."
                )
            if name in holders:
                raise ModelError(
                    f"'{name}' is in both {holders[name]} and {path.name}; save the model anew."
                )
            holders[name] = path


def stock_config(
    checkpoint: CheckpointFormat, config: dict[str, Any], where: str
) -> PreTrainedConfig:
    """The stock class's configuration, from the content of a config.json of that format.

    Args:
        checkpoint: the format.
        config: the content.
        where: the folder, for messages.

    Raises:
        ModelError: a setting is missing, or has a value that the class does not compute.
    """
    config_class = checkpoint.model_class.config_class
    assert config_class is not None
    settings = {
        name: value
        for name, value in checkpoint.translate(config).items()
        if name not in IGNORED_CONFIG_KEYS
    }
    check_sizes(settings, where)
    try:
        with without_reports():
            return config_class.from_dict(settings)
    except Exception as error:  # a class runs into whatever its settings lead to
        raise ModelError(
            f"{where}/config.json is none of {config_class.__name__}: {first_line(error)}"
        ) from error


def check_sizes(settings: dict[str, Any], where: str) -> None:
    """Refuse sizes that no model has, before a class divides by them or makes a list of them.

    Raises:
        ModelError: one of `SIZES` is not a whole number from 1 up to what a model may have.
    """
    for name in SIZES:
        size, most = settings.get(name), MAX_LAYERS if name in LAYERS else MAX_SIZE
        if size is not None and not (type(size) is int and 0 < size <= most):
            raise ModelError(
                f"{where}/config.json: {name} must lie between 1 and {most:,}, not {size!r:.60}."
            )


def check_depth(settings: dict[str, Any], files: Sequence[Path], where: str) -> None:
    """Refuse more layers than the weights can be of, since a class makes them one by one.

    Raises:
        ModelError: fewer tensors are stored than config.json has layers.
    """
    num_tensors = 0
    for path in files:
        with safe_open(path, framework="pt") as file:
            num_tensors += len(file.keys())
    layers = max((settings.get(name) or 0 for name in LAYERS), default=0)
    if layers > num_tensors:
        raise ModelError(
            f"{where}/config.json says {layers:,} layers, and its weights are {num_tensors:,}"
            " tensors; the two are not of one model."
        )


def check_num_weights(
    make: Callable[[], PreTrainedModel], files: Sequence[Path], where: str
) -> None:
    """Refuse many more weights than are stored, since transformers makes all that it does not find.

    Args:
        make: makes a model of the configuration.
        files: of the weights.
        where: the folder, for messages.

    Raises:
        ModelError: more than twice as many; some classes store tied weights once, and make them
            twice.
    """
    stored = 0
    for path in files:
        with safe_open(path, framework="pt") as file:
            stored += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())
    with torch.device("meta"), without_reports():  # no memory for them
        needed = sum(parameter.numel() for parameter in make().parameters())
    if needed > 2 * stored:
        raise ModelError(
            f"{where}/config.json is of a model of {needed:,} weights, and {stored:,} are stored;"
            " the two are not of one model."
        )


def _check_keys(folder: Path, model_class: type[PreTrainedModel], info: dict[str, Any]) -> None:
    """Refuse weights that the class lacks or that would be left at random values."""
    missing, unexpected = sorted(info["missing_keys"]), sorted(info["unexpected_keys"])
    if missing or unexpected:
        raise ModelError(
            f"the weights in {folder} do not fit {model_class.__name__}:"
            f" {len(missing)} missing ({', '.join(missing[:3])}),"
            f" {len(unexpected)} unexpected ({', '.join(unexpected[:3])})."
        )


def check_stock_modules(
    module: PreTrainedModel, model_class: type[PreTrainedModel], where: str
) -> None:
    """Refuse a model with a module that its stock class does not make, such as an adapter's.

    Raises:
        ModelError: a module of another class than in a new model of these settings.
    """
    with torch.device("meta"):  # its classes are all that is looked at
        stock = model_class(deepcopy(module.config))
    expected, found = (
        {name: type(part) for name, part in model.named_modules()} for model in (stock, module)
    )
    names = [*found, *(name for name in expected if name not in found)]
    differing = [name for name in names if found.get(name) is not expected.get(name)]
    if differing:
        name = differing[0]
        theirs, ours = (
            f"a {kind.__module__}.{kind.__name__}" if (kind := kinds.get(name)) else "nothing"
            for kinds in (found, expected)
        )
        raise ModelError(
            f"the model in {where} is not what {model_class.__name__} computes: '{name}' is"
            f" {theirs} where the class has {ours} ({len(differing)} modules differ);"
            " give a folder of plain weights."
        )


def check_rope(folder: Path, settings: PreTrainedConfig) -> None:
    """Refuse angles that follow the longest row of a batch: a score would depend on its batch.

    An unknown type is refused too, since nothing is known of it.

    Raises:
        ModelError: such a type.
    """
    rope = getattr(settings, "rope_parameters", None) or {}
    # Where layers of different kinds rotate differently, there is a dictionary for each kind.
    nested = [one for one in rope.values() if isinstance(one, dict)]
    types = [one.get("rope_type", "default") for one in nested or [rope]]
    for rope_type in types:
        if rope_type in FIXED_ROPE_TYPES:
            continue
        within = (
            f" Where canvases are no longer than its {settings.max_position_embeddings} positions,"
            " 'dynamic' is 'default': then say so in a copy of the folder."
            if rope_type == "dynamic"
            else ""
        )
        raise ModelError(
            f"{folder}/config.json gives the rotary embedding the type '{rope_type}', which may"
            " depend on the longest row of a batch, so that a score would change with its batch;"
            f" supported: {', '.join(FIXED_ROPE_TYPES)}.{within}"
        )


def check_layers(folder: Path, module: PreTrainedModel) -> None:
    """Refuse layers that attend otherwise than over the whole canvas.

    A window that covers it hides nothing, and `DecoderParts.max_length` sees to it that it does.

    Raises:
        ModelError: a layer of another type.
    """
    layer_types = getattr(module.config, "layer_types", None) or []
    known = {"full_attention"}
    if getattr(module.config, "sliding_window", None) is not None:
        known.add("sliding_attention")
    others = [layer for layer, kind in enumerate(layer_types) if kind not in known]
    if others:
        raise ModelError(
            f"{folder}/config.json gives {len(others)} of {len(layer_types)} layers"
            f" {layer_types[others[0]]}; mechshift supports full_attention, and sliding_attention"
            " with a sliding_window."
        )


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


@contextmanager
def without_reports() -> Iterator[None]:
    """Silence transformers' own bar and report of weights read or written inside the block.

    What its report would list (missing and unexpected tensors) is refused by us, in one line; that
    accelerate put some elsewhere is what was asked for.
    """
    enabled = transformers_logging.is_progress_bar_enabled()
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    of_accelerate = logging.getLogger("accelerate.big_modeling")
    level = of_accelerate.level
    of_accelerate.setLevel(logging.ERROR)
    try:
        yield
    finally:
        of_accelerate.setLevel(level)
        transformers_logging.set_verbosity(verbosity)
        if enabled:
            transformers_logging.enable_progress_bar()
