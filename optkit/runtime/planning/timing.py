"""Times what planning chooses between: turns of models, and what they take."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from optkit import timing

if TYPE_CHECKING:
    import numpy as np
    import openvino

WARM_UP = 1


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


def medians(turns: Mapping[str, Callable[[], None]], *, rounds: int, seconds: float) -> dict[str, float]:
    """Median milliseconds of each of ``turns``, taken by turns.

    Before each that counts a turn brings back into the caches what the others took from them, as ``optkit bench`` does
    and a server that runs one model has it.

    Args:
        rounds: at most.
        seconds: after which no further round begins, once there are three.
    """
    timed = {name: timing.turn(run) for name, run in turns.items()}
    taken = timing.by_turns(timed, rounds=rounds, seconds=seconds, least=3, warm_up=WARM_UP)
    return {name: 1000 * statistics.median(values) for name, values in taken.items()}
