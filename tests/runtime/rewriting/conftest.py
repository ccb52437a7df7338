"""IRs that the tests of the rewriting share, exported once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from architectures import small_model

HERE = Path(__file__).parent
if str(HERE) not in sys.path:
    sys.path.append(str(HERE))


@pytest.fixture(scope="session")
def ir(tmp_path_factory):
    """Returns the folder of an IR by architecture and precision, ``fp32`` or ``int8``; every parameter is random."""
    folder = tmp_path_factory.mktemp("irs")

    def get(architecture: str, precision: str) -> Path:
        path = folder / architecture / precision
        if not path.exists():
            path.mkdir(parents=True)
            if precision == "fp32":
                _export(architecture, path)
            else:
                from rewritten import quantized

                quantized(get(architecture, "fp32"), path)
        return path

    return get


def _export(architecture: str, path: Path) -> None:
    from optkit.export import conversion

    small_model(architecture).save_pretrained(path / "checkpoint")
    task = "image-classification" if architecture == "vit" else "text-classification"
    conversion.convert(path / "checkpoint", path, task=task)
