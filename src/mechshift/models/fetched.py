"""Models that `mechshift pairs get` brought to this machine.

Each has a folder in the cache: MECHSHIFT_CACHE, else `mechshift` in XDG_CACHE_HOME, else
~/.cache/mechshift. Its name, or its name and a member of it, stands for that folder wherever a
folder or a hub id does: `smollm2`, `smollm2/mdm`.
"""

import os
from pathlib import Path

FETCHED = {"smollm2": "base"}
"""Pair that can be fetched -> the member that its bare name stands for."""


def cache_folder() -> Path:
    """Where fetched models are kept; nothing is created."""
    if own := os.environ.get("MECHSHIFT_CACHE"):
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(shared).expanduser() / "mechshift"


def fetched_folder(path: str) -> Path | None:
    """The place of a fetched model, there or not; None: the path names none."""
    name, _, member = path.partition("/")
    if name not in FETCHED:
        return None
    return cache_folder() / name / (member or FETCHED[name])
