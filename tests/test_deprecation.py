"""Former argument names work, and warn once with the name to use."""

from __future__ import annotations

import inspect
import warnings

import pytest

from optkit import deprecation
from optkit.deprecation import renamed_arguments


@pytest.fixture(autouse=True)
def nothing_warned_yet(monkeypatch):
    monkeypatch.setattr(deprecation, "_warned", set())


@renamed_arguments(source="model", tell="on_progress")
def convert(model: str, *, on_progress: str | None = None) -> tuple[str, str | None]:
    """Converts."""
    return model, on_progress


def test_a_former_name_is_passed_on_and_warned_about_at_the_callers_line():
    with pytest.warns(DeprecationWarning) as caught:
        assert convert(source="a", tell="b") == ("a", "b")
    assert [str(warning.message) for warning in caught] == [
        "convert(source=...) is deprecated: use model= instead",
        "convert(tell=...) is deprecated: use on_progress= instead",
    ]
    assert {warning.filename for warning in caught} == {__file__}


def test_it_warns_once():
    with pytest.warns(DeprecationWarning):
        convert(source="a")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert convert(source="c") == ("c", None)


def test_the_present_names_do_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert convert("a", on_progress="b") == ("a", "b")
        assert convert(model="a") == ("a", None)


def test_both_names_at_once_are_refused():
    with pytest.raises(TypeError, match="'source' and 'model', which are one argument"):
        convert(source="a", model="b")


def test_the_signature_shows_the_present_names_only():
    assert list(inspect.signature(convert).parameters) == ["model", "on_progress"]
    assert convert.__name__ == "convert" and convert.__doc__ == "Converts."
