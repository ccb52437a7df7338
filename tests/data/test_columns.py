from __future__ import annotations

import datasets
import numpy as np

from optkit.data.columns import original_rows, with_columns


def test_columns_beside_rows_that_were_selected():
    features = datasets.Features({"name": datasets.ClassLabel(names=["a", "b"])})
    whole = datasets.Dataset.from_dict({"name": [0, 1, 0, 1, 1]}, features, split="train")
    logits = np.arange(6, dtype=np.float32).reshape(3, 2)
    for rows in (whole.select([4, 0, 2]), datasets.Dataset.from_dict(whole[[4, 0, 2]], features, split="train")):
        found = with_columns(rows, {"logits": logits, "place": ["x", "yy", "z"]})
        assert found["logits"][:] == logits.tolist() and found["place"][:] == ["x", "yy", "z"]
        assert found["name"][:] == [1, 0, 0] and found.features["name"] == features["name"]
        assert found.split == "train" and not found.cache_files
    assert original_rows(whole.select([4, 0, 2])).tolist() == [4, 0, 2]
    assert original_rows(whole).tolist() == [0, 1, 2, 3, 4]
