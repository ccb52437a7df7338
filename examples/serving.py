"""Serves a text classifier, exported by optkit, over HTTP: plain asyncio around OpenVINO's asynchronous requests.

    python examples/serving.py runs/quickstart/openvino --port 8080 --streams 2 --threads 4
    curl -d '{"text": "Such a lovely soup."}' localhost:8080/classify

Requests that arrive within a few milliseconds of each other are computed as one batch. SIGTERM ends it: what was taken
in is answered first. docs/serving.md explains the numbers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoConfig, AutoTokenizer

import optkit

LONGEST_BODY = 1 << 20
MOST_TEXTS = 256
#: Seconds that a client may take to send a request once it has begun.
LONGEST_WAIT = 10.0


class BadRequest(Exception):
    """What the client did wrong, and the status that says so."""

    def __init__(self, status: HTTPStatus, said: str):
        super().__init__(said)
        self.status = status


class Classifier:
    """Answers texts in batches, several of them at once.

    Args:
        folder: the IR, with its config and tokenizer.
        streams: batches that are computed at the same time.
        threads: of all streams together.
        max_batch: texts of the largest batch.
        window: seconds that the first text of a batch waits for others, at most.
        plan: of the sparse runtime, see ``optkit.compile_model``.
    """

    def __init__(
        self,
        folder: Path,
        *,
        streams: int = 1,
        threads: int | None = None,
        max_batch: int = 16,
        window: float = 0.004,
        max_length: int = 128,
        plan: str = "measured",
    ):
        config = {"NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": threads or os.cpu_count()}
        self.compiled = optkit.compile_model(folder, config, plan=plan)
        self.names = [port.any_name for port in self.compiled.inputs]
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.labels = AutoConfig.from_pretrained(folder).id2label
        self.max_length = min(max_length, self.tokenizer.model_max_length)
        self.max_batch, self.window, self.batches = max_batch, window, 0
        self.waiting: asyncio.Queue[tuple[str, asyncio.Future]] = asyncio.Queue()
        # A stream without a second request ready would stand still while answers are handed out.
        self.free: asyncio.Queue[Any] = asyncio.Queue()
        for _ in range(2 * streams):
            self.free.put_nowait(self.compiled.create_infer_request())
        self.waiters, self.computing = ThreadPoolExecutor(2 * streams), set()
        self.running = asyncio.create_task(self._run())

    async def classify(self, text: str) -> dict[str, Any]:
        """The most likely label and its probability."""
        answer = asyncio.get_running_loop().create_future()
        self.waiting.put_nowait((text, answer))
        logits = await answer
        shares = np.exp(logits - logits.max())
        best = int(logits.argmax())
        return {"label": self.labels[best], "score": round(float(shares[best] / shares.sum()), 6)}

    async def close(self) -> None:
        """Ends when all that was asked is answered."""
        await self.waiting.join()
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)
        self.waiters.shutdown()

    async def _run(self) -> None:
        """Takes texts as they come, and begins a batch whenever one is full or its first text has waited enough."""
        loop = asyncio.get_running_loop()
        while True:
            taken = [await self.waiting.get()]
            # Before the window, not after it: while all requests are busy the batch has time to grow.
            request = await self.free.get()
            until = loop.time() + self.window
            while len(taken) < self.max_batch:
                try:
                    taken.append(await asyncio.wait_for(self.waiting.get(), max(until - loop.time(), 0)))
                except TimeoutError:
                    break
            self.batches += 1
            self.computing.add(batch := asyncio.create_task(self._batch(request, taken)))
            batch.add_done_callback(self.computing.discard)

    async def _batch(self, request: Any, taken: Sequence[tuple[str, asyncio.Future]]) -> None:
        """Computes a batch, hands out its answers and makes its request free again."""
        rows, failed = (), None
        try:
            texts = [text for text, _ in taken]
            options = {"padding": True, "truncation": True, "max_length": self.max_length, "return_tensors": "np"}
            inputs = self.tokenizer(texts, **options)
            request.start_async({name: inputs[name] for name in self.names})
            # A callback would not hear of a failure; a thread that waits does.
            await asyncio.get_running_loop().run_in_executor(self.waiters, request.wait)
            rows = np.array(request.get_output_tensor(0).data)
        except Exception as error:  # of the model or the tokenizer: those who asked are told, and others served on
            failed = RuntimeError(f"the model failed: {str(error).strip().splitlines()[-1]}")
        self.free.put_nowait(request)
        for i, (_, answer) in enumerate(taken):
            if not answer.done():  # it is where a client is gone
                answer.set_exception(failed) if failed else answer.set_result(rows[i])
            self.waiting.task_done()


class Server:
    """HTTP/1.1 with JSON: ``POST /classify`` takes ``{"text": ...}`` or ``{"texts": [...]}``; ``GET /health``."""

    def __init__(self, classifier: Classifier):
        self.classifier, self.connections, self.busy = classifier, set(), set()

    async def start(self, host: str, port: int) -> int:
        """Listens, and returns the port."""
        self.server = await asyncio.start_server(self._connection, host, port)
        return self.server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Takes nothing new in, and ends when all that was taken in is answered."""
        self.server.close()
        for connection in self.connections - self.busy:
            connection.cancel()
        await asyncio.gather(*self.connections, return_exceptions=True)
        await self.classifier.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self.connections.add(task)
        try:
            while self.server.is_serving() and (line := await reader.readline()):
                self.busy.add(task)
                status, said, keep = await self._respond(line, reader)
                body = json.dumps(said).encode()
                head = f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\n"
                head += f"Content-Length: {len(body)}\r\nConnection: {'keep-alive' if keep else 'close'}\r\n\r\n"
                writer.write(head.encode() + body)
                await writer.drain()
                self.busy.discard(task)
                if not keep:
                    break
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client is gone or sends what is no HTTP, or the server closes
        finally:
            self.connections.discard(task)
            self.busy.discard(task)
            writer.close()

    async def _respond(self, line: bytes, reader: asyncio.StreamReader) -> tuple[HTTPStatus, dict[str, Any], bool]:
        """Status, answer, and whether the connection may go on."""
        try:
            async with asyncio.timeout(LONGEST_WAIT):
                method, path, body, keep = await _read(line, reader)
            if path == "/health" and method == "GET":
                return HTTPStatus.OK, {"status": "ok"}, keep
            if path != "/classify":
                raise BadRequest(HTTPStatus.NOT_FOUND, f"no {path} here: POST /classify")
            if method != "POST":
                raise BadRequest(HTTPStatus.METHOD_NOT_ALLOWED, f"{method} does nothing here: POST /classify")
            texts, several = _texts(body)
            answers = await asyncio.gather(*(self.classifier.classify(text) for text in texts))
            return HTTPStatus.OK, {"answers": answers} if several else answers[0], keep
        except BadRequest as error:
            return error.status, {"error": str(error)}, False
        except RuntimeError as error:
            return HTTPStatus.INTERNAL_SERVER_ERROR, {"error": str(error)}, False


async def _read(line: bytes, reader: asyncio.StreamReader) -> tuple[str, str, bytes, bool]:
    """Method, path and body of a request whose first line is ``line``, and whether its client wants to send more."""
    words = line.decode("latin-1").split()
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise BadRequest(HTTPStatus.BAD_REQUEST, "this is no HTTP/1.1 request")
    headers = {}
    while (line := await reader.readline()).strip():
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    length = headers.get("content-length", "0")
    if "transfer-encoding" in headers or not length.isdecimal():
        raise BadRequest(HTTPStatus.LENGTH_REQUIRED, "send a Content-Length, and no chunks")
    if int(length) > LONGEST_BODY:
        raise BadRequest(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body has {length} bytes: at most {LONGEST_BODY}")
    keep = words[2] == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
    return words[0], words[1], await reader.readexactly(int(length)), keep


def _texts(body: bytes) -> tuple[list[str], bool]:
    """The texts of a request, and whether they came as a list."""
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest(HTTPStatus.BAD_REQUEST, f"the body is no JSON: {error}") from None
    if not isinstance(asked, dict) or len(asked.keys() & {"text", "texts"}) != 1:
        raise BadRequest(HTTPStatus.BAD_REQUEST, 'the body must be {"text": "..."} or {"texts": ["...", "..."]}')
    several = "texts" in asked
    texts = asked["texts"] if several else [asked["text"]]
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise BadRequest(HTTPStatus.BAD_REQUEST, "a text is a string, and texts are a list of them, not empty")
    if len(texts) > MOST_TEXTS:
        raise BadRequest(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"{len(texts)} texts at once: at most {MOST_TEXTS}")
    if any("\ud800" <= character <= "\udfff" for text in texts for character in text if not text.isascii()):
        raise BadRequest(HTTPStatus.BAD_REQUEST, "a text holds half of a surrogate pair, which is no character")
    return texts, several


async def serve(args: argparse.Namespace) -> None:
    """Until SIGTERM or ctrl-C."""
    given = {name: getattr(args, name) for name in ("streams", "threads", "max_batch", "max_length", "plan")}
    server = Server(Classifier(args.folder, window=args.window / 1000, **given))
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    port = await server.start(args.host, args.port)
    print(f"serving {args.folder} on http://{args.host}:{port}", flush=True)
    await stop.wait()
    await server.close()
    print(f"answered in {server.classifier.batches} batches", flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="an exported model: openvino_model.xml, config.json, tokenizer")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one")
    parser.add_argument("--streams", type=int, default=1, help="batches computed at the same time")
    parser.add_argument("--threads", type=int, help="of all streams together; all cores by default")
    parser.add_argument("--max-batch", type=int, default=16)
    parser.add_argument("--window", type=float, default=4, help="milliseconds that a text waits for others, at most")
    parser.add_argument("--max-length", type=int, default=128, help="tokens at which a text is cut")
    parser.add_argument("--plan", choices=("measured", "static"), default="measured")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        asyncio.run(serve(parse()))
    except (optkit.OptkitError, OSError) as error:
        raise SystemExit(f"error: {error}") from None
