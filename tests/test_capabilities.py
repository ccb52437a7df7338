"""A capability that is missing skips, or fails where OPTKIT_TEST_REQUIRE names it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import capabilities
import pytest
from capabilities import VARIABLE, need, package, required

Skipped = pytest.skip.Exception  # noqa: TID251


@pytest.fixture
def no_ray(monkeypatch):
    """A machine without Ray that has everything else."""
    reasons = {name: lambda: None for name in capabilities.CAPABILITIES} | {"ray": lambda: "ray is not installed"}
    monkeypatch.setattr(capabilities, "CAPABILITIES", reasons)
    monkeypatch.delenv(VARIABLE, raising=False)


def test_what_is_missing_is_skipped_with_the_reason(no_ray):
    need("onnx", "extension")
    with pytest.raises(Skipped, match="^ray: ray is not installed$"):
        need("onnx", "ray")
    with pytest.raises(Skipped, match="ray is not installed"):
        package("ray")


def test_what_is_missing_and_required_fails(no_ray, monkeypatch):
    monkeypatch.setenv(VARIABLE, "onnx, ray,")
    assert required() == {"onnx", "ray"}
    with pytest.raises(pytest.fail.Exception, match="^ray is required by OPTKIT_TEST_REQUIRE, and missing: ray is not"):
        need("ray")
    monkeypatch.setenv(VARIABLE, "onnx")
    with pytest.raises(Skipped, match="ray is not installed"):
        need("ray")


def test_an_unknown_name_ends_the_session(monkeypatch):
    monkeypatch.setenv(VARIABLE, "extension,onxx")
    tests = Path(__file__).parent
    command = [sys.executable, "-m", "pytest", "--collect-only", "-p", "no:cacheprovider", tests / "test_errors.py"]
    done = subprocess.run(command, cwd=tests.parent, capture_output=True, text=True)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"{VARIABLE}: unknown onxx, known are " in done.stderr
