"""What the runtime's tests share. The modules beside this file (reference, programs) can be imported."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from capabilities import need

HERE = Path(__file__).parent
if str(HERE) not in sys.path:
    sys.path.append(str(HERE))


@pytest.fixture(scope="session")
def extension():
    """The module that finds the compiled library; skips where there is none."""
    from optkit.runtime import extension

    need("extension")
    return extension
