"""`optkit serve`: the application under uvicorn, in one process or several, ended and reloaded by signals.

SIGTERM and ctrl-C end it: what was taken in is answered first. SIGHUP loads every folder again without a pause.
"""

from __future__ import annotations

import asyncio
import ctypes
import ipaddress
import logging
import math
import os
import signal
import socket
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import connection, get_context
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from types import FrameType

import uvicorn

from optkit.errors import OptkitError, UsageError, in_a_line
from optkit.serving import logs
from optkit.serving.settings import KEY, Settings, api_key

log = logging.getLogger("optkit.serving")
#: Seconds before a worker that ended is started again.
_PAUSE = 1.0
#: Seconds in which the last connections are accepted that were made before new ones are refused.
_LAST = 0.3
#: Linux's option that has packets to a socket pass a filter (socket(7)), and a filter that drops each.
_SO_ATTACH_FILTER, _DROP = 26, struct.pack("HBBI", 0x06, 0, 0, 0)


def run(settings: Settings, key: str | None) -> None:
    """Serves until a signal ends it.

    Args:
        key: that requests have to carry; None for none.

    Raises:
        OptkitError: if no model can be loaded, or the port is taken.
    """
    logs.configure(settings.log_format, access=settings.access_log)
    # Threads of the tokenizer would take the cores of the streams.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    with _without_hup(), _listen(settings.host, settings.port) as listener:
        if key is None and not _is_loopback(settings.host):
            log.warning("anybody who reaches %s can use the server: set %s, or --host 127.0.0.1", settings.host, KEY)
        if settings.workers > 1:
            _Supervisor(settings, listener).run()
        else:
            _serve(settings, key, listener)


@contextmanager
def _without_hup() -> Iterator[None]:
    """Ignores SIGHUP, which ends a process that has not said what to do on it, until there is something to load again;
    processes that are started meanwhile ignore it, too.
    """
    if not hasattr(signal, "SIGHUP") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def _serve(settings: Settings, key: str | None, listener: socket.socket, serving: Event | None = None) -> None:
    """Serves in this process.

    Args:
        serving: of a worker, one of several processes that accept from ``listener``: is set once one takes requests.
    """
    from optkit.serving.application import build

    application = build(settings, key)
    config = uvicorn.Config(
        application,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        backlog=2048,
        timeout_graceful_shutdown=math.ceil(settings.timeout) + 1,
    )
    _Server(config, settings.drain, listener if serving is None else None, serving).run(sockets=[listener])
    log.info("stopped")


class _Server(uvicorn.Server):
    """uvicorn, which still takes connections for ``drain`` seconds after it was told to stop: answers then tell clients
    to close theirs, so that none is closed with a request on its way.

    Args:
        listener: the socket, which takes no further connection after that; None where another process sees to it.
        serving: is set once requests are taken.
    """

    def __init__(self, config: uvicorn.Config, drain: float, listener: socket.socket | None, serving: Event | None):
        super().__init__(config)
        self._drain, self._stop_at, self._listener, self._serving = drain, math.inf, listener, serving
        self._reloading: asyncio.Task[None] | None = None
        self._asked_again = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._stop_at < math.inf:
            self.should_exit = True  # told twice
            self.force_exit = sig == signal.SIGINT
            return
        self.config.app.state.stopping = True  # type: ignore[union-attr]
        self._stop_at = time.monotonic() + self._drain

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if hasattr(signal, "SIGHUP"):
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload)
        for each in sockets or ():  # said once they accept: who reads the line may send at once
            host, port = each.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            models = ", ".join(self.config.app.state.models)  # type: ignore[union-attr]
            log.info("serving %s on http://%s:%d", models, shown, port)
        if self._serving is not None:
            self._serving.set()

    def _reload(self) -> None:
        self._asked_again = True  # what changes after its turn is loaded by another one
        if self._reloading is None or self._reloading.done():
            self._reloading = asyncio.create_task(self._reload_all())

    async def _reload_all(self) -> None:
        while self._asked_again:
            self._asked_again = False
            await self.config.app.state.models.reload_all()  # type: ignore[union-attr]

    async def on_tick(self, counter: int) -> bool:
        if self._listener is not None and time.monotonic() >= self._stop_at:
            refuse_new_connections(self._listener)
            # On a busy machine this may be late: the last connections have their time from now on.
            self._listener, self._stop_at = None, time.monotonic()
        return await super().on_tick(counter) or time.monotonic() >= self._stop_at + _LAST


def _work(settings: Settings, listener: socket.socket, serving: Event) -> None:
    """A worker: what its process runs."""
    logs.configure(settings.log_format, access=settings.access_log)
    try:
        _serve(settings, api_key(), listener, serving)
    except OptkitError as error:
        log.error("%s", in_a_line(error))
        sys.exit(error.exit_code)


class _Supervisor:
    """Several workers that accept from one socket. One that ends is started again; signals are passed on to all."""

    def __init__(self, settings: Settings, listener: socket.socket):
        self._settings, self._listener = settings, listener
        self._workers: list[BaseProcess] = []
        self._stop_at = math.inf
        self._spawn = get_context("spawn")
        self._serving = self._spawn.Event()  # once, whichever worker it was: the models can be loaded
        self._failed = False

    def run(self) -> None:
        """Returns when all workers have ended.

        Raises:
            OptkitError: if none could load its models.
        """
        from optkit.serving.metrics import SHARED

        with tempfile.TemporaryDirectory(prefix="optkit-serve-") as shared:
            os.environ[SHARED] = shared
            before = {
                name: signal.signal(name, self._pass_on) for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
            }
            try:
                self._watch()
            finally:
                for name, handler in before.items():
                    signal.signal(name, handler)
                del os.environ[SHARED]
        if self._failed:
            raise OptkitError("no worker could serve, for the reason above: nothing is served")

    def _watch(self) -> None:
        self._workers = [self._start() for _ in range(self._settings.workers)]
        while self._workers:
            connection.wait([worker.sentinel for worker in self._workers], timeout=_LAST / 3)
            if time.monotonic() >= self._stop_at:
                refuse_new_connections(self._listener)
            for worker in [worker for worker in self._workers if not worker.is_alive()]:
                self._workers.remove(worker)
                self._replace(worker)

    def _start(self) -> BaseProcess:
        worker = self._spawn.Process(target=_work, args=(self._settings, self._listener, self._serving))
        with _without_hup():
            worker.start()
        return worker

    def _replace(self, worker: BaseProcess) -> None:
        from prometheus_client import multiprocess

        worker.join()
        multiprocess.mark_process_dead(worker.pid)  # in the folder that SHARED names
        if self._stop_at < math.inf:
            return
        if worker.exitcode in (OptkitError.exit_code, UsageError.exit_code) and not self._serving.is_set():
            # It said why, and another one would find the same.
            self._failed, self._stop_at = True, time.monotonic()
            self._pass_on(signal.SIGTERM, None)
            return
        log.error("a worker ended with code %s: another one is started", worker.exitcode)
        time.sleep(_PAUSE)
        if self._stop_at == math.inf:
            self._workers.append(self._start())

    def _pass_on(self, sig: int, frame: FrameType | None) -> None:
        if sig != signal.SIGHUP:
            self._stop_at = min(self._stop_at, time.monotonic() + self._settings.drain)
        for worker in self._workers:
            if worker.pid is not None and worker.is_alive():
                os.kill(worker.pid, signal.SIGTERM if sig == signal.SIGINT else sig)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "no name of a machine"
        raise UsageError(f"host {host}: {why}: give an address of this machine") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise OptkitError(f"{host}, port {port}: {error.strerror}: choose another with --port") from None
    listener.set_inheritable(True)
    return listener


def refuse_new_connections(listener: socket.socket) -> None:
    """Has Linux drop what would open another connection to ``listener``, so that those made before can be accepted and
    then none is reset by closing it: who comes later is refused by then. Elsewhere this does nothing.
    """
    program = ctypes.create_string_buffer(_DROP)
    with suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", 1, ctypes.addressof(program)))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
