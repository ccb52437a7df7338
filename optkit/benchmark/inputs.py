"""Inputs of the engines: random ones, or texts of a file in batches, in their order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from optkit.errors import OptkitError, UsageError
from optkit.json_files import read_json

#: Special tokens at the start of the vocabularies of BERT and similar models.
_SPECIAL = 5
#: From so many tokens on a limit is none.
_NO_LIMIT = 1_000_000


@dataclass(frozen=True)
class InputSpec:
    """The inputs of a model, by the config beside it.

    Attributes:
        setup: the folder of its config and tokenizer.
        vocabulary: number of tokens; None for a model of images.
        longest: most tokens that it takes; None where it has no limit.
        pixels: (channels, height, width) of images; None for a model of tokens.
    """

    setup: Path
    vocabulary: int | None
    longest: int | None
    pixels: tuple[int, int, int] | None

    @classmethod
    def of(cls, setup: Path) -> InputSpec:
        """Reads ``config.json`` in ``setup``, and ``preprocessor_config.json`` for the size of images.

        Raises:
            OptkitError: if there is none, or it says neither a vocabulary nor a size of images.
        """
        from optkit.ir.shapes import said_image_size

        file = setup / "config.json"
        try:
            config = read_json(file)
        except OSError:
            raise OptkitError(
                f"{setup}: no config.json here, which describes the inputs: copy the checkpoint's"
            ) from None
        except ValueError as error:
            raise OptkitError(f"{file}: not JSON ({error}): copy it again") from None
        config = config if isinstance(config, dict) else {}
        vocabulary = config.get("vocab_size")
        if isinstance(vocabulary, int) and vocabulary > _SPECIAL:
            from optkit.models.positions import stored_longest_input

            return cls(setup, vocabulary, stored_longest_input(config), None)
        pixels = said_image_size(setup) or _image_size(config)
        if pixels is None:
            raise OptkitError(
                f"{file}: has neither vocab_size nor image_size: only models of text or images can be timed"
            )
        return cls(setup, None, None, pixels)


def _image_size(config: dict[str, Any]) -> tuple[int, int, int] | None:
    size = config.get("image_size")
    sides = size if isinstance(size, list) else [size, size]
    sizes = (config.get("num_channels", 3), *sides)
    return sizes if len(sizes) == 3 and all(isinstance(n, int) and n > 0 for n in sizes) else None


@dataclass(frozen=True)
class SharedInputs:
    """Inputs that all models of a comparison take, see ``InputSpec``."""

    vocabulary: int | None
    longest: int | None
    pixels: tuple[int, int, int] | None

    @classmethod
    def of(cls, specs: Sequence[InputSpec]) -> SharedInputs:
        """The inputs that all of ``specs`` allow.

        Raises:
            UsageError: if some take images and some text, or images of several sizes.
        """
        if len({each.pixels for each in specs}) > 1:
            differ = next(each for each in specs if each.pixels != specs[0].pixels)
            raise UsageError(f"{differ.setup} and {specs[0].setup} take different inputs: benchmark them separately")
        limits = [each.longest for each in specs if each.longest is not None]
        sizes = [each.vocabulary for each in specs if each.vocabulary is not None]
        return cls(min(sizes, default=None), min(limits, default=None), specs[0].pixels)

    def dummy_inputs(self, batch: int, seq: int, seed: int = 0) -> dict[str, np.ndarray]:
        """Random inputs: tokens (batch, seq) without padding, or pixels (batch, channels, height, width)."""
        rng = np.random.default_rng(seed)
        if self.pixels is not None:
            return {"pixel_values": rng.normal(size=(batch, *self.pixels)).astype(np.float32)}
        ids = rng.integers(_SPECIAL, self.vocabulary, (batch, seq), np.int64)
        return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


@dataclass(frozen=True)
class Texts:
    """Texts of a file as token ids, in the order of the file, not padded; and the tokenizer's padding."""

    ids: list[list[int]]
    types: list[list[int]] | None
    padding: int
    left_padded: bool

    @classmethod
    def read(cls, file: Path, specs: Sequence[InputSpec], seq: int | None) -> Texts:
        """The lines of ``file`` that are not empty, cut to ``seq`` tokens, or to what the models take.

        Args:
            specs: of all models; the first's tokenizer is used, and those of the others have to give the same tokens.

        Raises:
            UsageError: if there are no texts, or the models take none, or tokenize differently.
            OptkitError: if there is no tokenizer.
        """
        from optkit.models import load_tokenizer

        try:
            lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise UsageError(f"--texts: {file}: {why}") from None
        if not lines:
            raise UsageError(f"--texts: {file}: no texts here: write one a line")
        if specs[0].pixels is not None:
            raise UsageError(f"--texts: {specs[0].setup} takes images: leave --texts out")
        tokenizer, sample = load_tokenizer(specs[0].setup), lines[:100]
        for other in specs[1:]:
            if other.setup != specs[0].setup and load_tokenizer(other.setup)(sample) != tokenizer(sample):
                raise UsageError(
                    f"--texts: {other.setup} and {specs[0].setup} tokenize texts differently: benchmark them separately"
                )
        # Without a limit of its own a tokenizer says a number that no tensor has.
        limits = [seq, tokenizer.model_max_length, SharedInputs.of(specs).longest]
        longest = min((limit for limit in limits if limit is not None and limit < _NO_LIMIT), default=None)
        read = tokenizer(lines, truncation=longest is not None, max_length=longest)
        side = getattr(tokenizer, "padding_side", "right")
        return cls(read["input_ids"], read.get("token_type_ids"), tokenizer.pad_token_id, side == "left")

    def batches(self, size: int) -> list[dict[str, np.ndarray]]:
        """Texts in the order of the file, ``size`` at a time (the last may be fewer), padded to the longest."""
        return [self._batch(slice(start, start + size)) for start in range(0, len(self.ids), size)]

    def _batch(self, part: slice) -> dict[str, np.ndarray]:
        rows = self.ids[part]
        types = self.types[part] if self.types is not None else [[0] * len(row) for row in rows]
        ones = [[1] * len(row) for row in rows]
        return {
            "input_ids": self._padded(rows, self.padding),
            "attention_mask": self._padded(ones, 0),
            "token_type_ids": self._padded(types, 0),
        }

    def _padded(self, rows: Sequence[Sequence[int]], padding: int) -> np.ndarray:
        array = np.full((len(rows), max(map(len, rows))), padding, np.int64)
        for index, row in enumerate(rows):
            array[index, array.shape[1] - len(row) if self.left_padded else 0 :][: len(row)] = row
        return array

    def lengths(self) -> list[int]:
        """Tokens of each text."""
        return [len(row) for row in self.ids]
