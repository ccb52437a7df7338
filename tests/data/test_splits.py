from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pytest
from capabilities import need
from pyarrow import parquet

from optkit.data.splits import load_splits
from optkit.errors import DataError, OptkitError
from optkit.recipe.task import DatasetSpec


def faults(dataset, *needed):
    with pytest.raises(DataError) as raised:
        load_splits(dataset, seed=0, needed=needed)
    assert all("\n" not in problem for problem in raised.value.problems)
    return raised.value.problems


def files(paths):
    return DatasetSpec(files={split: str(path) for split, path in paths.items()})


def home():
    return sorted(Path(os.environ["HF_HOME"]).rglob("*.arrow"))


def test_only_the_needed_splits_are_read(tiny_files):
    before = home()
    spec = files({**tiny_files, "test": Path("absent.tsv")})
    splits = load_splits(spec, seed=0, needed=["train", "validation", "train"])
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 96, "validation": 32}
    assert splits["train"].column_names == ["sentence", "label"] and splits["train"]["label"][:4] == [0, 1, 0, 1]
    assert str(splits["train"].split) == "train"
    assert not splits["train"].cache_files and home() == before


def test_all_faults_of_the_files_at_once(tiny_files, tmp_path):
    (tmp_path / "broken.csv").write_text("a,b\n1\n")
    spec = files({"train": tmp_path / "absent.csv", "validation": tmp_path / "broken.csv", "test": tiny_files["test"]})
    first, second, third = faults(spec, "train", "validation", "test", "tset")
    assert first == "the dataset has no split 'tset', did you mean 'test'?: it has train, validation, test"
    assert second.endswith("absent.csv: no such file: correct task.dataset.files")
    assert "broken.csv: not a readable csv file" in third


def test_a_folder_is_no_text_and_one_fault_of_two_splits_is_told_once(tmp_path):
    spec = files({"train": tmp_path, "validation": tmp_path})
    said = f"{tmp_path}: is a folder, not a data file: correct task.dataset.files"
    assert faults(spec, "train", "validation") == [said]


def test_a_column_of_a_type_that_no_task_takes_is_passed_over(tmp_path):
    pairs = pa.array([[("a", "b")]] * 2, pa.map_(pa.string(), pa.string()))
    parquet.write_table(pa.table({"text": ["x", "y"], "meta": pairs, "label": [0, 1]}), tmp_path / "a.parquet")
    (rows,) = load_splits(files({"train": tmp_path / "a.parquet"}), seed=0, needed=["train"]).values()
    assert rows.column_names == ["text", "label"] and rows["label"][:] == [0, 1]


def test_an_empty_split(tiny_files, tmp_path):
    (tmp_path / "empty.tsv").write_text("sentence\tlabel\n")
    spec = files({"train": tiny_files["train"], "validation": tmp_path / "empty.tsv"})
    assert faults(spec, "train", "validation") == ["split 'validation' of the dataset is empty"]


def test_generated_splits():
    spec = DatasetSpec(generate="topics", train=40, validation=10, test=5)
    splits = load_splits(spec, seed=3, needed=["train", "validation", "test"])
    assert [len(splits[name]) for name in ("train", "validation", "test")] == [40, 10, 5]
    assert splits["train"].features["label"].names == ["food", "music", "price", "room", "staff"]
    again, other = (load_splits(spec, seed=seed, needed=["train"])["train"]["text"][:] for seed in (3, 4))
    assert splits["train"]["text"][:] == again != other


def test_a_generators_own_seed_goes_before_the_recipes():
    own = DatasetSpec(generate="topics", train=20, seed=9)
    first, second = (load_splits(own, seed=seed, needed=["train"])["train"]["text"][:] for seed in (1, 2))
    assert (
        first
        == second
        == load_splits(DatasetSpec(generate="topics", train=20), seed=9, needed=["train"])["train"]["text"][:]
    )


def test_a_generated_split_that_was_not_asked_for():
    problems = faults(DatasetSpec(generate="topics", train=20), "train", "test")
    assert problems == ["the dataset has no split 'test': it has train, validation"]


def test_a_hub_that_cannot_be_reached():
    with pytest.raises(OptkitError) as raised:
        load_splits(DatasetSpec(name="glue", config="sst2"), seed=0, needed=["train"])
    assert type(raised.value) is OptkitError and raised.value.exit_code == 1
    assert str(raised.value) == (
        "task.dataset.name: 'glue' is not cached and the Hub can't be reached (HF_HUB_OFFLINE is set): "
        "use local files with --set 'task.dataset={files: {train: FILE, validation: FILE}}'"
    )


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (
            "DatasetNotFoundError",
            DataError,
            "the Hub shows no dataset 'some/set': use local files with --set 'task.dataset=",
        ),
        ("ConnectionError", OptkitError, "the Hub can't be reached (no route): use local files"),
        ("RuntimeError", DataError, "'some/set' cannot be loaded: no route: use local files"),
        ("ValueError", DataError, "'some/set' cannot be loaded: no route: use local files"),
    ],
)
def test_what_the_hub_may_answer(monkeypatch, error, kind, said):
    import builtins

    import datasets

    known = {**vars(builtins), "DatasetNotFoundError": datasets.exceptions.DatasetNotFoundError}

    def load_dataset(*args, **kwargs):
        raise known[error]("no route")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(kind) as raised:
        load_splits(DatasetSpec(name="some/set"), seed=0, needed=["train"])
    assert type(raised.value) is kind and said in str(raised.value) and "\n" not in str(raised.value)


def test_a_connection_that_was_closed_counts_as_unreachable(monkeypatch):
    import datasets

    def load_dataset(*args, **kwargs):
        raise RuntimeError("Cannot send a request, as the client has been closed.")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(OptkitError, match="the Hub can't be reached") as raised:
        load_splits(DatasetSpec(name="some/set"), seed=0, needed=["train"])
    assert type(raised.value) is OptkitError


def test_a_split_that_the_hub_lacks(monkeypatch):
    import datasets

    found = datasets.DatasetDict(train=datasets.Dataset.from_dict({"a": [1]}))
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **kwargs: found)
    spec = DatasetSpec(name="some/set")
    assert faults(spec, "train", "validation") == ["the dataset has no split 'validation': it has train"]
    assert load_splits(spec, seed=0, needed=["train"])["train"]["a"][:] == [1]


def test_sst2_row_for_row():
    need("sst2")
    folder = Path(os.environ["OPTKIT_SST2"])
    paths = {"train": folder / "train.tsv", "validation": folder / "dev.tsv", "test": folder / "test.tsv"}
    splits = load_splits(files(paths), seed=0, needed=list(paths))
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 67349, "validation": 872, "test": 1821}
    for name, path in paths.items():
        lines = path.read_text(encoding="utf-8").split("\n")[1:-1]
        rows = zip(splits[name]["sentence"], splits[name]["label"], strict=True)
        assert [f"{sentence}\t{label}" for sentence, label in rows] == lines
