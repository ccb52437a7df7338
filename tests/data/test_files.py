from __future__ import annotations

import json

import pyarrow as pa
import pytest
from pyarrow import parquet

from optkit.data.files import read_file
from optkit.errors import DataError

ROWS = {"text": ["one", 'two "quoted" words', "three, four"], "label": [0, 1, 0]}


def table(path, text):
    path.write_text(text, encoding="utf-8")
    return read_file(path).to_pydict()


def fault(path):
    with pytest.raises(DataError) as raised:
        read_file(path)
    message = str(raised.value)
    assert "\n" not in message and message.startswith(f"{path}: ")
    return message[len(f"{path}: ") :]


def test_every_type_gives_the_same_rows(tmp_path):
    rows = [dict(zip(ROWS, row, strict=True)) for row in zip(*ROWS.values(), strict=True)]
    assert table(tmp_path / "a.csv", 'text,label\none,0\n"two ""quoted"" words",1\n"three, four",0\n') == ROWS
    assert table(tmp_path / "a.tsv", 'text\tlabel\none\t0\ntwo "quoted" words\t1\nthree, four\t0\n') == ROWS
    assert table(tmp_path / "a.json", json.dumps(rows)) == ROWS
    assert table(tmp_path / "b.json", json.dumps({"data": rows})) == ROWS
    assert table(tmp_path / "c.json", json.dumps(ROWS)) == ROWS
    assert table(tmp_path / "e.json", json.dumps({"text": ROWS["text"]})) == {"text": ROWS["text"]}
    lines = "\n".join(json.dumps(row) for row in rows)
    assert table(tmp_path / "d.json", lines) == ROWS
    assert table(tmp_path / "A.JSONL", lines + "\n\n") == ROWS
    parquet.write_table(pa.table(ROWS), tmp_path / "a.parquet")
    assert read_file(tmp_path / "a.parquet").to_pydict() == ROWS


def test_tsv_has_no_quoting(tmp_path):
    text = 'sentence\tlabel\n" open\t1\nclose "\t0\n"a"\t1\n\'s ``b\'\' "" \\t\t0\n'
    assert table(tmp_path / "a.tsv", text) == {
        "sentence": ['" open', 'close "', '"a"', "'s ``b'' \"\" \\t"],
        "label": [1, 0, 1, 0],
    }


def test_a_text_file_holds_one_text_a_line(tmp_path):
    assert table(tmp_path / "a.txt", '\ufeff one, "two"\t3 \r\n\n  \nfour') == {"text": ['one, "two"\t3', "four"]}


def test_csv_cells_may_hold_line_breaks(tmp_path):
    assert table(tmp_path / "a.csv", 'text,label\n"one\ntwo",1\n')["text"] == ["one\ntwo"]


def test_texts_that_look_like_other_things_stay_as_they_are(tmp_path):
    words = ["null", "NA", "2020-01-01", "true", "1.50", "", "007"]
    assert table(tmp_path / "a.csv", "text,label\n" + "".join(f"{w},x\n" for w in words))["text"] == words
    assert table(tmp_path / "a.csv", "text,label\n007,1\n8,0\n") == {"text": ["007", "8"], "label": [1, 0]}
    lines = "".join(json.dumps({"text": w}) + "\n" for w in words)
    assert table(tmp_path / "a.jsonl", lines)["text"] == words


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path):
    for name, text in (("a.csv", "text,label\na,1\n"), ("a.jsonl", '{"text": "a", "label": 1}')):
        assert list(table(tmp_path / name, "\ufeff" + text)) == ["text", "label"]


def test_categories_of_parquet_become_their_values(tmp_path):
    column = pa.array(["b", "a", "b"]).dictionary_encode()
    parquet.write_table(pa.table({"label": column}), tmp_path / "a.parquet")
    assert read_file(tmp_path / "a.parquet").column("label").type == pa.string()


def test_a_row_without_a_key_has_none_there(tmp_path):
    found = table(tmp_path / "a.jsonl", '{"text": "a"}\n{"text": "b", "label": 1}\n')
    assert found == {"text": ["a", "b"], "label": [None, 1]}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"", "not a readable csv file: Empty CSV file"),
        (
            "a.csv",
            b"text,label\na,1\nb\n",
            "not a readable csv file: CSV parse error: Row #3: Expected 2 columns, got 1",
        ),
        (
            "a.tsv",
            b"text\tlabel\na\tb\t1\n",
            "not a readable tsv file: CSV parse error: Row #2: Expected 2 columns, got 3",
        ),
        ("a.tsv", b"text\tlabel\n\xff\xfe\t1\n", "is not UTF-8: convert the file"),
        ("a.csv", b"text,text\na,b\n", "two columns are called 'text'"),
        ("a.jsonl", b'{"text": "a"}\n{"text": \n', "not a readable jsonl file: line 2: Expecting value at column 10"),
        ("a.jsonl", b'{"text": "\xff"}\n', "byte 10 is not UTF-8: convert the file"),
        ("a.json", b"[1, 2]", "not a readable json file: row 1 is 1, expected an object of columns"),
        ("a.json", b"[{", "not a readable json file: line 1: "),
        (
            "a.json",
            b'{"a": [1, 2], "b": [1]}',
            "not a readable json file: its columns are not of one length: a 2, b 1",
        ),
        (
            "a.json",
            b'{"text": {"0": "a", "1": "b"}, "label": {"0": 1, "1": 0}}',
            "not a readable json file: each column is an object, as pandas writes it by default: write it with orient=",
        ),
        ("a.json", b'[{"label": 1}, {"label": "x"}]', "not a readable json file: column 'label' mixes types"),
        ("a.json", b"[" * 100_000, "not a readable json file: it is nested too deeply"),
        ("a.jsonl", b'{"a": ' * 50_000, "not a readable jsonl file: it is nested too deeply"),
        ("a.json", b'[{"a": "\\ud800"}]', "holds half of a character, as an escape such as \\ud800: mend the row"),
        (
            "a.json",
            b'[{"a": 9223372036854775808}]',
            "not a readable json file: column 'a' holds a whole number of more than 64 bits",
        ),
        ("a.csv", b"te\x00xt,label\na,1\n", "the name of a column holds a zero byte: is it a csv file?"),
        ("a.parquet", b"PAR1 nothing PAR1", "not a readable parquet file: "),
        ("a.doc", b"", "unknown file type '.doc', one of .csv, .tsv, .json, .jsonl, .parquet, .txt"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    assert fault(tmp_path / name).startswith(said)


def test_files_that_are_not_there(tmp_path):
    assert fault(tmp_path / "a.csv") == "no such file: correct task.dataset.files"
    (tmp_path / "b.csv").mkdir()
    (tmp_path / "c").mkdir()
    assert fault(tmp_path / "c") == "is a folder, not a data file: correct task.dataset.files"
    assert fault(tmp_path / "b.csv") == "is a folder, not a data file: correct task.dataset.files"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "a.csv",
            b"text;label\na;0\n",
            "its one column is called 'text;label', and columns are divided by a comma",
        ),
        ("a.tsv", b"text,label\na,0\n", "its one column is called 'text,label', and columns are divided by a tab"),
        ("a.csv", "text,label\na,0\n".encode("utf-16"), "is UTF-16, not UTF-8: convert the file"),
        ("a.jsonl", '{"text": "a"}\n'.encode("utf-16"), "is UTF-16, not UTF-8: convert the file"),
    ],
)
def test_other_delimiters_and_encodings_are_told(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as raised:
        read_file(tmp_path / name)
    assert said in str(raised.value) and "\n" not in str(raised.value)
