"""Laying one tree over another: ``extends`` and ``--set``. Values keep the marks of whoever wrote them."""

from __future__ import annotations

from pathlib import Path

from optkit.recipe.faults import Fault, Mark, Source
from optkit.recipe.tree import Entry, Node, read_tree
from optkit.spelling import suggest


def merge(base: Node, over: Node, faults: list[Fault]) -> Node:
    """The recipe ``over`` laid on ``base``: mappings merge, everything else replaces, null deletes what ``base`` has.
    Under ``prune`` a mapping from names of rules changes these rules alone; appends to ``faults`` names that are not
    there.
    """
    changes = over.value.get("prune")
    rules = base.value.get("prune")
    merged = _merge(base, over)
    if changes and rules and isinstance(changes.node.value, dict) and isinstance(rules.node.value, list):
        changed = _merge_rules(rules.node.value, changes.node.value, faults)
        merged.value["prune"] = Entry(changes.key, Node(changed, changes.node.mark))
    return merged


def _merge(base: Node, over: Node) -> Node:
    if not (isinstance(base.value, dict) and isinstance(over.value, dict)):
        return over
    merged = dict(base.value)
    for key, entry in over.value.items():
        if key not in merged:
            merged[key] = entry
        elif entry.node.value is None and not entry.node.broken:
            del merged[key]
        else:
            merged[key] = Entry(entry.key, _merge(merged[key].node, entry.node))
    return Node(merged, over.mark)


def _merge_rules(rules: list[Node], changes: dict[str, Entry], faults: list[Fault]) -> list[Node]:
    merged: list[Node | None] = list(rules)
    named: dict[int, str] = {}
    for name, entry in changes.items():
        index = _index(rules, name, rules=True)
        if index is None:
            more = " (a list replaces all rules)"
            faults.append(Fault(entry.key, f"prune.{name}", _choices(rules, name, rules=True) + more))
        elif index in named:
            said = f"the same rule as '{named[index]}': write both changes under one name"
            faults.append(Fault(entry.key, f"prune.{name}", said))
        elif entry.node.value is None and not entry.node.broken:
            merged[index] = None
        else:
            merged[index] = _merge(rules[index], entry.node)
        if index is not None:
            named.setdefault(index, name)
    return [rule for rule in merged if rule is not None]


def apply_set(root: Node, text: str, folder: Path, faults: list[Fault]) -> Source:
    """Writes one ``path.to.key=value`` into ``root``; appends to ``faults`` what is wrong with it.

    A path goes through keys, list indices and, under ``prune``, names of rules. Keys that are not there are made, so
    that the schema says what is wrong with a mistyped one.
    """
    source = Source("--set", text, folder, is_file=False)
    path, equals, _ = text.partition("=")
    parts = path.strip().split(".")
    mark = Mark(source, 0, 0, max(len(path), 1))
    if not equals or not all(parts):
        faults.append(Fault(mark, "", "expected path.to.key=value, such as prune.0.schedule.to=0.9"))
        return source
    value = read_tree(source, faults, offset=len(path) + 1, at=tuple(parts))
    if value is None:
        return source
    if parts[0] == "extends":
        faults.append(Fault(mark, "extends", "cannot be set: write it in a recipe file"))
        return source
    try:
        _write(root, parts, value, source)
    except _NoSuchPlace as error:
        faults.append(Fault(error.mark, ".".join(parts[: error.depth + 1]), str(error)))
    return source


class _NoSuchPlace(Exception):
    def __init__(self, message: str, mark: Mark, depth: int):
        super().__init__(message)
        self.mark, self.depth = mark, depth


def _write(node: Node, parts: list[str], value: Node, source: Source) -> None:
    """Replaces what is at ``parts`` below ``node``; a null value deletes what is there."""
    column = len(source.text) - len(source.text.lstrip())
    for depth, part in enumerate(parts):
        mark = Mark(source, 0, column, len(part))
        column += len(part) + 1
        _expand(node, part, parts[:depth])
        last = depth == len(parts) - 1
        if isinstance(node.value, list):
            index = _index(node.value, part, rules=parts[:depth] == ["prune"])
            if index is None:
                raise _NoSuchPlace(_choices(node.value, part, rules=parts[:depth] == ["prune"]), mark, depth)
            if last and value.value is None:
                del node.value[index]
            elif last:
                node.value[index] = value
            else:
                node = node.value[index]
        elif isinstance(node.value, dict):
            entry = node.value.get(part)
            if last and entry is not None and value.value is None:
                del node.value[part]
            elif last:
                node.value[part] = Entry(mark, value)
            else:
                if entry is None or entry.node.value is None:
                    entry = node.value[part] = Entry(mark, Node({}, mark))
                node = entry.node
        else:
            raise _NoSuchPlace(
                f"'{'.'.join(parts[:depth])}' is a single value and has no keys: correct the path", mark, depth
            )


#: What the value of these keys is short for, when it is a scalar.
_SHORT = {"criterion": "name", "hidden": "weight", "attention": "weight", "pooled": "weight"}
#: What an element of these lists is short for, when it is a scalar.
_SHORT_ELEMENT = {"teacher": "name"}


def _expand(node: Node, part: str, above: list[str]) -> None:
    """Writes out a shorthand that a path goes into: a criterion's or a teacher's name, a weight, or the only element of
    a list.

    Args:
        part: the step that the path takes into ``node``.
        above: the steps that led to ``node``.
    """
    if isinstance(node.value, (str, int, float)):
        whole, key = Node(node.value, node.mark, node.text), above[-1] if above else ""
        name = _SHORT.get(key) or (_SHORT_ELEMENT.get(above[-2]) if key.isdecimal() and len(above) > 1 else None)
        if name is not None:
            node.value = {name: Entry(node.mark, whole)}
        elif part.isdecimal():
            node.value = [whole]


def _index(items: list[Node], part: str, rules: bool) -> int | None:
    """The place that ``part`` names in a list: an index, or the name of a rule."""
    if part.isdecimal() and part.isascii():
        return int(part) if int(part) < len(items) else None
    return _rule_names(items).index(part) if rules and part in _rule_names(items) else None


def _rule_names(items: list[Node]) -> list[str]:
    entries = [item.value.get("name") if isinstance(item.value, dict) else None for item in items]
    return [str(entry.node.value) if entry else f"rule{i}" for i, entry in enumerate(entries)]


def _choices(items: list[Node], part: str, rules: bool) -> str:
    there = _rule_names(items) if rules else [str(i) for i in range(len(items))]
    kind = "rule" if rules else "element"
    return f"there is no {kind} '{part}'{suggest(part, there) or ', only ' + ', '.join(there) if there else ''}"
