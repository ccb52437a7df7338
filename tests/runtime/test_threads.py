"""One model that several threads call at once: each gets the answer to its own inputs, and nobody is turned away."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from test_compiling import CONFIG, inputs, missing, own_cache, programs  # noqa: F401

from optkit import runtime
from optkit.ir.io import import_openvino, read_model
from optkit.runtime import compiling
from optkit.runtime.loading import compile_for_cpu

THREADS = 8
SHAPES = [(1, 5), (3, 90), (2, 33), (1, 128), (4, 60)]


def calls(answer) -> None:
    """Calls ``answer(number)`` for each of SHAPES from many threads at once; all give what one thread gives."""
    serial = [answer(number) for number in range(len(SHAPES))]
    assert len({round(float(np.abs(each).sum()), 3) for each in serial}) == len(SHAPES)
    for number, found in from_threads(lambda turn: (turn % len(SHAPES), answer(turn % len(SHAPES)))):
        np.testing.assert_array_equal(found, serial[number])


def from_threads(call, turns: int = 15) -> list:
    start = threading.Barrier(THREADS)

    def work(thread: int) -> list:
        start.wait()
        return [call(thread + turn) for turn in range(turns)]

    with ThreadPoolExecutor(THREADS) as pool:
        return sum(pool.map(work, range(THREADS)), [])


def test_a_compiled_model_is_called_from_threads(extension, make_encoder):
    compiled = runtime.compile_model(make_encoder(), CONFIG, plan="static")
    assert programs(compiled) >= 1
    calls(lambda number: compiled(inputs(*SHAPES[number]))[0])


def test_a_measured_one_too(extension, make_encoder):
    compiled = runtime.compile_model(make_encoder(), CONFIG, shape=(1, 16))
    calls(lambda number: compiled(inputs(*SHAPES[number]))["logits"])


def test_a_baked_one_too(extension, encoder_folder, tmp_path):
    runtime.bake(encoder_folder, tmp_path / "baked")
    compiled = runtime.compile_model(tmp_path / "baked", CONFIG)
    calls(lambda number: compiled(inputs(*SHAPES[number]))[0])


def test_plain_openvino_in_its_stead_too(missing, encoder_folder):  # noqa: F811
    with pytest.warns(RuntimeWarning, match="no sparse runtime"):
        compiled = runtime.compile_model(encoder_folder, CONFIG)
    calls(lambda number: compiled(inputs(*SHAPES[number]))[0])


@pytest.mark.parametrize("call", ["model", "infer_new_request"])
def test_no_request_is_made_while_a_call_is_under_way(extension, make_encoder, monkeypatch, call):
    """OpenVINO 2026.4.1 crashes now and then if one is."""
    openvino = import_openvino()
    compiled = runtime.compile_model(make_encoder(), CONFIG, plan="static")
    create, infer = openvino.CompiledModel.create_infer_request, openvino.InferRequest.infer
    under_way, seen = set(), []

    def creating(self):
        seen.append(set(under_way))
        return create(self)

    def inferring(self, *arguments, **options):
        under_way.add(threading.get_ident())
        try:
            time.sleep(0.01)  # so that the other threads come meanwhile
            return infer(self, *arguments, **options)
        finally:
            under_way.discard(threading.get_ident())

    monkeypatch.setattr(openvino.CompiledModel, "create_infer_request", creating)
    monkeypatch.setattr(openvino.InferRequest, "infer", inferring)
    made = THREADS if call == "model" else 3 * THREADS
    use = compiled if call == "model" else compiled.infer_new_request
    from_threads(lambda turn: use(inputs(*SHAPES[turn % len(SHAPES)])), turns=3)
    assert seen == made * [set()]


def test_calls_of_several_threads_run_at_the_same_time(extension, make_encoder, monkeypatch):
    openvino = import_openvino()
    compiled = runtime.compile_model(make_encoder(), CONFIG, plan="static")
    both, infer = threading.Barrier(2, timeout=60), openvino.InferRequest.infer

    def together(self, *arguments, **options):
        both.wait()  # raises if the other thread's call has to wait for this one
        return infer(self, *arguments, **options)

    def work(_: int) -> np.ndarray:
        compiled(inputs(1, 5))  # a thread's first call has to have a request made
        if both.wait() == 0:
            monkeypatch.setattr(openvino.InferRequest, "infer", together)
        both.wait()
        return compiled(inputs(1, 5))[0]

    with ThreadPoolExecutor(2) as pool:
        np.testing.assert_array_equal(*pool.map(work, range(2)))


def test_no_call_begins_while_a_request_is_made(extension, make_encoder, monkeypatch):
    openvino = import_openvino()
    compiled = runtime.compile_model(make_encoder(), CONFIG, plan="static")
    compiled(inputs(1, 5))  # so that this thread has its request
    create, infer = openvino.CompiledModel.create_infer_request, openvino.InferRequest.infer
    begun, may_end, order = threading.Event(), threading.Event(), []

    def creating(self):
        begun.set()
        assert may_end.wait(60)
        order.append("made")
        return create(self)

    def inferring(self, *arguments, **options):
        order.append("inferred")
        return infer(self, *arguments, **options)

    monkeypatch.setattr(openvino.CompiledModel, "create_infer_request", creating)
    monkeypatch.setattr(openvino.InferRequest, "infer", inferring)
    other = threading.Thread(target=compiled.create_infer_request, daemon=True)
    other.start()
    assert begun.wait(60)
    threading.Timer(0.1, may_end.set).start()
    compiled(inputs(1, 5))
    assert order == ["made", "inferred"]


def in_a_thread(call):
    """What ``call`` gives in a new thread, which ends."""
    found = []
    thread = threading.Thread(target=lambda: found.append(call()), daemon=True)
    thread.start()
    thread.join(60)
    assert found, "it failed, or waits"
    return found[0]


def test_a_call_that_fails_holds_up_nobody(extension, make_encoder, monkeypatch):
    compiled = runtime.compile_model(make_encoder(), CONFIG, plan="static")
    with pytest.raises(RuntimeError):
        compiled([np.zeros((1, 5, 2), np.int64)] * 2)

    def failing():
        with pytest.raises(ZeroDivisionError):
            compiled.create_infer_request()
        return True

    with monkeypatch.context() as patch:
        patch.setattr(import_openvino().CompiledModel, "create_infer_request", lambda self: 1 / 0)
        assert in_a_thread(failing)
    assert in_a_thread(lambda: compiled(inputs(1, 5))[0].shape) == (1, 2)


def test_a_thread_takes_the_request_of_one_that_has_ended(extension, make_encoder, monkeypatch):
    openvino = import_openvino()
    compiled = runtime.compile_model(make_encoder(), CONFIG, plan="static")
    create, made = openvino.CompiledModel.create_infer_request, []
    monkeypatch.setattr(openvino.CompiledModel, "create_infer_request", lambda self: made.append(1) or create(self))
    wanted = [in_a_thread(lambda shape=shape: compiled(inputs(*shape))[0]) for shape in SHAPES]
    assert len(made) == 1
    for shape, each in zip(SHAPES, wanted):
        np.testing.assert_array_equal(compiled.infer_new_request(inputs(*shape))[0], each)


def test_views_of_a_thread_that_has_ended_hold(extension, make_encoder):
    compiled = runtime.compile_model(make_encoder(), CONFIG, plan="static")
    first, second = inputs(1, 5), inputs(1, 9)
    view = in_a_thread(lambda: compiled(first, share_outputs=True)[0])
    wanted = view.copy()
    assert not np.array_equal(in_a_thread(lambda: compiled(second)[0]), wanted)
    np.testing.assert_array_equal(view, wanted)


@pytest.mark.parametrize("ov_class", [None, "OVModelForTokenClassification"])
def test_a_loaded_model_is_called_from_threads(extension, encoder_folder, ov_class):
    model = runtime.load(encoder_folder, plan="static", ov_class=ov_class, ov_config=CONFIG)
    assert programs(model.request) >= 1

    def answer(number: int) -> np.ndarray:
        ids, mask = inputs(*SHAPES[number])
        return model(input_ids=ids, attention_mask=mask).logits

    calls(answer)


@pytest.mark.parametrize("first", ["loaded", "reshaped"])
def test_threads_that_call_first_compile_once(extension, encoder_folder, monkeypatch, first):
    compiled = []

    def counted(*arguments):
        compiled.append(threading.get_ident())
        return compile_for_cpu(*arguments)

    monkeypatch.setattr(compiling, "compile_for_cpu", counted)
    model = runtime.load(encoder_folder, plan="static", ov_config=CONFIG, compile=first == "reshaped")
    if first == "reshaped":
        model.reshape(-1, -1)
    compiled.clear()
    ids, mask = inputs(2, 9)
    found = from_threads(lambda _: model(input_ids=ids, attention_mask=mask).logits, turns=2)
    assert len(compiled) == 1
    reference = import_openvino().Core().compile_model(read_model(encoder_folder), "CPU", CONFIG)
    for logits in found:
        np.testing.assert_allclose(logits, reference([ids, mask])[0], atol=0.05)


def test_it_is_openvinos_own_compiled_model_still(extension, make_encoder):
    openvino = import_openvino()
    compiled = runtime.compile_model(make_encoder(density=1.0), CONFIG, plan=runtime.plan(make_encoder(), "static"))
    assert isinstance(compiled, openvino.CompiledModel)
    feed = dict(zip(("input_ids", "attention_mask"), inputs(2, 8)))
    wanted = compiled(feed)["logits"]
    assert compiled.get_property("INFERENCE_PRECISION_HINT") == openvino.Type.f32
    for found in (
        compiled.create_infer_request().infer(feed),
        compiled.infer_new_request(feed),
        compiled(feed, False, False),
        compiled(feed, share_inputs=False, share_outputs=True, decode_strings=False),
        compiled(inputs=feed),
    ):
        np.testing.assert_array_equal(found["logits"], wanted)
    # Copies: another call leaves an earlier result as it is.
    compiled(dict(zip(feed, inputs(2, 9))))
    np.testing.assert_array_equal(wanted, compiled(feed)["logits"])
    assert compiled.query_state() == [] and compiled.reset_state() is None
