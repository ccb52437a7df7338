"""How the latency of a model's programs falls with threads, by the engine's cost model: a simulation."""

from __future__ import annotations

from collections.abc import Sequence

from runtime_bench.engines import Setting
from runtime_bench.models import Case, ready
from runtime_bench.result import ScheduledTime

#: Threads of the simulated machines; this one may have fewer.
THREADS = (1, 2, 4, 8, 16, 32, 64)


def scheduled_times(case: Case, shapes: Sequence[Setting]) -> list[ScheduledTime]:
    """Of the model of ``case`` with every linear layer on the sparse runtime, at each of ``shapes`` and ``THREADS``.

    Raises:
        OptkitError: if the model cannot be built, or the library cannot be used.
    """
    from optkit.ir.io import read_model
    from optkit.runtime import extension
    from optkit.runtime.packing import encode
    from optkit.runtime.planning.applying import apply
    from optkit.runtime.planning.static import static_plan
    from optkit.runtime.rewriting.sites import sites

    found = []
    for setting in shapes:
        model = read_model(ready(setting.size, case, setting.cache, setting.weight_range) / "int8")
        shape = (setting.batch, setting.seq)
        plan = static_plan(sites(model), isa=extension.isa(), shape=shape, everything=True)
        blobs = [encode(placed.program) for placed in apply(model, plan)[1].programs]
        for threads in THREADS:
            schedules = [extension.schedule(blob, batch=shape[0], length=shape[1], threads=threads) for blob in blobs]
            found.append(
                ScheduledTime(
                    case=str(case),
                    batch=shape[0],
                    seq=shape[1],
                    threads=threads,
                    used=max(schedule.threads for schedule in schedules),
                    milliseconds=sum(schedule.microseconds for schedule in schedules) / 1000,
                )
            )
    return found
