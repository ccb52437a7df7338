"""Schedules that are found by measuring, and the records of them."""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import tvm
from tvm.s_tir import meta_schedule as ms

from optkit.adapters import quiet, reason
from optkit.adapters.tvm.building import fuse, vector_width
from optkit.adapters.tvm.candidates import compile_candidate, time_candidate
from optkit.adapters.tvm.program import Program
from optkit.adapters.tvm.rewriting import PRODUCT
from optkit.adapters.tvm.schedules import schedule_product
from optkit.cpu import physical_cores
from optkit.errors import ExportError
from optkit.machine import installed

#: Candidates that are measured before the next operator has its turn, and seconds that one may take to compile or run.
_TRIALS, _PATIENCE = 16, 20.0
#: Candidates to choose these from, and how often they are changed: half of what is usual, so that a turn's search takes
#: no more time than its measurements.
_POPULATION, _GENERATIONS = 256, 2
_WORKLOADS, _RECORDS = "database_workload.json", "database_tuning_record.json"
#: The package, and the version from which on it crashes.
_BRIDGE, _CRASHES = "apache-tvm-ffi", [0, 1, 15]
_INTRINSICS = "tvm.s_tir.tensor_intrin"


def tune(
    program: Program, target: Any, records: Path, *, minutes: float, seed: int, say: Callable[[str], None]
) -> None:
    """Measures schedules of the program's products, sums and attention on this machine (MetaSchedule: Shao et al. 2022,
    arXiv 2205.13603), and adds the best to ``records``.

    Each product begins with optkit's own schedule, so that what is found is never slower. Operators take turns, those
    first that compute most, later those that have taken most time for each turn that they had. Every candidate is on
    disk once it was measured: what was found before is where the search goes on.

    Args:
        minutes: after which nothing more is measured.

    Raises:
        ExportError: if a package is missing that the search needs, or ``records`` are not to be read.
    """
    found = installed(_BRIDGE) or "0"
    if [int(part) for part in found.split(".")[:3]] >= _CRASHES:
        raise ExportError(f"{_BRIDGE} {found} crashes in a tuning by TVM 0.27: pip install '{_BRIDGE}<0.1.15'")
    end = time.time() + 60 * minutes
    with quiet(), target, tvm.transform.PassContext(opt_level=3):
        database = open_records(records)
        tasks = [
            task
            for task in ms.relax_integration.extract_tasks(fuse(program), target, {})
            if PRODUCT not in task.task_name and _sums(task)
        ]
        try:
            cost_model = ms.CostModel.create("xgb", num_tuning_cores=physical_cores())
        except ImportError as error:
            raise ExportError(f"tuning needs a package that is missing: {reason(error)}") from error
    builder = ms.builder.LocalBuilder(
        max_workers=physical_cores(), timeout_sec=_PATIENCE, f_build=functools.partial(compile_candidate, end)
    )
    runner = ms.runner.LocalRunner(
        timeout_sec=_PATIENCE, f_run_evaluator=functools.partial(time_candidate, end, physical_cores())
    )
    search = functools.partial(_search, records=records, database=database, model=cost_model, tools=(builder, runner))
    tasks.sort(key=lambda task: -int(task.weight) * _operations(task))
    turns = [_measured(task, database) // _TRIALS for task in tasks]
    while tasks and time.time() < end:
        number = _next(tasks, turns, database, target)
        task, left = tasks[number], (end - time.time()) / 60
        say(f"  tuning {task.task_name}, {number + 1} of {len(tasks)}: {left:.1f} min left")
        try:
            with quiet(), target, _without_intrinsics():
                if not _measured(task, database):
                    _measure_own(task, target, database, builder, runner)
                search(task, seed=seed + turns[number])
        except Exception as error:  # TVM's errors have many classes
            say(f"  {task.task_name} is left as it is: {reason(error)}")
            del tasks[number], turns[number]
        else:
            turns[number] += 1


def open_records(folder: Path) -> Any:
    """MetaSchedule's database in ``folder``, which is made where there is none. What a process that was ended left half
    written is dropped.

    Raises:
        ExportError: if TVM cannot read what is there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    workloads, records = folder / _WORKLOADS, folder / _RECORDS
    known = len(_whole_lines(workloads, lambda content: True))
    _whole_lines(records, lambda content: content[0] < known)
    try:
        return ms.database.JSONDatabase(path_workload=str(workloads), path_tuning_record=str(records))
    except Exception as error:  # TVM's errors have many classes
        raise ExportError(f"{folder}: TVM cannot read these records: {reason(error)}: choose another folder") from error


def _whole_lines(path: Path, fits: Callable[[Any], bool]) -> list[str]:
    """The lines of a file that are JSON of the expected form; the others are taken out of it."""
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = [line for line in text.splitlines() if _is_whole(line, fits)]
    whole = "".join(f"{line}\n" for line in lines)
    if whole != text:
        staged = path.with_suffix(".part")
        staged.write_text(whole, encoding="utf-8")
        os.replace(staged, path)
    return lines


def _is_whole(line: str, fits: Callable[[Any], bool]) -> bool:
    try:
        content = json.loads(line)
        return isinstance(content, list) and len(content) == 2 and fits(content)
    except (ValueError, TypeError):
        return False


def _measure_own(task: Any, target: Any, database: Any, builder: Any, runner: Any) -> None:
    """Adds optkit's own schedule of a product to the records, with its time."""
    module = task.dispatched[0]
    schedule = schedule_product(module, vector_width(target))
    if schedule is None:
        return
    (built,) = builder.build([ms.builder.BuilderInput(schedule.mod, target)])
    if built.artifact_path is None:
        return
    arguments = ms.arg_info.ArgInfo.from_entry_func(schedule.mod, remove_preproc=True)
    (future,) = runner.run([ms.runner.RunnerInput(built.artifact_path, "cpu", arguments)])
    if (seconds := future.result().run_secs) is not None:
        workload = database.commit_workload(module)
        record = ms.database.TuningRecord(schedule.trace, workload, list(seconds), target, arguments)
        database.commit_tuning_record(record)


def _search(task: Any, *, records: Path, database: Any, model: Any, tools: tuple[Any, Any], seed: int) -> None:
    """One turn of an operator."""
    contexts, weights = ms.relax_integration.extracted_tasks_to_tune_contexts(
        [task],
        str(records),
        space=ms.space_generator.PostOrderApply(sch_rules="llvm", postprocs="llvm", mutator_probs="llvm"),
        strategy=ms.search_strategy.EvolutionarySearch(population_size=_POPULATION, genetic_num_iters=_GENERATIONS),
        seed=seed,
    )
    ms.tune_tasks(
        tasks=contexts,
        task_weights=weights,
        work_dir=str(records),
        max_trials_global=_TRIALS,
        num_trials_per_iter=_TRIALS,
        builder=tools[0],
        runner=tools[1],
        database=database,
        cost_model=model,
    )


@contextmanager
def _without_intrinsics() -> Iterator[None]:
    """Keeps MetaSchedule from importing the intrinsics of tensor units: parsing them takes half a minute, and the
    schedules that are looked for have none.
    """
    if _INTRINSICS in sys.modules:
        yield
        return
    sys.modules[_INTRINSICS] = ModuleType(_INTRINSICS)
    try:
        yield
    finally:
        del sys.modules[_INTRINSICS]


def _measured(task: Any, database: Any) -> int:
    """Candidates that the records have of an operator."""
    module = task.dispatched[0]
    return len(database.get_top_k(database.commit_workload(module), 1 << 20)) if database.has_workload(module) else 0


def _next(tasks: list[Any], turns: list[int], database: Any, target: Any) -> int:
    """The task whose turn it is."""
    if not all(turns):
        return turns.index(0)

    def expected(number: int) -> float:
        record = database.query_tuning_record(tasks[number].dispatched[0], target, "main")
        best = min(float(each) for each in record.run_secs) if record is not None else 0.0
        return int(tasks[number].weight) * best / turns[number]

    return max(range(len(tasks)), key=expected)


def _sums(task: Any) -> bool:
    """Whether an operator adds anything up: all others are bound by memory, and their loops are plain."""
    return "T.init()" in task.dispatched[0].script()


def _operations(task: Any) -> float:
    return float(tvm.s_tir.analysis.estimate_tir_flops(task.dispatched[0]))
