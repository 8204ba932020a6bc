"""Measurements of work: decoder passes, matrix products, memory of live tensors.

For benchmarks, and for comparison with `mechshift.run.planning`, which predicts all three.
"""

import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, UntypedStorage, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.module_tracker import ModuleTracker

from mechshift.interventions.hooking import removing
from mechshift.models import LanguageModel


@dataclass(kw_only=True)
class PassCount:
    """Passes so far; filled by hooks.

    A call of the decoder that computes none of its layers, as for its input alone, is none.
    """

    forward: int = 0
    backward: int = 0
    sizes: list[tuple[int, int]] = field(default_factory=list)
    """Rows and positions of each forward pass."""
    layers: int = 0
    """Layers whose attention has been computed in the call that is under way."""


@contextmanager
def counted_passes(model: LanguageModel) -> Iterator[PassCount]:
    """Count the passes through the model's decoder inside the block, forward and backward."""
    count = PassCount()
    decoder: nn.Module = model.module.base_model

    def begin(_module: nn.Module, _args: Any) -> None:
        count.layers = 0

    def compute(_module: nn.Module, _args: Any) -> None:
        count.layers += 1

    hooks = [
        decoder.register_forward_pre_hook(begin),
        *(layer.attention.register_forward_pre_hook(compute) for layer in model.parts.layers),
        decoder.register_forward_hook(_counting(count)),
    ]
    with removing(iter(hooks)):
        yield count


def _counting(count: PassCount) -> Callable[[nn.Module, Any, Any], None]:
    def one_more(_gradient: Tensor) -> None:
        count.backward += 1

    def hook(_module: nn.Module, _args: Any, output: Any) -> None:
        if not count.layers:
            return
        hidden: Tensor = output.last_hidden_state
        count.forward += 1
        count.sizes.append((hidden.shape[0], hidden.shape[1]))
        if hidden.requires_grad:
            hidden.register_hook(one_more)

    return hook


class MatrixFlops(FlopCounterMode):
    """Operations of the matrix products inside the block, in `get_total_flops()`.

    torch's counter as it is, but for its attribution to modules, which refuses
    `torch.autograd.grad` with respect to a leaf.
    """

    def __init__(self) -> None:
        super().__init__(display=False)
        self.mod_tracker = _NoModules()


class _NoModules(ModuleTracker):
    """Tracks nothing: everything happens in the model as a whole."""

    def __enter__(self) -> "_NoModules":
        """Register no hooks."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Remove none."""


class LiveBytes(TorchDispatchMode):
    """Bytes of the tensors that are alive inside the block, now and at the peak.

    Counts every storage that an operation made until it is freed, on any device; those that were
    there before only where they are named. It does not see what a kernel allocates for itself, nor
    what an allocator keeps back.
    """

    def __init__(self, *before: Tensor) -> None:
        """Start with these tensors, which are there already."""
        super().__init__()
        self.now = self.peak = 0
        self._alive: dict[int, int] = {}
        self._count(_storages(before))

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Any = (),
        kwargs: Any = None,
    ) -> Any:
        """Run the operation and look at what it made."""
        given = _storages((args, kwargs))
        output = func(*args, **(kwargs or {}))
        returned = _storages(output)
        # An operation in place, or a view, returns what it was given.
        self._count({key: returned[key] for key in returned.keys() - given.keys()})
        return output

    def restart(self) -> None:
        """Forget the peak, not what is alive."""
        self.peak = self.now

    def _count(self, storages: Mapping[int, UntypedStorage]) -> None:
        for key in storages.keys() - self._alive.keys():
            self._alive[key] = storages[key].nbytes()
            self.now += storages[key].nbytes()
            weakref.finalize(storages[key], self._freed, key)
        self.peak = max(self.peak, self.now)

    def _freed(self, key: int) -> None:
        self.now -= self._alive.pop(key)


def _storages(tree: Any) -> dict[int, UntypedStorage]:
    """Of all tensors in a structure of arguments, by identity."""
    tensors = (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))
    return {storage._cdata: storage for storage in (t.untyped_storage() for t in tensors)}
