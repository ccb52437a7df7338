"""The engines compute the same thing, alone and many at once, and say what they cannot be fed with."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from capabilities import need

from optkit.benchmark.backends import BACKENDS
from optkit.benchmark.engines.base import Setting, Source
from optkit.benchmark.engines.loader import load
from optkit.benchmark.engines.openvino import OpenVino
from optkit.benchmark.engines.streams import Streams
from optkit.benchmark.inputs import InputSpec, SharedInputs, Texts
from optkit.errors import OptkitError

pytestmark = pytest.mark.slow

LINES = "the soup was fine .\ngrim\nthe song of day 3 was lovely and the river was sour .\n"


@pytest.fixture(scope="module")
def sources(tiny_checkpoint, fp32_ir, onnx_folder, encoder_folder, here):
    ir = Source("ir", fp32_ir / "openvino_model.xml")
    found = {
        "torch": Source("checkpoint", tiny_checkpoint),
        "onnxruntime": Source("onnx", onnx_folder / "model.onnx"),
        "openvino": ir,
        "optkit": ir,
    }
    return {backend: source for backend, source in found.items() if backend in here}


@pytest.fixture(scope="module")
def batch(tiny_checkpoint, tmp_path_factory):
    """Texts of several lengths in one batch, padded."""
    file = tmp_path_factory.mktemp("texts") / "texts.txt"
    file.write_text(LINES)
    return Texts.read(file, [InputSpec.of(tiny_checkpoint)], None).batches(3)[0]


@pytest.fixture(scope="module")
def expected(tiny_checkpoint, batch):
    import torch
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(tiny_checkpoint).eval()
    with torch.inference_mode():
        return model(**{name: torch.from_numpy(array) for name, array in batch.items()}).logits.numpy()


def test_all_engines_compute_what_transformers_does(sources, batch, expected):
    for backend, source in sources.items():
        engine = load(
            BACKENDS[backend].variant("given"), source, Setting(1, shape=(3, 14), plan="static", precision="f32")
        )
        assert np.abs(engine.logits(batch) - expected).max() < 1e-4 * np.abs(expected).max(), backend


def test_plain_openvino_and_optkit_compute_the_same_int8(encoder_folder, batch):
    need("extension")
    source = Source("ir", encoder_folder / "openvino_model.xml")
    plain, ours = (
        load(BACKENDS[b].variant("given"), source, Setting(1, plan="static", precision="f32"))
        for b in ("openvino-int8", "optkit")
    )
    assert ours.plan.kernels and plain.plan is None
    assert np.abs(plain.logits(batch) - ours.logits(batch)).max() < 1e-4


def test_inference_leaves_the_inputs_and_goes_from_one_shape_to_another(sources, batch, expected):
    short = {name: array[:1, :3] for name, array in batch.items()}
    for backend, source in sources.items():
        engine = load(BACKENDS[backend].variant("given"), source, Setting(1, plan="static", precision="f32"))
        first, second = engine.prepare(batch), engine.prepare(short)
        for _ in range(2):
            assert np.allclose(np.asarray(first()), expected, atol=1e-4), backend
            assert np.asarray(second()).shape == (1, 2)


@pytest.mark.parametrize("streams", [1, 2])
def test_streams_count_what_they_do(sources, batch, streams):
    feeds = [batch, {name: array[:2] for name, array in batch.items()}]
    for backend, source in sources.items():
        engine = load(BACKENDS[backend].variant("given"), source, Setting(2, "throughput", streams, plan="static"))
        assert engine.streams == streams, backend
        done, taken = engine.stream(feeds, count=6)
        assert done == 6 and taken > 0
        done, taken = engine.stream([batch], seconds=0.05)
        assert done >= engine.requests and taken >= 0.05


def test_without_streams_an_engine_takes_as_many_as_serve_it(sources, batch):
    for backend in ("torch", "onnxruntime"):
        if backend in sources:
            engine = load(BACKENDS[backend].variant("given"), sources[backend], Setting(2, "throughput"))
            engine.tune([batch])
            assert engine.streams in (1, 2)


def test_a_failing_stream_ends_with_its_error():
    def worker(number):
        def prepare(inputs):
            raise OptkitError(f"no {inputs}")

        return prepare

    with pytest.raises(OptkitError, match="no x"):
        Streams(2, worker)(["x"], count=2)


def test_each_stream_is_a_thread_of_its_own():
    workers, lock = {}, threading.Lock()

    def worker(number):
        workers[number] = threading.get_ident()

        def prepare(inputs):
            def infer():
                with lock:
                    inputs.append(number)

            return infer

        return prepare

    seen = []
    streams = Streams(3, worker)
    assert streams([seen], count=30)[0] == 30 and len(seen) == 30
    assert streams([seen], count=3)[0] == 3
    assert sorted(workers) == [0, 1, 2] and len(set(workers.values())) == 3
    streams.close()


def test_config_is_the_same_for_plain_openvino_and_optkit():
    config = {"INFERENCE_NUM_THREADS": 2, "PERFORMANCE_HINT": "LATENCY"}
    assert Setting(2).config() == config
    assert Setting(2, precision="f32").config() == config | {"INFERENCE_PRECISION_HINT": "f32"}
    assert Setting(2, "throughput").config()["PERFORMANCE_HINT"] == "THROUGHPUT"
    streamed = Setting(2, "throughput", 2).config()
    assert streamed["NUM_STREAMS"] == 2 and "PERFORMANCE_HINT" not in streamed


def test_an_ir_of_one_shape_takes_no_other(fp32_ir, tiny_checkpoint):
    from optkit.ir.io import import_openvino, read_model

    model = read_model(fp32_ir)
    model.reshape({port: [1, 8] for port in model.inputs})
    engine = OpenVino(import_openvino().Core().compile_model(model, "CPU", Setting(1).config()))
    shared = SharedInputs.of([InputSpec.of(tiny_checkpoint)])
    assert engine.logits(shared.dummy_inputs(1, 8)).shape == (1, 2)
    with pytest.raises(OptkitError, match=r"the IR takes \[1,8\] alone as input_ids, and not 2 x 8"):
        engine.prepare(shared.dummy_inputs(2, 8))
    with pytest.raises(OptkitError, match="the IR has an input 'attention_mask', which the benchmark cannot generate"):
        engine.prepare({"input_ids": np.zeros((1, 8), np.int64)})


@pytest.mark.parametrize("name", ["model.onnx.data", "model.onnx_data"])
def test_weights_beside_an_onnx_model_count(tmp_path, name):
    (tmp_path / "model.onnx").write_bytes(b"graph")
    (tmp_path / name).write_bytes(b"weights")
    assert Source("onnx", tmp_path / "model.onnx").size() == 12


def test_damaged_models_are_a_line(tmp_path, here):
    (tmp_path / "model.onnx").write_bytes(b"no model")
    if "onnxruntime" in here:
        with pytest.raises(OptkitError, match="model.onnx: ONNX Runtime cannot load it"):
            load(BACKENDS["onnxruntime"].variant("given"), Source("onnx", tmp_path / "model.onnx"), Setting(1))
    (tmp_path / "config.json").write_text('{"architectures": ["BertModel"], "model_type": "bert"}')
    (tmp_path / "model.safetensors").write_bytes(b"x")
    with pytest.raises(OptkitError, match="model.safetensors: damaged or only half written"):
        load(BACKENDS["torch"].variant("given"), Source("checkpoint", tmp_path), Setting(1))
