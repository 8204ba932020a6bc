"""Weights outside a device's memory, in the host's or on the disk, for models that are too large.

accelerate makes a device map: modules that fit stay on the device, the weights of the others are
brought there when a module is called, and let go after it. Everything is computed on one device, so
hooks and attribution see what they always see. Two things it leaves to us:

1. weights that are read outside of a call, as scores are contracted with them (`held`);
2. the graph of a forward pass, which would keep every weight that was brought until the backward
   pass, and so all at once. It keeps where a weight lies, and brings it again (`brought_again`).
"""

import atexit
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from accelerate.utils import align_module_device, has_offloaded_params
from torch import Tensor, nn

from mechshift.errors import ModelError

OFFLOAD = "+offload"
"""Ending of a device's name that offloads, perhaps with `=` and the GB of weights it may hold."""

SHARE_FOR_WEIGHTS = 0.6
"""Of a GPU's free memory that weights fill where nothing else is said: passes need the rest."""


@cache
def _offload_folder() -> str:
    folder = tempfile.mkdtemp(prefix="mechshift-offload-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@dataclass(frozen=True, kw_only=True)
class Place:
    """Place where a model computes, and how much of its weights lies there."""

    device: torch.device
    offloads: bool
    """Whether weights that do not fit lie elsewhere."""
    weights_gb: float | None
    """That the device may hold [10^9 bytes]; None: all, or by its free memory."""

    def loading_options(self) -> dict[str, Any]:
        """Arguments of `from_pretrained`; nothing where all weights lie on the device.

        What lies on the disk is read from the model's own files; only renamed tensors are copied,
        into a folder that goes with the process.
        """
        if not self.offloads:
            return {}
        limits: dict[int | str, int | str] = {"cpu": self._bytes()}
        if self.device.type == "cuda":
            limits = {self.device.index or 0: self._bytes(), "cpu": "100000GB"}
        return {"device_map": "auto", "max_memory": limits, "offload_folder": _offload_folder()}

    def _bytes(self) -> int:
        if self.weights_gb is not None:
            return int(self.weights_gb * 1e9)
        return int(SHARE_FOR_WEIGHTS * torch.cuda.mem_get_info(self.device)[0])


def split_place(name: str) -> tuple[str, bool, float | None]:
    """A device's name, whether weights may lie elsewhere, and how many GB of them it may hold.

    Raises:
        ModelError: no number of GB, or a CPU without one.
    """
    device, plus, rest = name.partition(OFFLOAD)
    if not plus:
        return name, False, None
    if not rest and device != "cpu":
        return device, True, None
    try:
        gigabytes = float(rest.removeprefix("="))
    except ValueError:
        gigabytes = 0.0
    if not rest.startswith("=") or not 0 < gigabytes < float("inf"):
        raise ModelError(
            f"the device '{name}' is not understood; give cuda{OFFLOAD}, or how many GB of weights"
            f" the device may hold: cuda:0{OFFLOAD}=20, cpu{OFFLOAD}=8."
        )
    return device, True, gigabytes


def execution_device(module: nn.Module) -> torch.device:
    """Where a model computes, also if its first weights lie elsewhere."""
    for part in module.modules() if hasattr(module, "hf_device_map") else ():
        device = getattr(getattr(part, "_hf_hook", None), "execution_device", None)
        if device is not None:
            return torch.device(device)
    return next(module.parameters()).device


def held(module: nn.Module, name: str) -> Tensor | None:
    """A parameter of a module, brought to the device if it lies elsewhere; None: it has none."""
    value = getattr(module, name, None)
    if not isinstance(value, Tensor) or not value.is_meta:
        return value
    with align_module_device(module):
        brought = getattr(module, name)
    assert isinstance(brought, Tensor)
    return brought


def shared_offloads(module: nn.Module) -> dict[int, object]:
    """Hooks that a copy of a model shares with its parameters, by identity (see `deepcopy`)."""
    hooks = [part._hf_hook for part in module.modules() if has_offloaded_params(part)]
    return {id(hook): hook for hook in hooks}


@dataclass(frozen=True, kw_only=True, eq=False)
class _Kept:
    """A weight that autograd wants, in place of the weight."""

    module: nn.Module
    name: str
    layout: tuple[torch.Size, tuple[int, ...], int]
    """Size, strides and offset of the view that it wants."""


@contextmanager
def brought_again(module: nn.Module) -> Iterator[None]:
    """Have forward passes inside the block keep no weight that lies elsewhere for backward ones.

    Where all weights lie on the device nothing changes.
    """
    elsewhere = [part for part in module.modules() if has_offloaded_params(part)]
    if not elsewhere or not torch.is_grad_enabled():
        yield
        return

    def pack(saved: Tensor) -> Tensor | _Kept:
        address = saved.untyped_storage().data_ptr()
        for part in elsewhere:
            for name, weight in part.named_parameters(recurse=False):
                if not weight.is_meta and weight.untyped_storage().data_ptr() == address:
                    layout = (saved.size(), saved.stride(), int(saved.storage_offset()))
                    return _Kept(module=part, name=name, layout=layout)
        return saved

    def unpack(kept: Tensor | _Kept) -> Tensor:
        if isinstance(kept, Tensor):
            return kept
        weight = held(kept.module, kept.name)
        assert weight is not None
        return weight.detach().as_strided(*kept.layout)

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        yield
