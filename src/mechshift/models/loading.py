"""How does a folder of weights become a `LanguageModel` without running anything from it?

1. A hub id is downloaded first: configuration, tokenizer and safetensors files only, no code and
   no pickles. From here on there is a local folder.
2. `config.json` is read as plain JSON, and its `architectures` (or `model_type`) choose a stock
   class from `STOCK_CLASSES`. `auto_map` is ignored: Auto classes are never asked.
3. The weights are read from safetensors; every key of the class must be there, and no other.
4. Attention is set, and probed (see `language_model`).
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from transformers import (
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2ForCausalLM,
    Qwen3ForCausalLM,
)
from transformers.utils import logging as transformers_logging

from mechshift.errors import ModelError
from mechshift.models.language_model import (
    Attention,
    Kind,
    LanguageModel,
    freeze,
    probe_attention,
    set_attention,
)

STOCK_CLASSES: dict[str, type[PreTrainedModel]] = {
    "LlamaForCausalLM": LlamaForCausalLM,
    "Qwen2ForCausalLM": Qwen2ForCausalLM,
    "Qwen3ForCausalLM": Qwen3ForCausalLM,
    "DreamModel": Qwen2ForCausalLM,
    "A2DQwen2LMHeadModel": Qwen2ForCausalLM,
    "A2DQwen3LMHeadModel": Qwen3ForCausalLM,
}
"""Name in `architectures` -> the stock class with the same keys and the same computation."""

STOCK_MODEL_TYPES: dict[str, type[PreTrainedModel]] = {
    "llama": LlamaForCausalLM,
    "qwen2": Qwen2ForCausalLM,
    "qwen3": Qwen3ForCausalLM,
    "Dream": Qwen2ForCausalLM,
    "a2d-qwen2": Qwen2ForCausalLM,
    "a2d-qwen3": Qwen3ForCausalLM,
}
"""The same by `model_type`, for a config.json that names no architecture."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

DOWNLOADED = ("*.json", "*.safetensors", "tokenizer.model")
"""What is fetched from the hub."""

PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")

IGNORED_CONFIG_KEYS = (
    "architectures",
    "auto_map",
    "model_type",
    "transformers_version",
    "dtype",
    "torch_dtype",
)
"""Keys of config.json that would name another class or precision than the caller's."""


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """Where the weights and the tokenizer of one model are."""

    path: str
    """A local folder, or a repository on the Hugging Face hub."""
    revision: str | None = None
    """Commit, tag or branch on the hub."""
    tokenizer_path: str | None = None
    """Another folder or hub id that has tokenizer.json; None: the weights' own."""


def load_language_model(
    source: ModelSource | Path | str,
    *,
    name: str,
    kind: Kind,
    attention: Attention,
    shift: bool,
    mask_token_id: int | None = None,
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
        mask_token_id: None: from config.json, else from the tokenizer.
        dtype: "float32" or "bfloat16".
        device: a torch device, such as "cpu" or "cuda".

    Raises:
        ModelError: an unsupported class, missing or unexpected weights, pickled weights only, no
            fast tokenizer, no usable mask token, or attention that is not as claimed.
    """
    if not isinstance(source, ModelSource):
        source = ModelSource(path=str(source))
    target = _device(device)
    folder = _resolve_folder(source.path, source.revision)
    config = _read_json(folder / "config.json")
    module = _load_module(folder, config, _dtype(dtype))
    set_attention(module, attention)
    module.to(device=target)  # type: ignore[call-arg]
    freeze(module)
    tokenizer = (
        _read_tokenizer(folder)
        if source.tokenizer_path is None
        else load_tokenizer(source.tokenizer_path)
    )
    model = LanguageModel(
        name=name,
        kind=kind,
        module=module,
        tokenizer=tokenizer,
        attention=attention,
        shift=shift,
        mask_token_id=_first_given(
            mask_token_id, config.get("mask_token_id"), tokenizer.mask_token_id
        ),
        weights_hash=weights_hash(folder),
    )
    probe_attention(module, attention)
    return model


def stock_class(config: dict[str, Any], where: str) -> type[PreTrainedModel]:
    """The stock class for a config.json.

    Raises:
        ModelError: neither `architectures` nor `model_type` names a supported class.
    """
    architectures = config.get("architectures") or []
    if architectures:
        known, given, key = STOCK_CLASSES, architectures[0], "architectures"
    else:
        known, given, key = STOCK_MODEL_TYPES, config.get("model_type"), "model_type"
    if given not in known:
        raise ModelError(
            f"{where}/config.json says {key} '{given}', which mechshift cannot load;"
            f" known: {', '.join(known)}."
        )
    return known[given]


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that hold the weights, in name order.

    Raises:
        ModelError: there are none, or some that the index names are missing.
    """
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    if index.is_file():
        names = sorted(set(_read_json(index).get("weight_map", {}).values()))
        missing = [name for name in names if not (folder / name).is_file()]
        if missing or not names:
            raise ModelError(
                f"{index} names {len(names)} weight files, of which {len(missing)} are missing"
                f" ({', '.join(missing[:3])}); complete the folder."
            )
        return [folder / name for name in names]
    pickles = sorted(p.name for p in folder.iterdir() if p.suffix in PICKLE_SUFFIXES)
    found = f"only pickled weights ({', '.join(pickles[:3])})" if pickles else "no weights"
    raise ModelError(
        f"{folder} has {found}; mechshift reads model.safetensors or"
        " model.safetensors.index.json and never unpickles. Convert the weights to safetensors."
    )


def weights_hash(folder: Path) -> str:
    """SHA-256 [hexadecimal] over the bytes of the weight files in name order."""
    digest = hashlib.sha256()
    for path in weight_files(folder):
        with path.open("rb") as file:
            while chunk := file.read(1 << 24):
                digest.update(chunk)
    return digest.hexdigest()


def _load_module(folder: Path, config: dict[str, Any], dtype: torch.dtype) -> PreTrainedModel:
    if config.get("quantization_config"):
        raise ModelError(
            f"{folder}/config.json describes quantized weights, which mechshift cannot"
            " differentiate; use the unquantized checkpoint."
        )
    weight_files(folder)
    model_class = stock_class(config, str(folder))
    config_class = model_class.config_class
    assert config_class is not None
    settings = {k: v for k, v in config.items() if k not in IGNORED_CONFIG_KEYS}
    module: PreTrainedModel
    info: dict[str, Any]
    try:
        with without_progress_bar():
            module, info = model_class.from_pretrained(  # type: ignore[misc]
                folder,
                config=config_class.from_dict(settings),
                dtype=dtype,
                attn_implementation="sdpa",
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"cannot load {folder} as {model_class.__name__}: {_first_line(error)}"
        ) from error
    _check_keys(folder, model_class, info)
    _check_layers(folder, module)
    return module


def _check_keys(folder: Path, model_class: type[PreTrainedModel], info: dict[str, Any]) -> None:
    """Refuse weights that the class lacks or that would be left at random values."""
    missing, unexpected = sorted(info["missing_keys"]), sorted(info["unexpected_keys"])
    if missing or unexpected:
        raise ModelError(
            f"the weights in {folder} do not fit {model_class.__name__}:"
            f" {len(missing)} missing ({', '.join(missing[:3])}),"
            f" {len(unexpected)} unexpected ({', '.join(unexpected[:3])})."
        )


def _check_layers(folder: Path, module: PreTrainedModel) -> None:
    """Refuse layers that see a window: neither causal nor full attention over the whole canvas."""
    layer_types = getattr(module.config, "layer_types", None) or []
    windowed = [layer for layer, kind in enumerate(layer_types) if kind != "full_attention"]
    if windowed:
        raise ModelError(
            f"{folder}/config.json gives {len(windowed)} of {len(layer_types)} layers"
            f" {layer_types[windowed[0]]}; mechshift supports full_attention layers only."
        )


def load_tokenizer(path: str) -> PreTrainedTokenizerFast:
    """The tokenizer of a local folder or hub id, read by the class that runs no other code.

    Raises:
        ModelError: no folder, no hub id, or no tokenizer.json.
    """
    return _read_tokenizer(_resolve_folder(path, None))


def _read_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    if not (folder / "tokenizer.json").is_file():
        raise ModelError(
            f"{folder} has no tokenizer.json, the one tokenizer format that needs no code; set"
            " tokenizer_path to a model with the same tokenizer, such as the parent ARM."
        )
    try:
        return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    # tokenizers raises bare Exception for a damaged file.
    except Exception as error:
        raise ModelError(f"cannot read the tokenizer in {folder}: {_first_line(error)}") from error


def _resolve_folder(path: str, revision: str | None) -> Path:
    """The local folder of a model; a hub id is downloaded, without code and pickles."""
    folder = Path(path).expanduser()
    if folder.is_dir():
        return folder
    try:
        return Path(snapshot_download(path, revision=revision, allow_patterns=list(DOWNLOADED)))
    except HFValidationError as error:
        raise ModelError(f"'{path}' is neither a folder nor a hub id like 'owner/name'.") from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(
            f"'{path}' is not a local folder, and fetching it from the hub failed:"
            f" {_first_line(error)}"
        ) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {path}: {_first_line(error)}") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} holds a {type(content).__name__}, not an object.")
    return content


def _dtype(name: str) -> torch.dtype:
    if name not in DTYPES:
        raise ModelError(f"unknown dtype '{name}'; known: {', '.join(DTYPES)}.")
    return DTYPES[name]


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ModelError(f"unknown device '{name}'; use 'cpu' or 'cuda'.") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ModelError(
            f"the device '{name}' is not there: torch sees {torch.cuda.device_count()} CUDA"
            " devices. Use 'cpu'."
        )
    return device


def _first_given(*candidates: int | None) -> int | None:
    return next((c for c in candidates if c is not None), None)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextmanager
def without_progress_bar() -> Iterator[None]:
    """Silence transformers' own bar over weights that are read or written inside the block."""
    enabled = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            transformers_logging.enable_progress_bar()
