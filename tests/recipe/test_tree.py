"""YAML text to values with positions: the 1.2 core schema, and everything that is refused."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from optkit.recipe.faults import Fault, Source
from optkit.recipe.tree import Node, read_tree, resolve


def read(text: str) -> tuple[Node | None, list[Fault]]:
    faults: list[Fault] = []
    return read_tree(Source("r.yaml", text, Path(".")), faults), faults


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-5", 3e-5),
        ("1e5", 1e5),
        ("5.", 5.0),
        (".5", 0.5),
        ("-0.25E+2", -25.0),
        ("0", 0),
        ("-17", -17),
        ("0o17", 15),
        ("0x1F", 31),
        ("True", True),
        ("false", False),
        ("~", None),
        ("", None),
        ("-.inf", -math.inf),
    ],
)
def test_scalars_of_the_core_schema(text, value):
    assert resolve(text) == value and type(resolve(text)) is type(value)


@pytest.mark.parametrize(
    "text",
    ["2:4", "12:30:45", "yes", "no", "on", "0123", "1_000", "2024-01-01", "1x4", "1" * 40, "1234e567", "5%", "tRue"],
)
def test_what_looks_like_something_else_is_text(text):
    assert resolve(text) == text


def test_quoted_scalars_are_text():
    root, faults = read("a: '3'\nb: \"true\"\nc: |\n  4\n")
    assert root.plain() == {"a": "3", "b": "true", "c": "4\n"} and not faults


def test_values_and_keys_know_where_they_stand():
    root, _ = read("a: 1\nb: {c: [x, 'y z']}\n")
    entry = root.value["b"].node.value["c"]
    item = entry.node.value[1]
    assert (entry.key.line, entry.key.column, entry.key.length) == (1, 4, 1)
    assert (item.mark.line, item.mark.column, item.mark.length) == (1, 11, 5)


def test_all_of_these_are_reported_and_the_rest_is_read():
    root, faults = read("a: 1\na: 2\nb: &x 3\nc: !!str 4\nd: *x\ne: [1]\n")
    assert [(f.mark.line + 1, f.mark.column + 1, f.path, f.message) for f in faults] == [
        (2, 1, "a", "duplicate key, first written on line 1: remove one"),
        (3, 4, "b", "YAML anchors are not allowed in a recipe: remove it"),
        (4, 4, "c", "YAML tags are not allowed in a recipe: remove it"),
        (
            5,
            4,
            "d",
            "* begins a YAML alias, which recipes do not use: quote a pattern that begins with * or [, such as '*.attention.*'",
        ),
    ]
    assert root.plain()["a"] == 1 and root.plain()["e"] == [1]


@pytest.mark.parametrize(
    ("text", "line", "column", "said"),
    [
        ("a: {b: 1\n", 1, 4, "expected ',' or '}'"),
        ('a: b\nc: "d\n', 2, 4, "unexpected end of stream"),
        ("a: b\n c: d\n", 2, 3, "mapping values are not allowed here"),
        ("a:\n\t- b\n", 2, 1, "cannot start any token"),
        ("a: 1\nb: \x01\n", 2, 4, "control character"),
        ("a: 1\n---\nb: 2\n", 2, 1, "a recipe is one YAML document: remove this '---' and what follows"),
        ("? [a]\n: 1\n", 1, 3, "a key must be a word: write one before the colon"),
        ("a: " + "[" * 60, 1, 44, "nested more than 40 levels deep"),
    ],
)
def test_unreadable_text_is_one_fault_with_its_position(text, line, column, said):
    _, faults = read(text)
    assert len(faults) == 1
    assert (faults[0].mark.line + 1, faults[0].mark.column + 1) == (line, column)
    assert said in faults[0].message


@pytest.mark.parametrize("value", ["*query*", "*.query", "*", "[ab]*.query", "[x.[0-5].query]", "[*.query]"])
def test_an_unquoted_pattern_is_told_to_be_quoted(value):
    _, faults = read(f"targets: {value}\n")
    assert len(faults) == 1 and "quote a pattern that begins with * or [" in faults[0].message
    assert faults[0].mark.line == 0


@pytest.mark.parametrize("text", [r'a: "\ud800"', r'a: "b\u0000"', r'"\ud800": 1'])
def test_escapes_of_no_character_are_refused(text):
    _, (fault, *_) = read(f"x: 1\n{text}\n")
    assert fault.mark.line == 1 and fault.message == "an escape sequence that stands for no character: remove it"
