"""CTranslate2, which runs the encoder; PyTorch runs the head."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from optkit.adapters.ctranslate2 import with_encoder
from optkit.benchmark.engines.base import Inputs, Setting
from optkit.benchmark.engines.torch import Torch
from optkit.errors import OptkitError


class Ctranslate2(Torch):
    """A transformers model whose encoder CTranslate2 runs in int8; the head is torch's, in fp32.

    Args:
        folder: of the converted encoder.
        model: whole.
    """

    def __init__(self, folder: Path, model: Any, setting: Setting):
        super().__init__(model, setting)
        self._folder, self._whole = folder, self.model
        try:
            self.model = self._open(setting.threads)
        except OptkitError:
            self.close()
            raise

    def _open(self, threads: int) -> Any:
        return with_encoder(self._whole, self._folder, threads)

    def worker(self, number: int, threads: int) -> Callable[[Inputs], Callable[[], Any]]:
        torch.set_num_threads(threads)  # of the thread that calls it
        model = self._open(threads)
        return lambda inputs: self._prepare(model, inputs)
