"""One model's weights, read as another model is: with its attention and shift.

The weights of an ARM attend to the left because they are told to, not because they must. Reading
them with the MDM's attention, masks and all, and the MDM's weights causally, separates what
post-training did to the weights from what the mask does by itself.
"""

from copy import deepcopy
from dataclasses import replace

from mechshift.errors import ModelError
from mechshift.models.language_model import LanguageModel, probe_attention, set_attention
from mechshift.models.offloading import shared_offloads


def read_like(model: LanguageModel, other: LanguageModel, *, name: str) -> LanguageModel:
    """The weights of `model`, with the kind, attention, shift and mask token of `other`.

    The two share their parameters and buffers, so the new one costs no memory.

    Args:
        model: whose weights are read; it stays as it is.
        other: how they are read.
        name: how reports call the result.

    Raises:
        ModelError: the weights cannot be read so: `model` predicts a token from another position
            than `other`, or lacks an embedding of the mask token.
    """
    if model.shift != other.shift:
        raise ModelError(
            f"the weights of '{model.name}' predict the token at {_predicted(model.shift)}, and"
            f" '{other.name}' is read at {_predicted(other.shift)}; they cannot be read like it."
        )
    tensors = (*model.module.parameters(), *model.module.buffers())
    shared: dict[int, object] = {id(tensor): tensor for tensor in tensors}
    module = deepcopy(model.module, shared | shared_offloads(model.module))
    set_attention(module, other.attention)
    probe_attention(module, other.attention, other.block_length)
    return replace(
        model,
        name=name,
        kind=other.kind,
        module=module,
        attention=other.attention,
        block_length=other.block_length,
        mask_token_id=model.mask_token_id if other.kind == "arm" else other.mask_token_id,
    )


def _predicted(shift: bool) -> str:
    return "i + 1 from position i" if shift else "i from position i"
