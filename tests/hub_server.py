"""A Hub on this machine, and an optkit that asks it: what huggingface_hub calls, with failures on demand.

The Hub's address is read when huggingface_hub is imported, so commands run in a process of their own, one for all tests.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

#: Tokens that the server knows, and the organisation that each may write to.
WRITER, READER, REVOKED = "hf_" + "Wr1te" * 6, "hf_" + "Read0" * 6, "hf_" + "G0ne9" * 6
TOKENS = {WRITER: "org", READER: None}
_LARGE = (".bin", ".onnx", ".safetensors")


def git_hash(held: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(held) + held).hexdigest()


@dataclass
class Repository:
    """Every commit as all of its files; the first has none."""

    private: bool
    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=lambda: [("0" * 40, {})])

    @property
    def head(self) -> str:
        return self.commits[-1][0]

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[-1][1]

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        if revision == "main":
            return self.commits[-1]
        return next(((oid, files) for oid, files in self.commits if oid == revision), None)

    def commit(self, files: dict[str, bytes]) -> str:
        content = sorted((path, git_hash(held)) for path, held in files.items())
        oid = hashlib.sha1(repr((self.head, content)).encode()).hexdigest()
        self.commits.append((oid, files))
        return oid


@dataclass
class Fault:
    """The next ``times`` requests that match are answered with ``status``, or not answered at all.

    ``cut`` closes the connection: ``before`` anything is done, ``after`` it is done, or ``half`` way through a download.
    """

    method: str
    path: str
    times: int = 1
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b'{"error": "as the test wants it"}'
    cut: str | None = None


class Cut(Exception):
    """The connection is to be closed without another word."""


class Hub:
    """Repositories by name, stored objects by sha256, requests as (method, path), faults to come."""

    def __init__(self) -> None:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self.server.daemon_threads, self.server.hub = True, self
        self.lock = threading.RLock()
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.reset()
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def reset(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.stored: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.faults: list[Fault] = []
        self.cards: list[str] = []
        self.leaked = False

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def fail(self, method: str, path: str, **facts: Any) -> None:
        """``path`` is searched for as a regular expression."""
        self.faults.append(Fault(method, path, **facts))

    def fault(self, method: str, path: str) -> Fault | None:
        for fault in self.faults:
            if fault.times and fault.method == method and re.search(fault.path, path):
                fault.times -= 1
                return fault
        return None

    def count(self, method: str, path: str) -> int:
        return sum(asked == method and bool(re.search(path, where)) for asked, where in self.requests)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm, wbufsize = True, -1  # else each answer waits for the client's system to acknowledge
    server: Any

    def log_message(self, *_: object) -> None:
        pass

    @property
    def hub(self) -> Hub:
        return self.server.hub

    def _any(self) -> None:
        path = unquote(urlsplit(self.path).path)
        with self.hub.lock:
            self.hub.requests.append((self.command, path))
            fault = self.hub.fault(self.command, path)
        try:
            if fault and fault.cut == "before":
                raise Cut
            body = self._body()
            if fault and fault.status:
                return self._send(fault.status, fault.body, fault.headers)
            self._cut = fault.cut if fault else None
            with self.hub.lock:
                status, answer, headers = self._answer(path, body)
            if self._cut == "after":
                raise Cut
            self._send(status, answer if isinstance(answer, bytes) else json.dumps(answer).encode(), headers)
        except Cut:
            self.close_connection = True
            with suppress(OSError):
                self.connection.shutdown(2)

    do_GET = do_HEAD = do_POST = do_PUT = _any

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            parts = []
            while length := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(length))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        lengths = {} if "Content-Length" in headers else {"Content-Length": str(len(body))}
        for name, value in ({"Content-Type": "application/json"} | lengths | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            if getattr(self, "_cut", None) == "half":
                self.wfile.write(body[: len(body) // 2])
                self.wfile.flush()
                raise Cut
            self.wfile.write(body)

    def _refuse(self, status: int, said: str, code: str | None = None) -> tuple[int, Any, dict[str, str]]:
        return status, {"error": said}, {"X-Error-Message": said} | ({"X-Error-Code": code} if code else {})

    def _answer(self, path: str, body: bytes) -> tuple[int, Any, dict[str, str]]:
        hub, token = self.hub, self.headers.get("Authorization", "").removeprefix("Bearer ")
        if path.startswith("/storage/"):
            hub.leaked |= bool(token)  # a storage that is not the Hub's has no business with the token
            oid = path.rsplit("/", 1)[1]
            if hashlib.sha256(body).hexdigest() != oid:
                return self._refuse(400, "the content is not what was announced")
            hub.stored[oid] = body
            return 200, {}, {}
        if token and token not in TOKENS:
            return self._refuse(401, "Invalid credentials in Authorization header")
        if path == "/api/validate-yaml":
            hub.cards.append(json.loads(body)["content"])
            return 200, {"errors": [], "warnings": []}, {}
        if path == "/api/repos/create":
            return self._create(json.loads(body), token)
        match = re.match(r"/(?:api/models/)?([^/]+/[^/]+?)(?:\.git/info/lfs)?(?:/(.*))?$", path)
        name, rest = match[1], match[2] or ""
        repository = hub.repositories.get(name)
        if repository is None or (repository.private and not token):
            return self._refuse(404 if token else 401, "Repository not found", "RepoNotFound")
        if self.command == "POST" and TOKENS.get(token) != name.split("/")[0]:
            return self._refuse(403, "You don't have the rights to write here")
        return self._of_repository(repository, name, rest, body)

    def _create(self, wanted: dict[str, Any], token: str) -> tuple[int, Any, dict[str, str]]:
        name = f"{wanted['organization']}/{wanted['name']}"
        if TOKENS.get(token) != wanted["organization"]:
            return self._refuse(403, f"You don't have the rights to create a model under {wanted['organization']}")
        if wanted["name"].startswith("refused"):
            return self._refuse(400, f"{wanted['name']} is a reserved name")
        if name in self.hub.repositories:
            return 409, {"error": "You already created this model repo", "url": f"{self.hub.url}/{name}"}, {}
        self.hub.repositories[name] = Repository(private=wanted.get("visibility") == "private")
        return 200, {"url": f"{self.hub.url}/{name}"}, {}

    def _of_repository(self, repository: Repository, name: str, rest: str, body: bytes) -> Any:
        hub = self.hub
        what, _, more = rest.partition("/")
        if what in ("", "revision", "tree"):
            found = repository.at(more.split("/")[0] or "main")
            if found is None:
                return self._refuse(404, "Invalid rev id", "RevisionNotFound")
            oid, files = found
            if what == "tree":
                return (
                    200,
                    [{"type": "file", "path": path, **self._entry(path, held)} for path, held in files.items()],
                    {},
                )
            siblings = [{"rfilename": path, **self._entry(path, held)} for path, held in files.items()]
            return 200, {"id": name, "sha": oid, "private": repository.private, "siblings": siblings}, {}
        if what == "resolve":
            return self._resolve(repository, more)
        asked = None if what == "commit" else json.loads(body)
        if what == "preupload":
            answers = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(_LARGE) else "regular",
                    "shouldIgnore": False,
                    "oid": self._oid(file["path"], repository.files.get(file["path"])),
                }
                for file in asked["files"]
            ]
            return 200, {"files": answers}, {}
        if what == "objects" and more == "batch":
            objects = []
            for wanted in asked["objects"]:
                actions = {
                    "upload": {"href": f"{hub.url}/storage/{wanted['oid']}"},
                    "verify": {"href": f"{hub.url}/{name}.git/info/lfs/verify"},
                }
                objects.append(wanted | ({} if wanted["oid"] in hub.stored else {"actions": actions}))
            return 200, {"objects": objects, "transfer": "basic"}, {}
        if what == "verify":
            known = len(hub.stored.get(asked["oid"], b"")) == asked["size"]
            return (200, {}, {}) if known else self._refuse(404, "no such object")
        if what == "commit":
            return self._commit(repository, name, [json.loads(line) for line in body.splitlines()])
        return self._refuse(404, f"the test's Hub knows no {self.command} {self.path}")

    def _commit(self, repository: Repository, name: str, lines: list[dict[str, Any]]) -> Any:
        header, *operations = [line["value"] | {"key": line["key"]} for line in lines]
        if header.get("parentCommit", repository.head) != repository.head:
            return self._refuse(412, "A commit has happened since. Please refresh and try again.")
        files = dict(repository.files)
        for operation in operations:
            if operation["key"] == "lfsFile":
                if operation["oid"] not in self.hub.stored:
                    return self._refuse(400, "the object is not there")
                files[operation["path"]] = self.hub.stored[operation["oid"]]
            else:
                files[operation["path"]] = base64.b64decode(operation["content"])
        oid = repository.commit(files)
        return 200, {"commitUrl": f"{self.hub.url}/{name}/commit/{oid}", "commitOid": oid, "pullRequestUrl": None}, {}

    @staticmethod
    def _oid(path: str, held: bytes | None) -> str | None:
        if held is None:
            return None
        return hashlib.sha256(held).hexdigest() if path.endswith(_LARGE) else git_hash(held)

    @staticmethod
    def _entry(path: str, held: bytes) -> dict[str, Any]:
        entry: dict[str, Any] = {"size": len(held), "oid": git_hash(held), "blobId": git_hash(held)}
        if path.endswith(_LARGE):
            digest = hashlib.sha256(held).hexdigest()
            entry["lfs"] = {"size": len(held), "oid": digest, "sha256": digest, "pointerSize": 130}
        return entry

    def _resolve(self, repository: Repository, more: str) -> Any:
        revision, _, path = more.partition("/")
        found = repository.at(revision)
        if found is None:
            return self._refuse(404, "Invalid rev id", "RevisionNotFound")
        oid, files = found
        if path not in files:
            status, answer, headers = self._refuse(404, "Entry not found", "EntryNotFound")
            return status, answer, headers | {"X-Repo-Commit": oid}
        held = files[path]
        headers = {"X-Repo-Commit": oid, "ETag": f'"{self._oid(path, held)}"', "Accept-Ranges": "bytes"}
        asked = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked:
            start = int(asked[1])
            headers["Content-Range"] = f"bytes {start}-{len(held) - 1}/{len(held)}"
            return 206, held[start:], headers
        return 200, held, headers | {"Content-Length": str(len(held))}


class Outcome(NamedTuple):
    """What one command ended with, and the seconds that it wanted to wait; nothing really waits."""

    code: int
    out: str
    err: str
    slept: list[float]


_WORKER = """
import contextlib, io, json, os, sys, time, traceback
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
slept = []
time.sleep = slept.append
for line in sys.stdin:
    asked = json.loads(line)
    slept.clear()
    os.environ.pop("HF_TOKEN", None)
    os.environ.update(asked["env"])
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            if asked["code"] is not None:
                exec(compile(asked["code"], "snippet", "exec"), {"__name__": "snippet"})
            else:
                from optkit.cli.app import main
                main(asked["arguments"])
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            traceback.print_exc()
            code = 99
    print(json.dumps([code, out.getvalue(), err.getvalue(), slept]), file=answers, flush=True)
"""


class Commands:
    """`optkit` and Python in a process whose Hub is ``hub``; its home is a folder that tests may look through."""

    def __init__(self, hub: Hub, home: Path):
        self.home = home
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
        env = inherited | {
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "OPTKIT_CACHE": str(home),
            "NO_PROXY": "127.0.0.1",
        }
        self.printed = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [sys.executable, "-c", _WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.printed,
            env=env,
            text=True,
        )

    def __call__(self, *arguments: object, token: str | None = WRITER, code: str | None = None) -> Outcome:
        env = {} if token is None else {"HF_TOKEN": token}
        asked = {"arguments": [str(argument) for argument in arguments], "env": env, "code": code}
        print(json.dumps(asked), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            self.printed.seek(0)
            raise AssertionError(f"the process ended:\n{self.printed.read().decode()}")
        return Outcome(*json.loads(answer))

    def close(self) -> None:
        self.process.kill()  # it holds nothing, and OpenVINO takes its time to leave
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        self.printed.close()
