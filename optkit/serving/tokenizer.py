"""Texts to token ids, by the folder's tokenizer.json and the package tokenizers alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optkit.errors import UsageError
from optkit.serving.errors import RequestError, TooLarge, Untokenizable

#: A text, or two that are one input.
Text = str | tuple[str, str]
#: Characters of a text for each token that the model takes: what is longer is cut, or refused, before it is tokenized.
_CHARACTERS = 250


@dataclass(slots=True)
class Tokens:
    """The tokens of one input.

    Attributes:
        ids, types: token ids and segment ids, lists of the same length.
        encoding: of the tokenizer, for the places of tokens in the text.
    """

    ids: list[int]
    types: list[int]
    encoding: Any

    def __len__(self) -> int:
        return len(self.ids)


class Tokenizer:
    """A fast tokenizer whose inputs have at most ``longest`` tokens. It may be called from several threads.

    Args:
        file: tokenizer.json.
        longest: tokens of an input.
        prompt: what stands before each text.
        places: whether tokens are to know their places in the text.
        lower: whether texts are brought to lower case first.

    Raises:
        UsageError: if the file is no tokenizer.
    """

    def __init__(self, file: Path, longest: int, *, prompt: str = "", places: bool = False, lower: bool = False):
        from tokenizers import Tokenizer as FastTokenizer
        from tokenizers import normalizers

        def load() -> Any:
            try:
                found = FastTokenizer.from_file(str(file))
            except Exception as error:  # the package has no class of its own for it
                raise UsageError(f"{file}: no tokenizer ({str(error).splitlines()[0]}): save it again") from None
            found.no_padding()
            found.no_truncation()
            if lower:
                after = [found.normalizer] if found.normalizer is not None else []
                found.normalizer = normalizers.Sequence([normalizers.Lowercase(), *after])
            return found

        # Truncation is a state of the tokenizer, and requests differ in it.
        self._whole, self._cut = load(), load()
        self._cut.enable_truncation(longest)
        self.longest, self.prompt, self._places = longest, prompt, places

    def encode(self, texts: Sequence[Text], *, truncate: bool) -> list[Tokens | RequestError]:
        """The tokens of each text, or why it has none.

        Args:
            truncate: whether what is too long is cut; else it is an error.
        """
        limit = _CHARACTERS * self.longest
        prepared, found = [], {}
        for index, text in enumerate(texts):
            if self.prompt:
                text = (self.prompt + text[0], text[1]) if isinstance(text, tuple) else self.prompt + text
            longest = max(map(len, text)) if isinstance(text, tuple) else len(text)
            if longest > limit:
                if not truncate:
                    found[index] = TooLarge(f"an input has more than {limit} characters")
                text = (text[0][:limit], text[1][:limit]) if isinstance(text, tuple) else text[:limit]
            prepared.append("" if index in found else text)
        tokenizer = self._cut if truncate else self._whole
        encodings = self._batch(tokenizer, prepared)
        return [found.get(index) or self._checked(encoding) for index, encoding in enumerate(encodings)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids.

        Raises:
            Untokenizable: if one is none of the vocabulary.
        """
        if ids and not 0 <= min(ids) <= max(ids) < self._whole.get_vocab_size():
            raise Untokenizable("a token id is not in the model's vocabulary")
        return self._whole.decode(list(ids))

    def _batch(self, tokenizer: Any, texts: Sequence[Text]) -> list[Any]:
        encode = tokenizer.encode_batch if self._places else tokenizer.encode_batch_fast
        try:
            return encode(texts)
        except Exception:  # of one of them: the others are not to suffer
            return [_alone(encode, text) for text in texts]

    def _checked(self, encoding: Any) -> Tokens | RequestError:
        if encoding is None:
            return Untokenizable("the tokenizer failed on an input")
        tokens = Tokens(encoding.ids, encoding.type_ids, encoding)
        if len(tokens) > self.longest:
            return TooLarge(f"an input has {len(tokens)} tokens, and the model takes {self.longest}")
        return tokens if len(tokens) else Untokenizable("an input has no tokens")


def _alone(encode: Any, text: Text) -> Any:
    try:
        return encode([text])[0]
    except Exception:
        return None
