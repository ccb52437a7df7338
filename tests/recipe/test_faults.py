"""How a fault prints."""

from __future__ import annotations

from pathlib import Path

from optkit.recipe.faults import Fault, Mark, Source


def test_carets_stand_under_the_culprit_behind_tabs_too():
    mark = Mark(Source("r.yaml", "a: 1\n- \tb: xy  # c\n", Path(".")), 1, 6, 2)
    assert str(Fault(mark, "a.b", "no")) == "r.yaml:2:7: a.b: no\n    2 | - \tb: xy  # c\n      |   \t   ^^"
    assert str(Fault(mark, "a.b", "no", excerpt=False)) == "r.yaml:2:7: a.b: no"


def test_a_set_has_no_line():
    fault = Fault(Mark(Source("--set", "a.b=c", Path("."), is_file=False), 0, 4), "a.b", "no")
    assert str(fault) == "--set: a.b: no\n      | a.b=c\n      |     ^"
    assert fault.to_dict() == {"source": "--set a.b=c", "line": None, "column": None, "path": "a.b", "message": "no"}


def test_a_value_that_nobody_can_read_is_cut_and_stays_under_the_carets():
    line = f"a: 1, b: {'x' * 5000}, c: 2"
    mark = Mark(Source("r.yaml", line, Path(".")), 0, 9, 5000)
    head, shown, carets = str(Fault(mark, "b", f"got '{'x' * 5000}'\nhere")).split("\n")
    assert head == f"r.yaml:1:10: b: got '{'x' * 59}...{'x' * 19}' here"
    assert shown == f"    1 | {line[:160]}" and carets == f"      | {' ' * 9}{'^' * 151}"
    far = Mark(Source("r.yaml", line, Path(".")), 0, line.index("c: 2"), 1)
    _, shown, carets = str(Fault(far, "c", "no")).split("\n")
    assert shown[carets.index("^")] == "c" and len(shown) < 180
