"""Requests at the same time get what they get alone, bit for bit, whatever the threads and streams.

A model's requests are made before the first of them runs: see ``optkit.runtime.threaded``.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from programs import CONFIG, compile_op, encoder_layer, f32, infer, op_model

from optkit.ir.io import import_openvino
from optkit.runtime.program import Kernel

pytestmark = pytest.mark.usefixtures("extension")


@pytest.fixture(scope="module")
def program():
    return encoder_layer(np.random.default_rng(1), hidden=96, heads=3, inner=200, density=0.3)


@pytest.fixture(scope="module")
def requests():
    """Inputs of 24 requests, no two of one shape after each other."""
    rng = np.random.default_rng(2)
    sizes = [(1, 7), (2, 40), (1, 128), (3, 17), (1, 1), (4, 32)]
    found = []
    for number in range(24):
        batch, seq = sizes[number % len(sizes)]
        lengths = rng.integers(1, seq + 1, batch)[:, None, None, None]
        found.append([f32(rng, batch, seq, 96), np.arange(seq)[None, None, None] < lengths])
    return found


@pytest.fixture(scope="module")
def serial(extension, program, requests):
    """What one request after the other gives with one thread."""
    compiled = compile_op(program, {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1})
    return [infer(compiled, inputs)[0] for inputs in requests]


def assert_same(results, serial):
    for number, (result, expected) in enumerate(zip(results, serial, strict=True)):
        np.testing.assert_array_equal(result, expected, err_msg=f"request {number}")


def requests_of(models: list) -> list:
    """A request of each, made before any of them runs."""
    return [compiled.create_infer_request() for compiled in models]


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_any_number_of_threads_gives_the_same_bits(program, requests, serial, threads):
    compiled = compile_op(program, {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1})
    assert_same([infer(compiled, inputs)[0] for inputs in requests], serial)


@pytest.mark.parametrize("streams", [1, 2, 4])
def test_requests_of_many_threads(program, requests, serial, streams):
    compiled = compile_op(program, {"NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": 4})
    start, own = threading.Barrier(6), requests_of([compiled] * 6)

    def work(thread: int) -> list:
        start.wait()
        mine = range(thread % 3, len(requests), 3)
        return [(number, np.array(own[thread].infer(requests[number])[0])) for number in mine]

    with ThreadPoolExecutor(6) as pool:
        done = [pair for pairs in pool.map(work, range(6)) for pair in pairs]
    assert len(done) == 2 * len(requests)
    for number, result in done:
        np.testing.assert_array_equal(result, serial[number], err_msg=f"request {number}")


@pytest.mark.parametrize("streams", [2, 4])
def test_asynchronous_requests(program, requests, serial, streams):
    config = {"NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": 4, "PERFORMANCE_HINT": "THROUGHPUT"}
    compiled = compile_op(program, config)
    queue = import_openvino().AsyncInferQueue(compiled, 2 * streams)
    results = [[None] * len(requests) for _ in range(3)]

    def keep(request, place):
        turn, number = place
        results[turn][number] = np.array(request.get_output_tensor(0).data)

    queue.set_callback(keep)
    for turn in range(3):
        for number, inputs in enumerate(requests):
            queue.start_async(inputs, (turn, number))
    queue.wait_all()
    for turn in range(3):
        assert_same(results[turn], serial)


def test_compiled_models_at_the_same_time(program, requests, serial):
    """Two models of one op, each used by two threads, beside a model of another program."""
    core = import_openvino().Core()
    model = op_model(program)
    twins = [core.compile_model(model, "CPU", CONFIG) for _ in range(2)]
    other = compile_op(encoder_layer(np.random.default_rng(3), hidden=96, heads=2, kernel=Kernel("element", 4)))
    alone = [infer(other, inputs)[0] for inputs in requests]
    own = requests_of([*twins, *twins, other, other])

    def work(which: int) -> list:
        return [np.array(own[which].infer(inputs)[0]) for inputs in requests]

    with ThreadPoolExecutor(6) as pool:
        for which, results in enumerate(pool.map(work, range(6))):
            assert_same(results, alone if which >= 4 else serial)


def test_a_request_used_again_forgets_what_it_held(program, requests, serial):
    """Larger, smaller and larger again in one request: memory that is kept shows nowhere."""
    request = compile_op(program).create_infer_request()
    for _ in range(2):
        for inputs, expected in zip(requests, serial):
            np.testing.assert_array_equal(request.infer(inputs)[0], expected)
