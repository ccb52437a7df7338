from __future__ import annotations

import json

import pytest
from capabilities import need

from optkit.runtime import extension


@pytest.fixture(autouse=True)
def compiled_extension():
    need("extension")


def test_bake_says_what_it_made(optkit_cli, encoder_folder, tmp_path):
    done = optkit_cli("bake", encoder_folder, "--output", tmp_path / "baked")
    assert (done.code, done.err) == (0, "")
    first, last = done.out.splitlines()
    isa = extension.isa()
    assert first == f"2 of 3 linear layers on the sparse runtime, by the cost model for {isa}, in 1 program"
    assert last.startswith(f"{tmp_path / 'baked'}: ") and "the portable IR has" in last


def test_json_is_alone_on_stdout(optkit_cli, encoder_folder, tmp_path):
    done = optkit_cli("bake", encoder_folder, "--output", tmp_path / "baked", "--isa", "avx2", "--seq", "32", "--json")
    assert (done.code, done.err) == (0, "")
    facts = json.loads(done.out)
    assert facts["output"] == str(tmp_path / "baked") and facts["programs"] == 1 and facts["left_out"] == {}
    assert (facts["plan"]["isa"], facts["plan"]["shape"], facts["plan"]["mode"]) == ("avx2", [1, 32], "static")
    assert facts["bytes"]["baked"] < facts["bytes"]["portable"]


def test_the_ir_of_a_run_is_found(optkit_cli, encoder_folder, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "openvino").symlink_to(encoder_folder)
    assert optkit_cli("bake", tmp_path / "run", "--output", tmp_path / "baked").code == 0
    assert (tmp_path / "baked" / "openvino_model.xml").is_file()


def test_errors_are_a_line(optkit_cli, encoder_folder, tmp_path, monkeypatch):
    (here := tmp_path / "here").mkdir()
    monkeypatch.chdir(here)
    done = optkit_cli("bake", encoder_folder, "--output", encoder_folder)
    assert (done.code, done.out) == (2, "")
    assert done.err == f"{encoder_folder}: holds the portable IR, which stays as it is: choose another folder\n"
    done = optkit_cli("bake", tmp_path / "nothing", "--output", tmp_path / "baked")
    assert done.code == 2 and "no such file or folder" in done.err and done.err.count("\n") == 1
    assert optkit_cli("bake", encoder_folder).code == 2
    done = optkit_cli("bake", encoder_folder, "--output", here)
    assert (done.code, done.err) == (2, f"{here}: is the current folder: choose another\n")
    done = optkit_cli("bake", encoder_folder, "--output", tmp_path / "baked", "--plan", "fast")
    assert (done.code, done.err) == (2, "unknown plan 'fast': one of static, measured\n")


def test_inspect_tells_what_is_baked(optkit_cli, encoder_folder, tmp_path):
    optkit_cli("bake", encoder_folder, "--output", tmp_path / "baked")
    done = optkit_cli("inspect", tmp_path / "baked", "--runtime")
    rows = [line.split() for line in done.out.splitlines()]
    assert ["encoder.layer.0.up", "Program_0", "block4", "1"] in rows
    assert done.out.endswith("2 linear layers run on the sparse runtime, all others in OpenVINO\n")
    done = optkit_cli("inspect", tmp_path / "baked", "--runtime", "--json")
    assert json.loads(done.out)["baked"] is True and len(json.loads(done.out)["layers"]) == 2
    done = optkit_cli("inspect", tmp_path / "baked")
    wanted = f"{tmp_path / 'baked'}: is baked, its weights are packed: inspect the portable IR, or add --runtime\n"
    assert (done.code, done.err) == (2, wanted)
