from __future__ import annotations

import io

import numpy as np
import PIL.Image
import pytest

from optkit.data import images
from optkit.errors import DataError, PlanError

GREYS = np.arange(35, dtype=np.uint8).reshape(5, 7) * 7


def written(image, kind="PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def test_whatever_a_cell_holds(tmp_path):
    data = written(PIL.Image.fromarray(GREYS))
    path = tmp_path / "a.png"
    path.write_bytes(data)
    cells = [data, str(path), {"bytes": data, "path": None}, {"bytes": None, "path": str(path)}, GREYS.tolist()]
    for cell in [*cells, GREYS, GREYS[:, :, None], PIL.Image.fromarray(GREYS), io.BytesIO(data), images.View(data)]:
        found = images.pixels(images.open_image(cell), 1)
        assert found.dtype == np.uint8 and np.array_equal(found[:, :, 0], GREYS)


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (b"nothing", "it is no image file"),
        (b"", "it is no image file"),
        (3, "int is no image"),
        ([[1, 2], [3, 400]], "an array (2, 2) of int64 is no image of bytes"),
        ([1, 2], "an array (2,) of int64 is no image of bytes"),
        ([[0.5]], "an array (1, 1) of float64 is no image of bytes"),
        (
            np.zeros((3, 4, 5), np.uint8),
            "an array (3, 4, 5) is no image: (height, width) or (height, width, 1, 3 or 4)",
        ),
    ],
)
def test_what_is_no_image(cell, said):
    with pytest.raises(ValueError) as raised:
        images.open_image(cell)
    assert str(raised.value) == said


def test_colours_of_every_kind_of_file():
    colours = np.stack([GREYS, GREYS[::-1], 255 - GREYS], axis=-1)
    see_through = np.concatenate([colours, np.zeros_like(colours[:, :, :1])], axis=-1)
    for array, wanted in ((colours, colours), (see_through, colours), (GREYS, np.stack([GREYS] * 3, axis=-1))):
        assert np.array_equal(images.pixels(images.open_image(written(PIL.Image.fromarray(array))), 3), wanted)
    palette = PIL.Image.fromarray(colours).convert("P")
    wanted = np.asarray(palette.convert("RGB"))
    assert np.array_equal(images.pixels(images.open_image(written(palette, transparency=b"\0\1")), 3), wanted)


def test_greys_of_16_bits_are_scaled_and_not_cut():
    deep = PIL.Image.fromarray(GREYS.astype(np.uint16) * 257)
    for kind in ("PNG", "TIFF"):
        assert np.array_equal(images.pixels(images.open_image(written(deep, kind)), 1)[:, :, 0], GREYS)


def test_fractions_are_refused():
    with pytest.raises(ValueError, match="fractions"):
        images.pixels(images.open_image(written(PIL.Image.fromarray(GREYS.astype(np.float32)), "TIFF")), 3)


def test_a_photograph_taken_upside_down():
    exif = PIL.Image.Exif()
    exif[274] = 3  # by 180 degrees
    found = images.pixels(images.open_image(written(PIL.Image.fromarray(GREYS), exif=exif)), 1)
    assert np.array_equal(found[:, :, 0], GREYS[::-1, ::-1])


def test_a_folder_for_each_class(tmp_path):
    for name in ("cats/2.png", "cats/10.JPG", "birds/1.png", "birds/notes.txt", ".cache/1.png", "1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    table = images.read_folder(tmp_path)
    assert table.column("label").to_pylist() == ["birds", "cats", "cats"]
    assert table.column("image").to_pylist() == [
        str(tmp_path / name) for name in ("birds/1.png", "cats/10.JPG", "cats/2.png")
    ]
    with pytest.raises(DataError, match="no image in a folder for its class"):
        images.read_folder(tmp_path / "cats")


def test_without_pillow_a_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(images, "find_spec", lambda name: None)
    with pytest.raises(PlanError) as raised:
        images.require_pillow()
    assert str(raised.value) == "images need Pillow, which is not installed: pip install 'optkit[vision]'"
