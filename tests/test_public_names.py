"""The public surface: one list for `__all__`, lazy imports and type checkers, and a function for every verb."""

from __future__ import annotations

import ast
import builtins
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from torch.nn import Linear

import optkit
from optkit import deprecation
from optkit.cli.app import app
from optkit.pruning import Structure

PACKAGES = ("optkit", "optkit.pruning", "optkit.runtime", "optkit.serving")


def imported_for_type_checkers(package) -> dict[str, tuple[str, str]]:
    """Module and attribute of each name in the package's ``if TYPE_CHECKING:`` block."""
    tree = ast.parse(Path(package.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    return {
        alias.asname or alias.name: (statement.module, alias.name)
        for statement in block.body
        for alias in statement.names
    }


@pytest.mark.parametrize("name", PACKAGES)
def test_type_checkers_see_what_is_imported_on_first_use(name):
    package = import_module(name)
    seen = imported_for_type_checkers(package)
    assert sorted(package.__all__) == list(package.__all__)
    assert set(seen) == set(package._NAMES) == set(package.__all__) - {"__version__"}
    for public, (module, attribute) in seen.items():
        assert getattr(package, public) is getattr(import_module(module), attribute), public


@pytest.mark.parametrize("name", PACKAGES)
def test_an_unknown_name_is_an_attribute_error(name):
    with pytest.raises(AttributeError, match=f"module '{name}' has no attribute 'nope'"):
        import_module(name).nope  # noqa: B018


def test_every_verb_has_a_function_of_its_name():
    verbs = [command.name for command in app.registered_commands]
    assert len(verbs) == 17
    for verb in verbs:
        function = {"list": "list_registered", "compile": "compile_tvm"}.get(verb, verb)
        assert function in optkit.__all__ and callable(getattr(optkit, function)), verb


@pytest.mark.parametrize("name", PACKAGES)
def test_importing_everything_shadows_no_builtin(name):
    assert set(import_module(name).__all__).isdisjoint(dir(builtins))


def test_former_names_still_work(monkeypatch):
    monkeypatch.setattr(deprecation, "_warned", set())
    with pytest.warns(DeprecationWarning, match="^optkit.list is deprecated: use optkit.list_registered instead$"):
        assert optkit.list is optkit.list_registered
    with pytest.warns(DeprecationWarning, match="^Structure.most is deprecated: use Structure.max_sparsity instead$"):
        assert Structure.parse("2:4").most == 0.5


def test_import_optkit_imports_nothing_heavy():
    code = """
import sys
import optkit
optkit.OptkitError, optkit.list_registered(), optkit.schema(), optkit.Reporter
heavy = {"torch", "transformers", "datasets", "openvino", "nncf", "numpy"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


ROOT = Path(__file__).parents[1]
#: Pages for people who change optkit name modules; all others name what is public.
INSIDE = {"architecture.md", "extending.md"}
PAGES = [path for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if path.name not in INSIDE]


def public_names(text: str) -> list[str]:
    """Dotted names that begin with optkit and are called, imported from, or stand alone in code."""
    imported = re.findall(r"^\s*from (optkit[\w.]*) import ([\w, ]+|\((?:[^)]*)\))", text, re.MULTILINE)
    found = [f"{module}.{name}" for module, names in imported for name in re.findall(r"\w+", names)]
    return found + re.findall(r"(?<![\w/.-])optkit(?:\.\w+)+(?=\()", text)


def is_public(name: str) -> bool:
    package, _, last = name.rpartition(".")
    return package in PACKAGES and last in import_module(package).__all__


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_pages_call_what_is_public_only(page):
    assert [name for name in public_names(page.read_text(encoding="utf-8")) if not is_public(name)] == []


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_examples_use_what_is_public_only(example):
    text = example.read_text(encoding="utf-8")
    assert [name for name in public_names(text) if not is_public(name)] == []


def test_what_is_not_public_would_be_found():
    text = "from optkit.pruning.config import Rule\noptkit.run(1)\n`optkit.ir.tags.read_tags(path)`\n"
    assert [name for name in public_names(text) if not is_public(name)] == [
        "optkit.pruning.config.Rule",
        "optkit.ir.tags.read_tags",
    ]


@pytest.mark.parametrize(
    ("name", "arguments", "new"),
    [
        ("optkit.bake", {"source": "none", "output": "baked"}, "model"),
        ("optkit.pack_sparse", {"source": "none", "output": "packed"}, "model"),
        ("optkit.runtime.load", {"folder": "none"}, "model"),
        ("optkit.quantize", {"model": "none", "target": "vnni"}, "weight_range='full'"),
        ("optkit.Quantization", {"target": "avx9"}, "weight_range"),
        ("optkit.pruning.one_shot", {"model": Linear(1, 1), "rules": [], "batches": [], "tell": print}, "on_progress"),
    ],
)
def test_former_argument_names_still_work(name, arguments, new, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(deprecation, "_warned", set())
    package, _, function = name.rpartition(".")
    with (
        pytest.warns(DeprecationWarning, match=f"is deprecated: use {new}=? instead"),
        pytest.raises(optkit.OptkitError),
    ):
        getattr(import_module(package), function)(**arguments)
