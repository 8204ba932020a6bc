"""Arrays on a page: safetensors, compressed, as text inside a script element.

What a figure of plotly shows is JSON; a hundred thousand numbers are too much for that. A browser
takes the text apart again with what it has by itself (`atob`, `DecompressionStream`), and the
format of the bytes is safetensors': the length of a header as 8 bytes, the header as JSON, the
arrays one after the other.
"""

import base64
import gzip
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from markupsafe import Markup
from safetensors.numpy import load, save

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
