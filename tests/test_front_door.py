"""The front door: names that are imported when they are used; `front_door_types.py` has types."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mechshift

LISTS = (
    "import sys\n"
    "import mechshift\n"
    "heavy = {'torch', 'transformers', 'polars', 'plotly', 'scipy', 'numpy'} & set(sys.modules)\n"
    "sys.exit(f'imported {heavy}' if heavy else 0)\n"
)


def test_importing_the_package_imports_nothing_that_takes_seconds():
    done = subprocess.run([sys.executable, "-c", LISTS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_name_that_a_type_checker_sees_is_there_and_the_same():
    tree = ast.parse(Path(mechshift.__file__).read_text(encoding="utf-8"))
    shown = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module.startswith("mechshift.")
        for alias in node.names
    }
    assert len(shown) >= 25
    assert set(shown) == set(mechshift.__all__)
    for name, home in shown.items():
        assert getattr(mechshift, name) is getattr(sys.modules[home], name)
    assert set(mechshift.__all__) <= set(dir(mechshift))


def test_every_name_stands_on_the_page_of_the_api_once():
    page = (Path(__file__).parents[1] / "docs" / "api.md").read_text(encoding="utf-8")
    shown = re.findall(r"^::: mechshift\.(\w+)$", page, re.MULTILINE)
    assert sorted(shown) == sorted(mechshift.__all__)


def test_no_name_is_that_of_a_package():
    """The import system would put the package in the name's place."""
    packages = {path.stem for path in Path(mechshift.__file__).parent.iterdir()}
    assert not packages & set(mechshift.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'mechshift' has no attribute 'load_pairs'"):
        mechshift.load_pairs  # noqa: B018
