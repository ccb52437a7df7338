"""Kills a replica of Ray Serve under load on this machine and says what became of the requests.

    scripts/serve_ray.py IR --texts FILE

IR is a text classifier, FILE has a text in each line. `serve run` starts a cluster here with one replica of one thread;
under load its autoscaling starts the second one. Then the process of one is killed (SIGKILL). Clients send a request
again that was not answered, as clients of services do. The exit code is 1 if a request was never answered, an answer
was wrong, a request failed that was sent after the kill, or no replica took the place of the killed one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
from local_servers import free_port, wait_for_health

#: Seconds until what starts, or what is waited for, is given up.
PATIENCE = 120
#: A padded batch changes the order of sums, and bfloat16 the last digits.
CLOSE = 0.03
#: Times that a request is sent, and the seconds between.
TRIES, PAUSE = 10, 0.2


@dataclass
class Request:
    sent: float
    failures: list[str] = field(default_factory=list)
    answered: bool = False


class Load:
    """Clients that keep asking, each again when it has its answer."""

    def __init__(self, url: str, expected: dict[str, dict[str, float]]):
        self.url, self.expected, self.requests, self.wrong = url, expected, [], 0
        self.stopping = False

    async def client(self, number: int) -> None:
        texts = list(self.expected)
        async with httpx.AsyncClient(timeout=60) as http:
            while not self.stopping:
                text = texts[number % len(texts)]
                number += 7
                self.requests.append(request := Request(time.monotonic()))
                while not request.answered and len(request.failures) < TRIES:
                    await self.ask(http, text, request)

    async def ask(self, http: httpx.AsyncClient, text: str, request: Request) -> None:
        try:
            answer = await http.post(f"{self.url}/predict", json={"inputs": text})
        except httpx.HTTPError as error:
            request.failures.append(type(error).__name__)
        else:
            if answer.status_code == 200:
                request.answered = True
                scores = {each["label"]: each["score"] for each in answer.json()}
                self.wrong += any(abs(scores[label] - score) > CLOSE for label, score in self.expected[text].items())
                return
            request.failures.append(str(answer.status_code))
        await asyncio.sleep(PAUSE)


def replicas(server: subprocess.Popen) -> list[psutil.Process]:
    """The processes of the replicas."""
    found = []
    for process in psutil.Process(server.pid).children(recursive=True):
        try:
            if process.cmdline()[:1] and process.cmdline()[0].startswith("ray::ServeReplica:"):
                found.append(process)
        except psutil.NoSuchProcess:
            pass
    return found


async def wait_for(server: subprocess.Popen, count: int, gone: set[int]) -> float:
    """Seconds until there are so many replicas, those of ``gone`` aside."""
    begun = time.monotonic()
    while len([each for each in replicas(server) if each.pid not in gone]) < count:
        if time.monotonic() > begun + PATIENCE or server.poll() is not None:
            raise SystemExit(f"no {count} replicas after {PATIENCE} s")
        await asyncio.sleep(0.2)
    return time.monotonic() - begun


async def run(args: argparse.Namespace, server: subprocess.Popen, url: str) -> int:
    texts = [line for line in args.texts.read_text(encoding="utf-8").splitlines() if line.strip()][:100]
    expected = {}
    async with httpx.AsyncClient(timeout=60) as http:
        for text in texts:
            answer = (await http.post(f"{url}/predict", json={"inputs": text})).json()
            expected[text] = {each["label"]: each["score"] for each in answer}
    load, begun = Load(url, expected), time.monotonic()
    clients = [asyncio.create_task(load.client(number)) for number in range(args.clients)]
    print(f"{args.clients} clients; replicas at the start: {len(replicas(server))}")
    print(f"a second replica under load: after {await wait_for(server, 2, set()):.1f} s")
    await asyncio.sleep(args.seconds)  # it loads its model, and takes its part
    running = replicas(server)
    in_flight = sum(not request.answered for request in load.requests)
    os.kill(running[0].pid, signal.SIGKILL)
    killed = time.monotonic()
    print(f"killed one of {len(running)} replicas with {in_flight} requests in flight in both")
    print(f"another one in its place: after {await wait_for(server, 2, {running[0].pid}):.1f} s")
    await asyncio.sleep(args.seconds)
    load.stopping = True
    await asyncio.gather(*clients)
    passed = time.monotonic() - begun
    failed = [request for request in load.requests if request.failures]
    later = [request for request in failed if request.sent > killed]
    lost = [request for request in load.requests if not request.answered]
    print(f"{len(load.requests)} requests in {passed:.0f} s, {len(load.requests) / passed:.0f} a second")
    print(f"failed at first: {len(failed)} {dict(Counter(each for request in failed for each in request.failures))}")
    print(
        f"  sent after the kill: {len(later)}; tries at most: {max((len(r.failures) for r in failed), default=0) + 1}"
    )
    print(f"never answered: {len(lost)}; wrong answers: {load.wrong}")
    return int(bool(lost or later or load.wrong))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ir", type=Path)
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=10, help="under load before the kill, and after it")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # which ends what was started
    port = free_port()
    scaling = {"min_replicas": 1, "max_replicas": 2, "target_ongoing_requests": 4, "upscale_delay_s": 2}
    application = {
        "name": "topics",
        "route_prefix": "/topics",
        "import_path": "optkit.serving.ray:app",
        "args": {"models": {"topics": str(args.ir.resolve())}, "threads": 1, "truncate": True},
        "deployments": [{"name": "optkit", "autoscaling_config": scaling}],
    }
    config = {"http_options": {"host": "127.0.0.1", "port": port}, "applications": [application]}
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0"}  # else Ray reports home
    with tempfile.TemporaryDirectory() as folder:
        file, log = Path(folder) / "serve.yaml", Path(tempfile.gettempdir()) / "serve_ray.log"
        file.write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML

        command = [sys.executable, "-m", "ray.serve.scripts", "run", str(file)]
        with log.open("w") as said:
            server = subprocess.Popen(command, stdout=said, stderr=said, env=environment)
        url = f"http://127.0.0.1:{port}/topics"
        try:
            late = f"Ray Serve did not become ready in {PATIENCE} s, or ended: see {log}"
            wait_for_health(server, url, PATIENCE, late)
            raise SystemExit(asyncio.run(run(args, server, url)))
        finally:
            if server.poll() is None:
                server.send_signal(signal.SIGINT)
                try:
                    server.wait(60)
                except subprocess.TimeoutExpired:
                    server.kill()


if __name__ == "__main__":
    main()
