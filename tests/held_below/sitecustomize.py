"""OpenVINO held below the CPU by ONEDNN_MAX_CPU_ISA: as on a CPU without AVX-512, where openvino 2026.4.1 forgets to be.

It reads parts of the CPU past that limit, and its default precision stays bf16, which oneDNN's AVX2 crashes on. Here it is
f32. Python imports this module when it starts with this folder on PYTHONPATH, so that what tests start is held, too.
"""

import importlib.abc
import importlib.machinery
import sys


class AfterImport(importlib.abc.MetaPathFinder):
    """Changes openvino's Core as soon as somebody imports it, and imports nothing by itself."""

    def find_spec(self, name, path, target=None):
        if name != "openvino":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is None:
            return None
        load = spec.loader.exec_module

        def loaded(module):
            load(module)
            hold(module.Core)

        spec.loader.exec_module = loaded
        return spec


def hold(core) -> None:
    new = core.__init__

    def new_core(self, *args, **options):
        new(self, *args, **options)
        self.set_property("CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    core.__init__ = new_core


sys.meta_path.insert(0, AfterImport())
