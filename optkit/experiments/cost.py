"""What a million inferences of a finished run cost."""

from __future__ import annotations

from optkit.errors import OptkitError
from optkit.experiments.runs import Run
from optkit.reporting.prices import Cost, Prices, costs_of, load_prices

__all__ = ["Cost", "Prices", "costs", "load_prices"]


def costs(run: Run, prices: Prices, *, batch: int | None = None, seq: int | None = None) -> list[Cost]:
    """What each engine that ``run`` measured would cost on each machine of ``prices``, see ``costs_of``.

    Args:
        batch, seq: of the times; the first that the run measured where both are None.

    Raises:
        OptkitError: if the run has no times of this shape.
    """
    measured = run.report["benchmark"] or {"rows": []}
    for row in measured["rows"]:
        if (batch, seq) in ((None, None), (row["batch"], row["seq"])):
            return costs_of(row, measured["threads"], prices)
    raise OptkitError(f"{run.path}: has no times of this shape: add it to the recipe's `benchmark`")
