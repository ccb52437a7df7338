"""What holds for every test: its environment, the order of files, garbage collection, OpenVINO held below the CPU.

Nothing asks the Hub, and nothing is kept in the home folder.
"""

from __future__ import annotations

import atexit
import gc
import os
import runpy
import shutil
import signal
import sys
import tempfile
from pathlib import Path

# Read by the Hub's libraries when they are imported, so set before any of them is.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="optkit-tests-")
os.environ["OPTKIT_CACHE"] = os.environ["HF_HOME"]
atexit.register(shutil.rmtree, os.environ["HF_HOME"], ignore_errors=True)

# What is started in the background of a shell ignores interrupts, and so do its children, those that tests interrupt too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest  # noqa: E402

from optkit.cpu import held_below_avx512  # noqa: E402

if str(Path(__file__).parent) not in sys.path:
    sys.path.append(str(Path(__file__).parent))  # for the modules beside this file

pytest_plugins = ("fixtures.models", "fixtures.runs")


def pytest_configure():
    from capabilities import required

    required()  # an unknown name ends the session here


def _freeze() -> None:
    """Takes all that lives now out of what garbage collections walk: the modules of torch, transformers and NNCF stay
    to the end, and walking them took a third of the tests' time.
    """
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items):
    for item in items:
        if "finished_run" in item.fixturenames:
            item.add_marker(pytest.mark.slow)
    # Files with slow tests begin, so that no worker is left alone with one of them at the end.
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish():
    _freeze()


@pytest.fixture(autouse=True)
def _seeded():
    """Weights that a test leaves to chance are the same in every run, on every worker."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item, nextitem):
    if nextitem is None or nextitem.path != item.path:
        _freeze()  # with what the file's tests imported


if held_below_avx512():
    sys.path.insert(0, str(Path(__file__).parent / "held_below"))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (sys.path[0], os.environ.get("PYTHONPATH"))))
    runpy.run_module("sitecustomize")


@pytest.fixture(scope="session", autouse=held_below_avx512())
def openvino_without_its_crash():
    """Skips what OpenVINO 2026.4.1 crashes on when it is held below the CPU: its LayerNorm (MVN) takes AVX-512, and
    needs widths that are multiples of 16.
    """
    import openvino

    def compile_model(self, *args, **options):
        compiled = whole(self, *args, **options)
        for node in compiled.get_runtime_model().get_ops():
            shape = node.get_output_partial_shape(0) if node.get_output_size() else []
            if node.get_rt_info()["layerType"].value == "MVN" and shape[len(shape) - 1].get_length() % 16:
                pytest.skip("OpenVINO held below AVX-512 on a CPU that has it crashes in MVN of such widths")  # noqa: TID251
        return compiled

    whole, openvino.Core.compile_model = openvino.Core.compile_model, compile_model
    yield
    openvino.Core.compile_model = whole
