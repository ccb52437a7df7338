from __future__ import annotations

import json

import pytest
from capabilities import need

from optkit.runtime import Plan, extension


@pytest.fixture
def available():
    need("extension")


def test_each_layer_has_its_kernel_what_is_fused_and_why(available, optkit_cli, encoder_folder):
    done = optkit_cli("inspect", encoder_folder, "--runtime", "--plan", "static")
    assert (done.code, done.err) == (0, "")
    (up,) = [line for line in done.out.splitlines() if line.startswith("encoder.layer.0.up ")]
    assert up.split()[:3] == ["encoder.layer.0.up", "256x64", "Program_0"]
    assert "gelu_erf" in up and "block4: 10 % of 1x4 blocks left" in up
    (head,) = [line for line in done.out.splitlines() if line.startswith("head ")]
    assert "Program" not in head and "OpenVINO: element, with 100 % of the weights left" in head
    assert "2 of 3 linear layers on the sparse runtime" in done.out


def test_json_is_alone_on_stdout_and_holds_the_plan(available, optkit_cli, encoder_folder):
    done = optkit_cli("inspect", encoder_folder, "--runtime", "--plan", "static", "--json")
    assert (done.code, done.err) == (0, "")
    facts = json.loads(done.out)
    assert len(Plan.from_json(json.dumps(facts["plan"])).kernels) == 2
    (program,) = facts["programs"]
    assert program["layers"] == [layer["matmul"] for layer in facts["plan"]["layers"][:2]]
    assert "gelu_erf" in program["fused"][program["layers"][0]]


def test_without_the_extension_it_says_so(optkit_cli, encoder_folder, monkeypatch, tmp_path):
    monkeypatch.setattr(extension, "FOLDER", tmp_path)
    done = optkit_cli("inspect", encoder_folder, "--runtime")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-1].startswith("plain OpenVINO: the sparse runtime is missing: ")


def test_what_holds_no_ir_is_a_line(optkit_cli, tiny_checkpoint, tmp_path):
    done = optkit_cli("inspect", tiny_checkpoint, "--runtime")
    assert (done.code, done.out) == (2, "") and done.err.count("\n") == 1
    assert done.err.startswith(f"{tiny_checkpoint}: no OpenVINO IR here: --runtime needs an .xml")
    assert optkit_cli("inspect", tmp_path / "x", "--runtime").err.startswith(
        f"{tmp_path / 'x'}: no such file or folder: --runtime needs an .xml"
    )
