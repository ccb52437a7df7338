"""Exported models of each task that is served, and what they compute alone in plain OpenVINO."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from capabilities import need

WORDS = "the soup song table garden river letter of day was fine lovely great sweet poor awful grim sour .".split()


@pytest.fixture(scope="session", autouse=True)
def serving_packages():
    need("fastapi", "uvicorn", "prometheus-client")


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Of very unequal lengths, one of them empty."""
    rng = np.random.default_rng(0)
    return ["", *(" ".join(rng.choice(WORDS, rng.integers(1, 50))) for _ in range(60))]


def export(checkpoint: Path, folder: Path, model_class: str, task: str, **config) -> Path:
    """The IR of a tiny BERT with a random head, with its config and the tokenizer of ``checkpoint``."""
    import torch
    import transformers

    from optkit import export_openvino

    source = shutil.copytree(checkpoint, folder / "source")
    architecture = getattr(transformers, model_class)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        sizes = json.loads((checkpoint / "config.json").read_text())
        sizes = {name: value for name, value in sizes.items() if name not in ("architectures", "id2label", "label2id")}
        architecture(transformers.BertConfig(**sizes | {"initializer_range": 0.3} | config)).save_pretrained(source)
    export_openvino(source, folder / "ir", export_task=task)
    return folder / "ir"


@pytest.fixture(scope="session")
def classifier(tmp_path_factory, tiny_checkpoint) -> Path:
    """Three classes with names."""
    names = {0: "food", 1: "music", 2: "travel"}
    labels = {"id2label": names, "label2id": {name: i for i, name in names.items()}}
    folder = tmp_path_factory.mktemp("classifier")
    return export(tiny_checkpoint, folder, "BertForSequenceClassification", "text-classification", **labels)


@pytest.fixture(scope="session")
def embedder(tmp_path_factory, tiny_checkpoint) -> Path:
    """A folder of sentence-transformers: a mean of tokens, normalised."""
    from optkit.adapters import sentence_transformers

    folder = export(tiny_checkpoint, tmp_path_factory.mktemp("embedder"), "BertModel", "feature-extraction")
    how = sentence_transformers.Embedding("mean", normalize=True)
    sentence_transformers.write(folder, how, width=32, max_length=64, source=None, revision="main")
    return folder


@pytest.fixture(scope="session")
def reranker(tmp_path_factory, tiny_checkpoint) -> Path:
    """One output for a pair of texts."""
    folder = tmp_path_factory.mktemp("reranker")
    return export(tiny_checkpoint, folder, "BertForSequenceClassification", "text-classification", num_labels=1)


@pytest.fixture(scope="session")
def tagger(tmp_path_factory, tiny_checkpoint) -> Path:
    """A label for each token."""
    names = {0: "O", 1: "B-PER", 2: "I-PER"}
    labels = {"id2label": names, "label2id": {name: i for i, name in names.items()}}
    folder = tmp_path_factory.mktemp("tagger")
    return export(tiny_checkpoint, folder, "BertForTokenClassification", "token-classification", **labels)


@pytest.fixture(scope="session")
def alone():
    """What the model in a folder computes for each input (text or pair) by itself: its output and attention mask."""
    from transformers import AutoTokenizer

    from optkit.ir.io import import_openvino

    models = {}

    def compute(folder: Path, inputs) -> list[tuple[np.ndarray, np.ndarray]]:
        if folder not in models:
            compiled = import_openvino().Core().compile_model(folder / "openvino_model.xml", "CPU", F32)
            models[folder] = compiled, AutoTokenizer.from_pretrained(folder)
        compiled, tokenizer = models[folder]
        found = []
        for each in inputs:
            columns = [[part] for part in ([each] if isinstance(each, str) else each)]
            encoded = tokenizer(*columns, return_tensors="np", truncation=True, max_length=64)
            output = compiled({port.any_name: encoded[port.any_name] for port in compiled.inputs})[0][0]
            found.append((output.astype(np.float64), encoded["attention_mask"][0]))
        return found

    return compute


F32 = {"INFERENCE_PRECISION_HINT": "f32"}


@pytest.fixture(scope="session")
def softmax():
    return lambda logits: np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()


@pytest.fixture
def client():
    """A client of an application, which is closed at the end of the test."""
    from starlette.testclient import TestClient

    from optkit.serving import app

    clients = []

    def make(folders, **settings) -> TestClient:
        given = {"threads": 2, "streams": 2, "precision": "f32", "truncate": True} | settings
        clients.append(TestClient(app(folders, **given), raise_server_exceptions=False).__enter__())
        return clients[-1]

    yield make
    for each in clients:
        each.__exit__(None, None, None)


@pytest.fixture
def changed(tmp_path):
    """A copy of a model's folder with other values in config.json."""

    def copy(folder: Path, **values) -> Path:
        target = tmp_path / f"changed{len(list(tmp_path.iterdir()))}"
        shutil.copytree(folder, target)
        config = json.loads((target / "config.json").read_text())
        (target / "config.json").write_text(json.dumps(config | values))
        return target

    return copy


class Served:
    """``optkit serve`` in a process of its own.

    Attributes:
        url: where it listens.
        log: lines of stderr until it listened; all of them after ``stop``.
    """

    def __init__(self, *arguments, program=("-m", "optkit"), **environment):
        given = [str(part) for part in arguments]
        command = [
            sys.executable,
            *program,
            "serve",
            *given,
            "--port",
            "0",
            "--precision",
            "f32",
            "--threads",
            "1",
        ]
        variables = os.environ | environment
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=variables)
        self.log, self.url = [], None
        for line in self.process.stderr:
            self.log.append(line)
            if found := re.search(r"on (http://[\w.:\[\]]+)", line):
                self.url = found[1]
                break

    def stop(self, sig: int = signal.SIGTERM) -> int:
        """Ends it and returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
        _, rest = self.process.communicate(timeout=60)
        self.log += rest.splitlines(keepends=True)
        return self.process.returncode


@pytest.fixture
def start_server():
    """Starts servers, which end with the test."""
    servers = []

    def start(*arguments, **options) -> Served:
        servers.append(Served(*arguments, **options))
        assert servers[-1].url, "".join(servers[-1].log)
        return servers[-1]

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.process.kill()
            server.process.communicate()


@pytest.fixture
def serving_url(start_server):
    @contextmanager
    def serve(*arguments):
        server = start_server(*arguments, "--drain", "0")
        yield server.url
        assert server.stop() == 0

    return serve
