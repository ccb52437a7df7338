"""The compiled library is found and loaded, or one line says why not and what to do."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from programs import linear_program, op_model

from optkit.cpu import cpu_flags
from optkit.errors import OptkitError
from optkit.ir.io import import_openvino
from optkit.runtime import extension as module
from optkit.runtime.instruction_sets import parse
from optkit.runtime.packing import encode, pack
from optkit.runtime.program import Kernel, Linear, Program, Quantization

ROOT = Path(__file__).parents[2]
CSRC = ROOT / "optkit" / "runtime" / "csrc"


@pytest.fixture
def fresh(monkeypatch):
    """Whatever is loaded during the test is forgotten after it."""
    module._load.cache_clear()
    yield monkeypatch
    module._load.cache_clear()


def program() -> bytes:
    weights = pack(np.ones((4, 8), np.int8), Kernel("block4"))
    return encode(Program([8, 4], [0], [1], [Linear(0, 1, weights, np.ones(4, "f4"), None, Quantization(0.0, 255.0))]))


def parameter():
    return import_openvino().opset13.parameter([-1, 8], np.float32)


def test_one_version_of_openvino_is_named_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    named = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    named += (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line.replace(" ", "") for line in named if re.match(r"openvino\b(?!-)", line)]
    assert len(pins) == 3
    assert re.fullmatch(r"openvino==\d+\.\d+\.\d+", pins[0])
    assert set(pins) == {pins[0]}


def test_library_is_for_the_openvino_that_is_pinned(extension):
    assert f"openvino=={extension.built_for()}" in (ROOT / "constraints.txt").read_text().split()


def test_found(extension):
    assert extension.available() and extension.missing_reason() is None
    assert extension.extension_path().is_file()


def test_instruction_sets(extension, monkeypatch):
    monkeypatch.delenv("OPTKIT_ISA", raising=False)
    compiled, runnable = extension.compiled_isas(), extension.isas()
    names = [row.name for row in extension.instruction_sets()]
    assert list(compiled) == [isa for isa in names if isa in compiled]
    assert list(runnable) == [isa for isa in compiled if isa in runnable]
    assert runnable[:2] == ("amx_emulated", "scalar")
    assert [row.name for row in extension.instruction_sets() if row.for_tests] == ["amx_emulated"]
    assert extension.isa() == runnable[-1]
    for isa in runnable:
        monkeypatch.setenv("OPTKIT_ISA", isa)
        assert extension.isa() == isa


def test_each_instruction_set_is_a_row_and_a_folder(extension):
    rows = extension.instruction_sets()
    kernels = {path.parent.name for path in (CSRC / "isa").glob("*/kernels.cpp")}
    assert sorted(row.name for row in rows) == sorted(kernels)
    documented = (ROOT / "docs" / "runtime.md").read_text()
    for row in rows:
        assert f"| `{row.name}` | " + f"{row.vector_bits} bits |" * row.compiled in documented
        others = {name: rate for name, rate in vars(row.rates).items() if name != "block4"}
        assert min(others.values()) > 0
        assert list(row.rates.block4) == [1, 2, 4, 8, 16, 32] and min(row.rates.block4.values()) > 0
    assert extension.instruction_set("avx2").name == "avx2"


def test_what_the_cpu_supports_is_what_linux_says(extension):
    flags = cpu_flags()
    for row in extension.instruction_sets():
        assert row.supported == (row.compiled and flags.issuperset(row.features)), row.name


def test_an_instruction_set_without_a_row_is_an_error(extension):
    with pytest.raises(OptkitError, match="unknown instruction set 'avx3': the kernels are for scalar, avx2, "):
        extension.instruction_set("avx3")


def test_a_table_of_other_sources_is_an_error(extension, monkeypatch):
    parse = extension.parse
    monkeypatch.setattr(extension, "parse", lambda table: parse(table.replace('"block4": {', '"block5": {')))
    with pytest.raises(OptkitError, match="made from other sources than this optkit: run pip install"):
        extension.instruction_sets()


def test_a_library_with_a_table_of_other_sources_cannot_be_used(extension, fresh):
    fresh.setattr(extension, "parse", lambda table: parse(table.replace('"block4": {', '"block5": {')))
    assert "made from other sources than this optkit: run pip install" in extension.missing_reason()
    assert not extension.available()


def test_unknown_instruction_set(extension, monkeypatch):
    monkeypatch.setenv("OPTKIT_ISA", "mmx")
    assert extension.available()
    with pytest.raises(OptkitError, match="OPTKIT_ISA names no kernels that run here: unset it, or set it to scalar"):
        extension.isa()
    with pytest.raises(OptkitError, match="^layer: .*OPTKIT_ISA is 'mmx'.*scalar") as raised:
        extension.create_node([parameter().output(0)], program(), "layer")
    assert "\n" not in str(raised.value)


def test_node(extension):
    node = extension.create_node([parameter().output(0)], program(), "layer 1")
    assert node.get_friendly_name() == "layer 1"
    assert node.get_type_name() == "Program" and node.get_type_info().version_id == "optkit"
    assert node.get_output_partial_shape(0).to_string() == "[?,4]"


@pytest.mark.parametrize("blob", [b"", b"OPTKPROG", program()[:-64]])
def test_bad_program(extension, blob):
    with pytest.raises(OptkitError, match="^layer 1: the program cannot be used: optkit: .* damaged") as raised:
        extension.create_node([parameter().output(0)], blob, "layer 1")
    assert "\n" not in str(raised.value)


def test_inputs_that_do_not_fit(extension):
    with pytest.raises(OptkitError, match="^layer 1: "):
        extension.create_node([parameter().output(0)] * 2, program(), "layer 1")


def test_core_reads_models_with_our_operation(extension, tmp_path):
    weights = pack(np.ones((4, 8), np.int8), Kernel("block4"))
    options = {"scales": np.ones(4, "f4"), "bias": None, "quantization": Quantization(0.0, 255.0)}
    model = op_model(linear_program([{"weights": weights, **options}], 8))
    openvino = import_openvino()
    openvino.save_model(model, tmp_path / "model.xml", compress_to_fp16=False)
    with pytest.raises(RuntimeError, match="Program"):
        openvino.Core().read_model(tmp_path / "model.xml")
    core = openvino.Core()
    extension.add_to(core)
    extension.add_to(core)
    assert "Program" in {node.get_type_name() for node in core.read_model(tmp_path / "model.xml").get_ops()}


def test_threads_load_it_together(extension, fresh):
    module._factory.cache_clear()

    def make(number: int):
        return module.create_node([parameter().output(0)], program(), str(number)).get_friendly_name()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(make, range(64))) == [str(number) for number in range(64)]


def test_import_is_light():
    code = "import sys, optkit.runtime.extension; print({'openvino', 'numpy', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def reason() -> str:
    """Why there is none, said the same by everything that needs it."""
    said = module.missing_reason()
    assert said and "\n" not in said
    assert not module.available()
    core = import_openvino().Core()
    output = parameter().output(0)
    for use in (
        module.isa,
        module.built_for,
        lambda: module.add_to(core),
        lambda: module.create_node([output], b"", ""),
    ):
        with pytest.raises(OptkitError) as raised:
            use()
        assert str(raised.value) == said
    return said


def test_not_built(fresh, tmp_path):
    fresh.setattr(module, "FOLDER", tmp_path)
    fresh.setattr(module.sys, "platform", "linux")
    fresh.setattr(module.platform, "machine", lambda: "x86_64")
    assert reason() == (
        f"{tmp_path / module.NAME}: the sparse runtime was not built: "
        f"where there is a C++ compiler, run pip install --editable {ROOT}"
    )
    fresh.setattr(module, "_CHECKOUT", tmp_path)
    assert "OPTKIT_REQUIRE_EXTENSION=1 pip install" in reason()


def test_other_machine(fresh, tmp_path):
    fresh.setattr(module, "FOLDER", tmp_path)
    fresh.setattr(module.sys, "platform", "darwin")
    fresh.setattr(module.platform, "machine", lambda: "arm64")
    assert reason() == (
        "the sparse runtime is for Linux on x86-64, this is darwin on arm64: run the model in OpenVINO as it is"
    )


def test_other_openvino_installed(extension, fresh):
    fresh.setattr(import_openvino(), "__version__", "2027.0.0-12345-releases/2027/0")
    wanted = re.search(r"openvino==(\S+)", (ROOT / "constraints.txt").read_text())[1]
    assert reason().endswith(
        f"built for OpenVINO {wanted}, but 2027.0.0 is installed: run pip install openvino=={wanted}"
    )


@pytest.fixture
def changed(extension, fresh, tmp_path):
    """The library with some bytes replaced by as many others, in place of the real one."""

    def change(old: bytes, new: bytes) -> None:
        content = extension.extension_path().read_bytes()
        assert old in content and len(old) == len(new)
        (tmp_path / module.NAME).write_bytes(content.replace(old, new))
        fresh.setattr(module, "FOLDER", tmp_path)

    return change


def test_other_openvino_loaded(changed):
    installed = import_openvino().__version__.partition("-")[0]
    century, minor, patch = installed.split(".")
    changed(f"libopenvino.so.{century[2:]}{minor}{patch}".encode(), b"libopenvino.so.2599")
    assert reason().endswith(
        f"built for OpenVINO 2025.9.9, but {installed} is installed: run pip install openvino==2025.9.9"
    )


def test_made_from_other_sources(changed):
    changed(b"optkit_peak", b"optkit_pook")
    assert re.search(r"made from other sources than this optkit: run pip install --editable \S+$", reason())


def test_no_library(fresh, tmp_path):
    (tmp_path / module.NAME).write_bytes(b"\x7fELF and then nothing")
    fresh.setattr(module, "FOLDER", tmp_path)
    assert re.search(r"cannot be loaded \(.+\): run pip install --editable \S+$", reason())
