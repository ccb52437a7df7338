"""A compiled model with its tokenizer: tokens in, rows of its output out, each call in the thread that makes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from optkit.errors import OptkitError, UsageError
from optkit.runtime.compiling import compile_model
from optkit.serving.errors import RequestError
from optkit.serving.outputs import pool
from optkit.serving.tokenizer import Tokenizer, Tokens

if TYPE_CHECKING:
    from optkit.serving.folder import ModelFolder

#: Inputs that a model may have.
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
#: Tokens of an input where the model has no limit.
_LONGEST = 8192


@dataclass(frozen=True)
class RunnerOptions:
    """How a model is run.

    Attributes:
        threads: of all streams together.
        streams: batches computed at the same time.
        plan: of the sparse runtime, see ``optkit.compile_model``; a baked IR contains its own.
        precision: INFERENCE_PRECISION_HINT, ``f32`` or ``bf16``; None leaves it to OpenVINO.
        max_length: tokens of an input; None for as many as the model takes.
        max_batch, max_batch_tokens: inputs of a batch, and their tokens, padding included.
        max_wait: seconds that an input waits for others while nothing else is computed.
        max_queue: inputs that wait at the same time; further ones are refused.
    """

    threads: int = 1
    streams: int = 1
    plan: str = "static"
    precision: str | None = None
    max_length: int | None = None
    max_batch: int = 32
    max_batch_tokens: int = 4096
    max_wait: float = 0.0
    max_queue: int = 1024


class Encoder:
    """A model of a folder, compiled for ``options.streams`` batches at a time.

    Attributes:
        folder: as given.
        compiled: OpenVINO's model.
        tokenizer: of the folder.
        longest: tokens of an input.
        max_batch: inputs of a batch.
        labels: of the outputs, as many as the model has; empty for embeddings.
        precision: of OpenVINO's own layers, such as ``f32``.

    Raises:
        OptkitError: if the model or the tokenizer cannot be loaded, or the model has inputs that are not served.
    """

    def __init__(self, folder: ModelFolder, options: RunnerOptions):
        self.folder = folder
        config: dict[str, Any] = {"NUM_STREAMS": options.streams, "INFERENCE_NUM_THREADS": options.threads}
        # OpenVINO would bind its threads to the first cores, and so would every other worker and replica beside it.
        config["ENABLE_CPU_PINNING"] = False
        if options.precision:
            config["INFERENCE_PRECISION_HINT"] = options.precision
        self.compiled = compile_model(folder.path, config, plan=options.plan)
        self._inputs = {self._input_name(port): port.get_element_type().to_dtype() for port in self.compiled.inputs}
        self._fixed = self._fixed_shape()
        limits = (folder.longest, options.max_length, self._fixed and self._fixed[1])
        self.longest = min((limit for limit in limits if limit), default=_LONGEST)
        self.max_batch = min(options.max_batch, self._fixed[0]) if self._fixed else options.max_batch
        self.labels = self._named_outputs()
        self.precision = _type_name(self.compiled.get_property("INFERENCE_PRECISION_HINT"))
        self.tokenizer = Tokenizer(
            folder.tokenizer_file,
            self.longest,
            prompt=folder.embedding.prompt if folder.embedding else "",
            lower=bool(folder.embedding and folder.embedding.lower),
            places=folder.task == "token-classification",
        )

    def new_request(self) -> Any:
        """A request of OpenVINO's for ``infer``, which has computed something: the first inference takes longer.

        Raises:
            OptkitError: if the model fails.
        """
        request = self.compiled.create_infer_request()
        tokens = self.tokenizer.encode(["a"], truncate=True)[0]
        if isinstance(tokens, RequestError):
            raise OptkitError(f"{self.folder.tokenizer_file}: {tokens}: save it again")
        try:
            self.infer(request, [tokens])
        except RuntimeError as error:
            raise OptkitError(f"{self.folder.path}: the model fails: {error}") from error
        return request

    def infer(self, request: Any, batch: Sequence[Tokens]) -> list[np.ndarray]:
        """What the model computes for each input of a batch: logits (classes,), a pooled vector (width,), or logits of
        its tokens (tokens, labels), all float32.

        Args:
            request: of OpenVINO's; no other thread may use it at the same time.
            batch: at most ``max_batch`` inputs.

        Raises:
            RuntimeError: if OpenVINO fails, or a number is not finite.
        """
        inputs = self._padded(batch)
        request.start_async({name: inputs[name] for name in self._inputs}, share_inputs=True)
        request.wait()
        output = np.asarray(request.get_output_tensor(0).data)[: len(batch)]
        mask = inputs["attention_mask"][: len(batch)]
        if self.folder.embedding is not None and output.ndim == 3:
            output = pool(output, mask, self.folder.embedding.pooling)
        output = np.array(output, np.float32)  # a copy: the request's own is written by the next batch
        if not np.isfinite(output).all():
            raise RuntimeError("the model's output is not finite")
        return [row[real > 0] for row, real in zip(output, mask)] if output.ndim == 3 else list(output)

    def _padded(self, batch: Sequence[Tokens]) -> dict[str, np.ndarray]:
        """The inputs of a batch, (batch, tokens of the longest) or of the one shape that the model takes."""
        rows, length = self._fixed or (len(batch), max(map(len, batch)))
        pad, pad_type, side = self.folder.padding
        found = {
            name: np.full((rows, length), value, self._inputs.get(name, np.int64))
            for name, value in zip(_INPUTS, (pad, 0, pad_type))
        }
        ids, mask, types = found.values()
        for row, tokens in enumerate(batch):
            count = len(tokens)
            place = slice(0, count) if side == "right" else slice(length - count, length)
            ids[row, place], mask[row, place], types[row, place] = tokens.ids, 1, tokens.types
        mask[len(batch) :, 0] = 1  # rows that nobody asks for
        return found

    def _input_name(self, port: Any) -> str:
        name = next((name for name in _INPUTS if name in port.get_names()), None)
        if name is None:
            other = f"{self.folder.path}: the model has an input '{port.get_any_name()}'"
            raise UsageError(f"{other}: only {', '.join(_INPUTS)} are served")
        return name

    def _fixed_shape(self) -> tuple[int, int] | None:
        """Batch and length of the only inputs that the model takes; None for any."""
        shape = self.compiled.inputs[0].get_partial_shape()
        return None if shape.is_dynamic else (shape[0].get_length(), shape[1].get_length())

    def _named_outputs(self) -> tuple[str, ...]:
        if self.folder.embedding is not None:
            return ()
        shape = self.compiled.outputs[0].get_partial_shape()
        width, names = shape[len(shape) - 1], self.folder.labels
        count = width.get_length() if width.is_static else len(names)
        if names and len(names) != count:
            differ = f"config.json names {len(names)} outputs, and the model has {count}"
            raise UsageError(f"{self.folder.path}: {differ}: correct id2label")
        return names or tuple(f"LABEL_{index}" for index in range(count))


def _type_name(precision: Any) -> str:
    return str(precision.get_type_name() if hasattr(precision, "get_type_name") else precision)
