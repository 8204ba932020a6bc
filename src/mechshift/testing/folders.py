"""Folders of runs, to compare byte by byte."""

import hashlib
from pathlib import Path


def files_of(folder: Path) -> dict[str, str]:
    """Every file of a folder by its path in it, and the SHA-256 of its bytes."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
