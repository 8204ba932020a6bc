"""Packed checkpoints of a small model: rounded differences, a third of the size.

A checkpoint on the way from a parent to the model trained from it is kept as a difference:

1. Each row of the difference (last axis) is divided by a quantum, its largest change / 31, and
   rounded to whole numbers from -31 to 31. So no weight is off by more than half a quantum, 1.6 %
   of the largest change in its row, and one that did not change comes back exactly.
2. The numbers of all tensors, in the order of their names, one byte each, are deflated. Differences
   have no repeated strings to find: with Huffman codes alone zlib's result is 8 % smaller.
3. A safetensors file holds `payload` and `quanta` [row], and as JSON under the metadata key
   `mechshift` the hash of the parent and of the weights that come out. Shapes are the parent's.

Unpacked weights are float32, computed in float64 and rounded once, so they are the same bytes on
every machine: the stored hash refuses anything else.
"""

import hashlib
import json
import shutil
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import torch
from msgspec import Struct
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save, save_file

from mechshift.disk import make_writable, write_whole
from mechshift.errors import ModelError
from mechshift.input_files import parse_json
from mechshift.models.folders import first_line, weight_files, weights_hash

LEVELS = 31
"""Steps from no change to a row's largest. 63 would halve the error, for 18 % more bytes."""

HEADER = "mechshift"
SUFFIX = ".safetensors"
CHECKPOINTS = "step-*"
COPIED = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
"""Files of a checkpoint's folder beside its weights; the same at every step."""

Weights = Mapping[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class PackedDifference:
    """Difference from a parent's weights, rounded."""

    payload: bytes
    """Deflated int8, all tensors in the order of their names."""
    quanta: np.ndarray
    """Float32 [row]: what a step of each row stands for; 0 where a row did not change."""
    unpacked: str
    """SHA-256 of the float32 weights that come out, in the order of their names."""


def pack_difference(parent: Weights, child: Weights) -> PackedDifference:
    """The difference of two models of one shape.

    Raises:
        ModelError: their tensors differ in name or shape, or a weight is not finite.
    """
    _check_same_tensors(parent, child)
    steps, quanta, weights = [], [], {}
    for name in sorted(parent):
        before = _rows(parent[name])
        change = _rows(child[name]) - before
        if not np.isfinite(change).all():
            raise ModelError(f"the weights '{name}' are not finite and cannot be packed.")
        quantum = (np.abs(change).max(axis=1) / LEVELS).astype(np.float32)
        divisor = np.where(quantum > 0, quantum, 1).astype(np.float64)
        step = np.clip(np.rint(change / divisor[:, None]), -LEVELS, LEVELS).astype(np.int8)
        steps.append(step.tobytes())
        quanta.append(quantum)
        weights[name] = _added(before, step, quantum)
    deflate = zlib.compressobj(9, strategy=zlib.Z_HUFFMAN_ONLY)
    return PackedDifference(
        payload=deflate.compress(b"".join(steps)) + deflate.flush(),
        quanta=np.concatenate(quanta),
        unpacked=_hash(weights),
    )


def unpack_difference(parent: Weights, packed: PackedDifference) -> dict[str, torch.Tensor]:
    """The child's weights, float32, to within half a quantum.

    Raises:
        ModelError: what comes out is not what was packed: other weights of the parent, or damage.
    """
    names = sorted(parent)
    num_steps = sum(parent[name].numel() for name in names)
    num_rows = sum(prod(parent[name].shape[:-1]) for name in names)
    steps = _inflate(packed.payload, num_steps)
    if steps is None or len(packed.quanta) != num_rows:
        raise ModelError(
            f"the difference does not hold {num_steps:,} steps in {num_rows:,} rows, as its parent"
            " does."
        )
    weights, step_at, row_at = {}, 0, 0
    for name in names:
        before = _rows(parent[name])
        step = steps[step_at : step_at + before.size].reshape(before.shape)
        weights[name] = _added(before, step, packed.quanta[row_at : row_at + len(before)])
        step_at, row_at = step_at + before.size, row_at + len(before)
    if _hash(weights) != packed.unpacked:
        raise ModelError("the unpacked weights have another hash than those that were packed.")
    return {name: torch.from_numpy(weights[name]).reshape(parent[name].shape) for name in weights}


def pack_checkpoints(parent: Path, checkpoints: Path, out: Path) -> list[Path]:
    """Pack every `step-...` folder of a training run against its parent.

    Args:
        parent: folder of the model that training began with; to be the one that is shipped.
        checkpoints: the folder of the `step-...` folders.
        out: gets a file for each of them.

    Raises:
        ModelError: no checkpoints, some that do not fit the parent, or the disk refuses.
    """
    folders = sorted(path for path in checkpoints.glob(CHECKPOINTS) if path.is_dir())
    if not folders:
        raise ModelError(f"{checkpoints} holds no checkpoints: no folders named {CHECKPOINTS}.")
    before, parent_hash = _read_weights(parent), weights_hash(parent)
    with _explained(out):
        make_writable(out)
    paths = []
    for folder in folders:
        packed = pack_difference(before, _read_weights(folder))
        content = save(
            {
                "payload": torch.frombuffer(bytearray(packed.payload), dtype=torch.uint8),
                "quanta": torch.from_numpy(packed.quanta),
            },
            # One key: safetensors writes several in any order.
            metadata={HEADER: json.dumps({"parent": parent_hash, "unpacked": packed.unpacked})},
        )
        paths.append(out / (folder.name + SUFFIX))
        with _explained(paths[-1]):
            write_whole(paths[-1], content)
    return paths


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn the system's refusal into one line."""
    try:
        yield
    except OSError as error:
        raise ModelError(f"cannot write {path}: {error.strerror or error}.") from error


def unpack_checkpoint(path: Path, parent: Path, like: Path, out: Path) -> None:
    """Write a packed checkpoint as a plain folder.

    Args:
        path: the packed file.
        parent: folder of the model that it was packed against.
        like: folder of the finished model, whose configuration and tokenizer the checkpoint has.
        out: a folder that does not exist.

    Raises:
        ModelError: a damaged file, or one that was packed against other weights.
    """
    packed, packed_against = _read_packed(path)
    if packed_against != weights_hash(parent):
        raise ModelError(
            f"{path} was packed against other weights than those in {parent}: {packed_against[:12]}"
            f" and not {weights_hash(parent)[:12]}."
        )
    try:
        weights = unpack_difference(_read_weights(parent), packed)
    except ModelError as error:
        raise ModelError(f"{path} is damaged: {error}") from error
    out.mkdir(parents=True)
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    (out / "model.safetensors").chmod(0o644)
    for name in COPIED:
        if (like / name).is_file():
            shutil.copyfile(like / name, out / name)


class _Stated(Struct):
    """Header of a packed file."""

    unpacked: str
    parent: str
    """Both are SHA-256 [hexadecimal] of weights."""


def _read_packed(path: Path) -> tuple[PackedDifference, str]:
    """The difference, and the hash of the parent that it belongs to."""
    try:
        with safe_open(path, framework="numpy") as file:
            stated: _Stated = parse_json(
                (file.metadata() or {})[HEADER].encode(), _Stated, where=HEADER, error=ModelError
            )
            types = {name: file.get_slice(name).get_dtype() for name in _TYPES}
            if types != _TYPES:
                raise ValueError(f"its arrays are {types}, not {_TYPES}")
            packed = PackedDifference(
                payload=file.get_tensor("payload").tobytes(),
                quanta=file.get_tensor("quanta"),
                unpacked=stated.unpacked,
            )
            return packed, stated.parent
    except (OSError, KeyError, TypeError, ValueError, SafetensorError, ModelError) as error:
        raise ModelError(f"{path} is no packed checkpoint: {first_line(error)}") from error


_TYPES = {"payload": "U8", "quanta": "F32"}
"""Names in safetensors of the types of the arrays."""


def _read_weights(folder: Path) -> dict[str, torch.Tensor]:
    return {n: tensor for path in weight_files(folder) for n, tensor in load_file(path).items()}


def _check_same_tensors(parent: Weights, child: Weights) -> None:
    ours, theirs = (
        {name: tuple(tensor.shape) for name, tensor in weights.items()}
        for weights in (parent, child)
    )
    if differing := sorted(set(ours.items()) ^ set(theirs.items())):
        name, _ = differing[0]
        raise ModelError(
            f"parent and child differ in the shapes of {len({n for n, _ in differing})} tensors:"
            f" '{name}' is {ours.get(name)} in the parent and {theirs.get(name)} in the child."
        )


def _rows(tensor: torch.Tensor) -> np.ndarray:
    """[row, column], float64; a vector is one row."""
    return tensor.to(torch.float64).reshape(-1, tensor.shape[-1]).numpy()


def _added(before: np.ndarray, step: np.ndarray, quantum: np.ndarray) -> np.ndarray:
    return (before + step * quantum[:, None].astype(np.float64)).astype(np.float32)


def _inflate(payload: bytes, size: int) -> np.ndarray | None:
    """Int8 [size]; None: not deflated, or another number of bytes."""
    inflate = zlib.decompressobj()
    try:
        # Never more than expected, whatever a damaged file asks for.
        content = inflate.decompress(payload, size + 1)
    except zlib.error:
        return None
    whole = len(content) == size and inflate.eof
    return np.frombuffer(content, dtype=np.int8) if whole else None


def _hash(weights: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(np.ascontiguousarray(weights[name], dtype="<f4").tobytes())
    return digest.hexdigest()
