"""Files and folders of a training, written so that one under its own name is whole.

Each is written under a hidden name, flushed to the disk and renamed, so that neither a kill nor a
power cut leaves half of it. What was there before goes only once the new one is in its place.
"""

import shutil
from pathlib import Path

from mechshift.artifacts import flush


def write_whole(path: Path, text: str) -> None:
    """Write a text file in UTF-8."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(text.encode("utf-8"))  # never the platform's line ends
    flush(partial)
    partial.replace(path)
    flush(path.parent)


def move_into_place(partial: Path, folder: Path) -> None:
    """Give a folder that was written its name; one that has it already is replaced."""
    for path in sorted(partial.rglob("*")):
        flush(path)
    flush(partial)
    older = folder.with_name(f".{folder.name}.older")
    shutil.rmtree(older, ignore_errors=True)
    if folder.exists():
        folder.rename(older)
    partial.rename(folder)
    flush(folder.parent)
    shutil.rmtree(older, ignore_errors=True)
