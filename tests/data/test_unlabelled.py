"""Texts without labels, from files and from the Hub, and every fault of them in a line of its own."""

from __future__ import annotations

import pytest
from datasets import Dataset, DatasetDict

from optkit.data import unlabelled
from optkit.data.unlabelled import load_unlabelled
from optkit.errors import DataError
from optkit.recipe.distill import UnlabelledSpec


@pytest.fixture
def write(tmp_path):
    def files(**texts: str) -> tuple[str, ...]:
        for name, text in texts.items():
            (tmp_path / name.replace("_", ".")).write_text(text, encoding="utf-8")
        return tuple(str(tmp_path / name.replace("_", ".")) for name in texts)

    return files


def test_files_of_all_kinds_become_one_list_of_texts(write):
    files = write(
        a_txt="one\n\ntwo, three\n", b_tsv="label\tsentence\n1\tfour\n0\t5\n", c_jsonl='{"sentence": "six"}\n'
    )
    rows = load_unlabelled(UnlabelledSpec(files=files), ["sentence"])
    assert rows.to_dict() == {"sentence": ["one", "two, three", "four", "5", "six"]}


def test_columns_of_other_names_and_pairs(write):
    files = write(a_csv="q,a\nwhere,here\n", b_csv="a,q\n7,what\n")
    rows = load_unlabelled(UnlabelledSpec(files=files, text=("q", "a")), ["premise", "hypothesis"])
    assert rows.to_dict() == {"premise": ["where", "what"], "hypothesis": ["here", "7"]}


def test_augmenting_alone_has_no_source():
    assert load_unlabelled(UnlabelledSpec(augment=2), ["text"]) is None


def test_the_hubs_texts(monkeypatch):
    asked = []
    split = Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]})

    def load(*names, **given):
        asked.append((names, given))
        return DatasetDict({"unsupervised": split})

    monkeypatch.setattr(unlabelled, "load_dataset", load)
    spec = UnlabelledSpec(name="imdb", config="plain", split="unsupervised")
    assert load_unlabelled(spec, ["text"]).to_dict() == {"text": ["a", "b"]}
    assert asked == [(("imdb", "plain", "main"), {"key": "distill.data.name"})]
    with pytest.raises(DataError, match="distill.data.split: imdb has no split 'train': it has unsupervised"):
        load_unlabelled(UnlabelledSpec(name="imdb"), ["text"])


def test_every_fault_is_said_at_once(write, tmp_path):
    files = write(a_csv="tekst\nx\n", b_txt="", c_jsonl='{"text": "x"}\n{"text": null}\n')
    with pytest.raises(DataError) as raised:
        load_unlabelled(UnlabelledSpec(files=(*files, str(tmp_path / "none.txt"))), ["text"])
    assert raised.value.problems == [
        f"distill.data.text: no column 'text' in {files[0]}, did you mean 'tekst'?: the columns are tekst",
        f"{files[1]} holds no texts",
        f"split '{files[2]}', row 2: column 'text' holds no text: remove the row",
        f"{tmp_path}/none.txt: no such file: correct distill.data.files",
    ]
    with pytest.raises(DataError, match="a.txt holds one text a line, and the task takes 2"):
        load_unlabelled(UnlabelledSpec(files=write(a_txt="x\n")), ["q", "a"])
