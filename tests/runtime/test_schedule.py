"""How much of the work the threads of a run can share."""

import numpy as np
import pytest
from programs import encoder_layer

from optkit.errors import OptkitError
from optkit.runtime import extension
from optkit.runtime.packing import encode


def layer(hidden: int, density: float) -> bytes:
    """One layer of BERT's shape."""
    rng = np.random.default_rng(3)
    return encode(encoder_layer(rng, hidden=hidden, heads=12, inner=4 * hidden, density=density))


@pytest.fixture(scope="module")
def minilm() -> bytes:
    return layer(384, 0.1)


@pytest.fixture(scope="module")
def bert() -> bytes:
    return layer(768, 0.2)


def test_one_thread_takes_whole_tiles(minilm):
    schedule = extension.schedule(minilm, batch=1, length=128, threads=1)
    assert not schedule.split and schedule.tile_tokens == 32 and schedule.tiles == 4
    # Before attention, attention by heads, after it.
    assert schedule.tasks == (4 // schedule.tiles_of_a_task, 4 * 12, 4 // schedule.tiles_of_a_task)


def test_a_single_tile_is_shared_by_two_threads(bert):
    schedule = extension.schedule(bert, batch=1, length=16, threads=2)
    assert schedule.split and schedule.tiles == 1 and schedule.threads == 2
    # 768 outputs are six slices of 128, query, key and value are computed at the same time, and 3072 are 24 slices.
    assert 3 * 6 in schedule.tasks and max(schedule.tasks) == 24


def test_a_short_batch_keeps_many_threads_at_work(bert):
    schedule = extension.schedule(bert, batch=1, length=128, threads=32)
    assert schedule.split and schedule.threads == 32 and max(schedule.tasks) >= 32


@pytest.mark.parametrize("length", [16, 128])
def test_more_threads_never_take_longer(minilm, bert, length):
    for program in (minilm, bert):
        times = [extension.schedule(program, batch=1, length=length, threads=2**i).microseconds for i in range(7)]
        assert all(later <= earlier for earlier, later in zip(times, times[1:]))
    assert times[1] < 0.8 * times[0]


def test_threads_that_would_only_wait_are_left_out(minilm):
    schedule = extension.schedule(minilm, batch=1, length=8, threads=64)
    assert schedule.threads < 64


def test_whole_tiles_are_preferred_where_they_keep_all_threads_at_work(bert):
    """What one thread computes of a token, it finds in its own caches."""
    schedule = extension.schedule(bert, batch=1, length=384, threads=2)
    assert not schedule.split and schedule.tiles % (2 * schedule.tiles_of_a_task) == 0


def test_a_large_batch_is_not_split(bert):
    schedule = extension.schedule(bert, batch=32, length=128, threads=4)
    assert not schedule.split and schedule.tile_tokens == 32 and schedule.tiles == 128 and schedule.threads == 4


def test_bytes_that_are_no_program_are_refused():
    with pytest.raises(OptkitError, match="the program cannot be used: "):
        extension.schedule(b"nothing", batch=1, length=1, threads=1)
