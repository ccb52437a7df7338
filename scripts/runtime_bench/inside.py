"""The time of an inference by kind of operator in OpenVINO, by kind of work in optkit's programs, and the peak rate."""

from __future__ import annotations

import ctypes
import json
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from runtime_bench.engines import Setting, compile_case, variant_of
from runtime_bench.models import Case
from runtime_bench.result import OperatorTimes, Peak

# OpenVINO's name for an operation that is not its own.
PROGRAM = "Reference"
WARM, RUNS = 3, 10
# Of a try, short enough to fall between the turns of other programs; and tries.
_PEAK_SECONDS, _PEAK_TRIES = 0.004, 200


def operator_times(engine: str, case: Case, setting: Setting) -> OperatorTimes:
    """Milliseconds of an inference by kind of operator, largest first, means of ``RUNS``; optkit's programs opened up.

    OpenVINO's figures are its own (PERF_COUNT). Those of a program's parts are the library's counters, summed over
    threads, as shares of the time of ``setting.threads`` threads; what is missing from the whole is waiting, for the
    other threads or at the end.
    """
    running = compile_case(engine, case, setting, PERF_COUNT=True)
    infer = running.prepare(setting.inputs())
    for _ in range(WARM):
        infer()
    counters = Counters() if engine.startswith("optkit") else None
    totals: dict[str, float] = {}
    for _ in range(RUNS):
        infer()
        for part in running.request.profiling_info:
            seconds = part.real_time.total_seconds()
            if seconds:
                totals[part.node_type] = totals.get(part.node_type, 0.0) + 1e3 * seconds / RUNS
    found: dict[str, Any] = {
        "milliseconds": sum(totals.values()),
        "operators": dict(sorted(totals.items(), key=lambda item: -item[1])),
    }
    if counters and PROGRAM in totals:
        read = counters.stop()
        products, multiply_adds = read.get("products", 0), read.pop("multiply_adds", 0)
        threads = setting.threads * RUNS * 1e6
        found["programs"] = {kind: nanoseconds / threads for kind, nanoseconds in read.items()}
        found["programs"]["waiting"] = max(0.0, totals[PROGRAM] - sum(found["programs"].values()))
        if products:
            found["multiply_adds"] = multiply_adds // RUNS
            found["multiply_adds_per_second"] = 1e9 * multiply_adds / products
    return OperatorTimes(
        variant=variant_of(engine, case), case=str(case), batch=setting.batch, seq=setting.seq, **found
    )


class Counters:
    """The library's counters, running until ``stop``."""

    def __init__(self) -> None:
        from optkit.runtime import extension

        self._library = extension.library()
        self._library.optkit_profile_enable(1)
        self._read()

    def stop(self) -> dict[str, int]:
        """Nanoseconds by kind of work, and multiply-adds on non-zeros, since the beginning."""
        found = self._read()
        self._library.optkit_profile_enable(0)
        return found

    def _read(self) -> dict[str, int]:
        text = ctypes.create_string_buffer(1 << 14)
        if self._library.optkit_profile_read(text, len(text)) > len(text):
            raise RuntimeError("the library's counters are longer than expected")
        return json.loads(text.value)


def peak(threads: int) -> Peak | None:
    """8-bit multiply-adds a second of one thread on data in its first-level cache, while ``threads`` are at it; None
    without a library."""
    from optkit.runtime import extension

    if not extension.available() or not hasattr(extension.library(), "optkit_peak"):
        return None
    isa, library = extension.isa(), extension.library()
    iterations = 1000
    while True:
        begun = time.perf_counter()
        library.optkit_peak(isa.encode(), iterations)
        if time.perf_counter() - begun > _PEAK_SECONDS:
            break
        iterations *= 2

    def once(_: int) -> float:
        begun = time.perf_counter()
        return library.optkit_peak(isa.encode(), iterations) / (time.perf_counter() - begun)

    with ThreadPoolExecutor(threads) as pool:
        rates = [statistics.mean(pool.map(once, range(threads))) for _ in range(_PEAK_TRIES)]
    # The best: whatever else the machine does can only lower it.
    return Peak(isa=isa, multiply_adds_per_second=max(rates))
