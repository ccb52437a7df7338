"""`optkit doctor` says whether the sparse runtime works, and what it is that it found."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from capabilities import need

from optkit import cpu as cpu_module
from optkit.runtime import doctor, extension
from optkit.runtime.packing import encode
from optkit.runtime.structures import SUITED

ROOT = Path(__file__).parents[2]


@pytest.fixture
def works(monkeypatch):
    monkeypatch.delenv("OPTKIT_ISA", raising=False)
    need("extension")


def test_works(works, optkit_cli):
    done = optkit_cli("doctor")
    assert (done.code, done.err) == (0, "")
    assert "the sparse runtime works" in done.out and "amx_emulated (for tests)," in done.out
    for said in (extension.isa(), *extension.compiled_isas(), extension.built_for()):
        assert said in done.out


def test_as_json(works, optkit_cli):
    done = optkit_cli("doctor", "--json")
    assert (done.code, done.err) == (0, "")
    found = json.loads(done.out)
    assert set(found) == {"cpu", "kernels", "structure", "library", "versions", "problems"}
    assert found["problems"] == []
    assert found["kernels"] == {
        "used": extension.isas()[-1],
        "wanted": None,
        "compiled": list(extension.compiled_isas()),
        "unsupported": [isa for isa in extension.compiled_isas() if isa not in extension.isas()],
        "for_tests": ["amx_emulated"],
    }
    assert found["library"] == {"path": str(extension.extension_path()), "built_for": extension.built_for()}
    assert found["versions"]["openvino"] == extension.built_for()


def test_each_instruction_set(works, optkit_cli, monkeypatch):
    for row in extension.instruction_sets():
        monkeypatch.setenv("OPTKIT_ISA", row.name)
        done = optkit_cli("doctor", "--json")
        kernels = json.loads(done.out)["kernels"]
        assert kernels["wanted"] == row.name
        assert (done.code, kernels["used"]) == ((0, row.name) if row.supported else (1, None))
        assert json.loads(done.out)["structure"] == (
            asdict(SUITED[row.name]) if row.supported and not row.for_tests else None
        )


def test_the_structure_that_suits_the_kernels_is_named(works, optkit_cli, monkeypatch):
    monkeypatch.setitem(SUITED, "scalar", replace(SUITED["scalar"], isa="no", structure="8x4", measured=False))
    monkeypatch.setenv("OPTKIT_ISA", "scalar")
    line = next(line for line in optkit_cli("doctor").out.splitlines() if line.startswith("structure to prune in"))
    assert line.split("structure to prune in")[1].strip() == "8x4, for no, not measured yet"
    assert "structures: this CPU runs kernels for no: 8x4 blocks suit them" in " ".join(optkit_cli("list").out.split())


def test_unknown_instruction_set(works, optkit_cli, monkeypatch):
    monkeypatch.setenv("OPTKIT_ISA", "mmx")
    done = optkit_cli("doctor")
    assert done.code == 1
    assert "none (OPTKIT_ISA=mmx)" in done.out
    assert "problem: OPTKIT_ISA names no kernels that run here" in done.out


def test_not_built(optkit_cli, monkeypatch, tmp_path):
    monkeypatch.setattr(extension, "FOLDER", tmp_path)
    done = optkit_cli("doctor")
    assert done.code == 1
    # In one line, however narrow the terminal is.
    assert f"problem: {extension.missing_reason()}" in done.out.splitlines()
    assert "the sparse runtime works" not in done.out
    found = optkit_cli("doctor", "--json")
    assert found.code == 1
    assert json.loads(found.out)["problems"] == [extension.missing_reason()]
    assert json.loads(found.out)["library"] == {"path": None, "built_for": None}


def test_wrong_results_are_a_problem(works, optkit_cli, monkeypatch):
    def twice(program):
        program.steps = [replace(step, scales=step.scales * 2) for step in program.steps]
        return encode(program)

    monkeypatch.setattr("optkit.runtime.packing.encode", twice)
    done = optkit_cli("doctor", "--json")
    assert done.code == 1
    assert "compute wrong results" in json.loads(done.out)["problems"][0]


def test_processor(monkeypatch, tmp_path):
    (tmp_path / "cpuinfo").write_text(
        "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t\t: fpu sse2 avx2 fma avx_vnni\n\n"
        "processor\t: 1\nmodel name\t: Another\nflags\t\t: amx_int8\n"
    )
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    monkeypatch.setattr(cpu_module, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(cpu_module, "QUOTA", tmp_path / "cpu.max")
    assert doctor.examine()["cpu"] == {
        "name": "Some CPU @ 2 GHz",
        "instruction_sets": ["avx2", "fma", "avx_vnni"],
        "cores": 0.5,
    }
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert doctor.examine()["cpu"]["cores"] >= 1


def test_other_systems_tell_less(monkeypatch, tmp_path):
    monkeypatch.setattr(cpu_module, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(cpu_module, "QUOTA", tmp_path / "cpu.max")
    cpu = doctor.examine()["cpu"]
    assert cpu["name"] and cpu["cores"] >= 1
    rows = extension.instruction_sets() if extension.available() else ()
    assert cpu["instruction_sets"] == [row.name for row in rows if row.supported and row.features]


def test_packages_that_are_not_installed(works, optkit_cli, monkeypatch):
    monkeypatch.setattr(doctor, "PACKAGES", ("openvino", "no-such-package"))
    done = optkit_cli("doctor")
    assert done.code == 0
    assert any(line.split() == ["no-such-package", "not", "installed"] for line in done.out.splitlines())


def test_torch_is_not_imported():
    code = """
import sys
from optkit.cli.app import main
try:
    main(["doctor"])
except SystemExit:
    pass
heavy = {"torch", "transformers", "nncf", "optimum"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
