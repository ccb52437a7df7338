"""What the tests of tasks on text share."""

from __future__ import annotations

import pytest

from optkit import models


@pytest.fixture(scope="session")
def tokenizer(tiny_checkpoint):
    """That of ``tiny_checkpoint``."""
    return models.load_tokenizer(tiny_checkpoint)
