"""Runs the processes of a sweep: some at a time on this machine, or on a Ray cluster.

On a cluster every machine has to see the sweep's folder under the same path, and to have optkit installed.
"""

from __future__ import annotations

import logging
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from threading import Event, Lock
from typing import Any

from optkit.cpu import cpu_quota
from optkit.errors import OptkitError, UsageError
from optkit.experiments.trials import Trial

Work = Sequence[tuple[Trial, list[str]]]
Ended = Iterator[tuple[Trial, int, float]]
#: Variables that libraries take the number of threads from.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


class Local:
    """Runs processes on this machine.

    Args:
        jobs: processes at a time; each gets an equal share of the cores, unless the environment sets its threads.
        logs: folder for NAME.log of each.
    """

    def __init__(self, jobs: int, logs: Path):
        self.jobs, self.logs = jobs, logs
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock, self._stopped = Lock(), Event()

    def __call__(self, work: Work) -> Ended:
        environment = os.environ | shares(self.jobs)
        with ThreadPoolExecutor(self.jobs) as pool:
            futures = {pool.submit(self._run, trial, words, environment): trial for trial, words in work}
            try:
                for future in as_completed(futures):
                    yield futures[future], *future.result()
            except BaseException:
                # Processes end as at ctrl-C: they keep what is complete, and can go on.
                self._stopped.set()
                with self._lock:
                    for process in self._running:
                        process.terminate()
                pool.shutdown(cancel_futures=True)
                raise

    def _run(self, trial: Trial, words: list[str], environment: dict[str, str]) -> tuple[int, float]:
        begun = time.perf_counter()
        with open(self.logs / f"{trial.name}.log", "w", encoding="utf-8") as log:
            with self._lock:
                if self._stopped.is_set():
                    return 130, 0.0
                process = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT, env=environment)
                self._running.add(process)
            code = process.wait()
        with self._lock:
            self._running.discard(process)
        return code, time.perf_counter() - begun


def shares(jobs: int) -> dict[str, str]:
    """The variables that give each of ``jobs`` processes its share of the cores, where they are not set."""
    threads = str(max(int(cpu_quota()) // jobs, 1))
    return {name: threads for name in THREADS if name not in os.environ}


class Ray:
    """Runs processes on a Ray cluster, a task each.

    Args:
        address: of the cluster; None starts one on this machine, or takes the one that ``RAY_ADDRESS`` names.
        jobs: processes at a time on the largest machine; each asks for an equal share of its cores.
        logs: as for ``Local``.

    Raises:
        UsageError: if Ray is not installed.
        OptkitError: if the cluster cannot be reached.
    """

    def __init__(self, address: str | None, jobs: int, logs: Path):
        try:
            import ray
        except ImportError:
            raise UsageError("--ray: Ray is not installed: pip install 'optkit[ray]'") from None
        self.ray, self.logs = ray, logs
        self._owns = not ray.is_initialized()
        if self._owns:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else Ray reports home
            try:
                ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
            except (ConnectionError, ValueError, RuntimeError) as error:
                said = str(error).strip().splitlines()[0]
                raise OptkitError(f"--ray {address}: the cluster cannot be reached: {said}") from error
        # A task that asks for more than every machine has would wait for ever.
        cores = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
        self.threads = max(max(cores, default=1) // jobs, 1)

    def __call__(self, work: Work) -> Ended:
        run = self.ray.remote(num_cpus=self.threads, max_retries=0)(_on_a_worker)
        environment = {name: str(self.threads) for name in THREADS}
        pending: dict[Any, Trial] = {
            run.remote(words, str(self.logs / f"{trial.name}.log"), environment): trial for trial, words in work
        }
        try:
            while pending:
                (ended,), _ = self.ray.wait(list(pending), num_returns=1)
                trial = pending.pop(ended)
                try:
                    yield trial, *self.ray.get(ended)
                except self.ray.exceptions.RayError as error:
                    with open(self.logs / f"{trial.name}.log", "a", encoding="utf-8") as log:
                        log.write(f"\nRay: {str(error).strip().splitlines()[-1]}\n")
                    yield trial, 1, 0.0
        finally:
            for left in pending:
                self.ray.cancel(left, force=True)
            if self._owns:
                self.ray.shutdown()


def _on_a_worker(words: list[str], log: str, environment: dict[str, str]) -> tuple[int, float]:
    begun = time.perf_counter()
    with open(log, "w", encoding="utf-8") as file:
        done = subprocess.run(words, stdout=file, stderr=subprocess.STDOUT, env=os.environ | environment, check=False)
    return done.returncode, time.perf_counter() - begun
