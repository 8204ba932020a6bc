"""Replacements: what ablated structures write instead.

1. `zero`: nothing. Biases that belong to no structure stay (see `interventions.replaced_outputs`).
2. `mean`: their mean output at the same position, over other, held-out canvases. Positions are
   counted from the first token of a canvas. All held-out canvases that reach a position count,
   whatever their denoising step.
3. `resample`: their output on the corrupted canvas of the same example and step. It exists only
   where there is such a canvas, so not while decoding.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from mechshift.ablation.settings import Replacement
from mechshift.denoising import Canvas, batch_canvases
from mechshift.errors import AblationError
from mechshift.interventions import (
    ChosenOutputs,
    Site,
    Value,
    noted_positions,
    recorded_outputs,
    replaced_outputs,
)
from mechshift.models import LanguageModel


@dataclass(frozen=True, kw_only=True, eq=False)
class PositionMeans:
    """Mean outputs by position, for the sites of some structures."""

    by_site: Mapping[Site, Float[Tensor, "position width"]]
    """On the model's device, in float32 at least."""
    num_positions: int
    """Length of the longest held-out canvas."""

    def at(
        self, site: Site, positions: Int64[Tensor, "row position"]
    ) -> Float[Tensor, "row position width"]:
        """The means for every token of a pass.

        Raises:
            AblationError: a position that no held-out canvas reaches.
        """
        last = int(positions.max())
        if last >= self.num_positions:
            raise AblationError(
                f"position {last} has no mean output: the longest of those averaged over"
                f" has {self.num_positions} tokens; average over more or longer examples, or use"
                " another replacement."
            )
        return self.by_site[site][positions]


@dataclass(frozen=True, kw_only=True, eq=False)
class Substitutes:
    """Values that can replace outputs; a replacement that is not used needs nothing."""

    means: PositionMeans | None = None
    corrupted: Mapping[Site, Float[Tensor, "row position width"]] | None = None
    """From the corrupted run of the very batch that is ablated."""


@torch.no_grad()
def position_means(
    model: LanguageModel, canvases: Sequence[Canvas], chosen: ChosenOutputs, *, batch_size: int = 32
) -> PositionMeans:
    """Run the clean canvases and average what the sites of the chosen structures hold.

    Raises:
        AblationError: no canvases.
    """
    if not canvases:
        raise AblationError(
            "the replacement 'mean' needs held-out canvases to average over, and none were given."
        )
    num_positions = max(len(canvas.clean_ids) for canvas in canvases)
    sums: dict[Site, Tensor] = {}
    counts = torch.zeros(num_positions, 1, device=model.device)
    with recorded_outputs(model.parts, chosen) as outputs:
        for batch in batch_canvases(model, canvases, batch_size):
            model.hidden(batch.clean_ids, batch.attention_mask, batch.position_ids)
            tokens = batch.attention_mask.bool()
            # A matrix product adds in one order on every device; scatter-add does not.
            places = functional.one_hot(batch.position_ids[tokens], num_positions).T
            counts += places.sum(dim=1, keepdim=True)
            for site, output in outputs.items():
                values = output[tokens].to(torch.promote_types(output.dtype, torch.float32))
                added = places.to(values.dtype) @ values
                sums[site] = sums[site] + added if site in sums else added
    return PositionMeans(
        by_site={site: total / counts for site, total in sums.items()},
        num_positions=num_positions,
    )


@contextmanager
def ablated(
    model: LanguageModel, chosen: ChosenOutputs, replacement: Replacement, substitutes: Substitutes
) -> Iterator[None]:
    """Replace the outputs of the chosen structures in every forward pass inside the block."""
    with ExitStack() as stack:
        value: Value
        if replacement == "zero":
            value = _zero
        elif replacement == "mean":
            value = stack.enter_context(_means(model, substitutes))
        else:
            value = _corrupted(substitutes)
        stack.enter_context(replaced_outputs(model.parts, chosen, value))
        yield


def _zero(_site: Site, output: Tensor) -> Tensor:
    return output.new_zeros(())


@contextmanager
def _means(model: LanguageModel, substitutes: Substitutes) -> Iterator[Value]:
    means = substitutes.means
    assert means is not None
    with noted_positions(model.parts) as positions:

        def value(site: Site, output: Tensor) -> Tensor:
            assert positions.ids is not None
            return means.at(site, positions.ids).unflatten(0, output.shape[:2])

        yield value


def _corrupted(substitutes: Substitutes) -> Value:
    corrupted = substitutes.corrupted
    assert corrupted is not None
    return lambda site, _output: corrupted[site]
