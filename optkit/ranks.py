"""The processes of a data-parallel run: rank 0 does the job, and calls the others to the stages that train.

torchrun and accelerate start one command several times. Rank 0 runs the stages as if it were alone; the others wait for
its calls at the launcher's key-value store, where nothing times out however long a stage takes, as a collective would.
Whoever fails writes it there, so that no process waits for one that has gone, and only rank 0 prints.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, cached_property
from typing import Any

from optkit.errors import Interrupted, OptkitError, RecipeError, in_a_line

#: Seconds between two looks at the store.
_EVERY = 0.1
#: Seconds that a process is given to find out by itself that another has failed, before it is ended.
_GRACE = 2.0
#: Seconds that rank 0 waits for the others to begin.
_LATE = 600.0


def world_size() -> int:
    """Processes of this launch: 1 unless torchrun, accelerate or the like started several."""
    launched = "RANK" in os.environ and "LOCAL_RANK" in os.environ
    return int(os.environ.get("WORLD_SIZE", "1")) if launched else 1


def rank() -> int:
    """This process's number among them, from 0."""
    return int(os.environ["RANK"]) if world_size() > 1 else 0


class Team:
    """All processes of one run. Alone, a process leads and every call is its own."""

    _runs = 0

    def __init__(self) -> None:
        self.rank, self.size = rank(), world_size()
        self._calls, self._facts = 0, {}
        self._failure: dict[str, Any] | None = None

    @cached_property
    def _store(self) -> Any:
        Team._runs += 1
        return _store(f"optkit/{Team._runs}")

    @property
    def leads(self) -> bool:
        return self.rank == 0

    @contextmanager
    def run(self) -> Iterator[None]:
        """A whole run, in every process: the others end with rank 0, whether it is done or fails."""
        try:
            yield
        except BaseException as error:
            if self.size > 1:
                self._tell(error)
            raise
        if self.size > 1 and self.leads:
            self._call("end", {})

    def gather(self, task: str) -> None:
        """Waits in rank 0 until the others are there.

        Args:
            task: digest of what is to be done.

        Raises:
            OptkitError: if a process failed before, was given something else to do, or does not come.
        """
        until = time.monotonic() + _LATE
        for other in range(1, self.size):
            while not self._store.check([f"here/{other}"]):
                if failed := self._find_failure():
                    raise _error(failed)
                if time.monotonic() > until:
                    raise OptkitError(f"process {other} of {self.size} did not come: see what the launcher says of it")
                time.sleep(_EVERY)
            if self._store.get(f"here/{other}").decode() != task:
                raise RecipeError(f"process {other} was given another recipe than process 0: give all the same files")

    @contextmanager
    def together(self, name: str, **facts: Any) -> Iterator[dict[str, Any]]:
        """Work for all processes: rank 0 calls the others to ``name``, and they get to this same place.

        Yields:
            rank 0's ``facts`` (plain data), in every process.

        Raises:
            OptkitError: if another process failed and this one could not go on for that.
        """
        if self.size == 1 or not self.leads:
            yield facts if self.size == 1 else self._facts
            return
        self._call(name, facts)
        with self._watch_others():
            yield facts

    def follow(self, task: str, work: Callable[[str], None]) -> None:
        """What every other process does: ``work(name)`` for each call of rank 0, until it ends.

        Raises:
            OptkitError: whatever rank 0, or this process, failed with.
        """
        self._store.set(f"here/{self.rank}", task)
        while (name := self._next()) != "end":
            with self._watch_others():
                work(name)

    def _call(self, name: str, facts: dict[str, Any]) -> None:
        self._store.set(f"call/{self._calls}", json.dumps({"name": name, "facts": facts}))
        self._calls += 1

    def _next(self) -> str:
        key = f"call/{self._calls}"
        try:
            while not self._store.check([key]):
                if failed := self._find_failure():
                    raise _error(failed)
                time.sleep(_EVERY)
            call = json.loads(self._store.get(key))
        except RuntimeError as error:  # torch's errors of the network are such
            raise OptkitError("process 0 is gone: see what it printed") from error
        self._calls, self._facts = self._calls + 1, call["facts"]
        return call["name"]

    def _tell(self, error: BaseException) -> None:
        """Writes down that this process failed, unless another did before."""
        code = 130 if isinstance(error, KeyboardInterrupt) else getattr(error, "exit_code", 1)
        failed = {"rank": self.rank, "text": in_a_line(error), "code": code}
        with suppress(RuntimeError):
            self._store.compare_set("failed", "", json.dumps(failed))

    def _find_failure(self) -> dict[str, Any] | None:
        """Who failed first and how. Once known it stays known, also when rank 0 is gone and its store with it."""
        if self._failure is None and self._store.check(["failed"]):
            self._failure = json.loads(self._store.get("failed"))
        return self._failure

    @contextmanager
    def _watch_others(self) -> Iterator[None]:
        """Work in which each process waits for the others: an error of one is an error of all."""
        done = threading.Event()
        guard = threading.Thread(target=self._guard, args=(done,), daemon=True)
        guard.start()
        try:
            yield
        except OptkitError:
            raise
        except Exception as error:
            failed = None
            with suppress(RuntimeError):
                failed = self._find_failure()
            # What breaks here once another process has gone says nothing of the cause.
            if failed and failed["rank"] != self.rank:
                raise _error(failed) from error
            if _connection_lost(error):
                raise OptkitError(
                    "another process of this training is gone: what it or the launcher printed says why; run the same "
                    "command again to go on from the last whole checkpoint"
                ) from error
            raise
        finally:
            done.set()
            guard.join()

    def _guard(self, done: threading.Event) -> None:
        """Ends a process that waits, inside a collective that no exception can reach, for one that has failed."""
        failed = None
        while not failed or failed["rank"] == self.rank:
            if done.wait(_EVERY):
                return
            with suppress(RuntimeError):
                failed = self._find_failure()
        if done.wait(_GRACE):
            return
        if self.leads:
            print(_error(failed), file=sys.stderr, flush=True)
        os._exit(failed["code"])


def _error(failed: dict[str, Any]) -> OptkitError:
    kind = {2: RecipeError, 130: Interrupted}.get(failed["code"], OptkitError)
    return kind(f"process {failed['rank']}: {failed['text']}" if failed["rank"] else failed["text"])


def _connection_lost(error: Exception) -> bool:
    from torch.distributed import DistError

    return isinstance(error, DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))


def hush() -> None:
    """Keeps torch's C++ side from printing warnings, once for each process; to be called before torch is loaded."""
    if world_size() > 1:
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


def mute(errors: bool) -> None:
    """Silences this process for good, down to what libraries in C++ print; stderr only if ``errors``.

    ctrl-C is left to rank 0 as well: it knows what to say, and the others end with it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2) if errors else (1,):
        os.dup2(nowhere, descriptor)


def leave(code: int) -> int:
    """The exit code of all processes, which is rank 0's ``code``; the others wait until it has printed all it had to.

    A launcher ends every process as soon as one exits with an error.
    """
    if world_size() == 1:
        return code
    store = _store("optkit/exit")
    try:
        if rank() == 0:
            sys.stdout.flush()
            sys.stderr.flush()
            store.set("code", str(code))
            if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":  # then the store goes with this process
                until = time.monotonic() + 2 * _GRACE  # in which the others end, or are ended
                while store.add("left", 0) < world_size() - 1 and time.monotonic() < until:
                    time.sleep(_EVERY)
            return code
        until = time.monotonic() + 15 * _GRACE if code else float("inf")
        while not store.check(["code"]) and time.monotonic() < until:
            time.sleep(_EVERY)
        code = int(store.get("code"))
        store.add("left", 1)
        if code:
            time.sleep(5 * _EVERY)  # rank 0 goes first: a launcher ends all once one has failed
    except RuntimeError:
        return code or 1
    return code


def _store(prefix: str) -> Any:
    from torch.distributed import PrefixStore

    return PrefixStore(prefix, _server())


@cache
def _server() -> Any:
    """The launcher's key-value store, or rank 0's where the launcher has none: it lives as long as the process."""
    from torch.distributed.rendezvous import rendezvous

    return next(rendezvous("env://"))[0]
