"""What the linker sees of the kernels: nothing that could take the place of another object's function."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from capabilities import lack, need

CSRC = Path(__file__).parents[2] / "optkit" / "runtime" / "csrc"
SETS = sorted(path.parent.name for path in (CSRC / "isa").glob("*/kernels.cpp"))


def options(name: str) -> list[str]:
    """The compiler's for the CPU features of a row of the table, as engine.cmake takes them from there."""
    row = re.search(
        rf"^OPTKIT_INSTRUCTION_SET\({name},(.*?)OPTKIT_RATES", (CSRC / "isa/sets.def").read_text(), re.M | re.S
    )
    return [f"-m{feature}" for feature in re.findall(r'OPTKIT_CPU_FEATURE\("([^"]+)"', row[1])]


@pytest.mark.parametrize("level", ["-O0", "-O3"])
@pytest.mark.parametrize("name", SETS)
def test_kernels_define_nothing_weak(tmp_path, name, level):
    """Of an inline function that several objects define, the linker keeps any one: one compiled for AVX-512 would then run
    on every CPU. Without optimization each inline function that is used becomes a symbol, so that none hides.
    """
    need("compiler")
    flags = ["-std=c++17", "-fPIC", "-fno-exceptions", level, *options(name)]
    known = subprocess.run(["c++", *flags, "-E", "-x", "c++", "/dev/null"], capture_output=True)
    if known.returncode:
        lack("instruction-sets", f"this compiler does not know the CPU features of {name}")
    target = tmp_path / "kernels.o"
    command = ["c++", *flags, "-w", "-I", CSRC, "-c", CSRC / "isa" / name / "kernels.cpp", "-o", target]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr[-2000:]
    listed = subprocess.run(
        ["nm", "--defined-only", "--extern-only", target], capture_output=True, text=True, check=True
    )
    symbols = [line.split()[-2:] for line in listed.stdout.splitlines()]
    # Read-only data, or such that the loader fills with addresses.
    assert symbols in [[[kind, f"_ZN6optkit3isa{len(name)}{name}7kernelsE"]] for kind in "RD"]
