"""Gradients of the metric with respect to nodes' outputs, summed over a path."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from mechshift.interventions import Recording


class OutputGradients:
    """Gradients at chosen recorded tensors, summed over points, in float32 at least."""

    def __init__(self, num_slots: int, select: Callable[[Recording], list[Tensor]]) -> None:
        """Start at zero; `select` says which tensors of a recording are differentiated."""
        self._select = select
        self._num_slots = num_slots
        self._totals: list[Float[Tensor, "slot row position d"]] = []

    def differentiated(self, record: Recording) -> list[Tensor]:
        """The recorded tensors whose gradients `add` takes, in this order."""
        return self._select(record)

    def begin_point(self, record: Recording) -> None:
        """Make room before the first point; slots share nothing else."""
        if not self._totals:
            self._totals = [
                tensor.new_zeros(
                    (self._num_slots, *tensor.shape),
                    dtype=torch.promote_types(tensor.dtype, torch.float32),
                )
                for tensor in self._select(record)
            ]

    def add(self, slot: int, index: int, gradient: Tensor) -> None:
        """Add one slot's gradient at the tensor that stands at `index` in `differentiated`."""
        self._totals[index][slot] += gradient

    def total(self, index: int) -> Float[Tensor, "slot row position d"]:
        """The sum at the tensor that stands at this index in what `select` gives."""
        return self._totals[index]
