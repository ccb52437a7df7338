"""The table of what to prune in for which kernels."""

from __future__ import annotations

from optkit.pruning.config import Structure
from optkit.runtime import extension as library
from optkit.runtime.program import HEIGHTS
from optkit.runtime.structures import SUITED, suited_structure


def test_each_instruction_set_has_a_structure_that_its_kernels_compute(extension):
    rows = [row for row in extension.instruction_sets() if not row.for_tests]
    assert {row.name for row in rows} == set(SUITED)
    for suited in SUITED.values():
        structure = Structure.parse(suited.structure)
        assert structure.cols == 4 and structure.rows in HEIGHTS
    for row in rows:
        # Where finer blocks are as fast, they are to be named: they cost less accuracy.
        chosen = Structure.parse(SUITED[row.name].structure).rows
        assert all(row.rates.block4[rows] < row.rates.block4[chosen] for rows in HEIGHTS if rows < chosen), row.name


def test_without_kernels_nothing_suits(extension, monkeypatch, tmp_path):
    monkeypatch.setenv("OPTKIT_ISA", "scalar")
    assert suited_structure() is SUITED["scalar"]
    assert str(SUITED["scalar"]).startswith("this CPU runs kernels for any x86-64: 1x4 blocks suit them")
    monkeypatch.setenv("OPTKIT_ISA", "mmx")
    assert suited_structure() is None
    monkeypatch.setattr(library, "FOLDER", tmp_path)
    assert suited_structure() is None
