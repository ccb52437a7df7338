"""The config.json of a model from elsewhere: what it says of classes made usable, and the architecture named, so that
what is written is what a pipeline and ``optkit.runtime.load`` read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from transformers import CONFIG_MAPPING

from optkit.adapters import optimum, quiet
from optkit.checkpoints.compact_config import needs_loader
from optkit.checkpoints.files import present_name, weight_shapes
from optkit.errors import OptkitError, UsageError
from optkit.interop.opening import Opened
from optkit.models import Head, stored_head
from optkit.models.config import label_maps, mend_values, read_values
from optkit.models.labels import stored_names
from optkit.tasks import TASKS

if TYPE_CHECKING:
    from optkit.export.fp32 import NamedModel

_FILE = "config.json"


def complete_config(opened: Opened, folder: Path, task: str, notes: list[str]) -> Opened:
    """``opened``; where its config.json does not say what is meant, from a folder that links its files beside one that
    does.

    Args:
        folder: to make, if it is needed.
        notes: what was read otherwise than it stands there is added.

    Raises:
        UsageError: if there is no config.json, or it cannot be told which of the classes each output means.
        OptkitError: if it is no JSON mapping.
    """
    source = opened.setup
    if not (source / _FILE).is_file():
        raise UsageError(f"{source}: no {_FILE} here: copy the checkpoint's beside the model")
    values = read_values(source)
    if "auto_map" in values and values.get("model_type") not in CONFIG_MAPPING:
        raise UsageError(
            f"{source}: this model runs its own code, which is not done here: a recipe may, with "
            "model.trust_remote_code, or give it as ONNX"
        )
    usable, found = mend_values(values, source, strict=TASKS[task].classes_of is not None)
    if TASKS[task].classes_of is not None:
        notes += [f"{_FILE}: {note}" for note in found]
        names = _number_by_weights(opened, task, usable)
        if names is not None:
            notes.append(f"{_FILE}: it names no classes, and its head has {len(names)} outputs: they are numbered")
            usable |= label_maps(names)
    if opened.kind == "checkpoint" and not usable.get("architectures"):
        usable |= _name_by_weights(opened.path, task, usable)
    if usable == values:
        return opened
    folder.mkdir()
    for path in source.iterdir():
        if path.name != _FILE:
            (folder / path.name).symlink_to(path.resolve())
    _write(folder, usable)
    return Opened(opened.kind, folder if opened.path == source else opened.path, folder)


def _number_by_weights(opened: Opened, task: str, usable: dict[str, Any]) -> list[str] | None:
    """Names for the outputs of a checkpoint's head, where its config.json gives none.

    Raises:
        PlanError: if it names more or fewer than there are.
    """
    if opened.kind != "checkpoint" or needs_loader(usable):
        return None
    names = stored_head(opened.setup, Head(TASKS[task].auto_class, ["any"]))
    return names if "id2label" not in usable and names and len(names) != usable.get("num_labels", 2) else None


def _name_by_weights(folder: Path, task: str, usable: dict[str, Any]) -> dict[str, Any]:
    """``architectures`` for a config.json without: the first, of ``task`` and then of others, whose weights are all
    there. Nothing where there is none, which loading will say.
    """
    kind = str(usable.get("model_type"))
    if kind not in transformers.CONFIG_MAPPING:
        return {}
    there = {present_name(name) for name in weight_shapes(folder)}
    # Without a head last: its weights are among those of every other.
    others = sorted(TASKS.values(), key=lambda other: not other.head)
    for each in (TASKS[task], *(other for other in others if other.reads == "texts")):
        if (architecture := optimum.architecture_for(kind, each)) is None:
            continue
        try:
            with quiet(), torch.device("meta"):
                model = getattr(transformers, architecture)(transformers.CONFIG_MAPPING[kind].from_dict(usable))
        except Exception:  # each architecture fails in its own way; loading it will say how
            continue
        if all(".pooler." in f".{name}" or name in there for name, _ in model.named_parameters()):
            return {"architectures": [architecture]}
    return {}


def check_outputs(source: NamedModel, task: str) -> None:
    """Refuses a classifier that has more or fewer outputs than its config.json has names.

    Raises:
        OptkitError: that says both numbers.
    """
    if TASKS[task].classes_of is None:
        return

    values = read_values(source.setup)
    size = source.model.output("logits").get_partial_shape()[-1]
    names, count = stored_names(values)[0], values.get("num_labels", 2)
    count = count if names is None else len(names)
    if size.is_static and size.get_length() != count:
        raise OptkitError(
            f"{source.setup / _FILE}: id2label names {count} outputs, and the model has {size.get_length()}: name each "
            "of them"
        )


def name_architecture(folder: Path, task: str, ov_class: str) -> None:
    """Has the config.json in ``folder`` name an architecture by which ``ov_class`` is found."""
    try:
        if optimum.class_for(folder) == ov_class:
            return
    except OptkitError:
        pass
    values = read_values(folder)
    architecture = optimum.architecture_for(str(values.get("model_type")), TASKS[task])
    if architecture is not None:
        _write(folder, values | {"architectures": [architecture]})


def _write(folder: Path, values: dict[str, Any]) -> None:
    (folder / _FILE).write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")
