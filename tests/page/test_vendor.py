"""What the page brings along of others: a pinned file, with its licence, in the wheel."""

import hashlib
import re
from importlib import resources
from pathlib import Path

from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[2]
VENDOR = resources.files("mechshift.page").joinpath("vendor")


def test_the_drawing_library_is_the_pinned_one() -> None:
    makefile = (ROOT / "Makefile").read_text()
    version = re.search(r"^D3 := (\S+)$", makefile, re.MULTILINE)
    pinned = re.search(r"^D3_SHA256 := ([0-9a-f]{64})$", makefile, re.MULTILINE)
    assert version and pinned
    content = VENDOR.joinpath("d3.min.js").read_bytes()
    assert hashlib.sha256(content).hexdigest() == pinned[1]
    assert content.startswith(f"// https://d3js.org v{version[1]} ".encode())


def test_the_library_comes_with_its_licence() -> None:
    assert "Permission to use, copy, modify" in VENDOR.joinpath("d3.LICENSE").read_text()


def test_the_wheel_carries_everything_that_a_page_is_made_of() -> None:
    carried = {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    page = ROOT / "src/mechshift/page"
    parts = [path for folder in ("templates", "vendor") for path in (page / folder).iterdir()]
    assert {path.name for path in parts} >= {"d3.min.js", "d3.LICENSE", "explorer.js"}
    for path in parts:
        assert path.relative_to(ROOT / "src").as_posix() in carried
