"""YAML text to a tree of values that remember where they were written.

ruamel.yaml scans the text; scalars are resolved here, by the YAML 1.2 core schema (https://yaml.org/spec/1.2.2/#103-core-schema)
with one difference: digits behind a leading zero, and numbers too long for 64 bits, are strings, because they are
identifiers and no quantities. So ``3e-5`` is a number, and ``2:4``, ``yes``, ``0123``, ``2024-01-01`` are strings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from optkit.recipe.faults import Fault, Mark, Source

_CONSTANTS: dict[str, bool | float | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})|0o[0-7]{1,20}|0x[0-9a-fA-F]{1,15}")
_FLOAT = re.compile(r"[-+]?(?=.*[.eE])(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_DEEPEST = 40
_QUOTE = "quote a pattern that begins with * or [, such as '*.attention.*'"

Scalar = str | int | float | bool | None


@dataclass
class Node:
    """A value and where it stands.

    Args:
        value: a scalar, a list of nodes, or a dictionary of entries.
        mark: the value's own text; the opening for lists and mappings.
        text: the text of a plain scalar, which a string may need when it looks like a number.
        broken: whether a fault was already reported here, so that nothing more need be said of it.
    """

    value: Scalar | list[Node] | dict[str, Entry]
    mark: Mark
    text: str | None = None
    broken: bool = False

    def plain(self) -> Any:
        """The value as plain Python data."""
        if isinstance(self.value, dict):
            return {key: entry.node.plain() for key, entry in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value


@dataclass
class Entry:
    """One ``key: value`` of a mapping; ``key`` is where the key stands."""

    key: Mark
    node: Node


def resolve(text: str) -> Scalar:
    """What an unquoted scalar means."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if _FLOAT.fullmatch(text):
        value = float(text)
        # 1234e567 overflows as a number but is a fine commit hash.
        return text if value in (float("inf"), float("-inf")) else value
    return text


def read_tree(source: Source, faults: list[Fault], offset: int = 0, at: tuple[str, ...] = ()) -> Node | None:
    """Parses ``source`` from character ``offset`` of its first line on; None when it is no YAML.

    ``at`` is the path of the recipe that the text is the value of.

    Appends to ``faults`` what is wrong: syntax, duplicate keys, aliases, anchors, tags, several documents.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError
    from ruamel.yaml.reader import ReaderError

    try:
        return _Builder(source, faults, offset, at).document(YAML(typ="safe", pure=True).parse(source.text[offset:]))
    except MarkedYAMLError as error:
        faults.append(_syntax_fault(source, offset, error))
    except ReaderError as error:
        before = source.text[: offset + error.position].split("\n")
        place = Mark(source, len(before) - 1, len(before[-1]))
        faults.append(Fault(place, "", "a control character, which YAML does not allow: remove it", excerpt=False))
    return None


def _syntax_fault(source: Source, offset: int, error: Any) -> Fault:
    mark, problem = error.problem_mark or error.context_mark, error.problem or "unreadable"
    # Where the text ends too early, what was left open says more than the end.
    if error.context_mark and ("stream" in problem or problem.startswith("could not find")):
        mark = error.context_mark
    place = Mark(source, mark.line, mark.column + (offset if mark.line == 0 else 0))
    line = source.line(mark.line)
    hint = f"; {_QUOTE}" if re.search(r"(?:[:=,\[]|^\s*-)\s*[\[*]", line) else ""
    words = f"{error.context}: {problem}" if error.context else problem
    return Fault(place, "", f"not valid YAML: {re.sub('[<>]', '', words)}{hint}".replace("'\\x00'", "the end"))


class _Builder:
    """Turns parser events into nodes; keeps going after a fault that leaves the rest readable."""

    def __init__(self, source: Source, faults: list[Fault], offset: int, at: tuple[str, ...]):
        self.source, self.faults, self.offset, self.at = source, faults, offset, at

    def document(self, events: Iterator[Any]) -> Node:
        """The one document of the text."""
        root = Node(None, Mark(self.source, 0, 0), "")
        started = False
        for event in events:
            kind = type(event).__name__
            if kind == "DocumentStartEvent":
                if started:
                    self.fault(
                        self.mark(event), self.at, "a recipe is one YAML document: remove this '---' and what follows"
                    )
                    break
                started = True
                root = self.node(next(events), events, self.at)
        return root

    def node(self, event: Any, events: Iterator[Any], path: tuple[str, ...]) -> Node:
        mark, kind = self.mark(event), type(event).__name__
        if len(path) > _DEEPEST:
            raise _too_deep(event)
        if kind == "AliasEvent":
            self.fault(mark, path, f"* begins a YAML alias, which recipes do not use: {_QUOTE}")
            return Node(None, mark, broken=True)
        broken = False
        # ruamel's tag is None where the text has none, and "!" or a full tag where it has.
        if event.tag is not None:
            self.fault(mark, path, "YAML tags are not allowed in a recipe: remove it")
            broken = True
        elif event.anchor is not None:
            self.fault(mark, path, "YAML anchors are not allowed in a recipe: remove it")
            broken = True
        if kind == "ScalarEvent":
            if re.search(r"[\x00\ud800-\udfff]", event.value):
                self.fault(mark, path, "an escape sequence that stands for no character: remove it")
                broken = True
            plain = event.implicit[0]
            return Node(resolve(event.value) if plain else event.value, mark, event.value if plain else None, broken)
        if kind == "SequenceStartEvent":
            items: list[Node] = []
            while type(event := next(events)).__name__ != "SequenceEndEvent":
                items.append(self.node(event, events, (*path, str(len(items)))))
            return Node(items, mark, broken=broken)
        entries: dict[str, Entry] = {}
        while type(event := next(events)).__name__ != "MappingEndEvent":
            key = self.node(event, events, path)
            name = key.text if key.text is not None else key.value
            if not isinstance(name, str) or not name:
                self.fault(key.mark, path, "a key must be a word: write one before the colon")
                name = ""
            node = self.node(next(events), events, (*path, name))
            if not name:
                continue
            if name in entries:
                first = entries[name].key.line + 1
                self.fault(key.mark, (*path, name), f"duplicate key, first written on line {first}: remove one")
            else:
                entries[name] = Entry(key.mark, node)
        return Node(entries, mark, broken=broken)

    def mark(self, event: Any) -> Mark:
        start, end = event.start_mark, event.end_mark
        shift = self.offset if start.line == 0 else 0
        last = end.column if end.line == start.line else len(self.source.line(start.line).rstrip()) - shift
        return Mark(self.source, start.line, start.column + shift, max(last - start.column, 1))

    def fault(self, mark: Mark, path: tuple[str, ...], message: str) -> None:
        self.faults.append(Fault(mark, ".".join(path), message))


def _too_deep(event: Any) -> Exception:
    from ruamel.yaml.error import MarkedYAMLError

    return MarkedYAMLError(
        problem=f"nested more than {_DEEPEST} levels deep: write fewer", problem_mark=event.start_mark
    )
