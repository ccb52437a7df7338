"""From the recipe's ``dataset`` to splits in memory: local files, a dataset of the Hub, or a generator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datasets
import numpy as np
import pyarrow as pa

from optkit.adapters.hub import load_dataset
from optkit.data.files import read_file
from optkit.data.generators import DEFAULT_SIZES, GENERATORS
from optkit.data.images import read_folder
from optkit.errors import DataError
from optkit.spelling import suggest

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

    from optkit.recipe.task import DatasetSpec


def load_splits(
    dataset: DatasetSpec, *, seed: int, needed: Sequence[str], file_columns: Sequence[str] = ()
) -> DatasetDict:
    """Loads the ``needed`` splits, and no others.

    Local files and generated examples stay in memory and leave no cache behind; the Hub's keep to the Hub's cache.

    Args:
        dataset: the recipe's task.dataset.
        seed: of a generator, where the dataset names none of its own.
        needed: names of splits; repeated ones count once.
        file_columns: of local files, those whose texts are names of files, relative to the file that they are in. With
            none, what is given has to be files and no folders of images.

    Raises:
        DataError: every missing split, missing or unreadable file and empty split at once, a line each.
        OptkitError: if the Hub can't be reached.
    """
    needed = list(dict.fromkeys(needed))
    if dataset.files is not None:
        splits = _from_files(dataset.files, needed, file_columns)
    elif dataset.generate is not None:
        splits = _generate(dataset, needed, seed)
    else:
        splits = _from_hub(dataset, needed)
    _refuse([f"split '{name}' of the dataset is empty" for name, rows in splits.items() if not len(rows)])
    return datasets.DatasetDict(splits)


def shuffled(count: int, seed: int | list[int], groups: np.ndarray | None = None) -> np.ndarray:
    """The indices of ``count`` rows in an order by chance, rows of one group one after the other.

    Args:
        groups: a number for each row, equal within a group; None where each row is one of its own.
    """
    order = np.random.default_rng(seed).permutation(count)
    if groups is None:
        return order
    _, first, group = np.unique(groups[order], return_index=True, return_inverse=True)
    return order[np.argsort(first[group], kind="stable")]


def part(rows: Dataset, wanted: int | float, seed: int, groups: np.ndarray | None = None) -> tuple[Dataset, Dataset]:
    """Sets rows aside by chance: those that stay, and those set aside, both in their order.

    Args:
        wanted: how many, or a share below 1; of groups as many as it takes.
        seed: another seed sets others aside.
        groups: see ``shuffled``; they are set aside as a whole.

    Raises:
        DataError: if that is no row, or all of them.
    """
    count = wanted if isinstance(wanted, int) else round(wanted * len(rows))
    if not 0 < count < len(rows):
        raise DataError(
            f"train.hold_out: {wanted:g} of {len(rows)} training examples is {count}: hold out some, not all"
        )
    # A stream of its own: calibration draws from the same seed.
    order = shuffled(len(rows), [seed, 1], groups)
    if groups is not None:
        count += int(np.count_nonzero(groups[order[count:]] == groups[order[count - 1]]))
        if count == len(rows):
            raise DataError(
                f"train.hold_out: {wanted:g} of {len(rows)} training examples takes every query: hold out fewer"
            )
    return tuple(rows.select(np.sort(rows_of), keep_in_memory=True) for rows_of in (order[count:], order[:count]))


def _from_files(files: dict[str, str], needed: Sequence[str], file_columns: Sequence[str]) -> dict[str, Any]:
    splits, problems = {}, _missing(needed, list(files))
    for name in needed:
        if name in files:
            path = Path(files[name])
            try:
                table = read_folder(path) if file_columns and path.is_dir() else read_file(path)
                for column in file_columns:
                    table = _absolute(table, column, path.parent)
                splits[name] = as_dataset(table, split=datasets.NamedSplit(name))
            except DataError as error:
                problems += [text for text in error.problems if text not in problems]
    _refuse(problems)
    return splits


def as_dataset(table: pa.Table, split: datasets.NamedSplit | None = None) -> datasets.Dataset:
    """``table`` without the columns whose types datasets does not know, such as maps: no task takes one."""
    kept = [field.name for field in table.schema if _is_known(field)]
    if len(kept) < table.num_columns:
        table = table.select(kept).replace_schema_metadata(None)
    return datasets.Dataset(table, split=split)


def _is_known(field: pa.Field) -> bool:
    try:
        datasets.Features.from_arrow_schema(pa.schema([field]))
    except (ValueError, TypeError, NotImplementedError):
        return False
    return True


def _absolute(table: pa.Table, column: str, folder: Path) -> pa.Table:
    """``table`` with the names of files in ``column`` seen from ``folder``, where the column holds texts."""
    place = table.schema.get_field_index(column)
    if place < 0 or not pa.types.is_string(table.schema.field(place).type):
        return table
    names = [name and str(folder / name) for name in table.column(place).to_pylist()]
    return table.set_column(place, column, pa.array(names, pa.string()))


def _generate(dataset: DatasetSpec, needed: Sequence[str], seed: int) -> dict[str, Any]:
    sizes = {name: getattr(dataset, name) or size for name, size in DEFAULT_SIZES.items()}
    if dataset.test:
        sizes["test"] = dataset.test
    _refuse(_missing(needed, list(sizes)))
    generator, seed = GENERATORS[dataset.generate], seed if dataset.seed is None else dataset.seed
    features = generator.features()
    return {
        name: datasets.Dataset.from_dict(generator(name, sizes[name], seed), features, split=name) for name in needed
    }


def _from_hub(dataset: DatasetSpec, needed: Sequence[str]) -> dict[str, Any]:
    found = load_dataset(dataset.name, dataset.config, dataset.revision)
    _refuse(_missing(needed, list(found)))
    return {name: found[name] for name in needed}


def _missing(needed: Sequence[str], there: Sequence[str]) -> list[str]:
    return [
        f"the dataset has no split '{name}'{suggest(name, there)}: it has {', '.join(there)}"
        for name in needed
        if name not in there
    ]


def _refuse(problems: list[str]) -> None:
    if problems:
        raise DataError(problems)
