"""Errors become a line on stderr and an exit code in one place, and static verbs import nothing heavy."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import typer

from optkit.cli.app import app, main
from optkit.errors import Interrupted, OptkitError
from optkit.pipeline import validate

ROOT = Path(__file__).parents[2]
RECIPE = str(ROOT / "recipes" / "bert_sst2_80sparse.yaml")


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["list", "--json"], ["schema"], ["validate", RECIPE]])
def test_static_verbs_import_nothing_heavy(arguments):
    code = f"""
import sys
from optkit.cli.app import main
try:
    main({arguments!r})
except SystemExit as end:
    assert not end.code, end.code
heavy = {{"torch", "transformers", "datasets", "openvino", "nncf", "numpy"}} & set(sys.modules)
if {arguments!r} == ["list"]:  # it names the structure that suits this CPU's kernels, which the library tells
    heavy -= {{"openvino", "numpy"}}
assert not heavy, heavy
if {arguments!r} == ["--help"]:
    light = {{"pydantic", "ruamel", "rich"}} & set(sys.modules)
    assert not light, light
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def exit_code(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    return end.value.code or 0


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (OptkitError("it failed"), 1, "it failed\n"),
        (Interrupted("interrupted; checkpoint-3 is whole"), 130, "interrupted; checkpoint-3 is whole\n"),
        (KeyError("x"), 1, "unexpected KeyError: 'x' (run again with --debug for the traceback)\n"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(monkeypatch, capsys, error, code, said):
    def fail(*_):
        raise error

    monkeypatch.setattr(validate, "make_plan", fail)
    assert exit_code("validate", "--plan", RECIPE) == code
    assert capsys.readouterr() == ("", said)
    with pytest.raises(type(error)):
        main(["validate", "--plan", RECIPE, "--debug"])


def test_a_path_that_is_too_long_is_told(capsys):
    name = "x" * 300
    for verb in (["inspect", name], ["compare", name, name], ["quantize", name, "--data", "a.csv"]):
        assert exit_code(*verb) == 2
        assert "too long for the path of a file: give another" in capsys.readouterr().err


def test_ctrl_c_is_130(monkeypatch, capsys):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(validate, "make_plan", stop)
    assert exit_code("validate", "--plan", RECIPE) == 130
    assert capsys.readouterr().err.strip() == "interrupted"


def test_ctrl_c_while_the_command_is_being_loaded():
    code = """
import sys

class Press:
    def find_spec(self, name, *_):
        if name == "optkit.cli.app":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Press())
from optkit.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_the_version(capsys):
    assert exit_code("--version") == 0
    assert capsys.readouterr().out == f"optkit {version('optkit')}\n"


def test_wrong_arguments_are_2(capsys):
    assert exit_code("validate") == 2
    assert exit_code("validate", RECIPE, "--nope") == 2
    assert exit_code("valdate") == 2
    assert "Traceback" not in capsys.readouterr().err


def test_python_dash_m():
    done = subprocess.run(
        [sys.executable, "-m", "optkit", "--help"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "validate" in done.stdout


def test_a_reader_that_goes_away_is_no_error():
    command = f"{sys.executable} -m optkit schema | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "{\n" and done.stderr == ""


COMMANDS = typer.main.get_command(app).commands


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_what_each_argument_is(name, capsys):
    with pytest.raises(SystemExit):
        main([name, "--help"])
    shown = " ".join(capsys.readouterr().out.partition("Arguments:\n")[2].split())
    for each in COMMANDS[name].params:
        if each.param_type_name == "argument":
            assert each.help in shown
