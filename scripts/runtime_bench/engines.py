"""The engines: each gives one inference as a function of nothing, its inputs in place, and its logits."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from runtime_bench.models import DENSE, LONGEST, Case, random_model, ready, ready_onnx

from optkit.errors import OptkitError

# Engine to what it is, in the order of tables. Those on DENSE_ONLY gain nothing from zeros, on any model.
ENGINES = {
    "torch": "torch, fp32",
    "onnxruntime": "ONNX Runtime, fp32",
    "openvino-fp32": "OpenVINO, fp32",
    "openvino-int8": "OpenVINO, int8",
    "optkit": "optkit, int8",
    "optkit-fp32": "optkit, fp32 weights",
}
DEFAULT = tuple(name for name in ENGINES if name != "optkit-fp32")
DENSE_ONLY = ("torch", "onnxruntime", "openvino-fp32")
STREAMED = tuple(name for name in ENGINES if name not in ("torch", "onnxruntime"))
REFERENCE = ("openvino-fp32", DENSE)


@dataclass(frozen=True)
class Setting:
    """What all engines of a comparison share."""

    size: str
    cache: Path
    batch: int
    seq: int
    threads: int
    streams: int
    plan: str
    static: bool
    target: str

    def inputs(self) -> dict[str, np.ndarray]:
        """Random tokens, (batch, seq) int64; no padding."""
        shape = (self.batch, self.seq)
        ids = np.random.default_rng(1).integers(0, random_model(self.size).config.vocab_size, shape)
        ones = np.ones(shape, np.int64)
        return {"input_ids": ids.astype(np.int64), "attention_mask": ones, "token_type_ids": 0 * ones}

    def config(self, **more: Any) -> dict[str, Any]:
        """OpenVINO's; the same for plain OpenVINO and for optkit."""
        return {
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": self.streams,
            "INFERENCE_PRECISION_HINT": "f32",
        } | more


@dataclass
class Runner:
    """One engine on one model.

    Attributes:
        infer: one inference, to its end; returns the logits.
        compiled: OpenVINO's model, where the engine is OpenVINO.
        plan: optkit's, where it is the engine.
    """

    engine: str
    case: Case
    infer: Callable[[], np.ndarray]
    compiled: Any = None
    plan: Any = None


def missing(engine: str) -> str | None:
    """Why ``engine`` cannot run here, None if it can.

    Raises:
        OptkitError: if OPTKIT_ISA names kernels that cannot run here.
    """
    if engine == "onnxruntime":
        lacking = [name for name in ("onnxruntime", "onnx", "onnxscript") if importlib.util.find_spec(name) is None]
        return f"{', '.join(lacking)} missing: pip install 'optkit[bench]'" if lacking else None
    if engine.startswith("optkit"):
        if importlib.util.find_spec("optkit.runtime.compiling") is None:
            return "this optkit has no sparse runtime"
        from optkit.runtime import extension

        if extension.available():
            extension.isa()
        return extension.missing_reason()
    return None


def start(engine: str, case: Case, setting: Setting) -> Runner:
    """The engine with its model loaded and compiled.

    Raises:
        OptkitError: if the model cannot be built, read or compiled.
    """
    if setting.seq > LONGEST:
        raise OptkitError(f"--seq: the models take up to {LONGEST} tokens, not {setting.seq}")
    if engine == "torch":
        return Runner(engine, case, _torch(setting))
    if engine == "onnxruntime":
        return Runner(engine, case, _onnxruntime(setting))
    compiled, plan = compile_case(engine, case, setting)
    request = compiled.create_infer_request()
    place(request, setting.inputs())

    def infer() -> np.ndarray:
        request.infer()
        return request.get_output_tensor(0).data

    return Runner(engine, case, infer, compiled, plan)


def compile_case(engine: str, case: Case, setting: Setting, **config: Any) -> tuple[Any, Any]:
    """The case's IR compiled, and optkit's plan if the engine is optkit; ``config`` goes on top of the setting's."""
    from optkit.ir.io import import_openvino, read_model

    folder = ready(setting.size, case, setting.cache, setting.target) / ("fp32" if engine.endswith("fp32") else "int8")
    model = read_model(folder)
    shape = (setting.batch, setting.seq)
    if setting.static:
        model.reshape({port: list(shape) for port in model.inputs})
    if engine.startswith("openvino"):
        return import_openvino().Core().compile_model(model, "CPU", setting.config(**config)), None
    from optkit import runtime

    # Without ``config``: what is profiled has to be what was timed.
    plan = runtime.plan(model, setting.plan, config=setting.config(), shape=shape)
    return runtime.compile_model(model, setting.config(**config), plan=plan), plan


def place(request: Any, inputs: dict[str, np.ndarray]) -> None:
    """Gives the request its inputs for good, so that an inference copies nothing."""
    from optkit.ir.io import import_openvino

    for port in request.model_inputs:
        name = next(name for name in inputs if name in port.get_names())
        request.set_tensor(port, import_openvino().Tensor(inputs[name]))


def queue(compiled: Any, setting: Setting) -> Any:
    """OpenVINO's queue of asynchronous requests, two for each stream, with inputs in place."""
    from optkit.ir.io import import_openvino

    made = import_openvino().AsyncInferQueue(compiled, 2 * setting.streams)
    for request in made:
        place(request, setting.inputs())
    return made


def _torch(setting: Setting) -> Callable[[], np.ndarray]:
    import torch

    model = random_model(setting.size)
    inputs = {name: torch.from_numpy(values) for name, values in setting.inputs().items()}

    def infer() -> np.ndarray:
        with torch.inference_mode():
            return model(**inputs).logits.numpy()

    return infer


def _onnxruntime(setting: Setting) -> Callable[[], np.ndarray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = setting.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Else its threads go on spinning into the next engine's turn.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    file = ready_onnx(setting.size, setting.cache)
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    inputs = setting.inputs()
    return lambda: session.run(None, inputs)[0]
