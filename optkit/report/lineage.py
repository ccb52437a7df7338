"""Where a model comes from: base model, licence and data sets. What their cards do not say is left out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optkit.json_files import read_json

if TYPE_CHECKING:
    from optkit.recipe import Recipe

_LICENCE = ("license", "license_name", "license_link")


def origin(recipe: Recipe) -> dict[str, Any]:
    """The base model of ``recipe``, from its own card and config.

    Returns:
        ``base`` (Hub ids; none for random weights or a local folder whose card names no other), ``local`` (whether the
        start model is a folder), ``license``, ``license_name`` and ``license_link`` (each only where the card, or else
        the config, has it) and ``datasets`` (Hub ids of what it was trained on here).
    """
    from optkit.adapters.hub import model_file

    spec = recipe.model
    found: dict[str, Any] = {"base": [], "local": False, "datasets": _datasets(recipe)}
    if spec.name is None:
        return found
    found["local"] = Path(spec.name).is_dir()
    card = _metadata(model_file(spec.name, spec.revision, "README.md"))
    said = {key: card[key] for key in _LICENCE if isinstance(card.get(key), str) and card[key]}
    if "license" not in said:
        config = _json(model_file(spec.name, spec.revision, "config.json"))
        said |= {"license": config["license"]} if isinstance(config.get("license"), str) else {}
    if not found["local"]:
        found["base"] = [spec.name]
        link = said.get("license_link")
        if link and not re.match(r"https?://", link):
            said["license_link"] = f"https://huggingface.co/{spec.name}/blob/main/{link.removeprefix('./')}"
    else:
        base = card.get("base_model") or []
        found["base"] = [name for name in ([base] if isinstance(base, str) else base) if _is_hub_id(name)]
    return found | said


def dataset(recipe: Recipe) -> dict[str, Any]:
    """What the metrics were measured on, as a model-index says it: type, name, config, revision and split names.

    Local files are named by their last component, since where they lie says nothing to others.
    """
    spec = recipe.task.dataset
    if spec.name is not None and _is_hub_id(spec.name):
        revision = {} if spec.revision == "main" else {"revision": spec.revision}
        name = f"{spec.name} {spec.config}" if spec.config else spec.name
        return {"type": spec.name, "name": name} | ({"config": spec.config} if spec.config else {}) | revision
    if spec.files is not None:
        return {"type": "files", "files": {split: Path(file).name for split, file in spec.files.items()}}
    if spec.generate is not None:
        return {"type": "generated", "name": f"{spec.generate}, generated"}
    return {"type": "files", "name": Path(spec.name).name}


def _datasets(recipe: Recipe) -> list[str]:
    more = recipe.distill.data.name if recipe.distill is not None and recipe.distill.data is not None else None
    return list(dict.fromkeys(name for name in (recipe.task.dataset.name, more) if name and _is_hub_id(name)))


def _is_hub_id(name: Any) -> bool:
    from optkit.adapters.hub import may_be_id

    return isinstance(name, str) and not Path(name).exists() and may_be_id(name)


def _metadata(readme: Path | None) -> dict[str, Any]:
    """The metadata at the head of a model card; none where there is no card, or one that cannot be read."""
    import yaml
    from huggingface_hub import metadata_load

    try:
        return (readme and metadata_load(readme)) or {}
    except (ValueError, yaml.YAMLError, OSError):
        return {}


def _json(file: Path | None) -> dict[str, Any]:
    try:
        held = read_json(file) if file else {}
    except (ValueError, OSError):
        return {}
    return held if isinstance(held, dict) else {}
