"""Supported architectures: the stock classes, and where the parts of each are."""

from transformers import PreTrainedModel

from mechshift.errors import ModelError
from mechshift.models.architectures import GEMMA3, GPT2, LLAMA_LIKE
from mechshift.models.parts import Architecture, DecoderParts

ARCHITECTURES: dict[type[PreTrainedModel], Architecture] = {
    architecture.model_class: architecture for architecture in (*LLAMA_LIKE, GPT2, GEMMA3)
}
"""The supported classes. Exact types: a subclass may compute something else."""


def supported_architectures() -> str:
    """The names of the supported classes, for messages."""
    return ", ".join(sorted(model_class.__name__ for model_class in ARCHITECTURES))


def decoder_parts(module: PreTrainedModel) -> DecoderParts:
    """The parts of a supported model.

    Raises:
        ModelError: the class of `module` is not one of `ARCHITECTURES`.
    """
    architecture = ARCHITECTURES.get(type(module))
    if architecture is None:
        raise ModelError(
            f"cannot read the parts of a {type(module).__name__};"
            f" supported classes: {supported_architectures()}."
        )
    return architecture.read(module)
