from __future__ import annotations

import pytest

from optkit.errors import DataError, OptkitError, RecipeError


@pytest.mark.parametrize("kind", [OptkitError, RecipeError, DataError])
def test_a_message_is_one_line_that_can_be_printed_whatever_value_it_quotes(kind):
    said = str(kind("a.csv: no column 'x\n  y\x00\ud800' here: " + "z" * 5000))
    assert said == f"a.csv: no column 'x y\ufffd\ufffd' here: {'z' * 60}...{'z' * 20}"
    said.encode("utf-8")


def test_problems_are_a_line_each():
    error = RecipeError(["a: 1\n2", "b: 3"])
    assert error.problems == ["a: 1 2", "b: 3"] and str(error) == "a: 1 2\nb: 3"
