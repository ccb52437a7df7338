"""Compares servers by wrk on this machine, in turns: requests a second, latency, and CPU time of the server.

    scripts/serve_bench.py IR --texts FILE                    # classification: optkit serve, FastAPI + optimum-intel
    scripts/serve_bench.py IR --texts FILE --embed CHECKPOINT # embeddings: sentence-transformers, infinity-emb if found
    scripts/serve_bench.py IR --texts FILE --bench --compute  # against `optkit bench --mode throughput`

FILE has a text in each line. The servers run at the same time, and each is asked for a few seconds in every round, so
that what else the machine does falls on all of them. wrk has to be on the path. --json keeps what was measured.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from local_servers import free_port

HERE = Path(__file__).parent
PYTHON = sys.executable
#: Seconds until a server that loads a model, or `optkit bench`, is given up.
PATIENCE = 300


@dataclass
class Server:
    """One way to serve: its command, where it listens, and what is asked of it."""

    name: str
    command: list[str]
    port: int
    path: str
    body: str  # the key of the texts
    pairs: bool = False  # whether several texts are lists of one
    more: dict = field(default_factory=dict)
    environment: dict = field(default_factory=dict)
    process: subprocess.Popen | None = None
    found: list[dict] = field(default_factory=list)

    def start(self) -> None:
        log = open(f"{tempfile.gettempdir()}/serve_bench_{self.port}.log", "w")
        self.process = subprocess.Popen(
            self.command, env=os.environ | self.environment, stdout=log, stderr=log, start_new_session=True
        )
        request, until = self.request(["a text"]), time.monotonic() + PATIENCE
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise SystemExit(f"{self.name} ended: see {log.name}")
            try:
                urllib.request.urlopen(request, timeout=10).read()
                return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.2)
        raise SystemExit(f"{self.name} does not answer after {PATIENCE} s: see {log.name}")

    def request(self, texts: list[str]) -> urllib.request.Request:
        headers = {"Content-Type": "application/json"}
        return urllib.request.Request(f"http://127.0.0.1:{self.port}{self.path}", self.line(texts).encode(), headers)

    def line(self, texts: list[str]) -> str:
        sent = texts[0] if len(texts) == 1 and not self.more else [[t] for t in texts] if self.pairs else texts
        return json.dumps({self.body: sent} | self.more)

    def cpu(self) -> float:
        """Seconds of CPU that it has used."""
        processes = [psutil.Process(self.process.pid)]
        processes += processes[0].children(recursive=True)
        return sum(sum(process.cpu_times()[:2]) for process in processes)

    def measure(self, texts: list[str], each: int, connections: int, seconds: float, seed: int) -> None:
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
            file.writelines(self.line(texts[i : i + each]) + "\n" for i in range(0, len(texts) - each + 1, each))
            file.flush()
            command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "60s", "-s"]
            command += [
                HERE / "serve_bench.lua",
                f"http://127.0.0.1:{self.port}{self.path}",
                "--",
                file.name,
                str(seed),
            ]
            begun = self.cpu()
            most = seconds + 90  # wrk waits for its last answers
            done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True, timeout=most)
            row = json.loads(done.stdout.splitlines()[-1])
            row["cpu"] = (self.cpu() - begun) / max(row["requests"] * each, 1)
        self.found.append(row)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):  # workers may outlive it
                os.killpg(self.process.pid, signal.SIGKILL)


def servers(args: argparse.Namespace) -> list[Server]:
    ports = [free_port() for _ in range(3)]
    threads = str(args.threads)
    path, pairs = ("/embed", False) if args.embed else ("/predict", True)
    own = [PYTHON, "-m", "optkit", "serve", str(args.ir), "--port", str(ports[0]), "--threads", threads]
    own += ["--plan", args.plan, *args.option]
    found = [Server("optkit serve", own, ports[0], path, "inputs", pairs)]
    uvicorn = [PYTHON, "-m", "uvicorn", "--app-dir", str(HERE), "serve_baselines:app", "--no-access-log"]
    variables = {"THREADS": threads, "OMP_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": "false"}
    if not args.embed:
        variables |= {"BASELINE": "optimum", "MODEL": str(args.ir)}
        command = [*uvicorn, "--port", str(ports[1])]
        found.append(Server("FastAPI + optimum-intel", command, ports[1], path, "inputs", pairs, environment=variables))
        return found
    variables |= {"BASELINE": "sentence-transformers", "MODEL": str(args.embed)}
    name, command = "FastAPI + sentence-transformers", [*uvicorn, "--port", str(ports[1])]
    found.append(Server(name, command, ports[1], path, "inputs", environment=variables))
    infinity = args.infinity or shutil.which("infinity_emb")
    if infinity:
        command = [str(infinity), "v2", "--model-id", str(args.embed), "--port", str(ports[2]), "--engine", "torch"]
        command += ["--device", "cpu", "--served-model-name", "m", "--no-bettertransformer", "--host", "127.0.0.1"]
        quiet = {"DO_NOT_TRACK": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0", "OMP_NUM_THREADS": threads}
        more = {"model": "m"}
        found.append(Server("infinity-emb", command, ports[2], "/embeddings", "input", more=more, environment=quiet))
    return found


def bench(args: argparse.Namespace) -> float:
    """Texts a second of ``optkit bench --mode throughput``."""
    command = [PYTHON, "-m", "optkit", "bench", str(args.ir), "--backends", "optkit", "--mode", "throughput"]
    command += ["--threads", str(args.threads), "--streams", str(args.threads), "--texts", str(args.texts)]
    command += ["--batch", str(args.batch), "--duration", str(args.seconds), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE + args.seconds)
    [shape] = json.loads(done.stdout)["shapes"]
    return shape["rows"][0]["per_second"]


def compute(args: argparse.Namespace, texts: list[str]) -> float:
    """Seconds of CPU a text for inference alone: no HTTP, no tokenization, batches in the order of the file."""
    from optkit.serving import RunnerOptions, read_folder
    from optkit.serving.encoder import Encoder

    options = RunnerOptions(threads=args.threads, streams=args.threads, plan=args.plan, max_batch=args.batch)
    encoder = Encoder(read_folder(args.ir), options)
    tokens, request = encoder.tokenizer.encode(texts, truncate=True), encoder.new_request()
    batches = [tokens[i : i + args.batch] for i in range(0, len(tokens), args.batch)]
    encoder.infer(request, batches[0])
    begun = time.process_time()
    for batch in batches:
        encoder.infer(request, batch)
    return (time.process_time() - begun) / len(texts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ir", type=Path)
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--embed", type=Path, help="the checkpoint of an embedding model")
    parser.add_argument("--infinity", type=Path, help="the command infinity_emb of another environment")
    parser.add_argument("--bench", action="store_true", help="also `optkit bench --mode throughput`")
    parser.add_argument("--compute", action="store_true", help="also the CPU time of inference alone")
    parser.add_argument("--batch", type=int, default=16, help="texts of a batch of `optkit bench`")
    parser.add_argument("--each", type=int, default=1, help="texts of a request")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--plan", default="static")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--option", action="append", default=[], help="a further option of optkit serve")
    parser.add_argument("--json", type=Path, help="a file for what was measured")
    parser.add_argument("--only", action="store_true", help="optkit serve alone")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # which ends what was started
    texts = [line for line in args.texts.read_text(encoding="utf-8").splitlines() if line.strip()]
    asked, benched = servers(args)[: 1 if args.only else None], []
    try:
        for server in asked:
            server.start()
            server.measure(texts, args.each, args.connections, 1, 0)  # warms up
            server.found.clear()
        for number in range(args.rounds):
            for server in asked[number % len(asked) :] + asked[: number % len(asked)]:
                server.measure(texts, args.each, args.connections, args.seconds, number)
            if args.bench:
                benched.append(bench(args))
    finally:
        for server in asked:
            server.stop()
    print(f"{args.connections} connections, {args.each} texts a request, {args.threads} threads, median of rounds")
    rates = {server.name: [row["requests"] * args.each / row["seconds"] for row in server.found] for server in asked}
    for server in asked:
        middle = {key: statistics.median(row[key] for row in server.found) for key in ("p50", "p95", "p99", "cpu")}
        against = [own / other for own, other in zip(rates["optkit serve"], rates[server.name])]
        print(
            f"{server.name:32} {statistics.median(rates[server.name]):8.0f} texts/s  p50 {middle['p50']:6.1f}  "
            f"p95 {middle['p95']:6.1f}  p99 {middle['p99']:6.1f} ms  {1e6 * middle['cpu']:6.0f} us CPU a text  "
            f"optkit {statistics.median(against):.2f} x  errors {sum(row['errors'] for row in server.found)}"
        )
    if args.json:
        rows = {server.name: server.found for server in asked}
        kept = {"command": sys.argv[1:], "servers": rows, "bench": benched}
        args.json.write_text(json.dumps(kept, indent=2, default=str) + "\n", encoding="utf-8")
    if args.compute:
        name, cpu = f"inference alone, batches of {args.batch}", compute(args, texts)
        ratio = statistics.median(row["cpu"] for row in asked[0].found) / cpu
        print(f"{name:32} {1e6 * cpu:6.0f} us CPU a text  optkit serve {ratio:.2f} x of that")
    if benched:
        against = statistics.median(own / other for own, other in zip(rates["optkit serve"], benched))
        name, rate = "optkit bench --mode throughput", statistics.median(benched)
        print(f"{name:32} {rate:8.0f} texts/s  optkit serve {against:.2f} x")


if __name__ == "__main__":
    main()
