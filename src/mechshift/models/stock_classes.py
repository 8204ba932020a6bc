"""Stock classes of transformers: the configuration of one, and that a checkpoint is one of it.

For whoever loads files that anybody may have written. Before a class is made: its settings are of a
size that a model has, and every tensor is of real numbers and in one file. After it: no weight is
missing or left over, no module is another's, and every layer attends over the whole canvas.
"""

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
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from mechshift.errors import ModelError
from mechshift.models.checkpoints import CheckpointFormat
from mechshift.models.folders import first_line

STORED_DTYPES = ("F16", "BF16", "F32", "F64")
"""Types in which weights may be stored, by safetensors' names."""

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
"""Names under which classes have their number of layers."""

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


def check_loadable(config: dict[str, Any], where: str) -> None:
    """Refuse a config.json that makes transformers quantize, or read other files.

    Raises:
        ModelError: it describes quantized weights, or names other weights or another class.
    """
    if config.get("quantization_config"):
        raise ModelError(
            f"{where}/config.json describes quantized weights, which mechshift cannot"
            " differentiate; use the unquantized checkpoint."
        )
    if redirecting := [name for name in REDIRECTING_CONFIG_KEYS if config.get(name) is not None]:
        raise ModelError(
            f"{where}/config.json sets {redirecting[0]} to {config[redirecting[0]]!r}, by which"
            " transformers would read other weights or another class; save the model without it."
        )


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


def check_rope(folder: Path, settings: PreTrainedConfig) -> None:
    """Refuse angles that follow the longest row of a batch: a score would depend on its batch.

    An unknown type is refused too, since nothing is known of it.

    Raises:
        ModelError: a type that is not among `FIXED_ROPE_TYPES`.
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


def check_stored(files: list[Path], model_class: type[PreTrainedModel]) -> None:
    """Refuse tensors that are no real numbers, and one that two files hold, of which the last wins.

    Tables that the class ignores, such as the causal mask of old GPT-2 checkpoints, may be any.

    Raises:
        ModelError: a tensor of another type, or in two files.
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


def check_keys(folder: Path, model_class: type[PreTrainedModel], info: dict[str, Any]) -> None:
    """Refuse weights that the class lacks or that would be left at random values.

    Args:
        folder: of the weights, for messages.
        model_class: that was made.
        info: transformers' report of the loading.

    Raises:
        ModelError: keys are missing or unexpected.
    """
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


def check_layers(folder: Path, module: PreTrainedModel) -> None:
    """Refuse layers that attend otherwise than over the whole canvas.

    A window that covers it hides nothing, and `DecoderParts.max_length` sees to it that it does.

    Raises:
        ModelError: a layer of another kind.
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
