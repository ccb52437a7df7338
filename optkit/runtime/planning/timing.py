"""Times models by turns, so that whatever else the machine does is shared alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import openvino

WARM_UP = 2


def turn(compiled: openvino.CompiledModel, arrays: Sequence[np.ndarray]) -> Callable[[], None]:
    """One turn of a model: as many requests at once as it serves best, one where it is compiled for latency."""
    count = compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")
    requests = [compiled.create_infer_request() for _ in range(count)]
    for request in requests:
        for number, array in enumerate(arrays):
            request.get_input_tensor(number).shape = array.shape
            request.get_input_tensor(number).data[:] = array

    def run() -> None:
        for request in requests:
            request.start_async()
        for request in requests:
            request.wait()

    return run


def by_turns(turns: Mapping[str, Callable[[], None]], *, rounds: int, seconds: float) -> dict[str, float]:
    """Median milliseconds of each turn; every round takes each once, two rounds warm up.

    Args:
        rounds: at most.
        seconds: after which no further round begins, once there are three.
    """
    times: dict[str, list[float]] = {name: [] for name in turns}
    begun = time.perf_counter()
    for number in range(-WARM_UP, rounds):
        for name, run in turns.items():
            start = time.perf_counter()
            run()
            if number >= 0:
                times[name].append(time.perf_counter() - start)
        if number >= 2 and time.perf_counter() - begun > seconds:
            break
    return {name: 1000 * statistics.median(values) for name, values in times.items()}
