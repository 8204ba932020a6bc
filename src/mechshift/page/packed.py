"""Arrays on a page: safetensors, compressed, as text inside a script element.

What a figure of plotly shows is JSON; a hundred thousand numbers are too much for that. A browser
takes the text apart again with what it has by itself (`atob`, `DecompressionStream`), and the
format of the bytes is safetensors': the length of a header as 8 bytes, the header as JSON, the
arrays one after the other.

Bits that nobody sees do not compress: `shortened` numbers have fewer of them.
"""

import base64
import gzip
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, UInt16
from markupsafe import Markup
from safetensors.numpy import load, save

MANTISSA = 23
"""Bits of a float32 behind the first one."""

METADATA_KEY = "values"
"""Entry of the header's metadata under which JSON values stand."""


def packed(arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> Markup:
    """Arrays and JSON values as one text of letters, digits, `+`, `/` and `=`.

    The same content gives the same text. Nothing in it can end the element that it stands in.
    """
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    stated = json.dumps(values, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    content = save(contiguous, metadata={METADATA_KEY: stated})
    return Markup(base64.b64encode(gzip.compress(content, mtime=0)).decode("ascii"))


def unpacked(text: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays and JSON values of `packed`, as a page reads them."""
    content = gzip.decompress(base64.b64decode(text))
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    return load(content), json.loads(header["__metadata__"][METADATA_KEY])


def shortened(values: Float[np.ndarray, "..."], bits: int) -> Float[np.ndarray, "..."]:
    """As float32, rounded to so many bits behind the first one: right to 1 in 2^(bits + 1)."""
    whole = np.asarray(values, dtype=np.float32)
    step = 1 << (MANTISSA - bits)
    # Half a step more, then cut: the carry of a full mantissa goes into the exponent.
    cut = (whole.view(np.uint32) + np.uint32(step // 2)) & ~np.uint32(step - 1)
    found: Float[np.ndarray, ...] = np.where(np.isfinite(whole), cut.view(np.float32), whole)
    return found


def upper_halves(values: Float[np.ndarray, "..."], bits: int = 7) -> UInt16[np.ndarray, "..."]:
    """The upper two bytes of each `shortened` number (bfloat16), the lower ones being 0."""
    assert bits <= 7
    halves: UInt16[np.ndarray, ...] = (shortened(values, bits).view(np.uint32) >> 16).astype(
        np.uint16
    )
    return halves
