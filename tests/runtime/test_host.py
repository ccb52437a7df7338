"""C++ programs that only add the extension to their Core run models of our op, and get what Python gets."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from capabilities import need, package
from programs import CONFIG, compile_op, encoder_layer, f32, infer, op_model, quantized_model
from transformers import AutoTokenizer

from optkit import runtime
from optkit.adapters import tokenizers
from optkit.export import conversion
from optkit.ir.emulation import emulate_f32
from optkit.ir.io import import_openvino
from optkit.runtime.planning import static

HOST = Path(__file__).parent / "host"
EXAMPLE = Path(__file__).parents[2] / "examples" / "cpp"


def build(source: Path, folder: Path) -> Path:
    """The folder with what the CMake project in ``source`` builds against the OpenVINO wheel."""
    need("cmake", "compiler", "openvino-headers")
    wheel = Path(import_openvino().__file__).parent
    configure = ["cmake", "-S", source, "-B", folder, f"-DOpenVINO_DIR={wheel / 'cmake'}", "-DCMAKE_BUILD_TYPE=Release"]
    for command in (configure, ["cmake", "--build", folder]):
        built = subprocess.run(command, capture_output=True, text=True)
        assert built.returncode == 0, built.stdout[-2000:] + built.stderr[-2000:]
    return folder


@pytest.fixture(scope="module")
def host(extension, tmp_path_factory) -> Path:
    """The program of the tests."""
    return build(HOST, tmp_path_factory.mktemp("host")) / "host"


@pytest.fixture(scope="module")
def classify(extension, tmp_path_factory) -> Path:
    """The program of the examples."""
    return build(EXAMPLE, tmp_path_factory.mktemp("classify")) / "classify"


@pytest.fixture(scope="module")
def classifiers(extension, tiny_checkpoint, save_checkpoint, tmp_path_factory) -> dict[str, Path]:
    """A sparse BERT with three classes and its tokenizer's IR, portable and baked."""
    root = tmp_path_factory.mktemp("classifiers")
    source, portable = root / "checkpoint", root / "portable"
    tokenizer = AutoTokenizer.from_pretrained(tiny_checkpoint)
    sizes = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 128}
    config = sizes | {"vocab_size": len(tokenizer), "max_position_embeddings": 64, "initializer_range": 0.5}
    config["id2label"] = {0: "food", 1: "music", 2: "travel"}
    save_checkpoint(source, "BertForSequenceClassification", config, (1, 4), 0.8)
    tokenizer.save_pretrained(source)
    portable.mkdir()
    conversion.convert(source, portable, task="text-classification")
    tokenizers.convert_tokenizer(tokenizer, portable, [["the soup was fine", "a song"]], max_length=32)
    with pytest.MonkeyPatch.context() as patch:
        # Taken on every CPU: where OpenVINO has AMX it would be put at faster than these layers.
        patch.setattr(static, "openvino_cost", lambda **_: 1e6)
        baked = runtime.bake(portable, root / "baked").xml.parent
    return {"portable": portable, "baked": baked}


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


@pytest.mark.parametrize("form", ["portable", "baked"])
def test_the_example_goes_from_texts_to_labels(classify, classifiers, extension, form):
    """More texts than the program computes together, of unequal lengths, against OpenVINO on each text alone."""
    library = package("tokenizers")._ext_path
    texts = [f"the soup {'was fine . ' * (i % 7)}of day {i}" for i in range(19)] + ["grim letter", "a lovely song"]
    lines = "".join(f"{text}\n" for text in texts)
    command = [classify, classifiers[form], library, extension.extension_path()]
    done = subprocess.run(command, input=lines, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [text for _, _, text in rows] == texts
    model = import_openvino().Core().compile_model(classifiers["portable"] / "openvino_model.xml", "CPU", CONFIG)
    tokenizer = AutoTokenizer.from_pretrained(classifiers["portable"])
    for label, probability, text in rows:
        encoded = tokenizer(text, return_tensors="np", truncation=True, max_length=32)
        logits = model({port.any_name: encoded[port.any_name] for port in model.inputs})[0][0].astype(np.float64)
        shares = np.exp(logits) / np.exp(logits).sum()
        # OpenVINO's default precision may be bfloat16, and near ties may fall either way.
        at = ("food", "music", "travel").index(label)
        assert float(probability) == pytest.approx(shares[at], abs=0.05) and shares[at] > shares.max() - 0.1
    probabilities = [float(probability) for _, probability, _ in rows]
    assert max(probabilities) - min(probabilities) > 0.15  # texts differ by more than the precision


def test_the_example_says_what_is_missing(classify, classifiers, extension):
    for command, code, said in (
        ([classify], 2, "usage: classify FOLDER LIBRARY..."),
        ([classify, classifiers["baked"].parent, extension.extension_path()], 1, "config.json: cannot be read"),
        ([classify, classifiers["baked"], extension.extension_path()], 1, "from unsupported opset: extension"),
    ):
        done = subprocess.run(command, input="a\n", capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (code, "") and said in done.stderr
