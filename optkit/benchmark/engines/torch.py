"""PyTorch, in eager mode and by torch.compile."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch

from optkit.adapters import reason
from optkit.benchmark.engines.base import Inputs, Setting
from optkit.benchmark.engines.streams import ThreadedEngine
from optkit.errors import OptkitError


class Torch(ThreadedEngine):
    """A transformers model, in eager mode. Until it is closed, torch has the threads of ``setting``.

    Args:
        model: on the CPU.
    """

    def __init__(self, model: Any, setting: Setting):
        super().__init__(setting)
        self.model = model.eval()
        self._input_names = set(inspect.signature(model.forward).parameters)
        self._threads_before = torch.get_num_threads()
        torch.set_num_threads(setting.threads)

    def close(self) -> None:
        super().close()
        torch.set_num_threads(self._threads_before)

    def prepare(self, inputs: Inputs) -> Callable[[], Any]:
        return self._prepare(self.model, inputs)

    def _prepare(self, model: Any, inputs: Inputs) -> Callable[[], Any]:
        tensors = {name: torch.from_numpy(array) for name, array in inputs.items() if name in self._input_names}

        def infer() -> Any:
            with torch.inference_mode():
                return model(**tensors)[0]

        return infer

    def worker(self, number: int, threads: int) -> Callable[[Inputs], Callable[[], Any]]:
        torch.set_num_threads(threads)  # of the thread that calls it
        return self.prepare


class CompiledTorch(Torch):
    """A transformers model by ``torch.compile`` with its defaults: compiled at its first inference, and again for other
    shapes.

    Args:
        bf16: whether weights and activations are bfloat16.
    """

    def __init__(self, model: Any, setting: Setting, *, bf16: bool = False):
        super().__init__(model.to(torch.bfloat16) if bf16 else model, setting)
        self._type = torch.bfloat16 if bf16 else torch.float32
        self.model = torch.compile(self.model)

    def prepare(self, inputs: Inputs) -> Callable[[], Any]:
        tensors = {name: torch.from_numpy(array) for name, array in inputs.items() if name in self._input_names}
        given = {name: each.to(self._type) if each.is_floating_point() else each for name, each in tensors.items()}

        def infer() -> Any:
            with torch.inference_mode():
                return self.model(**given)[0].float()

        try:
            infer()
        except Exception as error:  # the compiler raises errors of many classes
            raise OptkitError(f"torch.compile cannot compile the model: {reason(error)}") from error
        return infer
