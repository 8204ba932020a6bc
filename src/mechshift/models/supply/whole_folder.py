"""Folders of models that are whole, and made from what they would be made from today.

`source.json` in the folder says what it was made from. A folder is written under a hidden name and
renamed, so that under its own name it is whole.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mechshift.disk import disk_refusal, move_into_place, partial_folder, write_text
from mechshift.errors import ModelError
from mechshift.input_files import read_json

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
        with partial_folder(folder) as partial:
            make(partial)
            write_text(partial / SOURCE_NAME, json.dumps(source, indent=2) + "\n")
            move_into_place(partial, folder)
    except Exception as error:
        reason = disk_refusal(error)
        if reason is None:
            raise
        raise ModelError(f"cannot write {folder}: {reason}.") from error
    return Provided(folder=folder, made=True)


def _check_source(folder: Path, source: Mapping[str, str]) -> None:
    stated = folder / SOURCE_NAME
    if not stated.is_file():
        raise ModelError(
            f"{folder} exists already and is not of mechshift's making; choose another folder."
        )
    if read_json(stated, dict[str, Any], error=ModelError) != source:
        raise ModelError(
            f"{folder} was made from something else, as its {SOURCE_NAME} says; choose another"
            " folder, or delete it to make it anew."
        )
