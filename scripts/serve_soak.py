"""Keeps `optkit serve` at saturation for minutes, bad requests mixed in, and says what became of it.

    scripts/serve_soak.py IR --texts FILE --minutes 10

IR is a text classifier, FILE has a text in each line. Half of the clients send one text, others several. One of eight
requests is bad: no JSON, wrong types, too many or too long texts, too large a body, a client that leaves. The
folder is loaded again twice. In the end comes SIGTERM, with all clients at work. The exit code is 1 if an answer was
wrong, a status was not the right one, a request got no answer, or memory grew in the second half.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import httpx
import psutil
from local_servers import free_port, wait_for_health

#: A padded batch changes the order of sums, and bfloat16 the last digits.
CLOSE = 0.03
#: Seconds until the server is given up that loads its model, and clients that wait for answers after SIGTERM.
PATIENCE = 120
#: Times the memory of the third quarter that the last one may take.
GROWTH = 1.1
LONG, MANY, LARGE = "word " * 3000, [["a"]] * 200, "a" * 3_000_000
BAD = [
    ("/predict", {"content": b"{not json"}, {422}),
    ("/predict", {"json": {"inputs": 5}}, {422}),
    ("/predict", {"json": {"inputs": LONG, "truncate": False}}, {413}),
    ("/predict", {"json": {"inputs": MANY}}, {413}),
    ("/predict", {"content": json.dumps({"inputs": LARGE}).encode()}, {413}),
    ("/embed", {"json": {"inputs": "a"}}, {424}),
    ("/nothing", {"json": {}}, {404}),
    ("/v1/embeddings", {"json": {"input": "a", "model": "other"}}, {404}),
]


class Soak:
    def __init__(self, url: str, texts: list[str], expected: dict[str, dict[str, float]]):
        self.url, self.texts, self.expected = url, texts, expected
        self.statuses, self.faults, self.latencies = Counter(), [], []
        self.stopping = self.refused = False

    async def client(self, number: int) -> None:
        """Sends requests until the server is gone."""
        rng = random.Random(number)
        limits = httpx.Limits(max_connections=1)
        async with httpx.AsyncClient(base_url=self.url, timeout=60, limits=limits) as http:
            while not self.refused:
                try:
                    if rng.random() < 1 / 8:
                        await self.bad(http, rng)
                    else:
                        await self.good(http, rng, 1 if number % 2 else rng.randint(2, 16))
                except httpx.ConnectError:
                    # Nothing listens any more, so this request was not taken in.
                    if not self.stopping:
                        self.faults.append("refused before SIGTERM")
                    self.refused = True
                except httpx.HTTPError as error:
                    self.faults.append(f"no answer: {type(error).__name__} {error}")
                    if self.stopping:
                        return

    async def good(self, http: httpx.AsyncClient, rng: random.Random, count: int) -> None:
        chosen = rng.sample(self.texts, count)
        begun = time.perf_counter()
        answer = await http.post("/predict", json={"inputs": [[text] for text in chosen]})
        self.statuses[answer.status_code] += 1
        if answer.status_code == 200:
            self.latencies.append(time.perf_counter() - begun)
            for text, found in zip(chosen, answer.json(), strict=True):
                scores = {each["label"]: each["score"] for each in found}
                if any(abs(scores[label] - score) > CLOSE for label, score in self.expected[text].items()):
                    self.faults.append(f"wrong: {scores} for {self.expected[text]}")
        elif answer.status_code == 503:
            if "retry-after" not in answer.headers:
                self.faults.append("503 without Retry-After")
            await asyncio.sleep(0.1)
        else:
            self.faults.append(f"status {answer.status_code}: {answer.text[:200]}")

    async def bad(self, http: httpx.AsyncClient, rng: random.Random) -> None:
        if rng.random() < 0.1:
            await self.leave()
            return
        path, request, right = rng.choice(BAD)
        answer = await http.post(path, headers={"content-type": "application/json"}, **request)
        self.statuses[answer.status_code] += 1
        if answer.status_code not in right | {503}:
            self.faults.append(f"status {answer.status_code} for {path}: {answer.text[:200]}")

    async def leave(self) -> None:
        """Opens a connection, promises a body, and is gone."""
        host, port = self.url.removeprefix("http://").split(":")
        try:
            _, writer = await asyncio.open_connection(host, int(port))
        except OSError:
            return
        writer.write(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\n{")
        await writer.drain()
        writer.close()


async def expectations(url: str, texts: list[str]) -> dict[str, dict[str, float]]:
    """The scores of each text, computed alone."""
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        found = {}
        for text in texts:
            answer = await http.post("/predict", json={"inputs": text})
            found[text] = {each["label"]: each["score"] for each in answer.json()}
    return found


async def run(args: argparse.Namespace, process: subprocess.Popen, url: str) -> int:
    texts = [line for line in args.texts.read_text(encoding="utf-8").splitlines() if line.strip()][: args.distinct]
    soak = Soak(url, texts, await expectations(url, texts))
    server, memory, begun = psutil.Process(process.pid), [], time.monotonic()
    clients = [asyncio.create_task(soak.client(number)) for number in range(args.clients)]
    reloads = [args.minutes * 60 * share for share in (0.2, 0.4)]
    while (passed := time.monotonic() - begun) < args.minutes * 60:
        await asyncio.sleep(2)
        memory.append((passed, server.memory_info().rss))
        if reloads and passed > reloads[0]:
            reloads.pop(0)
            process.send_signal(signal.SIGHUP)
    soak.stopping = True
    process.send_signal(signal.SIGTERM)
    _, waiting = await asyncio.wait(clients, timeout=PATIENCE)
    for client in waiting:
        client.cancel()
        soak.faults.append(f"no answer {PATIENCE} s after SIGTERM")
    code = process.wait(60)
    half = [size for passed, size in memory if passed > args.minutes * 30]
    first, last = max(half[: len(half) // 2]), max(half[len(half) // 2 :])
    latencies = sorted(soak.latencies)
    if not latencies:
        raise SystemExit(f"nothing was answered with 200: {dict(soak.statuses)}; {Counter(soak.faults).most_common(3)}")
    p50, p99 = (latencies[int(len(latencies) * share)] for share in (0.5, 0.99))
    print(f"{sum(soak.statuses.values())} answers: {dict(sorted(soak.statuses.items()))}")
    print(f"answered with 200: p50 {1e3 * p50:.0f} ms, p99 {1e3 * p99:.0f} ms")
    print(f"memory: {memory[0][1] / 1e6:.0f} MB at the start, third quarter {first / 1e6:.0f}, last {last / 1e6:.0f}")
    print(f"after SIGTERM: exit code {code}; faults: {len(soak.faults)}")
    for fault, count in Counter(soak.faults).most_common(10):
        print(f"  {count} x {fault}")
    return int(bool(soak.faults) or code != 0 or last > GROWTH * first)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ir", type=Path)
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--distinct", type=int, default=300, help="texts of the file that are used")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--option", action="append", default=[], help="a further option of optkit serve")
    args = parser.parse_args()
    if args.minutes < 0.2:
        parser.error("--minutes: at least 0.2, or memory is not looked at often enough")
    port = free_port()
    command = [sys.executable, "-m", "optkit", "serve", str(args.ir), "--port", str(port), "--max-queue", "256"]
    process = subprocess.Popen([*command, *args.option])
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for_health(process, url, PATIENCE, f"optkit serve did not become ready in {PATIENCE} s, or ended")
        raise SystemExit(asyncio.run(run(args, process, url)))
    finally:
        if process.poll() is None:
            process.kill()


if __name__ == "__main__":
    main()
