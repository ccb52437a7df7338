"""More columns for a data set, without a copy of what it holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import datasets
import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from datasets import Dataset


def with_columns(dataset: Dataset, columns: Mapping[str, Any]) -> Dataset:
    """``dataset`` with more ``columns`` of arrays (rows,) or (rows, ...), which become lists.

    Of rows that were selected the data set's table is still the whole one, and ``add_column`` would write the selected
    ones anew; here the others get zeros.
    """
    table, indices = dataset.data.table, dataset._indices
    chosen = slice(None) if indices is None else indices.column(0).to_numpy()
    features = dict(dataset.features)
    for name, values in columns.items():
        values = np.asarray(values)
        whole = np.zeros((table.num_rows, *values.shape[1:]), values.dtype)
        whole[chosen] = values
        table = table.append_column(name, pa.array(whole if whole.ndim == 1 else list(whole)))
        features |= datasets.Features.from_arrow_schema(pa.schema([table.schema.field(name)]))
    info = datasets.DatasetInfo(features=datasets.Features(features))
    return datasets.Dataset(table, info, split=dataset.split, indices_table=indices)


def original_rows(dataset: Dataset) -> np.ndarray:
    """The numbers (rows,) that the rows had before they were selected."""
    return np.arange(len(dataset)) if dataset._indices is None else dataset._indices.column(0).to_numpy()
