"""A few seconds of the programs in fuzz/, under sanitizers; scripts/sanitize runs them for minutes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from capabilities import lack, need

pytestmark = pytest.mark.slow

FUZZ = Path(__file__).parent / "fuzz"


@pytest.fixture(scope="module")
def fuzz(tmp_path_factory) -> list[str]:
    """The command: the program built with sanitizers, and its seeds."""
    need("cmake", "compiler")
    folder = tmp_path_factory.mktemp("fuzz")
    # Of these two, avx512bf16 and tiles_in_cpp.cpp have all the code.
    options = ["-DOPTKIT_LEFT_OUT=avx512vnni;amx_emulated"]
    for command in (
        ["cmake", *options, "-S", FUZZ, "-B", folder / "build"],
        ["cmake", "--build", folder / "build", "-j", "2"],
    ):
        built = subprocess.run(command, capture_output=True, text=True)
        if "cannot find -lasan" in built.stdout + built.stderr or "libasan" in built.stderr:
            lack("sanitizers", "no AddressSanitizer here: the fuzz program cannot be built")
        assert built.returncode == 0, built.stdout[-2000:] + built.stderr[-2000:]
    subprocess.run([sys.executable, FUZZ / "seeds.py", folder / "seeds"], check=True)
    return [str(folder / "build" / "fuzz"), *map(str, sorted((folder / "seeds").iterdir()))]


def test_damaged_programs_are_refused_or_run_within_bounds(fuzz):
    process = subprocess.run([*fuzz, "--iterations", "100000", "--seconds", "6"], capture_output=True, text=True)
    assert process.returncode == 0, "\n".join([*process.stderr.splitlines()[:14], *process.stderr.splitlines()[-1:]])
    counts = re.match(r"(\d+) iterations, (\d+) accepted, (\d+) runs", process.stdout)
    iterations, accepted, runs = map(int, counts.groups())
    # Both ways out are taken often, or nothing is tried.
    assert iterations > 500
    assert 0.05 * iterations < accepted < 0.8 * iterations
    assert runs >= accepted * 0.9


def test_an_iteration_is_repeated_by_its_number(fuzz):
    outputs = [
        subprocess.run([*fuzz, "--first", "7", "--iterations", "30"], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert outputs[0] == outputs[1]


def test_many_threads_give_what_one_gives(fuzz):
    """Several runs of one engine at a time, each on more threads than most machines have cores."""
    stress = Path(fuzz[0]).with_name("stress")
    process = subprocess.run([stress, *fuzz[1:], "--rounds", "1", "--threads", "8"], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[-2000:]
    assert re.match(r"\d+ runs of 8 threads, 3 at a time", process.stdout)


def test_the_code_for_amx_runs_with_emulated_instructions(fuzz):
    """Or on the CPU's own, where it has them: the numbers are those of avx512bf16."""
    program = Path(fuzz[0]).with_name("instructions")
    process = subprocess.run([program, *fuzz[1:]], capture_output=True, text=True)
    if process.returncode == 3:
        lack("instruction-sets", process.stderr.strip())
    assert process.returncode == 0, process.stderr[-2000:]
    assert re.match(rf"{8 * len(fuzz[1:])} runs with (emulated|the CPU's) instructions", process.stdout)


def test_it_needs_seeds(fuzz):
    process = subprocess.run([fuzz[0], "--seconds", "1"], capture_output=True, text=True)
    assert process.returncode == 2 and "give it files" in process.stderr
