"""The recipe with everything written out: the copy that travels with the model, and the hash that names the job.

Both show a local file or folder by what it holds and never by where it lies.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optkit.recipe.fields import Part, span_out

if TYPE_CHECKING:
    from optkit.recipe.schema import Recipe

DATA = ("task", "dataset", "files")
TEXTS = ("distill", "data", "files")
COSTS = ("allocate", "costs")
PRICES = ("benchmark", "prices")
TEACHER = ("distill", "teacher")
DATASETS = (("task", "dataset", "name"), ("distill", "data", "name"))
MODELS = (("model", "name"), ("model", "tokenizer"), TEACHER, ("evaluate", "baseline"))
NO_MODEL = ("auto", "none", "trained")
"""Where a recipe may name something local: a mapping of data files, a list of them, a file in each rule, one file,
datasets, which may be Hub ids, and models, which may be Hub ids or these words; of teachers a list, too."""

_HEADER = """\
# Resolved recipe: base, file and --set merged, defaults written out.
# A local path is its last component here, with the SHA-256 of its contents; put it beside this file to run it again.
"""


def data(value: Any) -> Any:
    """A part of a recipe as plain data, under the keys a recipe uses; optional parts that are absent are left out."""
    if isinstance(value, Part):
        fields = type(value).model_fields
        given = {field.alias or name: getattr(value, name) for name, field in fields.items()}
        return {key: data(item) for key, item in given.items() if item is not None}
    if isinstance(value, dict):
        return {key: data(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [data(item) for item in value]
    return span_out(value)


def identity(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain data in which local paths are the hashes of their contents: equal where the work is equal."""
    return _replace_local(data(recipe), lambda path, _: {"sha256": content_hash(path)})


def recipe_hash(recipe: Recipe) -> str:
    """SHA-256 over the sorted JSON of ``identity``."""
    text = json.dumps(identity(recipe), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def resolved_yaml(recipe: Recipe) -> str:
    """The recipe as YAML, with local paths as last component and, in a comment, the hash of what they hold."""
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    def shown(path: Path, prefix: str) -> str:
        name = _Name(prefix + path.name)
        name.comment = f"sha256 {content_hash(path)}"
        return name

    def commented(value: Any) -> Any:
        if isinstance(value, list):
            items = CommentedSeq(str(item) if isinstance(item, _Name) else commented(item) for item in value)
            for index, item in enumerate(value):
                if isinstance(item, _Name):
                    items.yaml_add_eol_comment(item.comment, index, column=0)
            if not any(isinstance(item, (dict, list, _Name)) for item in value):
                items.fa.set_flow_style()
            return items
        if isinstance(value, dict):
            mapping = CommentedMap()
            for key, item in value.items():
                mapping[key] = str(item) if isinstance(item, _Name) else commented(item)
                if isinstance(item, _Name):
                    mapping.yaml_add_eol_comment(item.comment, key, column=0)
            return mapping
        return value

    yaml = YAML()
    yaml.width = 4096
    yaml.allow_unicode = True
    stream = io.StringIO()
    yaml.dump(commented(_replace_local(data(recipe), shown)), stream)
    return _HEADER + stream.getvalue()


class _Name(str):
    """The last component of a local path, and the comment to write behind it."""

    comment: str


def _replace_local(recipe: dict[str, Any], change: Callable[[Path, str], Any]) -> dict[str, Any]:
    """``recipe`` with ``change`` applied to what lies on this machine.

    ``change`` is also given what must stand before a bare name: ``./`` for a model or a dataset, or it would read as a
    Hub id.
    """
    files = recipe["task"]["dataset"].get("files")
    for split in files or {}:
        files[split] = change(Path(files[split]), "")
    texts = recipe.get("distill", {}).get("data", {})
    if "files" in texts:
        texts["files"] = [change(Path(file), "") for file in texts["files"]]
    for rule in recipe.get("prune", ()):
        if "costs" in rule.get("allocate", {}):
            rule["allocate"]["costs"] = change(Path(rule["allocate"]["costs"]), "")
    part, key = PRICES
    if key in recipe.get(part, {}):
        recipe[part][key] = change(Path(recipe[part][key]), "")
    models = [(recipe.get(part, {}), key) for part, key in MODELS]
    teachers = recipe.get(TEACHER[0], {}).get(TEACHER[1])
    models += [(spec, "name") for spec in teachers] if isinstance(teachers, list) else []
    for *place, key in DATASETS:
        part = recipe
        for name in place:
            part = part.get(name, {})
        if Path(part.get(key) or "").is_absolute():
            part[key] = change(Path(part[key]), "./")
    for part, key in models:
        value = part.get(key)
        if isinstance(value, str) and value not in NO_MODEL and (Path(value).is_absolute() or Path(value).is_dir()):
            part[key] = change(Path(value), "./")
    return recipe


def content_hash(path: Path) -> str:
    """SHA-256 of a file, or of the names and hashes of a folder's files; ``missing`` when nothing is there."""
    if path.is_dir():
        names = {file: file.relative_to(path) for file in path.rglob("*") if file.is_file()}
        seen = {name.as_posix(): file for file, name in names.items() if not any(p[0] == "." for p in name.parts)}
        listing = "\n".join(f"{_file_hash(seen[name])} {name}" for name in sorted(seen))
        return hashlib.sha256(listing.encode()).hexdigest()
    return _file_hash(path) if path.is_file() else "missing"


def _file_hash(path: Path) -> str:
    facts = path.stat()
    return _hash_of(path, facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=1 << 20)
def _hash_of(path: Path, size: int, modified: int) -> str:
    """Size and time of change stand for the contents only within one process, to read a large model once."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
