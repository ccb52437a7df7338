"""The cost of a million inferences, from the times of a run or of `optkit bench`."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optkit.benchmark.result import BenchmarkResult, Shape
from optkit.benchmark.result_migration import read_result
from optkit.benchmark.result_tables import row_names
from optkit.errors import UsageError
from optkit.experiments.runs import load_run
from optkit.json_files import read_json
from optkit.report.prices import Cost, Prices, costs_of, load_prices
from optkit.report.speed import precision

__all__ = ["Cost", "CostReport", "Prices", "Rates", "cost", "costs", "load_prices", "load_rates"]


@dataclass(frozen=True)
class Rates:
    """How many inferences each engine made in a second.

    Attributes:
        name: of what was measured.
        per_second: by engine: a ``Variant`` of a run, a name in a file of `optkit bench`.
        against: the engine that savings are against; None where there is none.
        threads: of each engine.
        how: mode and inputs of the measurement: ``one at a time, 1 x 128 tokens``.
        cpu: of the measurement.
    """

    name: str
    per_second: Mapping[Any, float]
    against: Hashable
    threads: int
    how: str
    cpu: str


@dataclass(frozen=True)
class CostReport:
    """Costs, and the rates and prices that they come from."""

    rates: Rates
    prices: Prices
    costs: list[Cost]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; ``format`` 2: the engines of a run go by the ids of variants."""
        facts = {"date": self.prices.date, "source": self.prices.source, "how": self.rates.how, "cpu": self.rates.cpu}
        return {"format": 2} | facts | {"costs": [cost.to_dict() for cost in self.costs]}


def cost(path: str | Path, prices: str | Path, *, batch: int | None = None, seq: int | None = None) -> CostReport:
    """Computes what a million inferences cost with each engine on each machine of a price list.

    Args:
        path: a finished run's folder, or a file of ``optkit bench --json``.
        prices: a price list, a YAML file.
        batch, seq: of the inputs; the first that were measured where both are None.

    Raises:
        UsageError: if there is no such run, file or shape, or the price list is wrong.
        OptkitError: if the report is damaged.
    """
    listed = load_prices(Path(prices))
    rates = load_rates(Path(path), batch=batch, seq=seq)
    if not listed.large_enough(rates.threads):
        raise UsageError(f"{prices}: no machine has the {rates.threads} cores that times were measured on: add one")
    return CostReport(rates, listed, costs(rates, listed))


def load_rates(path: Path, *, batch: int | None = None, seq: int | None = None) -> Rates:
    """The rates in a finished run's folder, or in a file of ``optkit bench --json``.

    Args:
        batch, seq: of the inputs; the first that were measured where both are None.

    Raises:
        UsageError: if there is neither, or no times of this shape.
    """
    if not path.exists():
        raise UsageError(f"{path}: no such file or folder: give a run folder, or a file of `optkit bench --json`")
    return _of_bench(path, batch, seq) if path.is_file() else _of_run(path, batch, seq)


def costs(rates: Rates, prices: Prices) -> list[Cost]:
    """What each engine would cost on each machine of ``prices``, see ``costs_of``."""
    return costs_of(rates.per_second, rates.against, rates.threads, prices)


def _of_run(path: Path, batch: int | None, seq: int | None) -> Rates:
    run = load_run(path)
    result = run.report.benchmark
    if result is None or not result.shapes:
        raise UsageError(f"{path}: has no times: add `benchmark` to the recipe")
    shape = _shape(result, batch, seq)
    if shape is None:
        raise UsageError(f"{path}: has no times of this shape: add it to the recipe's `benchmark`")
    how = f"one at a time, {shape.inputs}, OpenVINO in {precision(result)}"
    return Rates(run.name, shape.per_second, shape.against, result.threads, how, run.cpu)


def _of_bench(path: Path, batch: int | None, seq: int | None) -> Rates:
    try:
        result = read_result(read_json(path))
    except (OSError, ValueError):
        raise UsageError(
            f"{path}: neither a run folder nor a file of `optkit bench --json`: give one of them"
        ) from None
    shape = _shape(result, batch, seq)
    if shape is None:
        raise UsageError(f"{path}: has no times of this shape: measure it with `optkit bench`")
    names = row_names(shape.rows)
    per_second = {name: row.per_second for name, row in zip(names, shape.rows, strict=True)}
    against = next((name for name, row in zip(names, shape.rows, strict=True) if row.reference), None)
    how = f"{result.settings.mode}, {shape.inputs}"
    return Rates(path.stem, per_second, against, result.threads, how, result.machine.cpu)


def _shape(result: BenchmarkResult, batch: int | None, seq: int | None) -> Shape | None:
    """The first figures at a batch and length, at any where they are None; None where there are none."""
    found = (each for each in result.shapes if batch in (None, each.batch) and seq in (None, each.seq))
    return next(found, None)
