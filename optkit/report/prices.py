"""What a million inferences cost on machines rented by the hour, from measured times and a list of prices."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from optkit.errors import UsageError
from optkit.variant import Variant

#: How a list looks.
FORM = "`date`, `source` and `instances: {NAME: {hourly: 0.1, cores: 2}}`, dollars and physical cores"
_HOUR, _MILLION = 3600.0, 1_000_000
#: Above what a price or a number of cores is a mistake.
_LARGEST = 1e9


@dataclass(frozen=True)
class Instance:
    """A machine to rent.

    Attributes:
        name: what its provider calls it.
        hourly: dollars an hour.
        cores: physical cores.
    """

    name: str
    hourly: float
    cores: int


@dataclass(frozen=True)
class Prices:
    """A price list: when it was read, where, and what is on it."""

    date: str
    source: str
    instances: tuple[Instance, ...]

    def large_enough(self, threads: int) -> list[Instance]:
        """The machines that have a core for each of ``threads``."""
        return [instance for instance in self.instances if instance.cores >= threads]


@dataclass(frozen=True)
class Cost:
    """Dollars for a million inferences of one engine on one machine, and the share that is saved against dense.

    ``saved`` is None for the dense model itself, and where it was not measured.
    """

    engine: Hashable
    instance: str
    dollars: float
    per_second: float
    saved: float | None

    @property
    def engine_label(self) -> str:
        """What a reader knows the engine by."""
        return self.engine.label if isinstance(self.engine, Variant) else str(self.engine)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self) | {"engine": self.engine.id if isinstance(self.engine, Variant) else self.engine}


def costs_of(per_second: Mapping[Any, float], against: Hashable, threads: int, prices: Prices) -> list[Cost]:
    """What each engine would cost on each machine of ``prices``.

    A machine with more cores than the run used is taken to run as many copies side by side as fit, each as fast as the
    one that was measured: an estimate, and only for machines whose cores are like the measured one's. One with fewer
    cores is left out: how fast it is was not measured.

    Args:
        per_second: inferences by engine, as measured; an engine is a ``Variant``, or the name of one.
        against: the engine that savings are against; None where there is none.
        threads: that each engine had.
    """
    found = []
    for instance in prices.large_enough(threads):
        copies = instance.cores // threads
        speeds = {name: copies * speed for name, speed in per_second.items()}
        dollars = {name: instance.hourly * _MILLION / (_HOUR * speed) for name, speed in speeds.items()}
        for name, speed in speeds.items():
            saved = None if against in (None, name) else 1 - dollars[name] / dollars[against]
            found.append(Cost(name, instance.name, dollars[name], speed, saved))
    return found


def load_prices(file: Path) -> Prices:
    """The price list in the YAML ``file``.

    Raises:
        UsageError: for a file that is no price list: what is wrong, in a line.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        data: Any = YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file}: byte {error.start} is not UTF-8: convert the file") from None
    except RecursionError:
        raise UsageError(f"{file}: not YAML: it is nested too deeply") from None
    except (YAMLError, ValueError) as error:  # a ValueError of a number, or a date, that is none
        raise UsageError(f"{file}: not YAML: {str(error).splitlines()[0]}") from error
    known = isinstance(data, dict) and isinstance(data.get("instances"), dict) and data["instances"]
    if not known or any(isinstance(data.get(name), (dict, list)) for name in ("date", "source")):
        raise UsageError(f"{file}: expected {FORM}")
    instances = [_instance(file, str(name), facts) for name, facts in data["instances"].items()]
    return Prices(str(data.get("date", "")), str(data.get("source", "")), tuple(instances))


def _instance(file: Path, name: str, facts: Any) -> Instance:
    hourly, cores = (facts.get("hourly"), facts.get("cores")) if isinstance(facts, dict) else (None, None)
    numbers = isinstance(hourly, (int, float)) and isinstance(cores, int) and not isinstance(hourly, bool)
    if not numbers or isinstance(cores, bool) or not (0 < hourly < _LARGEST and 0 < cores < _LARGEST):
        raise UsageError(f"{file}: instances.{name}: expected dollars and cores above 0, as {{hourly: 0.1, cores: 2}}")
    return Instance(name, float(hourly), cores)
