"""What the tests of plans share. The module beside this file can be imported."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
if str(HERE) not in sys.path:
    sys.path.append(str(HERE))


@pytest.fixture(autouse=True)
def rates(monkeypatch):
    """Round figures and the kernels that every CPU runs, so that neither a CPU that was measured anew nor the one at hand
    changes what is tested.
    """
    from optkit.runtime import extension
    from optkit.runtime.instruction_sets import InstructionSet, Rates

    def block4(*rates: float) -> dict[int, float]:
        return dict(zip((1, 2, 4, 8, 16, 32), rates, strict=True))

    measured = {
        "scalar": Rates(block4(*[1.0] * 6), 1.0, 1.0, openvino_int8=6.0, openvino_fp32=6.0, tall=1.0),
        "avx2": Rates(block4(*[28.0] * 6), 22.0, 11.0, openvino_int8=16.0, openvino_fp32=16.0, tall=1.3),
        "avxvnni": Rates(
            block4(40.0, 50.0, 64.0, 80.0, 80.0, 80.0), 25.0, 12.0, openvino_int8=50.0, openvino_fp32=18.0, tall=1.3
        ),
        "avx512vnni": Rates(
            block4(45.0, 56.0, 72.0, 90.0, 90.0, 90.0), 28.0, 14.0, openvino_int8=51.0, openvino_fp32=20.0, tall=1.3
        ),
        "amx": Rates(
            block4(34.0, 42.5, 54.4, 68.0, 300.0, 400.0), 10.8, 9.0, openvino_int8=46.0, openvino_fp32=14.0, tall=1.8
        ),
    }
    with_amx = {
        "avx512vnni": Rates(
            block4(34.0, 42.0, 54.0, 60.0, 60.0, 60.0), 10.8, 9.0, openvino_int8=92.0, openvino_fp32=59.0, tall=1.8
        )
    }
    for rates in (measured, with_amx):
        rates["avx512bf16"] = rates["avx512vnni"]
    one = dict.fromkeys((1, 2, 4, 8), 1)
    together = {"amx": one | {16: 16, 32: 16}}
    table = tuple(
        InstructionSet(name, (), 256, True, True, of, with_amx.get(name), together.get(name, one))
        for name, of in measured.items()
    )
    monkeypatch.setattr(extension, "instruction_sets", lambda: table)
    monkeypatch.setenv("OPTKIT_ISA", "scalar")


@pytest.fixture
def plan():
    """Of two layers, as if it had been measured."""
    from layers_made import site

    from optkit.runtime.planning.static import static_plan

    made = static_plan([site(rows=16, density=0.05, block4=0.9), site("b", problem="no")], isa="avx2", dynamic=True)
    return dataclasses.replace(made, mode="measured", threads=2, milliseconds={"openvino": 2.0, "optkit": 1.0})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("OPTKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "plans"
