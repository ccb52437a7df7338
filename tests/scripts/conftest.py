"""What the tests of scripts share: a call of a script in this process, and a page for it to write into."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def script(monkeypatch) -> Callable[..., int]:
    """Calls a script by name with arguments, and gives its exit status."""

    def call(name: str, *arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="__main__")
        return ended.value.code

    monkeypatch.syspath_prepend(SCRIPTS)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")  # so that what the script sets is taken back
    return call


@dataclass(frozen=True)
class Page:
    """A page with a place for measurements between lines by hand."""

    path: Path

    def read(self) -> str:
        """Its text, once something was written between the lines by hand."""
        text = self.path.read_text(encoding="utf-8")
        assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
        return text


@pytest.fixture
def page(tmp_path) -> Page:
    path = tmp_path / "page.md"
    path.write_text("before\n<!-- measured: begin -->\nold\n<!-- measured: end -->\nafter\n", encoding="utf-8")
    return Page(path)


@pytest.fixture
def scripts() -> Path:
    """The folder of the scripts."""
    return SCRIPTS
