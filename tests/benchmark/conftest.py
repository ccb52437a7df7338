"""One tiny model in every form that a benchmark takes, and a run's folder made of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from optkit.benchmark.backends import BACKENDS, missing


@pytest.fixture(scope="session")
def here() -> tuple[str, ...]:
    """The backends that can run on this machine."""
    return tuple(backend for backend in BACKENDS if missing(backend) is None)


@pytest.fixture(scope="session")
def fp32_ir(tmp_path_factory, tiny_checkpoint) -> Path:
    """``tiny_checkpoint`` as an IR: leave it as it is."""
    from optkit.export import conversion

    folder = tmp_path_factory.mktemp("fp32_ir")
    conversion.convert(tiny_checkpoint, folder, task="text-classification")
    return folder


@pytest.fixture(scope="session")
def onnx_folder(tmp_path_factory, tiny_checkpoint) -> Path:
    """``tiny_checkpoint`` as ONNX: leave it as it is."""
    from optkit.export.onnx import export_onnx

    folder = tmp_path_factory.mktemp("onnx")
    export_onnx(tiny_checkpoint, folder)
    return folder


@pytest.fixture
def run_folder(tmp_path, tiny_checkpoint, encoder_folder) -> Path:
    """What `optkit run` leaves, as far as a benchmark looks at it: the dense baseline and an int8 IR."""
    folder = tmp_path / "some_run"
    shutil.copytree(tiny_checkpoint, folder / "dense")
    shutil.copytree(encoder_folder, folder / "openvino")
    (folder / "manifest.json").write_text('{"format": 1, "recipe": "tiny", "stages": {}}')
    report = {"format": 1, "folders": {"dense": str(folder / "dense")}}
    (folder / "report.json").write_text(json.dumps(report))
    return folder


@pytest.fixture(autouse=True)
def torch_threads():
    """An engine sets torch's threads for its process; the next test has its own back."""
    import torch

    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
