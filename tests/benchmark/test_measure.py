"""What a measurement leaves behind: the process as it was, and no library that no engine needs."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from optkit.benchmark.engines.base import Setting
from optkit.benchmark.engines.torch import Torch
from optkit.benchmark.inputs import SharedInputs
from optkit.benchmark.measure import Candidate, Workload, measure
from optkit.benchmark.options import BenchmarkOptions
from optkit.errors import OptkitError
from optkit.variant import DENSE, PRUNED

OPTIONS = BenchmarkOptions(threads=1, rounds=2, repeats=1, loads=False)
WORKLOAD = Workload((1, 4), [SharedInputs(9, None, None).dummy_inputs(1, 4)], seq=4)
#: One engine of numpy alone is measured in a process of its own.
ALONE = """
import sys
import numpy as np
from optkit.benchmark.engines.base import Engine
from optkit.benchmark.measure import Candidate, Workload, measure
from optkit.benchmark.options import BenchmarkOptions
from optkit.variant import DENSE

class Doubled(Engine):
    def prepare(self, inputs):
        return lambda: 2.0 * inputs["x"]

workload = Workload((1, 4), [{"x": np.ones((1, 4), np.float32)}], seq=4)
options = BenchmarkOptions(threads=1, rounds=2, repeats=1, loads=False)
result = measure([Candidate(DENSE.on("openvino"), "doubled", lambda _: Doubled(), "doubled")], [workload], options)
assert result.shapes[0].rows[0].rounds
sys.exit("torch is imported" if "torch" in sys.modules else 0)
"""


class Sum(torch.nn.Module):
    def forward(self, input_ids):
        return (input_ids.float().sum(-1, keepdim=True),)


def test_no_torch_without_an_engine_of_torch():
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("fails", [False, True])
def test_torch_has_its_threads_back(fails):
    """Two engines of torch in one measurement, and a third that cannot be loaded after them."""
    inside = []

    def load(setting: Setting):
        engine = Torch(Sum(), setting)
        inside.append(torch.get_num_threads())
        return engine

    def fail(setting: Setting):
        raise OptkitError("damaged")

    candidates = [Candidate(own, own.label, load, "sum") for own in (DENSE, PRUNED)]
    torch.set_num_threads(3)
    if fails:
        with pytest.raises(OptkitError, match="damaged"):
            measure([*candidates, Candidate(DENSE, "damaged", fail, "none")], [WORKLOAD], OPTIONS)
    else:
        rows = measure(candidates, [WORKLOAD], OPTIONS).shapes[0].rows
        assert [row.difference for row in rows] == [None, 0.0]
    assert inside == [1, 1] and torch.get_num_threads() == 3


def test_nothing_is_loaded_without_a_workload():
    candidate = Candidate(DENSE.on("torch"), "torch", lambda _: pytest.fail("it was loaded"), "torch")
    result = measure([candidate], [], OPTIONS, reference=0)
    assert result.shapes == [] and result.models == []
