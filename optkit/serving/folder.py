"""What a model's folder says of it, read without torch or transformers: task, labels, pooling, longest input."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optkit.adapters import cross_encoder, sentence_transformers
from optkit.adapters.sentence_transformers import Embedding
from optkit.errors import UsageError, why_not
from optkit.ir.io import MODEL_FILE
from optkit.json_files import read_json
from optkit.tasks import TASKS
from optkit.tasks.zero_shot_classification.spec import DEFAULT_TEMPLATE, read_template

#: Tasks that can be served.
SERVED = ("text-classification", "token-classification", "feature-extraction")
#: ``model_max_length`` of a tokenizer without a limit is 1e30.
_NO_LIMIT = 1_000_000


@dataclass(frozen=True)
class ModelFolder:
    """A folder that holds ``openvino_model.xml``, ``config.json`` and ``tokenizer.json``.

    Attributes:
        path: of the folder.
        task: one of ``SERVED``.
        labels: names of the outputs, in their order, as far as config.json names them.
        problem: transformers' ``problem_type``; None where config.json does not say.
        embedding: how texts are embedded; None for other tasks.
        longest: tokens that the model takes; None where nothing limits them.
        padding: the id and the type id of padding, and the side on which it is put.
        template: hypothesis of zero-shot classification, ``{}`` in the place of a class: that of training, if known.
    """

    path: Path
    task: str
    labels: tuple[str, ...]
    problem: str | None
    embedding: Embedding | None
    longest: int | None
    padding: tuple[int, int, str]
    template: str = DEFAULT_TEMPLATE

    @property
    def embeds(self) -> bool:
        return self.task == "feature-extraction"

    @property
    def ranks(self) -> bool:
        """Whether it gives one score to an input, which may be a query and a text."""
        return self.task == "text-classification" and len(self.labels) == 1

    @property
    def tokenizer_file(self) -> Path:
        return self.path / "tokenizer.json"


def read_folder(path: str | Path) -> ModelFolder:
    """Reads the folder of an exported model, or of the run that exported it.

    Raises:
        UsageError: if files are missing or damaged, or the task cannot be served.
    """
    folder = Path(path)
    if not (folder / MODEL_FILE).is_file() and (folder / "openvino" / MODEL_FILE).is_file():
        folder = folder / "openvino"
    if not (folder / MODEL_FILE).is_file():
        why = why_not(folder, f"no {MODEL_FILE} here")
        raise UsageError(f"{folder}: {why}: give the folder of an exported model, such as runs/NAME/openvino")
    config = _read(folder / "config.json")
    if not (folder / "tokenizer.json").is_file():
        raise UsageError(f"{folder}: no tokenizer.json here: save the model's fast tokenizer into it")
    task = _task(folder, config)
    labels, embedding, cut = _labels(folder, config), None, None
    if task == "feature-extraction":
        embedding = sentence_transformers.read(str(folder), key="folder") or Embedding()
        cut = embedding.max_length
    elif task == "text-classification" and len(labels) == 1:
        reranker = cross_encoder.read(str(folder), key="folder")
        cut = reranker.max_length if reranker is not None else None
    settings = _read(folder / "tokenizer_config.json", optional=True)
    return ModelFolder(
        path=folder,
        task=task,
        labels=labels,
        problem=config.get("problem_type") if isinstance(config.get("problem_type"), str) else None,
        embedding=embedding,
        longest=_longest(config, settings, cut),
        padding=(
            _whole(config.get("pad_token_id")) or 0,
            _whole(settings.get("pad_token_type_id")) or 0,
            "left" if settings.get("padding_side") == "left" else "right",
        ),
        template=read_template(config),
    )


def _read(file: Path, *, optional: bool = False) -> dict[str, Any]:
    try:
        values = read_json(file)
    except FileNotFoundError:
        if optional:
            return {}
        raise UsageError(f"{file}: missing: copy it from the checkpoint") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{file}: cannot be read ({error}): copy it again") from None
    if not isinstance(values, dict):
        raise UsageError(f"{file}: holds no settings: copy it again")
    return values


def _task(folder: Path, config: dict[str, Any]) -> str:
    architectures = config.get("architectures")
    name = str(architectures[0]) if isinstance(architectures, list) and architectures else ""
    heads = {task.head: task.name for task in reversed(TASKS.values()) if task.head}
    found = next((task for head, task in heads.items() if name.endswith(head)), None)
    if found is None and "For" not in name:
        found = "feature-extraction"
    if found not in SERVED:
        does = f"its task is {found}" if found else f"its architecture is {name}"
        raise UsageError(f"{folder}: {does}, and only {', '.join(SERVED)} can be served")
    return found


def _labels(folder: Path, config: dict[str, Any]) -> tuple[str, ...]:
    names = config.get("id2label")
    if not isinstance(names, dict):
        return ()
    try:
        by_index = {int(index): str(name) for index, name in names.items()}
        return tuple(by_index[index] for index in range(len(by_index)))
    except (ValueError, KeyError):
        raise UsageError(f"{folder}: id2label of config.json does not number the outputs from 0: correct it") from None


def _longest(config: dict[str, Any], settings: dict[str, Any], cut: int | None) -> int | None:
    """The least of what the files say. An export writes into tokenizer_config.json what the model has positions for, of
    which ``max_position_embeddings`` may count more.
    """
    limits = [_whole(config.get("max_position_embeddings")), _whole(settings.get("model_max_length")), cut]
    return min((limit for limit in limits if limit and limit < _NO_LIMIT), default=None)


def _whole(value: Any) -> int | None:
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0 else None
