"""Compiles models so that their linear layers run on the sparse runtime where that is faster."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optkit.cpu import has_amx
from optkit.deprecation import renamed_arguments
from optkit.errors import OptkitError
from optkit.ir.io import find_xml
from optkit.runtime import extension
from optkit.runtime.loading import check_extension, compile_for_cpu, holds_programs, new_core, read
from optkit.runtime.planning import Plan, apply, compile_config, make_plan
from optkit.runtime.planning import plan as make
from optkit.runtime.planning.decompression import RATE, broken_layer, threshold
from optkit.runtime.rewriting.rewrite import Rewrite
from optkit.runtime.rewriting.sites import sites

if TYPE_CHECKING:
    import openvino

_warned = threading.Event()


def compile_model(
    model: str | Path | openvino.Model,
    config: Mapping[Any, Any] | None = None,
    *,
    plan: str | Plan = "measured",
    device: str = "CPU",
    core: openvino.Core | None = None,
    dynamic: bool = False,
    shape: tuple[int, int] = (1, 128),
) -> openvino.CompiledModel:
    """Compiles ``model`` with the sparse runtime; the same model in OpenVINO, only faster.

    Layers go to kernels that compute in int8 where the model quantizes their activations and in float32 elsewhere,
    whatever INFERENCE_PRECISION_HINT says. Attention and OpenVINO's own layers follow it: on CPUs with bfloat16 it
    defaults to that, so set ``{"INFERENCE_PRECISION_HINT": "f32"}`` for results that do not depend on the CPU.

    Without the extension everything runs in plain OpenVINO, and a warning says so once.

    Args:
        model: an IR (xml, or a folder with ``openvino_model.xml``), baked or not, or a model, which is not changed.
        config: OpenVINO's.
        plan: ``measured`` times each kind of layer and a few whole models against plain OpenVINO on this machine, and
            keeps the result on disk; ``static`` goes by a cost model; or a Plan.
        device: CPU; there is no other.
        core: that compiles; one of our own if None. It gets the extension added.
        dynamic: whether activations that the model does not quantize may be quantized as they come.
        shape: (batch, sequence length) to be fast at. Every other shape works as well.

    Raises:
        OptkitError: if there is no IR, the plan is for another model or unknown, OpenVINO cannot compile it, or a baked
            model's programs are damaged or the extension for them is missing.
    """
    if str(device).upper() != "CPU":
        raise OptkitError(f"the sparse runtime is for the device CPU, not {device}: compile with OpenVINO for others")
    core = _core() if core is None else _with_extension(core)
    if isinstance(model, (str, Path)):
        model = read(Path(model), core)
    config = dict(config or {})
    _warn_of_broken_layers(model, config)
    if holds_programs(model):
        return compile_for_cpu(core, model, config)
    if not extension.available():
        _warn(extension.missing_reason())
        return compile_for_cpu(core, model, config)
    if isinstance(plan, Plan):
        chosen, compiled = plan, None
    else:
        chosen, compiled = make_plan(model, plan, core=core, config=config, shape=shape, dynamic=dynamic)
    if compiled is not None:
        return compiled
    rewritten, _ = apply(model, chosen)
    return compile_for_cpu(core, rewritten, compile_config(config, chosen))


def explain(model: str | Path | openvino.Model, plan: str | Plan = "measured", **options: Any) -> tuple[Plan, Rewrite]:
    """What ``compile_model`` does with ``model``: the plan, layer by layer, and what is fused where.

    Args:
        model: a portable IR or model, which is not changed.
        plan: as for ``compile_model``.
        **options: as for ``optkit.runtime.plan``.

    Raises:
        OptkitError: as ``optkit.runtime.plan`` does.
    """
    if isinstance(model, (str, Path)):
        model = read(Path(model), _core())
    if not isinstance(plan, Plan):
        plan = make(model, plan, **options)
    return (plan, apply(model, plan)[1]) if plan.kernels else (plan, Rewrite((), {}, {}))


@renamed_arguments(folder="model")
def load(model: str | Path, *, plan: str | Plan = "measured", ov_class: str | None = None, **kwargs: Any) -> Any:
    """The model in the folder ``model`` as optimum-intel's ``OVModelFor...``, running on the sparse runtime.

    It takes its place in a ``transformers.pipeline``, saves as the IR that it was loaded from, and compiles as
    ``compile_model`` does when it is first called, and again after ``reshape``.

    Args:
        model: a folder that holds ``openvino_model.xml``, baked or not, and config.json.
        plan: as for ``compile_model``.
        ov_class: ``OVModelForSequenceClassification`` ...; told from config.json if None.
        **kwargs: ``dynamic`` and ``shape`` as for ``compile_model``; the rest goes to ``from_pretrained``, such as
            ``ov_config``.

    Raises:
        OptkitError: if there is no IR, or optimum-intel has no class for it or cannot load it.
    """
    from optkit.adapters import optimum

    options = {name: kwargs.pop(name) for name in ("dynamic", "shape") if name in kwargs}
    folder = Path(model)
    core, xml = _core(), find_xml(folder)
    if xml is not None:
        check_extension(xml)

    def compile_for(read_model: openvino.Model, config: Mapping[Any, Any]) -> openvino.CompiledModel:
        return compile_model(read_model, config, plan=plan, core=core, **options)

    try:
        return optimum.load(folder, ov_class, add_extension=_with_extension, compile_model=compile_for, **kwargs)
    except OptkitError:
        read(folder, core)  # where the IR itself is at fault, this says it in a line of its own
        raise


@cache
def _core() -> openvino.Core:
    return new_core()


def _with_extension(core: openvino.Core) -> openvino.Core:
    if extension.available():
        extension.add_to(core)
    return core


def _warn_of_broken_layers(model: openvino.Model, config: Mapping[Any, Any]) -> None:
    """Says so where the caller's configuration sends a layer down a path of OpenVINO's that computes it wrongly."""
    rate = threshold(config)
    if rate >= 1 or not has_amx():
        return
    if (layer := broken_layer(sites(model), rate)) is not None:
        warnings.warn(
            f"{RATE}={rate:g}: OpenVINO computes {layer} wrongly so, or crashes, as it has 64 inputs and 64 outputs: "
            "leave the property out",
            RuntimeWarning,
            stacklevel=3,
        )


def _warn(reason: str | None) -> None:
    """Says once a process that the extension is missing."""
    if not _warned.is_set():
        _warned.set()
        warnings.warn(f"no sparse runtime, the model runs in plain OpenVINO: {reason}", RuntimeWarning, stacklevel=3)
