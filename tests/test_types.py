"""Types: the public modules pass mypy, and a user's type checker knows every public name."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("optkit", "optkit.pruning", "optkit.runtime", "optkit.serving")

#: What a user writes; mypy reports an assertion that does not hold.
USER = """
from pathlib import Path
from typing import Any, assert_type

import optkit
import optkit.runtime
from optkit.pruning import PruningCallback, Rule, Schedule

assert_type(optkit.run("recipe.yaml", output=Path("run")), dict[str, Any])
assert_type(optkit.sparsity("model").to_dict(), dict[str, Any])
assert_type(optkit.inspect("ir", runtime=True).baked, dict[str, dict[str, str]])
assert_type(optkit.inspect("model").notes, tuple[str, ...])
assert_type(optkit.quantize("model", data="a.csv").output, Path)
assert_type(optkit.pareto("runs").chart(), str)
assert_type(optkit.runtime.available(), bool)
assert_type(optkit.runtime.plan("ir").layers, tuple[optkit.runtime.LayerPlan, ...])
assert_type(PruningCallback(Rule(schedule=Schedule(to=0.8))).fold()[0].pruned, int)
"""
#: Lines that are wrong, each with the kind of error that mypy has to find in it.
WRONG = {
    "optkit.nope": "attr-defined",
    "optkit.runtime.nope": "attr-defined",
    "optkit.run(3)": "arg-type",
    "optkit.quantize('model', sample=1)": "call-arg",
    "optkit.pull('org/name').commit": "attr-defined",
}

pytestmark = pytest.mark.slow


def mypy(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    cache = ROOT / ".mypy_cache"  # one for all calls: a change is judged in seconds
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(cache), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_the_public_modules_pass():
    done = mypy(cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_module_that_defines_a_public_name_is_judged():
    listed = re.findall(r'^    "(optkit/\S+)",$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    for name in PACKAGES:
        package = import_module(name)
        for public in set(package.__all__) - {"__version__"}:
            module = getattr(package, public).__module__
            path = f"{module.replace('.', '/')}.py"
            assert any(path == each or path.startswith(f"{each}/") for each in listed), f"{public}: {path}"


def test_a_user_sees_types_and_no_name_is_any(tmp_path):
    names = [(name, public) for name in PACKAGES for public in import_module(name).__all__]
    lines = [f"reveal_type({name}.{public})" for name, public in names]
    (tmp_path / "names.py").write_text("\n".join([*(f"import {name}" for name in PACKAGES), *lines]))
    (tmp_path / "user.py").write_text(USER)
    (tmp_path / "wrong.py").write_text("\n".join(["import optkit, optkit.runtime", *WRONG]))

    done = mypy("--python-executable", sys.executable, "names.py", "user.py", "wrong.py", cwd=tmp_path)

    revealed = re.findall(r'^names\.py:\d+: note: Revealed type is "(.*)"$', done.stdout, re.MULTILINE)
    assert len(revealed) == len(names), done.stdout
    assert [name for name, kind in zip(names, revealed, strict=True) if kind == "Any"] == []
    assert "user.py" not in done.stdout, done.stdout
    found = re.findall(r"^wrong\.py:(\d+): error: .*\[([a-z-]+)\]$", done.stdout, re.MULTILINE)
    assert found == [(str(line), kind) for line, kind in enumerate(WRONG.values(), start=2)], done.stdout
