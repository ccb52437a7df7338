"""The command: begins with a line, ends with what it took in answered, loads again without a pause."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

pytestmark = pytest.mark.slow


def ask(url, text="the soup was fine", client=httpx):
    return client.post(f"{url}/predict", json={"inputs": text}, timeout=30)


def test_it_serves_until_it_is_told_to_stop(start_server, classifier):
    server = start_server(classifier, "--log-format", "json", "--access-log", "--drain", "0")
    assert server.url.startswith("http://127.0.0.1:")
    assert ask(server.url, "a secret text").json()[0]["label"]
    assert server.stop() == 0
    lines = [json.loads(line) for line in server.log]
    assert lines[-1]["message"] == "stopped" and {line["level"] for line in lines} == {"info"}
    [told] = [line for line in lines if line["logger"] == "optkit.serving.access"]
    assert (told["method"], told["path"], told["status"]) == ("POST", "/predict", 200) and told["seconds"] > 0
    assert "secret" not in "".join(server.log)


def test_sigterm_under_load_loses_nothing(start_server, classifier):
    server = start_server(classifier, "--drain", "0.5")
    ends, refused = threading.Event(), []

    def client():
        with httpx.Client() as http:
            while not ends.is_set():
                try:
                    answer = ask(server.url, "the soup " * 20, http)
                except httpx.ConnectError:
                    refused.append(time.monotonic())  # nothing listens any more: nothing was taken in
                    return True
                assert answer.status_code == 200
        return False

    with ThreadPoolExecutor(8) as threads:
        clients = [threads.submit(client) for _ in range(8)]
        time.sleep(0.5)
        code = server.stop()
        assert all(each.result() for each in clients)
    assert code == 0


def test_sighup_loads_the_folder_again_without_a_pause(start_server, classifier, changed):
    folder = changed(classifier)
    server = start_server(folder, "--drain", "0")
    assert "food" in ask(server.url).text
    config = json.loads((folder / "config.json").read_text())
    names = {"0": "new", "1": "newer", "2": "newest"}
    config |= {"id2label": names, "label2id": {name: int(i) for i, name in names.items()}}
    (folder / "config.json").write_text(json.dumps(config))
    server.process.send_signal(signal.SIGHUP)
    end = time.monotonic() + 30
    with httpx.Client() as http:
        while "newest" not in (answer := ask(server.url, client=http)).text:
            assert answer.status_code == 200 and time.monotonic() < end
    # What can no longer be loaded leaves the former model.
    (folder / "config.json").write_text("{")
    server.process.send_signal(signal.SIGHUP)
    lines = iter(server.process.stderr)
    assert any("cannot be loaded again" in line for line in lines)
    assert "newest" in ask(server.url).text
    assert server.stop() == 0


def test_workers_share_a_port_and_a_killed_one_is_replaced(start_server, classifier):
    server = start_server(classifier, "--workers", "2", "--drain", "0")
    lines = iter(server.process.stderr.readline, "")
    assert any(" serving " in line for line in lines)  # the second of them
    workers = _children(server.process.pid)
    assert len(workers) == 2
    assert [ask(server.url).status_code for _ in range(5)] == [200] * 5
    metrics = httpx.get(f"{server.url}/metrics").text
    assert 'optkit_requests_total{path="/predict",status="200"} 5.0' in metrics  # of both
    os.kill(workers[0], signal.SIGKILL)
    assert any("a worker ended with code -9: another one is started" in line for line in lines)
    assert f"_{workers[0]}.db" not in "".join(_gauges(server.process.pid))
    assert any(" serving " in line for line in lines)
    assert len(set(_children(server.process.pid)) - set(workers)) == 1
    assert ask(server.url).status_code == 200
    assert server.stop() == 0


def test_workers_that_cannot_load_end_the_server(optkit_cli, classifier, changed):
    folder = changed(classifier)
    (folder / "openvino_model.bin").write_bytes(b"short")
    done = optkit_cli("serve", folder, "--workers", "2", "--port", "0")
    assert done.code == 1 and "no worker could serve, for the reason above: nothing is served" in done.err


def test_sighup_before_it_serves_ends_nothing(start_server, classifier):
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "optkit", "serve", str(classifier), "--port", "0", "--drain", "0"],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    while not _ignores_hup(process.pid):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGHUP)
    assert any(" serving " in line for line in iter(process.stderr.readline, ""))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 0


def _ignores_hup(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    return bool(int(re.search(r"SigIgn:\s*(\w+)", status)[1], 16) & 1)


def _gauges(pid: int) -> list[str]:
    """Names of the files that say what workers of a server are doing."""
    shared = re.search(r"PROMETHEUS_MULTIPROC_DIR=([^\0]*)", Path(f"/proc/{_children(pid)[0]}/environ").read_text())[1]
    return [path.name for path in Path(shared).glob("gauge_live*")]


def _children(pid: int) -> list[int]:
    """Worker processes of a server."""
    found = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return [child for child in found if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text()]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no model: give the folder of an exported model, such as runs/NAME/openvino"),
        (["nope"], "nope: no such file or folder: give the folder of an exported model, such as runs/NAME/openvino"),
        (["."], ".: no openvino_model.xml here: give the folder of an exported model"),
        (["MODEL", "MODEL"], "another model is served as text-classification: give one of them a name, NAME="),
        (["a b=MODEL"], "'a b' is no name for a model: use letters, digits and . _ -"),
        (["a=MODEL", "a=MODEL"], "two models have the name a: give each its own"),
        (["MODEL", "--port", "70000"], "--port: input should be less than or equal to 65535, got 70000"),
        (["MODEL", "--max-texts", "0"], "--max-texts: input should be greater than or equal to 1, got 0"),
        (["MODEL", "--threads", "5000"], "threads: 5000, and this process may use"),
        (["MODEL", "--streams", "2", "--threads", "1"], "streams: 2, and each needs one of the 1 threads"),
        (["MODEL", "--host", "127.0.0..1"], "host 127.0.0..1: no name of a machine: give an address of this machine"),
        (["MODEL", "--host", "1.2.3.4"], "1.2.3.4, port 8080: Cannot assign requested address: choose another"),
        (["MODEL", "--config", "none.yaml"], "none.yaml: no such file or directory: give the path of a YAML file"),
    ],
)
def test_a_mistake_is_one_line(optkit_cli, classifier, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    done = optkit_cli("serve", *(part.replace("MODEL", str(classifier)) for part in arguments))
    assert done.code in (1, 2) and not done.out
    assert re.sub(r"^\S+: (?=another model)", "", done.err).startswith(said) and len(done.err.splitlines()) == 1


def test_other_tasks_and_damaged_folders_are_refused(optkit_cli, classifier, changed):
    for values, said in [
        (
            {"architectures": ["BertForMaskedLM"]},
            "its task is fill-mask, and only text-classification, token-classification,",
        ),
        ({"architectures": ["BertForNextSentencePrediction"]}, "its architecture is BertForNextSentencePrediction"),
        ({"id2label": {"1": "a"}}, "id2label of config.json does not number the outputs from 0: correct it"),
        ({"id2label": {"0": "a", "1": "b"}}, "config.json names 2 outputs, and the model has 3: correct id2label"),
    ]:
        folder = changed(classifier, **values)
        done = optkit_cli("serve", folder)
        assert done.err.splitlines()[-1].startswith(f"{folder}: {said}"), done.err
    for file in ("tokenizer.json", "config.json"):
        folder = changed(classifier)
        (folder / file).write_text("[")
        assert optkit_cli("serve", folder).err.splitlines()[-1].startswith(f"{folder / file}: ")
        shutil.rmtree(folder)
