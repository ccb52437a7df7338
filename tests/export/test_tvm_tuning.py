"""Tuning for Apache TVM: what was measured is on disk, is gone on from, and computes what the program computes."""

from __future__ import annotations

import numpy as np
import pytest
from capabilities import need

from optkit.errors import ExportError

pytestmark = pytest.mark.slow


class Interrupted(BaseException):
    """What a user's Ctrl-C is."""


@pytest.fixture
def program():
    """inputs (8, 32) x weight (32, 48)."""
    need("tvm")
    from tvm import relax

    from optkit.adapters.tvm.program import Program

    builder = relax.BlockBuilder()
    inputs, weight = (
        relax.Var(name, relax.TensorType(shape, "float32"))
        for name, shape in (("inputs", (8, 32)), ("weight", (32, 48)))
    )
    with builder.function("main", [inputs, weight], attrs={"num_input": 1}):
        with builder.dataflow():
            product = builder.emit_output(builder.emit(relax.op.matmul(inputs, weight)))
        builder.emit_func_output(product)
    return Program(builder.finalize(), {"weight": np.random.default_rng(0).random((32, 48), dtype=np.float32)})


def test_an_interrupted_tuning_goes_on_and_is_used(program, tmp_path, monkeypatch):
    import tvm as library
    from tvm import relax, runtime

    from optkit.adapters.tvm import building, tuning

    monkeypatch.setattr(tuning, "_TRIALS", 2)
    monkeypatch.setattr(tuning, "_POPULATION", 16)
    said = []

    def say(line):
        said.append(line)
        if len(said) > 1:  # the second turn begins
            raise Interrupted

    target, records = building.cpu_target(), tmp_path / "records"
    with pytest.raises(Interrupted):
        tuning.tune(program, target, records, minutes=5, seed=0, say=say)
    kept = (records / "database_tuning_record.json").read_text().splitlines()
    assert "left as it is" not in "".join(said)
    assert len(kept) >= 2  # optkit's own schedule and at least one that was found
    with (records / "database_tuning_record.json").open("a") as file:
        file.write('[0, [[["GetSBlock')  # the process was ended while it wrote
    tuning.open_records(records)
    assert (records / "database_tuning_record.json").read_text().splitlines() == kept

    compiled, parameters = building.build(program, target, records)
    inputs = np.random.default_rng(1).random((8, 32), dtype=np.float32)
    given = [runtime.tensor(inputs), *(runtime.tensor(array) for array in parameters.values())]
    found = relax.VirtualMachine(compiled, library.cpu())["main"](*given).numpy()
    assert np.allclose(found, inputs @ program.parameters["weight"], rtol=1e-5)


def test_an_operator_that_fails_is_left_and_the_others_go_on(program, tmp_path, monkeypatch):
    from optkit.adapters.tvm import building, tuning

    def fail(*_):
        raise ValueError("no candidate of it can be compiled")

    lines = []
    for tool in (tuning.ms.builder, "LocalBuilder"), (tuning.ms.runner, "LocalRunner"):
        monkeypatch.setattr(*tool, lambda **_: None)
    monkeypatch.setattr(tuning, "_measure_own", fail)
    tuning.tune(program, building.cpu_target(), tmp_path / "records", minutes=5, seed=0, say=lines.append)
    assert len(lines) == 2 and lines[1].endswith("is left as it is: no candidate of it can be compiled")


def test_records_that_are_not_to_be_read_and_a_package_that_crashes_are_one_line(program, tmp_path, monkeypatch):
    from optkit.adapters.tvm import building, tuning

    target = building.cpu_target()
    (tmp_path / "database_workload.json").write_text('["0", "no program"]\n')
    with pytest.raises(ExportError, match="TVM cannot read these records: .*: choose another folder"):
        tuning.tune(program, target, tmp_path, minutes=1, seed=0, say=print)
    monkeypatch.setattr(tuning, "installed", lambda name: "0.1.15.post2")
    with pytest.raises(ExportError, match=r"apache-tvm-ffi 0.1.15.post2 crashes .*: pip install"):
        tuning.tune(program, target, tmp_path, minutes=1, seed=0, say=print)
