"""Which modules import which, imports inside functions included: packages downwards, and no files in a circle."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import grimp
import pytest

from optkit.cli import lazy

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    graph = grimp.build_graph("optkit", exclude_type_checking_imports=True, cache_dir=None)
    return {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}


def test_packages_import_downwards():
    # In a process of its own: its console outlives the capture of a test, and closes what the next one writes to.
    code = f"from importlinter.cli import lint_imports as lint\nexit(lint({str(PYPROJECT)!r}, no_cache=True, no_logo=True))"
    done = subprocess.run([sys.executable, "-c", code], cwd=PYPROJECT.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_module_that_imports_another_is_in_a_layer(imports):
    [contract] = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    layers = [module for layer in contract["layers"] for module in re.split(r" [:|] ", layer)]
    placed = {module for module in imports for layer in layers if f"{module}.".startswith(f"{layer}.")}
    # ``optkit`` itself imports ``optkit.lazy`` alone.
    assert {module for module in imports if imports[module]} - placed == {"optkit", "optkit.__main__"}


def test_no_files_import_each_other_in_a_circle(imports):
    graphlib.TopologicalSorter(imports).prepare()  # raises CycleError with the files of one


@pytest.mark.parametrize("name", lazy._NAMES)
def test_what_verbs_import_at_first_use_is_there(name):
    assert getattr(lazy, name) is not None


#: Packages whose files import the others at their top, but for the one file that says what is imported at first use.
EAGER = "allocation cli data export hub interop models pipeline planning quantization stages tasks".split()
LAZY = {"pipeline/order.py"}


def test_what_is_imported_at_first_use_has_a_place_of_its_own():
    root, found = PYPROJECT.parent / "optkit", set()
    for file in (file for package in EAGER for file in (root / package).rglob("*.py")):
        functions = [n for n in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(n, ast.FunctionDef)]
        inside = [
            n for function in functions for n in ast.walk(function) if isinstance(n, (ast.Import, ast.ImportFrom))
        ]
        if any("optkit" in ast.unparse(statement) for statement in inside):
            found.add(file.relative_to(root).as_posix())
    assert found == LAZY
