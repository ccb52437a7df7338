"""From a file to a frozen Recipe, or to every static fault at once, each with the place it was written at."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from optkit.errors import RecipeError
from optkit.recipe.checking import check
from optkit.recipe.faults import Fault, Mark, Source, StaticError
from optkit.recipe.migrations import migrate, replace_former_keys
from optkit.recipe.overrides import apply_set, merge
from optkit.recipe.resolved import COSTS, DATA, DATASETS, MODELS, NO_MODEL, PRICES, TEACHER, TEXTS
from optkit.recipe.schema import FORMAT, Recipe
from optkit.recipe.tree import Node, read_tree


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Reads a recipe, its bases, and ``path.to.key=value`` overrides, in that order; imports no torch.

    Raises:
        RecipeError: with every static fault at once, each as ``file:line:column: path: message`` and the line.
    """
    faults: list[Fault] = []
    sources: list[Source] = []
    root = _read_chain(str(path), (), sources, faults, None)
    if root is None:
        raise StaticError(faults)
    for text in overrides:
        sources.append(apply_set(root, text, Path.cwd(), faults))
        replace_former_keys(root, faults, overrides=True)
    if "optkit" not in root.value:
        faults.append(
            Fault(root.mark, "optkit", f"required: write `optkit: {FORMAT}`, the format of the recipe", False)
        )
    _anchor_local_paths(root, faults)
    recipe = check(root, faults, default_name=Path(path).stem)
    if recipe is None or faults:
        faults.sort(key=lambda fault: (sources.index(fault.mark.source), fault.mark.line, fault.mark.column))
        raise StaticError(faults)
    recipe._source = Path(path)
    return recipe


def _read_chain(
    shown: str, above: tuple[Path, ...], sources: list[Source], faults: list[Fault], by: Mark | None
) -> Node | None:
    """The tree of one file laid on its bases; None when something is missing that would make other faults moot.

    Args:
        shown: the file as the user would name it.
        above: the files that led here, to notice a cycle.
        by: where the file was named; None for the first.
    """
    path = Path(shown)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror or "unreadable").lower() if isinstance(error, OSError) else "not UTF-8 text"
        if by is None:
            raise RecipeError(f"{shown}: {reason}: give the path of a recipe such as recipes/quickstart.yaml") from None
        faults.append(Fault(by, "extends", f"{shown}: {reason}: correct the path, which is relative to this file"))
        return None
    source = Source(shown, text, path.resolve().parent)
    sources.append(source)
    root = read_tree(source, faults)
    if root is None:
        return None
    if not isinstance(root.value, dict):
        faults.append(Fault(root.mark, "", "not a recipe: a recipe is a mapping that begins with `optkit: 1`", False))
        return None
    _bring_up_to_date(root)
    replace_former_keys(root, faults)
    extends = root.value.pop("extends", None)
    if extends is None:
        return root
    base, mark = extends.node.value, extends.node.mark
    if extends.node.broken:
        return None
    if not isinstance(base, str) or not base:
        faults.append(Fault(mark, "extends", "expected the path of one recipe, such as base.yaml"))
        return None
    here = (*above, path.resolve())
    # Of a link, beside the file that it leads to, where its other paths begin, too.
    folder = os.path.dirname(os.path.realpath(shown) if path.is_symlink() else shown)
    base = os.path.normpath(os.path.join(folder, os.path.expanduser(base)))
    if Path(base).resolve() in here:
        faults.append(
            Fault(mark, "extends", f"{base} extends itself, directly or through others: remove one `extends`")
        )
        return None
    below = _read_chain(base, here, sources, faults, mark)
    return below and merge(below, root, faults)


def _bring_up_to_date(root: Node) -> None:
    """Migrates an older format; raises on a newer one, whose other keys this version cannot judge."""
    entry = root.value.get("optkit")
    number = entry.node.value if entry else None
    if not isinstance(number, int) or isinstance(number, bool):
        return
    if number > FORMAT:
        newer = f"recipe format {number} is newer than this optkit, which reads up to {FORMAT}: upgrade optkit"
        raise StaticError([Fault(entry.node.mark, "optkit", newer)])
    if number >= 1:
        migrate(root, number, FORMAT)


def _anchor_local_paths(root: Node, faults: list[Fault]) -> None:
    """Makes relative paths absolute, each relative to the folder of the file, or ``--set``, that wrote it.

    A model is local when such a folder is there, and a model or a dataset when it is written as a path (``./model``,
    ``~/data``).
    """
    places: list[tuple[tuple[str, ...], Node]] = []
    files, texts = _descend(root, DATA), _descend(root, TEXTS)
    if files is not None and isinstance(files.value, dict):
        places += [((*DATA, split), entry.node) for split, entry in files.value.items()]
    if texts is not None:
        several = isinstance(texts.value, list)
        places += [((*TEXTS, str(i)), node) for i, node in enumerate(texts.value)] if several else [(TEXTS, texts)]
    rules = _descend(root, ("prune",))
    for i, rule in enumerate(rules.value if rules is not None and isinstance(rules.value, list) else ()):
        places.append((("prune", str(i), *COSTS), _descend(rule, COSTS)))
    places.append((PRICES, _descend(root, PRICES)))
    models = {place: _descend(root, place) for place in (*MODELS, *DATASETS)}
    teachers = models[TEACHER]
    for i, node in enumerate(teachers.value if teachers is not None and isinstance(teachers.value, list) else ()):
        models[*TEACHER, str(i)] = node if isinstance(node.value, str) else _descend(node, ("name",))
    for place, node in (*places, *models.items()):
        words = NO_MODEL if place in models else ()
        if node is None or not isinstance(node.value, str) or node.value in ("", *words):
            continue
        path = _absolute(node)
        if len(path) > _LONGEST_PATH or any(len(os.fsencode(part)) > _LONGEST_NAME for part in path.split("/")):
            faults.append(
                Fault(
                    node.mark, ".".join(place), "too long for the path of a file or the name of a model: give another"
                )
            )
            node.broken = True
        elif (
            place not in models
            or node.value.startswith((".", "~", "/"))
            or (place not in DATASETS and Path(path).is_dir())
        ):
            node.value = path


#: What Linux takes, in characters of a path and in bytes of a name in it.
_LONGEST_PATH, _LONGEST_NAME = 4000, 255


def _absolute(node: Node) -> str:
    return os.path.normpath(node.mark.source.folder / os.path.expanduser(node.value))


def _descend(node: Node | None, keys: Sequence[str]) -> Node | None:
    for key in keys:
        entry = node.value.get(key) if isinstance(node.value, dict) else None
        if entry is None:
            return None
        node = entry.node
    return node
