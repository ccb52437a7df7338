"""`optkit serve` with the packages that docs/serving.md names for it, and what it says where some are missing."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import httpx
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PAGE = Path(__file__).parents[2] / "docs" / "serving.md"
#: Refuses every package that is neither Python's nor among those of the first argument, then is the command.
PROGRAM = """
import sys

ALLOWED = {"optkit", *sys.argv.pop(1).split()} | sys.stdlib_module_names

class OnlyThese:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in ALLOWED and not name.startswith("_sysconfigdata"):
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)

sys.meta_path.insert(0, OnlyThese())
from optkit.__main__ import main
try:
    main()
finally:
    assert "torch" not in sys.modules and "transformers" not in sys.modules
"""


def named_on_the_page() -> set[str]:
    """The packages of the two `pip install` lines."""
    lines = re.findall(r"^pip install ((?:openvino|tokenizers).*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.split("[=<>]", name.strip("'"))[0] for line in lines for name in line.split()}


def modules_of(packages: set[str]) -> set[str]:
    """Modules of the packages and of all that they require."""
    found: set[str] = set()
    while packages:
        name = canonicalize_name(packages.pop())
        requirements = map(Requirement, (requires(name) or []) if name not in found else [])
        packages |= {each.name for each in requirements if each.marker is None or each.marker.evaluate({"extra": ""})}
        found.add(name)
    owners = packages_distributions().items()
    return {module for module, names in owners if found & {canonicalize_name(name) for name in names}}


@pytest.mark.slow
def test_it_needs_what_the_page_installs_alone(start_server, classifier, embedder):
    named = named_on_the_page()
    assert {"openvino", "tokenizers", "fastapi", "uvicorn", "prometheus-client", "typer"} < named
    # Two of them make it faster.
    allowed = " ".join(modules_of(named - {"httptools", "uvloop"}))
    assert "numpy" in allowed and "torch" not in allowed
    server = start_server(classifier, embedder, "--drain", "0", program=("-c", PROGRAM, allowed))
    assert httpx.post(f"{server.url}/predict", json={"inputs": "the soup"}).json()[0]["label"]
    assert len(httpx.post(f"{server.url}/embed", json={"inputs": "the soup"}).json()[0]) == 32
    assert server.stop() == 0


def test_a_missing_package_is_a_line(classifier):
    program = "import sys; sys.modules['fastapi'] = None; from optkit.__main__ import main; main()"
    command = [sys.executable, "-c", program, "serve", str(classifier)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "serving needs fastapi: pip install 'optkit[serve]'\n")
