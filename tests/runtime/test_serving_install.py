"""What serves a model needs openvino and numpy alone: the install that docs/serving.md gives for it."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from test_compiling import inputs, plain

from optkit import runtime
from optkit.ir.io import read_model

ROOT = Path(__file__).parents[2]

#: Refuses every package that is neither Python's nor in the serving install, then runs what it was given.
PROGRAM = """
import sys

class OnlyServing:
    ALLOWED = {"optkit", "openvino", "numpy"} | sys.stdlib_module_names

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in self.ALLOWED:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)

sys.meta_path.insert(0, OnlyServing())
portable, baked, given, found = sys.argv[1:]
import numpy as np
import optkit
import optkit.runtime

arrays = list(np.load(given).values())
config = {"INFERENCE_PRECISION_HINT": "f32"}
models = {
    "portable": optkit.compile_model(portable, config, plan="static"),
    "measured": optkit.runtime.compile_model(portable, config),
    "baked": optkit.runtime.compile_model(baked, config),
    "baked_here": optkit.compile_model(optkit.bake(portable, found + "-baked").xml, config),
}
np.savez(found, **{name: model(arrays)[0] for name, model in models.items()})
assert optkit.runtime.explain(portable, "static")[0].layers
assert optkit.doctor()["problems"] == []
try:
    import torch
except ModuleNotFoundError:
    pass
else:
    raise AssertionError("nothing was refused")
"""


def test_models_are_compiled_baked_and_run_with_openvino_and_numpy_alone(extension, encoder_folder, tmp_path):
    baked = runtime.bake(encoder_folder, tmp_path / "baked").xml.parent
    given, found = tmp_path / "given.npz", tmp_path / "found.npz"
    np.savez(given, *inputs(3, 7))
    command = [sys.executable, "-c", PROGRAM, encoder_folder, baked, given, found]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    wanted = plain(read_model(encoder_folder))(inputs(3, 7))[0]
    assert np.abs(wanted).max() > 0.5
    with np.load(found) as outputs:
        assert set(outputs) == {"portable", "measured", "baked", "baked_here"}
        for output in outputs.values():
            # An activation at a tie may become the next of 255 steps, which moves a logit by about a hundredth.
            np.testing.assert_allclose(output, wanted, atol=0.05)


@pytest.mark.parametrize(
    ("missing", "code", "said"),
    [
        ("typer", 1, "the command line needs the package typer: pip install 'typer>=0.15' 'click<8.5' rich\n"),
        ("pydantic", 1, "the package pydantic is not installed: install optkit with all that it requires\n"),
    ],
)
def test_what_the_command_line_lacks_is_a_line(missing, code, said):
    program = f"import sys; sys.modules[{missing!r}] = None; sys.argv = ['optkit', 'validate', 'recipe.yaml']"
    program += "; from optkit.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, said)


def test_the_page_installs_the_openvino_that_the_library_is_built_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    page = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    pins = re.findall(r"^pip install (openvino==\S+)$", page, re.MULTILINE)
    assert pins == [one for one in project["dependencies"] if one.startswith("openvino==")]
    assert "\npip install --no-deps .\n" in page
