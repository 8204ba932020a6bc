"""What did some work really do: passes of the decoder, matrix products, memory of live tensors?

For comparison with `mechshift.experiment.planning`, which predicts all three.
"""

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.module_tracker import ModuleTracker

from mechshift.interventions.hooking import removing
from mechshift.models import LanguageModel


@dataclass(kw_only=True)
class PassCount:
    """Passes so far; filled by hooks."""

    forward: int = 0
    backward: int = 0
    sizes: list[tuple[int, int]] = field(default_factory=list)
    """Rows and positions of each forward pass."""


@contextmanager
def counted_passes(model: LanguageModel) -> Iterator[PassCount]:
    """Count the calls of the model's decoder inside the block, and backward passes through it."""
    count = PassCount()
    decoder: nn.Module = model.module.base_model
    with removing(iter([decoder.register_forward_hook(_counting(count))])):
        yield count


def _counting(count: PassCount) -> Callable[[nn.Module, Any, Any], None]:
    def one_more(_gradient: Tensor) -> None:
        count.backward += 1

    def hook(_module: nn.Module, _args: Any, output: Any) -> None:
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

    Counts every storage that an operation returns until it is freed, on any device. It does not see
    what a kernel allocates for itself, nor what an allocator keeps back.
    """

    def __init__(self, *before: Tensor) -> None:
        """Start with the tensors that were there before."""
        super().__init__()
        self.now = self.peak = 0
        self._alive: dict[int, int] = {}
        for tensor in before:
            self._see(tensor)

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Any = (),
        kwargs: Any = None,
    ) -> Any:
        """Run the operation and look at what it returns."""
        output = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(output):
            if isinstance(leaf, Tensor):
                self._see(leaf)
        return output

    def restart(self) -> None:
        """Forget the peak, not what is alive."""
        self.peak = self.now

    def _see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        identity = storage._cdata
        if identity not in self._alive:
            self._alive[identity] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._freed, identity)

    def _freed(self, identity: int) -> None:
        self.now -= self._alive.pop(identity)
