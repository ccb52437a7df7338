"""Former names of arguments, which work for a minor version with a warning that names what to use."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])

_warned: set[str] = set()


def warn_once(message: str, *, stacklevel: int = 2) -> None:
    """Emits ``message`` as a DeprecationWarning, the first time only in this process.

    Args:
        stacklevel: of the line to blame, as ``warnings.warn`` counts it from the caller of this function.
    """
    if message not in _warned:
        _warned.add(message)
        warnings.warn(message, DeprecationWarning, stacklevel=stacklevel + 1)


def renamed_arguments(**new_names: str) -> Callable[[Function], Function]:
    """Decorates a function so that keyword arguments still work under former names.

    Args:
        new_names: the present name of each argument by its former one: ``@renamed_arguments(source="model")``.

    Raises:
        TypeError: when the decorated function is called with both names of an argument.
    """

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            for old, new in new_names.items():
                if old not in kwargs:
                    continue
                if new in kwargs:
                    raise TypeError(f"{function.__qualname__}() got '{old}' and '{new}', which are one argument")
                message = f"{function.__qualname__}({old}=...) is deprecated: use {new}= instead"
                warn_once(message)
                kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return cast(Function, call)

    return decorate
