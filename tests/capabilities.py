"""What tests need that a machine may lack. Every such skip goes through here, so that it can be made a failure.

The environment variable OPTKIT_TEST_REQUIRE names capabilities of ``CAPABILITIES``, separated by commas: what needs one
of them then fails where it is missing, instead of being skipped.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import pytest

VARIABLE = "OPTKIT_TEST_REQUIRE"

#: Optional packages: the module to import, by capability.
PACKAGES = {
    "ctranslate2": "ctranslate2",
    "fastapi": "fastapi",
    "genai": "openvino_genai",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "onnxscript": "onnxscript",
    "openai": "openai",
    "optimum-intel": "optimum",
    "peft": "peft",
    "prometheus-client": "prometheus_client",
    "ray": "ray",
    "resource": "resource",
    "schemathesis": "schemathesis",
    "sentence-transformers": "sentence_transformers",
    "tokenizers": "openvino_tokenizers",
    "tensorboard": "tensorboard",
    "tvm": "tvm",
    "uvicorn": "uvicorn",
}


def _package_missing(module: str) -> str | None:
    return None if find_spec(module) else f"{module} is not installed"


def _tools_missing(*tools: str) -> str | None:
    absent = [tool for tool in tools if shutil.which(tool) is None]
    return f"no {' and no '.join(absent)} on the path" if absent else None


def _extension_missing() -> str | None:
    from optkit.runtime import extension

    return extension.missing_reason()


def _headers_missing() -> str | None:
    from optkit.ir.io import import_openvino

    config = Path(import_openvino().__file__).parent / "cmake" / "OpenVINOConfig.cmake"
    return None if config.is_file() else "this OpenVINO package has no headers"


def _accelerator_found() -> str | None:
    import torch

    return "this machine has an accelerator" if torch.accelerator.is_available() else None


def _sst2_missing() -> str | None:
    return None if "OPTKIT_SST2" in os.environ else "OPTKIT_SST2 names no folder with SST-2's tsv files"


def _told_by_the_test() -> str | None:
    return None


#: Each capability's name, and a function that says why this machine lacks it, or None.
CAPABILITIES: Mapping[str, Callable[[], str | None]] = {
    **{name: partial(_package_missing, module) for name, module in PACKAGES.items()},
    "chromium": partial(_tools_missing, "chromium"),
    "cmake": partial(_tools_missing, "cmake"),
    "compiler": partial(_tools_missing, "c++"),
    "cpu-only": _accelerator_found,
    "extension": _extension_missing,
    "instruction-sets": _told_by_the_test,
    "openvino-headers": _headers_missing,
    "sanitizers": _told_by_the_test,
    "sst2": _sst2_missing,
}


def required() -> frozenset[str]:
    """The capabilities that OPTKIT_TEST_REQUIRE names.

    Raises:
        pytest.UsageError: if one of them is unknown.
    """
    names = frozenset(name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip())
    unknown = sorted(names - CAPABILITIES.keys())
    if unknown:
        raise pytest.UsageError(
            f"{VARIABLE}: unknown {', '.join(unknown)}, known are {', '.join(sorted(CAPABILITIES))}"
        )
    return names


def need(*names: str) -> None:
    """Skips the test, fixture or module that calls it if a capability is missing; fails it if that one is required."""
    for name in names:
        if (reason := CAPABILITIES[name]()) is not None:
            lack(name, reason)


def package(name: str) -> ModuleType:
    """The imported package of a capability, see ``need``."""
    need(name)
    return import_module(PACKAGES[name])


def lack(name: str, reason: str) -> NoReturn:
    """Skips for, or fails with, a capability that the caller has found missing for ``reason``."""
    assert name in CAPABILITIES, name
    if name in required():
        pytest.fail(f"{name} is required by {VARIABLE}, and missing: {reason}", pytrace=False)
    pytest.skip(f"{name}: {reason}", allow_module_level=True)  # noqa: TID251
