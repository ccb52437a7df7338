"""What a task finds wrong with data."""

from __future__ import annotations

from typing import Any

import pytest

from optkit.errors import DataError


def problems(task: Any, splits: Any) -> list[str]:
    """Each problem that ``task.check`` raises for, a line each."""
    with pytest.raises(DataError) as raised:
        task.check(splits)
    assert all("\n" not in problem for problem in raised.value.problems)
    return raised.value.problems
