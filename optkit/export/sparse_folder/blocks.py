"""A matrix that is mostly zero as its blocks that are not, and where they stand. Numpy alone, exact to the bit.

The form is block compressed sparse row storage (BSR: Saad 2003, Iterative Methods for Sparse Linear Systems, 3.4), with
single elements as its smallest block and whole rows or columns as its largest. Where the blocks stand is written in
the shorter of two ways: a bit for each block, or for each row of blocks how many there are and in which columns.

Numbers are handled as unsigned integers of their size, so that every NaN stays what it is. Floats that were multiplied
by a mask are -0.0 where they were negative: a bit for each number then says which zeros are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from optkit.counting.zeros import BLOCKS, live_blocks

#: How the places of blocks are written down, each with the names of its arrays.
POSITIONS = {"bitmap": ("bitmap",), "columns": ("counts", "columns")}
#: Share of a matrix's bytes that blocks may take: to save less is not worth a form that fewer programs read.
_WORTH = 0.95
_UNSIGNED = {"U8": np.uint8, "U16": np.uint16, "U32": np.uint32}


class BadBlocks(ValueError):
    """What was read is no blocks of a matrix; the message says why."""


@dataclass(frozen=True)
class Blocks:
    """A matrix of ``shape`` (out, in) in blocks.

    Attributes:
        block: rows and columns of one.
        kept: number of blocks that are stored; all others are zero.
        positions: ``bitmap`` or ``columns``.
        arrays: ``values`` (kept, rows, columns) in the order of rows of blocks, then columns; and by ``positions``

            - ``bitmap``: uint8, bit ``i % 8`` (the lowest first) of byte ``i // 8``: whether block ``i`` is stored;
            - ``counts`` (out / rows,) of stored blocks in each row of blocks, ``columns`` (kept,) of them, ascending.

            and where needed ``minus``: uint8, a bit for each number by rows, whether it is -0.0 outside stored blocks.
    """

    shape: tuple[int, int]
    block: tuple[int, int]
    kept: int
    positions: str
    arrays: Mapping[str, np.ndarray]

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self.arrays.values())


def pack(matrix: np.ndarray, *, floats: bool) -> Blocks | None:
    """The bits of ``matrix`` (out, in) in the blocks that take least, None where none take much less than it does.

    Of blocks that take the same, the largest is chosen.

    Args:
        matrix: unsigned integers.
        floats: whether they stand for floats, of which there are two zeros.
    """
    minus = matrix == _minus_zero(matrix.dtype) if floats else np.zeros(matrix.shape, dtype=bool)
    alive = (matrix != 0) & ~minus
    if np.count_nonzero(alive) > _WORTH * matrix.size:
        return None

    def size(block: tuple[int, int]) -> int:
        live = live_blocks(alive, *block)
        places = min(-(-live.size // 8), sum(array.nbytes for array in _by_column(live).values()))
        return np.count_nonzero(live) * prod(block) * matrix.itemsize + places

    found = _pack(matrix, minus, *min(_shapes(*matrix.shape), key=size))
    return found if found.nbytes < _WORTH * matrix.nbytes else None


def unpack(blocks: Blocks) -> np.ndarray:
    """The matrix that ``blocks`` stand for.

    Raises:
        BadBlocks: if the arrays are not what ``Blocks`` says. Nothing large is made before that is known.
    """
    values, (rows, cols) = blocks.arrays["values"], blocks.block
    if values.shape != (blocks.kept, rows, cols):
        raise BadBlocks(f"its values are {values.shape}, not {(blocks.kept, rows, cols)}")
    across = blocks.shape[1] // cols
    live = _live(blocks, blocks.shape[0] // rows, across)
    matrix = np.zeros(blocks.shape, dtype=values.dtype)
    matrix.reshape(-1, rows, across, cols).swapaxes(1, 2)[live] = values
    if (packed := blocks.arrays.get("minus")) is not None:
        minus = _bits(packed, matrix.size, "minus").reshape(matrix.shape)
        if matrix[minus].any():
            raise BadBlocks("its minus names numbers that are not zero")
        matrix[minus] = _minus_zero(matrix.dtype)
    return matrix


def index_type(largest: int) -> str:
    """The smallest unsigned type, by safetensors' name, that holds ``largest``."""
    return next(name for name, dtype in _UNSIGNED.items() if largest <= np.iinfo(dtype).max)


def _shapes(height: int, width: int) -> Iterator[tuple[int, int]]:
    """Blocks that tile a matrix, the largest first: the usual ones, whole rows and columns, elements."""
    named = {tuple(map(int, name.split("x"))) for name in BLOCKS} | {(1, width), (height, 1), (1, 1)}
    tiling = [(rows, cols) for rows, cols in named if not (height % rows or width % cols)]
    yield from sorted(tiling, key=lambda block: (-prod(block), block))


def _minus_zero(dtype: np.dtype) -> np.unsignedinteger:
    return dtype.type(1 << (8 * dtype.itemsize - 1))


def _grid(matrix: np.ndarray, rows: int, cols: int) -> np.ndarray:
    """A view of ``matrix`` as its blocks: (out / rows, in / cols, rows, cols)."""
    height, width = matrix.shape
    return matrix.reshape(height // rows, rows, width // cols, cols).swapaxes(1, 2)


def _pack(matrix: np.ndarray, minus: np.ndarray, rows: int, cols: int) -> Blocks:
    live = live_blocks((matrix != 0) & ~minus, rows, cols)
    arrays = {"values": _grid(matrix, rows, cols)[live]}
    if _grid(minus, rows, cols)[~live].any():
        outside = minus.copy()
        _grid(outside, rows, cols)[live] = False
        arrays["minus"] = np.packbits(outside, bitorder="little")
    kept = len(arrays["values"])
    bitmap = {"bitmap": np.packbits(live, bitorder="little")}
    by_column = _by_column(live)
    shorter = sum(array.nbytes for array in by_column.values()) < bitmap["bitmap"].nbytes
    positions, places = ("columns", by_column) if shorter else ("bitmap", bitmap)
    return Blocks(matrix.shape, (rows, cols), kept, positions, arrays | places)


def _by_column(live: np.ndarray) -> dict[str, np.ndarray]:
    """The places of stored blocks as counts and columns, see ``Blocks``."""
    counts, columns = live.sum(axis=1), np.nonzero(live)[1]
    return {
        "counts": counts.astype(_UNSIGNED[index_type(live.shape[1])]),
        "columns": columns.astype(_UNSIGNED[index_type(live.shape[1] - 1)]),
    }


def _live(blocks: Blocks, down: int, across: int) -> np.ndarray:
    """Which blocks are stored: bool (down, across)."""
    if blocks.positions == "bitmap":
        bits = _bits(blocks.arrays["bitmap"], down * across, "bitmap")
        if np.count_nonzero(bits) != blocks.kept:
            raise BadBlocks(f"its bitmap does not name {blocks.kept} of {down * across} blocks")
        return bits.reshape(down, across)
    counts, columns = blocks.arrays["counts"], blocks.arrays["columns"]
    if counts.shape != (down,) or columns.shape != (blocks.kept,):
        raise BadBlocks(f"it has {counts.size} counts and {columns.size} columns for {blocks.kept} blocks")
    row = np.repeat(np.arange(down), counts) if int(counts.sum(dtype=np.uint64)) == blocks.kept else None
    if row is None:
        raise BadBlocks(f"its counts do not add up to {blocks.kept} blocks")
    follows = row[1:] == row[:-1]
    if (columns >= across).any() or (columns[1:] <= columns[:-1])[follows].any():
        raise BadBlocks(f"its columns are not in order, or not below {across}")
    live = np.zeros((down, across), dtype=bool)
    live[row, columns] = True
    return live


def _bits(packed: np.ndarray, count: int, name: str) -> np.ndarray:
    """``count`` bits, as bool, of the bytes ``packed``."""
    if packed.shape != (-(-count // 8),):
        raise BadBlocks(f"its {name} has {packed.size} bytes for {count} bits")
    bits = np.unpackbits(packed, bitorder="little").astype(bool)
    if bits[count:].any():
        raise BadBlocks(f"its {name} has bits after the last of {count}")
    return bits[:count]
