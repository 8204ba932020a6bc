"""Folders of the embedded models, for runs on parts of them."""

from importlib.resources import files
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny():
    """The folder of the embedded models."""
    return Path(str(files("mechshift") / "pairs" / "tiny"))


@pytest.fixture(scope="session")
def link_model(tiny):
    """Make a folder with the files of an embedded model, or its weights with another's rest."""

    def link(folder, weights, described_by=None):
        folder.mkdir(parents=True)
        for path in (tiny / (described_by or weights)).iterdir():
            if path.is_file():
                source = tiny / weights / path.name if path.suffix == ".safetensors" else path
                (folder / path.name).symlink_to(source)

    return link
