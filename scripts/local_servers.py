"""Servers that a script starts on this machine: where they listen, and waiting until they answer."""

from __future__ import annotations

import socket
import subprocess
import time

import httpx


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_health(server: subprocess.Popen, url: str, patience: float, said: str) -> None:
    """Returns when ``url``/health answers with 200.

    Args:
        patience: seconds until it is given up.
        said: what ends the script then, or when the process has ended.
    """
    until = time.monotonic() + patience
    while time.monotonic() < until and server.poll() is None:
        try:
            if httpx.get(f"{url}/health", timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise SystemExit(said)
