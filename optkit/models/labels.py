"""Class names: as config.json stores them, when two lists mean the same classes, and in which order."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any


def placeholders(labels: Sequence[str]) -> bool:
    """Whether the names are LABEL_0, LABEL_1 ..., which only number the classes."""
    return all(re.fullmatch(r"LABEL_\d+", label) for label in labels)


def default_names(count: int) -> list[str]:
    """The names that transformers gives ``count`` classes without names."""
    return [f"LABEL_{i}" for i in range(count)]


def match(ours: Sequence[str], theirs: Sequence[str]) -> list[int] | None:
    """Their index for each of our labels; None if the classes are others.

    Names match whatever their case, unless case alone tells some of them apart. Where one side only numbers its
    classes, the number is all there is to go by.
    """
    if len(ours) != len(theirs):
        return None
    exact = {label: i for i, label in enumerate(theirs)}
    if len(exact) == len(theirs) and set(exact) == set(ours):
        return [exact[label] for label in ours]
    index = {label.casefold(): i for i, label in enumerate(theirs)}
    if len(index) == len(theirs) and set(index) == {label.casefold() for label in ours}:
        return [index[label.casefold()] for label in ours]
    return list(range(len(ours))) if by_number(ours, theirs) else None


def by_number(ours: Sequence[str], theirs: Sequence[str]) -> bool:
    """Whether one of the two lists only numbers its classes, so that the number is all there is to go by."""
    return placeholders(ours) or placeholders(theirs)


def adopt(ours: Sequence[str], theirs: Sequence[str]) -> list[str]:
    """Their names for our classes where ours only number them, else ours."""
    return list(theirs) if placeholders(ours) and len(ours) == len(theirs) else list(ours)


def stored_names(values: Mapping[str, Any]) -> tuple[list[str] | None, list[str]]:
    """The class names that a config.json gives, in the order of the model's outputs, and how odd ones were read.

    Args:
        values: what the file holds.

    Returns:
        the names, None where the file has none; and a note for each repair of which the meaning is certain.

    Raises:
        ValueError: if it cannot be told which name belongs to which output; the message says what is wrong.
    """
    notes: list[str] = []
    given, back = values.get("id2label"), _indices(values.get("label2id"))
    names = None
    if given is not None and given != {} and given != []:
        ids = _ids(given, notes)
        if ids == list(range(1, len(ids) + 1)):
            notes.append("id2label counts from 1: read as from 0")
            back = {name: index - 1 for name, index in back.items()} if 0 not in back.values() else back
        elif ids != list(range(len(ids))):
            raise ValueError(
                f"id2label numbers the outputs {', '.join(map(str, ids[:12]))}, and not from 0 without a gap"
            )
        names = [_name(name) for name in _values(given)]
        twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
        if twice is not None:
            raise ValueError(f"id2label gives two outputs the name '{twice}'")
        other = next((i for i, name in enumerate(names) if back.get(name, i) != i), None)
        if other is not None:
            raise ValueError(
                f"id2label and label2id contradict each other: output {other} is '{names[other]}' by the one, and "
                f"'{names[other]}' is {back[names[other]]} by the other"
            )
    ordered = sorted(back, key=back.__getitem__)
    whole = sorted(back.values()) == list(range(len(back))) and not placeholders(ordered)
    if whole and back and (names is None or (placeholders(names) and len(names) == len(back))):
        notes.append("id2label names no classes: the names are those of label2id")
        names = ordered
    count = values.get("num_labels")
    if names is None and count is not None and (type(count) is not int or count < 1):
        raise ValueError(f"num_labels is {count!r}, which is no number of outputs")
    if names is not None and type(count) is int and count != len(names):
        notes.append(f"num_labels is {count} and id2label has {len(names)} names: the names count")
    return names, notes


def _ids(given: Any, notes: list[str]) -> list[int]:
    """The numbers of the outputs that ``id2label`` names, in order."""
    if isinstance(given, list):
        notes.append("id2label is a list: read in its order")
        return list(range(len(given)))
    if not isinstance(given, dict):
        raise ValueError(f"id2label is no mapping of numbers to names but {str(given)[:60]!r}")
    if _is_inverted(given):
        notes.append("id2label maps names to numbers: read the other way round")
        return sorted(given.values())
    wrong = next((key for key in given if not re.fullmatch(r"\d{1,9}", str(key))), None)
    if wrong is not None:
        raise ValueError(f"id2label has '{wrong}' where the number of an output should be")
    return sorted(int(key) for key in given)


def _values(given: Any) -> list[Any]:
    """What stands for each output in ``id2label``, in order of the outputs."""
    if isinstance(given, list):
        return given
    if _is_inverted(given):
        return sorted(given, key=given.__getitem__)
    return [given[key] for key in sorted(given, key=int)]


def _is_inverted(given: Mapping[Any, Any]) -> bool:
    numbers = all(type(value) is int for value in given.values())
    return numbers and not any(re.fullmatch(r"\d+", str(key)) for key in given)


def _name(name: Any) -> str:
    if type(name) in (int, float):
        return str(name)
    if isinstance(name, str) and name.strip():
        return name
    raise ValueError(f"id2label has {name!r} where the name of a class should be")


def _indices(label2id: Any) -> dict[str, int]:
    """``label2id`` as far as it maps names to numbers; what else it holds says nothing that id2label does not."""
    if not isinstance(label2id, dict):
        return {}
    found = {str(name): index for name, index in label2id.items() if re.fullmatch(r"\d{1,9}", str(index))}
    return {name: int(index) for name, index in found.items()} if len(found) == len(label2id) else {}
