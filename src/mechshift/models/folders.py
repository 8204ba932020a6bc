"""Folders of checkpoints: where their files are, and which of them are read.

A hub id is downloaded first: configuration, tokenizer and safetensors files only, no code and no
pickles. From there on there is a local folder. A name that `mechshift pairs get` knows is never
asked of the hub (`fetched`).
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from msgspec import Struct

from mechshift.errors import ModelError
from mechshift.input_files import MAX_SHOWN, as_declared, is_file_name, read_json
from mechshift.models.fetched import fetched_folder

DOWNLOADED = ("*.json", "*.safetensors", "tokenizer.model")
"""Patterns of the files that are fetched from the hub."""

TOKENIZER_NAMES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
)
"""Files that a tokenizer is read from, by transformers' one class without code and by ours."""

UNREAD_SETTINGS = ("_name_or_path", "auto_map", "dtype", "torch_dtype", "transformers_version")
"""Keys of config.json that the caller overrules, or that say where it was made."""

PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
DISTRIBUTED = "shard-[0-9]*-model-[0-9]*-of-[0-9]*.safetensors"
"""Names of transformers' distributed checkpoints; it looks for them first."""
ADAPTER_NAMES = ("adapter_config.json", "adapter_model.safetensors")


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """Places of the weights and the tokenizer of one model."""

    path: str
    """A local folder, a name that `mechshift pairs get` knows, or a repository on the Hugging Face
    hub."""
    revision: str | None = None
    """Commit, tag or branch on the hub."""
    tokenizer_path: str | None = None
    """Another folder or hub id that has tokenizer.json; None: the weights' own, or, for an MDM of a
    pair whose own needs remote code, the parent's (see `tokenizers`)."""
    adapter: str | None = None
    """A folder or hub id of a LoRA adapter that is merged into the weights when they are loaded."""


def resolve_folder(path: str, revision: str | None) -> Path:
    """The local folder of a model; a hub id is downloaded, without code and pickles.

    Raises:
        ModelError: neither a folder nor a hub id, the download failed, or a model that
            `mechshift pairs get` has not fetched yet.
    """
    folder, fetched = folder_at(path), fetched_folder(path)
    # A run of `smollm2` may well be called so, and is not the model.
    if folder is not None and (fetched is None or (folder / "config.json").is_file()):
        return folder
    if fetched is not None:
        if not fetched.is_dir():
            raise ModelError(
                f"'{path}' is not on this machine: there is no {fetched};"
                f" run `mechshift pairs get {path.partition('/')[0]}`."
            )
        return fetched
    try:
        return Path(snapshot_download(path, revision=revision, allow_patterns=list(DOWNLOADED)))
    except HFValidationError as error:
        raise ModelError(f"'{path}' is neither a folder nor a hub id like 'owner/name'.") from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(
            f"'{path}' is not a local folder, and fetching it from the hub failed:"
            f" {first_line(error)}"
        ) from error


def folder_at(path: str) -> Path | None:
    """The folder of this path on this machine; None: there is none, or can be none."""
    try:
        folder = Path(path).expanduser()
        return folder if folder.is_dir() else None
    except (OSError, ValueError, RuntimeError):  # too long; NUL; the home of nobody
        return None


def hub_commit(folder: Path) -> str | None:
    """The commit that a folder of the hub's cache holds; None: any other folder."""
    commit = folder.name
    in_cache = folder.parent.name == "snapshots" and folder.parent.parent.name.startswith(
        "models--"
    )
    return commit if in_cache and re.fullmatch(r"[0-9a-f]{40}", commit) else None


def local_folder(source: ModelSource, name: str) -> Path | None:
    """The folder on this machine that holds this file of a model; nothing is downloaded.

    None: the file is neither in a folder of that path nor fetched nor in the hub's cache.
    """
    folder = folder_at(source.path)
    if folder is not None and (folder / name).is_file():
        return folder
    if (fetched := fetched_folder(source.path)) is not None:
        return fetched if (fetched / name).is_file() else None
    try:
        found = try_to_load_from_cache(source.path, name, revision=source.revision)
    except HFValidationError:
        return None
    return Path(found).parent if isinstance(found, str) else None


class _Config(Struct):
    """The keys of a config.json that mechshift itself reads; the stock class checks the others."""

    architectures: list[str] | None = None
    model_type: str | None = None
    mask_token_id: int | None = None


class _Index(Struct):
    """Parts that are read of the index of weights in several files."""

    weight_map: dict[str, str]
    """Tensor -> file."""


def read_config(folder: Path) -> dict[str, Any]:
    """The content of a model's config.json.

    Raises:
        ModelError: no such file, no JSON object in it, or a class or mask token of no such type.
    """
    path = folder / "config.json"
    config = read_json(path, dict[str, Any], error=ModelError)
    as_declared(config, _Config, where=str(path), error=ModelError)
    return config


def check_no_adapter(folder: Path) -> None:
    """Refuse a folder with an adapter: transformers would attach it to whatever model is there.

    Raises:
        ModelError: an adapter, by itself or beside a model.
    """
    found = sorted(path.name for path in folder.glob("adapter_*") if path.is_file())
    if not any(name.startswith(("adapter_config.json", "adapter_model.")) for name in found):
        return
    named = ", ".join(found)
    if any((folder / name).is_file() for name in (WEIGHTS, INDEX, "pytorch_model.bin")):
        raise ModelError(
            f"{folder} holds an adapter ({named}) beside the weights of a model, which mechshift"
            " does not attach: move it to a folder of its own, and give that with --arm-adapter or"
            " --mdm-adapter, or merge the two."
        )
    checkpoint = (folder / "trainer_state.json").is_file() or any(folder.glob("optimizer.*"))
    raise ModelError(
        f"{folder} is {'a training checkpoint of an adapter' if checkpoint else 'an adapter'}"
        f" ({named}), not a model: give the model that it was trained on, and this with"
        " --arm-adapter or --mdm-adapter, or merge the two."
    )


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that hold the weights, in name order: all that the loader reads.

    Raises:
        ModelError: there are none, some that the index names are missing, two sets of weights, or
            an adapter.
    """
    check_no_adapter(folder)
    single, index = folder / WEIGHTS, folder / INDEX
    if distributed := sorted(path.name for path in folder.glob(DISTRIBUTED)):
        raise ModelError(
            f"{folder} holds {len(distributed)} files of a distributed checkpoint"
            f" ({distributed[0]}), which transformers would read in place of {WEIGHTS}; save the"
            f" model as {WEIGHTS} in a folder of its own."
        )
    if index.is_file():
        stated = read_json(index, _Index, error=ModelError, advice="save the model anew")
        names = sorted(set(stated.weight_map.values()))
        if odd := [name for name in names if not is_file_name(name)]:
            raise ModelError(
                f"{index} names {odd[0]!r:.60}, which is no file in its folder; save the model"
                " anew."
            )
        if single.is_file() and names != [WEIGHTS]:
            raise ModelError(
                f"{folder} holds two sets of weights, {WEIGHTS} and the {len(names)} files that"
                f" {INDEX} names; remove the one that is out of date."
            )
        missing = [name for name in names if not (folder / name).is_file()]
        if missing or not names:
            raise ModelError(
                f"{index} names {len(names)} weight files, of which {len(missing)} are missing"
                f" ({', '.join(missing[:3])}); complete the folder."
            )
        return [folder / name for name in names]
    if single.is_file():
        return [single]
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


def settings_hash(folder: Path, tokenizer: Path) -> str:
    """SHA-256 [hexadecimal] of what decides how a model's weights, and a text, are read.

    That is the content of config.json, whatever its layout, and the bytes of the tokenizer's files.
    With `weights_hash` it covers all that is read of a folder; nothing is read of
    generation_config.json that could change a logit.

    Args:
        folder: of the model.
        tokenizer: of the tokenizer; mostly the same.

    Raises:
        ModelError: no readable config.json.
    """
    config = read_config(folder)
    settings = {name: value for name, value in config.items() if name not in UNREAD_SETTINGS}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for where in dict.fromkeys((folder, tokenizer)):
        for name in TOKENIZER_NAMES:
            if (where / name).is_file():
                digest.update(f"\n{name}\n{(where / name).stat().st_size}\n".encode())
                digest.update((where / name).read_bytes())
    return digest.hexdigest()


def first_line(error: Exception) -> str:
    """An error in one line, for a message of our own; with the next, if the first announces it."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    announced = lines[1:2] if lines[0].endswith(":") else []
    return " ".join(line.strip() for line in (lines[0], *announced))[:MAX_SHOWN]
