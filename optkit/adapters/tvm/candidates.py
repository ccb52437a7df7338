"""What MetaSchedule's worker processes run for a candidate: they import this file and TVM, nothing else."""

from __future__ import annotations

import time
from typing import Any

import tvm
from tvm.driver import build as build_module
from tvm.s_tir.meta_schedule.runner.utils import run_evaluator_common
from tvm.s_tir.transform import RemoveWeightLayoutRewriteBlock


def compile_candidate(end: float, module: Any, target: Any, _: Any) -> Any:
    """As MetaSchedule's own, which imports intrinsics of tensor units first: that takes longer than a candidate may."""
    _refuse_after(end)
    return build_module(RemoveWeightLayoutRewriteBlock(skip_tensor_rewrite=True)(module), target=target)


def time_candidate(end: float, threads: int, module: Any, device: Any, config: Any, arguments: Any) -> list[float]:
    """Seconds of each repetition."""
    _refuse_after(end)
    tvm.get_global_func("runtime.config_threadpool")(-1, threads)
    return run_evaluator_common(module, device, config, arguments)


def _refuse_after(end: float) -> None:
    """Lets the rest of a turn fail at once when the time is over, by ``time.time()``."""
    if time.time() > end:
        raise TimeoutError("the time is over")
