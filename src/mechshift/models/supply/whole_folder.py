"""Folders of models that are whole, and made from what they would be made from today.

`source.json` in the folder says what it was made from. A folder is written under a hidden name and
renamed, so that under its own name it is whole.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from mechshift.errors import ModelError
from mechshift.models.folders import read_json

SOURCE_NAME = "source.json"


@dataclass(frozen=True, kw_only=True)
class Provided:
    """A folder that is there now."""

    folder: Path
    made: bool
    """False: it was there already."""


def provide_folder(
    folder: Path, source: Mapping[str, str], make: Callable[[Path], None]
) -> Provided:
    """Make a folder, unless it is there already and was made from the same source.

    Args:
        folder: where it goes; parents are created.
        source: what it is made from, by name: versions and hashes.
        make: writes the content into the empty folder that it is given.

    Raises:
        ModelError: another folder stands there, the disk refuses, or what `make` raises.
    """
    if folder.exists():
        _check_source(folder, source)
        return Provided(folder=folder, made=False)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(mkdtemp(prefix=f".{folder.name}.partial-", dir=folder.parent))
        try:
            make(partial)
            (partial / SOURCE_NAME).write_text(json.dumps(source, indent=2) + "\n", "utf-8")
            partial.chmod(0o755)  # mkdtemp makes it private
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise ModelError(f"cannot write {folder}: {error.strerror or error}.") from error
    return Provided(folder=folder, made=True)


def _check_source(folder: Path, source: Mapping[str, str]) -> None:
    stated = folder / SOURCE_NAME
    if not stated.is_file():
        raise ModelError(
            f"{folder} exists already and is not of mechshift's making; choose another folder."
        )
    if read_json(stated) != source:
        raise ModelError(
            f"{folder} was made from something else, as its {SOURCE_NAME} says; choose another"
            " folder, or delete it to make it anew."
        )
