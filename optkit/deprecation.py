"""Former names of arguments and recipe keys, which work for a minor version with a warning that names what to use."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])

_warned: set[str] = set()


class FormerSpelling(FutureWarning):
    """A recipe or a command line uses a former name. Python shows it to everybody, unlike a DeprecationWarning."""


def warn_once(message: str, category: type[Warning] = DeprecationWarning, *, stacklevel: int = 2) -> None:
    """Emits ``message`` as a warning, the first time only in this process.

    Args:
        stacklevel: of the line to blame, as ``warnings.warn`` counts it from the caller of this function.
    """
    if message not in _warned:
        _warned.add(message)
        warnings.warn(message, category, stacklevel=stacklevel + 1)


def renamed_arguments(
    values: Mapping[str, Mapping[Any, Any]] | None = None, /, **new_names: str
) -> Callable[[Function], Function]:
    """Decorates a function so that keyword arguments still work under former names.

    Args:
        values: for a present name, the present value of each value that its former name took; others stay as they are.
        new_names: the present name of each argument by its former one: ``@renamed_arguments(source="model")``.

    Raises:
        TypeError: when the decorated function is called with both names of an argument.
    """

    def decorate(function: Function) -> Function:
        name = function.__qualname__.removesuffix(".__init__")

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            for old, new in new_names.items():
                if old not in kwargs:
                    continue
                if new in kwargs:
                    raise TypeError(f"{name}() got '{old}' and '{new}', which are one argument")
                given, present = kwargs.pop(old), (values or {}).get(new, {})
                kwargs[new] = present.get(given, given)
                former, now = (f"{given!r}", f"{kwargs[new]!r}") if given in present else ("...", "")
                warn_once(f"{name}({old}={former}) is deprecated: use {new}={now} instead")
            return function(*args, **kwargs)

        return cast(Function, call)

    return decorate
