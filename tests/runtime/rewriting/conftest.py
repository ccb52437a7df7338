"""IRs that the tests of the rewriting share, exported once."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
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
                _quantize(get(architecture, "fp32"), path)
        return path

    return get


def _export(architecture: str, path: Path) -> None:
    from optkit.adapters import optimum

    small_model(architecture).save_pretrained(path / "checkpoint")
    task = "image-classification" if architecture == "vit" else "text-classification"
    optimum.convert(path / "checkpoint", path, task=task)


def _quantize(source: Path, path: Path) -> None:
    from optkit.adapters import nncf
    from optkit.ir.io import read_model, save_model
    from optkit.quantization.config import Quantization

    # In half the range: what a test leaves to OpenVINO is then exact on CPUs without VNNI, too.
    model, rng = read_model(source), np.random.default_rng(0)
    if any("pixel_values" in port.get_names() for port in model.inputs):
        samples = [{"pixel_values": rng.normal(size=(3, 32, 32)).astype(np.float32)} for _ in range(3)]
    else:
        samples = [{"input_ids": rng.integers(2, 60, 20).tolist()} for _ in range(3)]
    quantized = nncf.quantize_int8(model, samples, quantization=Quantization())
    save_model(quantized, path)
