"""Names of modules: what a package re-exports never hides one of its own modules."""

import ast
from pathlib import Path

import mechshift


def test_no_function_hides_the_module_that_it_comes_from() -> None:
    """`import mechshift.comparison.depth` must give the module."""
    hidden, seen = [], 0
    for init in Path(mechshift.__file__).parent.rglob("__init__.py"):
        modules = {path.stem for path in init.parent.iterdir()}
        for node in ast.walk(ast.parse(init.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module != mechshift.__name__:
                names = [alias.asname or alias.name for alias in node.names]
                seen += len(names)
                hidden += [f"{init.parent.name}.{name}" for name in names if name in modules]
    assert seen > 100
    assert not hidden
