"""A small model of the same architecture, exported before the real one is trained.

Only trying tells whether a type can be converted with these releases. Those that are known to work for every task are
not tried.
"""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from optkit.adapters import nncf, onnx, quiet, reason
from optkit.errors import ExportError, OptkitError
from optkit.export import conversion
from optkit.export.fp32 import convert
from optkit.models import longest_input
from optkit.models.encoder_decoder import auto_class_for
from optkit.models.shrinking import special_tokens, with_layers
from optkit.quantization.config import Quantization

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

#: Of a stand-in: its vocabulary, beside the ids that its configuration names; its layers, more where one fails; and the
#: lengths of the texts that it is calibrated with.
_WORDS, _LAYERS, _LENGTHS = 100, (1, 3), (12, 5, 9)
#: Types that torch is known to trace.
_TRACED = ("bert", "deberta-v2")
_found: dict[str, str | None] = {}


def openvino_problem(
    config: PretrainedConfig, auto_class: str, task: str, *, tokenizer: Any, quantization: Quantization | None
) -> str | None:
    """Why a model of ``config`` cannot be exported as an IR, in a line; None where it can.

    Args:
        auto_class: of transformers, for the task.
        task: optimum's name of it.
        tokenizer: what is saved with the model; an image processor, or None, too.
        quantization: None for fp32.
    """
    if config.model_type in conversion.PROVEN:
        return None
    key = json.dumps(
        ["openvino", auto_class, task, quantization is None, config.to_dict()], sort_keys=True, default=str
    )
    if key not in _found:
        for layers in _LAYERS:
            try:
                why = _try_export(stand_in(config, auto_class, layers), task, tokenizer, quantization)
            except ExportError:  # nothing is known of a type of which none can be made
                why = None
            if why is None:
                break
        _found[key] = why and conversion.refusal(config.model_type, task, why)
    return _found[key]


def onnx_problem(config: PretrainedConfig, auto_class: str) -> str | None:
    """Why torch cannot trace a model of ``config`` for ONNX; None where it can."""
    if config.model_type in _TRACED:
        return None
    key = json.dumps(["onnx", auto_class, config.to_dict()], sort_keys=True, default=str)
    if key not in _found:
        for layers in _LAYERS:
            why = _trace(stand_in(config, auto_class, layers))
            if why is None:
                break
        _found[key] = why
    return _found[key]


def _trace(model: PreTrainedModel) -> str | None:
    with tempfile.TemporaryDirectory() as folder:
        with quiet():
            model.save_pretrained(folder)
        try:
            onnx.trace(Path(folder))
        except OptkitError as error:
            return str(error).removeprefix(f"{folder}: ")
    return None


def _try_export(model: PreTrainedModel, task: str, tokenizer: Any, quantization: Quantization | None) -> str | None:
    with tempfile.TemporaryDirectory() as name:
        folder, output = Path(name, "checkpoint"), Path(name, "ir")
        output.mkdir()
        try:
            with quiet():
                model.save_pretrained(folder)
                if tokenizer is not None:
                    tokenizer.save_pretrained(folder)
            source = convert(folder, output, export_task=task)
            if quantization is not None and "input_ids" in {
                n for port in source.model.inputs for n in port.get_names()
            }:
                nncf.quantize_int8(source.model, _samples(model.config), quantization=quantization)
        except OptkitError as error:
            return str(error).removeprefix(f"{folder}: it cannot be converted for {task}: ")
    return None


def _samples(config: PretrainedConfig) -> list[dict[str, Sequence[int]]]:
    longest = longest_input(config) or max(_LENGTHS)
    token = config.vocab_size - 1
    return [{"input_ids": [token] * min(length, longest)} for length in _LENGTHS]


def stand_in(config: PretrainedConfig, auto_class: str, layers: int) -> PreTrainedModel:
    """A model of ``config`` with random weights, a small vocabulary, and so few layers, or all where it takes no fewer.

    Raises:
        ExportError: if not even the whole of it can be made.
    """
    small = copy.deepcopy(config)
    if type(getattr(config, "vocab_size", None)) is int:
        small.vocab_size = min(config.vocab_size, max(special_tokens(config), default=0) + _WORDS)
    for few in (with_layers(small, layers), small, config):
        try:
            with quiet(), torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                return auto_class_for(auto_class, few).from_config(few).float().eval()
        except Exception as error:  # each architecture refuses sizes in its own way
            why = error
    raise ExportError(f"no small model of it can be made: {reason(why)}")
