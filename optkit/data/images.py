"""Images of a data set: from a folder, and from whatever a column holds to what an image processor takes."""

from __future__ import annotations

import io
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from optkit.errors import DataError, PlanError

if TYPE_CHECKING:
    from PIL.Image import Image

ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
#: How many times 8-bit values are in 16-bit ones.
_SIXTEEN = 257


class View(io.RawIOBase):
    """An open file of what lies in memory, or on a disk mapped into it: nothing is copied but what is read."""

    def __init__(self, data: Any):
        self._data, self._at = memoryview(data), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + (0, self._at, len(self._data))[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        part = self._data[self._at : self._at + len(buffer)]
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)


def require_pillow() -> None:
    """Raises PlanError where Pillow is not installed."""
    if find_spec("PIL") is None:
        raise PlanError("images need Pillow, which is not installed: pip install 'optkit[vision]'")


def read_folder(folder: Path, key: str = "task.dataset.files") -> pa.Table:
    """A folder for each class, with its images: columns ``image`` (paths) and ``label``, by name of class and file.

    Raises:
        DataError: if there is no image in a folder of a folder.
    """
    found = [
        file
        for file in sorted(folder.glob("*/*"))
        if file.suffix.lower() in ENDINGS and not any(name.startswith(".") for name in file.parts[-2:])
    ]
    if not found:
        raise DataError(f"{folder}: no image in a folder for its class, such as cats/1.png: correct {key}")
    return pa.table({"image": [str(file) for file in found], "label": [file.parent.name for file in found]})


def open_image(value: Any) -> Image:
    """The image that a cell of a data set holds; its pixels are read later.

    Args:
        value: a path, bytes of a file, ``{"bytes": ..., "path": ...}`` of which one may be None, an image of Pillow's,
            an open file, or an array of bytes (height, width) or (height, width, channels).

    Raises:
        ValueError, OSError: for what is no image.
    """
    import PIL
    import PIL.Image

    if isinstance(value, dict):
        value = value["path"] if value.get("bytes") is None else value["bytes"]
    if isinstance(value, PIL.Image.Image):
        return value
    if isinstance(value, (list, np.ndarray)):
        pixels = np.asarray(value)
        if pixels.ndim not in (2, 3) or pixels.dtype.kind not in "iu" or pixels.min() < 0 or pixels.max() > 255:
            raise ValueError(f"an array {pixels.shape} of {pixels.dtype} is no image of bytes")
        if pixels.ndim == 3 and pixels.shape[2] not in (1, 3, 4):
            raise ValueError(f"an array {pixels.shape} is no image: (height, width) or (height, width, 1, 3 or 4)")
        pixels = pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
        return PIL.Image.fromarray(pixels.astype(np.uint8))
    if not isinstance(value, (str, bytes)) and not hasattr(value, "read"):
        raise ValueError(f"{type(value).__name__} is no image")
    with warnings.catch_warnings():
        # What Pillow says of large images; those that are too large are errors.
        warnings.simplefilter("ignore")
        try:
            return PIL.Image.open(io.BytesIO(value) if isinstance(value, bytes) else value)
        except PIL.UnidentifiedImageError:
            raise ValueError("it is no image file") from None


def pixels(image: Image, channels: int) -> np.ndarray:
    """The pixels of ``image`` as bytes (height, width, channels), the right way up.

    Transparency is dropped, 16-bit greys are scaled to 8 bits.

    Args:
        channels: 1 for greys, 3 for colours.

    Raises:
        ValueError, OSError: if the file is damaged, or holds pixels that are no colours.
    """
    import PIL.ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = PIL.ImageOps.exif_transpose(image)
    except Exception:
        image.close()  # Pillow keeps the file open where it cannot read it to the end
        raise
    if image.mode.startswith("I"):
        greys = np.asarray(image)
        image = PIL.Image.fromarray((np.clip(greys, 0, 65535) // _SIXTEEN).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("its pixels are fractions, and not 8 or 16 bits")
    mode = {1: "L", 3: "RGB"}.get(channels)
    if mode is None:
        raise ValueError(f"the model takes images of {channels} channels, and files have 1 or 3")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    found = np.asarray(image.convert(mode))
    return found if found.ndim == 3 else found[:, :, None]
