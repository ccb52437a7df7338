"""The engine's memory shrinks again: a program in C++ that uses its pool by itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

from capabilities import need

CSRC = Path(__file__).parents[2] / "optkit" / "runtime" / "csrc"


def test_memory_of_one_long_request_is_given_back(tmp_path):
    need("compiler")
    program = tmp_path / "pool"
    source = Path(__file__).parent / "pool" / "main.cpp"
    built = subprocess.run(
        ["c++", "-std=c++17", "-Wall", "-Werror", "-pthread", "-I", CSRC, source, "-o", program],
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr[-2000:]
    process = subprocess.run([program], capture_output=True, text=True)
    assert process.returncode == 0, process.stdout
