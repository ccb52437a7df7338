"""A C++ program that only adds the extension to its Core runs a model of our op, and gets what Python gets."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from capabilities import need
from programs import CONFIG, compile_op, encoder_layer, f32, infer, op_model, quantized_model

from optkit.ir.emulation import emulate_f32
from optkit.ir.io import import_openvino

HOST = Path(__file__).parent / "host"


@pytest.fixture(scope="module")
def host(extension, tmp_path_factory) -> Path:
    """The program, built against the OpenVINO wheel."""
    need("cmake", "compiler", "openvino-headers")
    folder = tmp_path_factory.mktemp("host")
    wheel = Path(import_openvino().__file__).parent
    configure = ["cmake", "-S", HOST, "-B", folder, f"-DOpenVINO_DIR={wheel / 'cmake'}", "-DCMAKE_BUILD_TYPE=Release"]
    for command in (configure, ["cmake", "--build", folder]):
        built = subprocess.run(command, capture_output=True, text=True)
        assert built.returncode == 0, built.stdout[-2000:] + built.stderr[-2000:]
    return folder / "host"


def save(folder: Path, model) -> Path:
    import_openvino().save_model(model, folder / "openvino_model.xml", compress_to_fp16=False)
    return folder / "openvino_model.xml"


def run(host: Path, extension, xml: Path, inputs: list[np.ndarray]) -> subprocess.CompletedProcess:
    raw = b"".join(
        struct.pack(f"<{1 + array.ndim}I", array.ndim, *array.shape) + np.ascontiguousarray(array).tobytes()
        for array in inputs
    )
    (xml.parent / "inputs").write_bytes(raw)
    command = [host, extension.extension_path(), xml, xml.parent / "inputs", xml.parent / "output"]
    return subprocess.run(command, capture_output=True, text=True)


def test_model_of_the_op(host, extension, tmp_path):
    program = encoder_layer(np.random.default_rng(1))
    inputs = [f32(np.random.default_rng(2), 2, 13, 48), np.arange(13)[None, None, None] < np.array([[[[13]]], [[[6]]]])]
    xml = save(tmp_path, op_model(program))
    done = run(host, extension, xml, inputs)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[2,13,48]"
    output = np.fromfile(tmp_path / "output", np.float32).reshape(2, 13, 48)
    np.testing.assert_array_equal(output, infer(compile_op(program), inputs)[0])


def test_without_the_extension_openvino_says_what_is_missing(host, extension, tmp_path):
    xml = save(tmp_path, op_model(encoder_layer(np.random.default_rng(1))))
    core = import_openvino().Core()
    with pytest.raises(RuntimeError, match="Program|optkit"):
        core.read_model(xml)


def test_damaged_model_ends_with_a_message(host, extension, tmp_path):
    xml = save(tmp_path, op_model(encoder_layer(np.random.default_rng(1))))
    weights = xml.with_suffix(".bin").read_bytes()
    at = weights.index(b"OPTKPROG")
    xml.with_suffix(".bin").write_bytes(weights[: at + 12] + b"\xff\xff\xff\xff" + weights[at + 16 :])
    done = run(host, extension, xml, [])
    assert done.returncode == 1
    assert "packed program is damaged" in done.stderr


def test_baked_model(host, extension, optkit_cli, tmp_path):
    """What `optkit bake` makes of a quantized model, against the same model evaluated in float32."""
    (tmp_path / "plain").mkdir()
    model = quantized_model()
    save(tmp_path / "plain", model)
    baked = optkit_cli("bake", tmp_path / "plain", "--output", tmp_path / "baked")
    assert baked.code == 0, baked.err
    x = f32(np.random.default_rng(3), 37, 24)
    done = run(host, extension, tmp_path / "baked" / "openvino_model.xml", [x])
    assert done.returncode == 0, done.stderr
    output = np.fromfile(tmp_path / "baked" / "output", np.float32).reshape(37, 8)
    plain = import_openvino().Core().compile_model(emulate_f32(model), "CPU", CONFIG)
    # One activation of the second layer may round the other way: a step of 4.1 / 255 times a weight below 0.6.
    np.testing.assert_allclose(output, infer(plain, [x])[0], rtol=0, atol=4.1 / 255 * 0.6)
