"""Values that a person may type where another was meant, and the YAML that says them."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np


class Plain(str):
    """A scalar that stands in YAML without quotes."""


#: Of every type, in range nowhere, or of an odd spelling.
ODD: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 3, 1.5, -0.0, 1e30, -1e-30, math.nan, math.inf, -math.inf, 2**31, 2**63, 10**17),
    *("", " ", "²", "٣", "½", " 5%", "5 %", "100%", "-5%", "0%", "1ep", "0ep", "-1ep", "1e400ep", "nanep", "infep"),
    *("x", "x" * 5000, "日本語", "a\nb", "a\tb", "\u0000", "a\u0000b", "\ud800", "'", '"', "{}", "[]", "null", "none"),
    *("..", "/nowhere/at/all", "/dev/null", "~", "~nobody/x", ".", "./", "a/b/c", "org/name", "org/name@x", "-1", "1"),
    *([], [None], [[]], [[[]]], {}, {"a": 1}, {"name": None}, {"": 1}, [1, "a", None], [True], [-1], ["", ""]),
    *(
        Plain("2024-01-01"),
        Plain("0123"),
        Plain("0o17"),
        Plain("0x1F"),
        Plain("1_000"),
        Plain("12:30:45"),
        Plain("yes"),
    ),
    *(
        Plain("~"),
        Plain("!!python/name:os.system"),
        Plain("*alias"),
        Plain("&anchor 1"),
        Plain("9" * 400),
        Plain("1e999"),
    ),
    *(Plain("- - -"), Plain("{"), Plain("]"), Plain("? x"), Plain("<<: {a: 1}"), Plain("-0"), Plain("+1"), Plain(".5")),
)


def pick(rng: np.random.Generator, values: Any) -> Any:
    """One of ``values``, of whatever types they are."""
    values = list(values)
    return values[int(rng.integers(len(values)))]


def odd(rng: np.random.Generator) -> Any:
    return pick(rng, ODD)


def beside(rng: np.random.Generator, value: Any) -> Any:
    """A value near ``value``: off by one, of the other sign, in a list, as text, cut short."""
    ways: list[Any] = [[value], [value, value], {"value": value}, str(value), [str(value), 1]]
    if isinstance(value, bool):
        ways += [not value, int(value), str(value).lower()]
    elif isinstance(value, (int, float)):
        ways += [
            value + 1,
            value - 1,
            -value,
            value * 1000,
            value / 3,
            float(value),
            0,
            f"{value}%",
            f"{value}ep",
            1 - value,
        ]
    elif isinstance(value, str):
        ways += [value[:-1], value + "x", value.upper(), f" {value} ", value[::-1], value.replace("_", "-"), value * 2]
    elif isinstance(value, list):
        ways += [value[:-1], value + value, value[::-1], [value], *value, [*value, None]]
    elif isinstance(value, dict):
        ways += [list(value), list(value.values()), {k: None for k in value}, {f" {k}": v for k, v in value.items()}]
    return pick(rng, ways)


def to_yaml(value: Any) -> str:
    """``value`` in the flow style of YAML."""
    if isinstance(value, Plain):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(key)}: {to_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(to_yaml, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    return json.dumps(value)


def _key(key: Any) -> str:
    return str(key) if isinstance(key, Plain) or (isinstance(key, str) and key.isidentifier()) else to_yaml(key)


def block_yaml(recipe: dict[str, Any]) -> str:
    """A recipe with a line for each of its parts."""
    return "".join(f"{_key(key)}: {to_yaml(value)}\n" for key, value in recipe.items())
