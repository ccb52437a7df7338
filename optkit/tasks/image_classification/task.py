"""One label for an image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datasets
import numpy as np
import pyarrow as pa
import torch

from optkit.adapters import reason
from optkit.data.columns import original_rows, with_columns
from optkit.data.images import View, open_image, pixels, require_pillow
from optkit.errors import DataError
from optkit.models import load_image_processor
from optkit.models.head import Head
from optkit.models.image_processor import channels_of
from optkit.tasks import classes, columns
from optkit.tasks.base import PRIVATE, Task
from optkit.tasks.image_classification.spec import IMAGE_CLASSIFICATION

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor

    from optkit.recipe.schema import ModelSpec
    from optkit.recipe.task import TaskSpec

_UNLABELLED = -100  # as torch's losses know it
_IMAGE, _WHERE = "image", f"{PRIVATE}where"


class ImageClassification(Task):
    """Image classification, of one class of several.

    An image is whatever ``data.images.open_image`` takes. Encoded examples hold it as it came, compressed; pixels are
    made batch by batch, and what is read of a file beforehand is its head alone.
    """

    type = IMAGE_CLASSIFICATION
    keeps_logits = True
    label_smoothing = True
    agrees = "predict the same class for"

    def __init__(self, task: TaskSpec, model: ModelSpec | None = None):
        super().__init__(task, model)
        self.text, self.image = (), task.image
        self.files = (task.image,)

    @property
    def keys(self) -> dict[str, tuple[str, ...]]:
        return {"image": (self.image,), "label": self.label}

    def load_processor(self, model: ModelSpec | str | Path, rows: Dataset | None = None) -> Any:
        """The model's image processor."""
        return load_image_processor(model)

    def input_problems(self, split: str, rows: Dataset) -> list[str]:
        """The first image that is missing or none, by what its file begins with."""
        require_pillow()
        values = columns.column_of(rows, self.image)
        if not _holds_images(values.type):
            return [f"task.image: column '{self.image}' of split '{split}' holds {values.type}, not images"]
        for row, value in enumerate(_cells(values)):
            where = f"split '{split}', row {row + 1}"
            if value is None:
                return [f"{where}: column '{self.image}' holds no image: remove the row"]
            try:
                open_image(value).close()
            except Exception as error:  # Pillow's readers of formats raise what they like
                return [_unreadable(where, error)]
        return []

    def model_problems(self, model: Any, processor: Any) -> list[str]:
        shape = self.dummy_inputs(processor, 1, 1, 0)["pixel_values"].shape
        try:
            with torch.no_grad():
                model.eval()(pixel_values=torch.empty(shape, device="meta"))
        except ValueError as error:
            pixels = " x ".join(str(size) for size in shape[1:])
            return [f"model: it takes no {pixels} pixels, which its image processor makes: {reason(error)}"]
        except (NotImplementedError, RuntimeError):  # what it computes cannot be tried without its weights
            pass
        return []

    def head(self, splits: Mapping[str, Dataset]) -> Head:
        """The names of the classes in the order of their ids, from the training split as in text classification.

        Raises:
            DataError: if the labels are no classes, or another split has a label that is none of them.
        """
        if len(self.label) > 1:
            raise DataError(f"task.label: an image has one label here, not {len(self.label)}: name one column")
        names, problems = classes.label_names(splits, self.label[0])
        for split, rows in splits.items():
            if not problems:
                problems += classes.label_ids(split, rows, self.label[0], names)[1]
        if problems:
            raise DataError(problems)
        return Head(self.auto_class, names)

    def encode(self, dataset: Dataset, processor: Any, head: Head | None) -> Dataset:
        """Columns image: as it came, not decoded; labels: the class id, -100 without labels. Nothing is copied."""
        rows = dataset.select_columns([self.image])
        if isinstance(rows.features[self.image], datasets.Image):
            rows = rows.cast_column(self.image, datasets.Image(decode=False))
        labels = np.full(len(rows), _UNLABELLED) if head is None else self.references(dataset, head)
        where = [f"split '{dataset.split or 'dataset'}', row {row + 1}" for row in original_rows(rows)]
        if self.image != _IMAGE:
            rows = rows.rename_column(self.image, _IMAGE)
        return with_columns(rows, {"labels": labels, _WHERE: where})

    def length(self, example: Mapping[str, Any]) -> int:
        return 1

    def collator(self, processor: Any, *, training: bool = True) -> Callable[[Sequence[Mapping[str, Any]]], Any]:
        """Batches of pixel_values, float32 (batch, channels, height, width).

        Raises:
            DataError: when it is called, for an image that cannot be read, or where images stay of different sizes.
        """
        return partial(_batch, processor)

    def samples(self, example: Mapping[str, Any], processor: Any) -> list[Mapping[str, Any]]:
        return [{"pixel_values": _batch(processor, [example])["pixel_values"][0].numpy()}]

    def same_inputs(self, rows: Dataset, ours: Any, theirs: Any) -> bool:
        examples = self.encode(rows, ours, None)
        for example in (examples[row] for row in range(len(examples))):
            pixels = [_batch(processor, [example])["pixel_values"].numpy() for processor in (ours, theirs)]
            if not np.array_equal(*pixels):
                return False
        return True

    def decode(self, outputs: np.ndarray, encoded: Dataset, head: Head) -> np.ndarray:
        """Class ids (n,) of logits (n, classes)."""
        return outputs.argmax(-1)

    def references(self, dataset: Dataset, head: Head) -> np.ndarray:
        return classes.checked_label_ids(dataset, self.label[0], head.labels)

    def score(self, predictions: np.ndarray, references: np.ndarray, head: Head) -> dict[str, float]:
        return self.metrics.compute(predictions, references, classes=len(head.labels))

    def sequence(self, processor: Any, length: int) -> int:
        """1: an image is one input of one size."""
        return 1

    def dummy_inputs(self, processor: Any, batch: int, length: int, seed: int) -> dict[str, Tensor]:
        """Random images of the size that the model takes, whatever ``length``."""
        noise = np.random.default_rng(seed).integers(0, 256, (batch, 64, 64, 3), np.uint8)
        return _batch(processor, [{_IMAGE: image} for image in noise])


def _holds_images(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.ExtensionType):
        kind = kind.storage_type
    if pa.types.is_struct(kind):
        return {field.name for field in kind} <= {"bytes", "path"}
    array = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return array or columns.is_text(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _cells(values: pa.ChunkedArray) -> Iterator[Any]:
    """Each image in a form that ``open_image`` takes, with no more of a file's bytes read than are asked for."""
    for cell in (cell for chunk in values.chunks for cell in chunk):
        if pa.types.is_struct(cell.type) and cell.is_valid:
            both = dict(cell)
            cell = next((part for part in (both.get("bytes"), both.get("path")) if part and part.is_valid), None)
        if cell is None or not cell.is_valid:
            yield None
        elif isinstance(cell, (pa.BinaryScalar, pa.LargeBinaryScalar)) and not columns.is_text(cell.type):
            yield View(cell.as_buffer())
        else:
            yield cell.as_py()


def _batch(processor: Any, examples: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    channels, made = channels_of(processor), []
    for example in examples:
        where = example.get(_WHERE, "an image")
        try:
            image = pixels(open_image(example[_IMAGE]), channels)
        except Exception as error:  # Pillow's readers of formats raise what they like
            raise DataError(_unreadable(where, error)) from error
        try:
            options = {"input_data_format": "channels_last", "return_tensors": "np"}
            made.append(np.asarray(processor(image, **options)["pixel_values"][0], np.float32))
        except Exception as error:  # each value of preprocessor_config.json fails in its own way
            raise DataError(
                f"{where}: its image processor cannot take it ({reason(error)}): correct preprocessor_config.json"
            ) from error
        if made[-1].shape != made[0].shape:
            raise DataError(
                f"{example.get(_WHERE)}: its image processor leaves images at different sizes, {made[0].shape} and "
                f"{made[-1].shape}: set size or crop_size in preprocessor_config.json"
            )
    found = {"pixel_values": torch.from_numpy(np.stack(made))}
    others = [name for name in examples[0] if name != _IMAGE and not name.startswith(PRIVATE)]
    return found | {name: torch.tensor([example[name] for example in examples]) for name in others}


def _unreadable(where: str, error: Exception) -> str:
    cause = "no such file" if isinstance(error, FileNotFoundError) else " ".join(str(error).split())[:200]
    named = f" {error.filename}" if isinstance(error, OSError) and error.filename else ""
    return f"{where}: the image{named} cannot be read ({cause}): mend it, or remove the row"
