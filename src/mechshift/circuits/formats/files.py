"""Files of circuits: written all or nothing, refused in one line that names them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mechshift.errors import CircuitError
from mechshift.input_files import check_regular

MAX_BYTES = 2**34
"""Size of the largest file that is read: safetensors of a graph of the most edges is half of it."""


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to; what is there at the end takes the name `path`.

    Raises:
        CircuitError: the disk refuses; the message begins with the file.
    """
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")  # the suffix is kept
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        raise CircuitError(f"{path}: cannot be written: {error.strerror or error}.") from error
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Put the file before the message of every CircuitError.

    Raises:
        CircuitError: also where the disk refuses, or the file is larger than any circuit's.
    """
    check_regular(path, MAX_BYTES, error=CircuitError)
    try:
        yield
    except CircuitError as error:
        raise CircuitError(f"{path}: {error}") from error
    except OSError as error:
        raise CircuitError(f"cannot read {path}: {error.strerror or error}.") from error
