from __future__ import annotations

import pytest
from huggingface_hub.errors import StrictDataclassFieldValidationError

from optkit.adapters import reason


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            StrictDataclassFieldValidationError("age", TypeError("Field 'age' expected int, got str")),
            "Field 'age' expected int, got str",
        ),
        (
            ValueError("Unrecognized class <class 'a.b.ViTConfig'> here. Choose another."),
            "Unrecognized class ViTConfig here",
        ),
        (KeyError("hidden_size"), "'hidden_size' is missing, or names nothing that is known"),
        (KeyError(0), "a value is missing or of the wrong type (Python ended with KeyError)"),
        (RecursionError("maximum recursion depth exceeded"), "it is nested too deeply"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "it is not UTF-8 text"),
        (ValueError("could not convert string to float: 'a'"), "'a' is no number"),
        (ValueError("invalid literal for int() with base 10: '1.5'"), "'1.5' is no number"),
        (RuntimeError(), "RuntimeError"),
        (
            RuntimeError("Error in loading:\n\tsize mismatch for a.weight\nand more"),
            "Error in loading: size mismatch for a.weight",
        ),
        (RuntimeError("the file ends early (3 bytes). Position 7 in core.cpp"), "the file ends early (3 bytes)"),
    ],
)
def test_what_a_library_says_is_told_in_words_for_users(error, said):
    assert reason(error) == said


def test_an_error_of_a_librarys_insides_names_the_library():
    import transformers

    with pytest.raises(TypeError) as raised:
        transformers.BertConfig.from_dict([1])
    assert reason(raised.value) == "a value is missing or of the wrong type (transformers ended with TypeError)"
