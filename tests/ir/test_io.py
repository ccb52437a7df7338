from __future__ import annotations

import os
import subprocess
import sys

import capabilities
import numpy as np
import pytest

from optkit.errors import OptkitError
from optkit.ir import io

WEIGHTS = {"dense": np.ones((64, 64), np.float32)}


def test_importing_openvino_phones_nobody_and_leaves_no_file(tmp_path):
    code = (
        "from optkit.ir.io import import_openvino\n"
        "print(import_openvino().__name__)\n"
        "import openvino.tools.ovc.telemetry_utils as utils\n"
        "print(utils.tm.__name__)\n"
        "try: import openvino_telemetry\n"  # as NNCF does
        "except ImportError: print('blocked')\n"
    )
    hidden = ("CI", "TF_BUILD", "JENKINS_URL", "NNCF_CI", "NNCF_DEV")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["openvino", "openvino.tools.ovc.telemetry_stub", "blocked"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("consent", "wanted"), [("1", True), ("0", False), ("", False), (None, False)])
def test_telemetry_stays_on_for_who_turned_it_on(tmp_path, monkeypatch, consent, wanted):
    monkeypatch.setenv("HOME", str(tmp_path))
    if consent is not None:
        (tmp_path / "intel").mkdir()
        (tmp_path / "intel" / "openvino_telemetry").write_text(consent)
    assert io._telemetry_wanted() is wanted


def test_what_is_no_ir_is_one_clear_line(tmp_path, save_ir):
    def message(path):
        with pytest.raises(OptkitError) as caught:
            io.read_model(path)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "no OpenVINO IR here" in message(tmp_path)
    assert "no such file or folder" in message(tmp_path / "model.xml")
    xml = save_ir(tmp_path / "ir", WEIGHTS) / "openvino_model.xml"
    whole = xml.read_text()
    xml.write_text(whole[: len(whole) // 2])
    assert f"{xml}: OpenVINO cannot read it" in message(xml)
    xml.write_text(whole)
    xml.with_suffix(".bin").unlink()
    assert "weights openvino_model.bin are missing" in message(xml)


def test_a_full_disk_is_one_clear_line(tmp_path, save_ir):
    resource = capabilities.package("resource")
    model = io.read_model(save_ir(tmp_path / "ir", WEIGHTS))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))  # the weights are 16 KiB
    try:
        with pytest.raises(OptkitError, match="cannot be written .* is the disk full"):
            io.save_model(model, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
