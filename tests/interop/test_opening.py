"""Which form of a model is taken, and what is fetched of one on the Hub."""

from __future__ import annotations

from fnmatch import fnmatch

import huggingface_hub
import pytest

from optkit.errors import OptkitError
from optkit.interop.opening import open_model


@pytest.fixture
def fetched(tmp_path, monkeypatch):
    """Gives the Hub one repository of these files, and lists what is fetched of it."""
    files, got = [], []

    def snapshot(name, *, revision, allow_patterns, ignore_patterns):
        for file in files:
            if any(fnmatch(file, pattern) for pattern in allow_patterns):
                (tmp_path / file).write_text("{}")
                got.append(file)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    return files, got


@pytest.mark.parametrize(
    ("there", "kind", "path", "left"),
    [
        (
            ["model.safetensors", "pytorch_model.bin", "model.onnx"],
            "checkpoint",
            "",
            {"pytorch_model.bin", "model.onnx"},
        ),
        (["pytorch_model.bin", "model.onnx"], "checkpoint", "", {"model.onnx"}),
        (["adapter_config.json", "adapter_model.safetensors"], "adapter", "", set()),
        (["model.onnx", "model.onnx_data", "training_args.bin"], "onnx", "model.onnx", {"training_args.bin"}),
        (["openvino_model.xml", "openvino_model.bin"], "ir", "openvino_model.xml", set()),
    ],
)
def test_the_first_form_is_fetched_and_no_other(fetched, tmp_path, there, kind, path, left):
    files, got = fetched
    files += ["config.json", *there]
    opened = open_model("org/name")
    assert (opened.kind, opened.path, opened.setup) == (kind, tmp_path / path, tmp_path)
    assert set(files) - set(got) == left


def test_files_and_folders(tmp_path):
    (tmp_path / "a.onnx").touch()
    assert open_model(tmp_path) == open_model(tmp_path / "a.onnx")
    (tmp_path / "b.onnx").touch()
    with pytest.raises(OptkitError, match=r"which of a.onnx, b.onnx\? Name the file"):
        open_model(tmp_path)
    (tmp_path / "model.onnx").touch()
    assert open_model(tmp_path).path == tmp_path / "model.onnx"
