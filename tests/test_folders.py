"""Results take the place that was asked for, whatever kind of folder it is."""

from __future__ import annotations

import pytest

from optkit.folders import move_into_place


@pytest.fixture
def made(tmp_path):
    folder = tmp_path / ".made"
    (folder / "inside").mkdir(parents=True)
    (folder / "inside" / "a").write_text("1")
    (folder / "b").write_text("2")
    return folder


def taken(folder) -> dict[str, str]:
    return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("kind", ["new", "empty", "link", "current"])
def test_a_place_of_each_kind(made, tmp_path, monkeypatch, kind):
    place = tmp_path / "place"
    if kind == "link":
        (tmp_path / "elsewhere").mkdir()
        place.symlink_to("elsewhere")
    elif kind != "new":
        place.mkdir()
    if kind == "current":
        monkeypatch.chdir(place)
        move_into_place(made, type(place)("."))
    else:
        move_into_place(made, place)
    assert taken(place) == {"inside/a": "1", "b": "2"} and not made.exists()
    assert place.is_symlink() == (kind == "link")


def test_a_file_is_no_place(made, tmp_path):
    (tmp_path / "place").write_text("mine")
    with pytest.raises(OSError):
        move_into_place(made, tmp_path / "place")
    assert (tmp_path / "place").read_text() == "mine" and taken(made)
