"""optimum-intel: converts models to OpenVINO IRs, and loads IRs as ``OVModelFor...``. It may be missing."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from optkit.adapters import library_errors, quiet, reason
from optkit.errors import ExportError, OptkitError
from optkit.ir.io import find_xml, import_openvino
from optkit.json_files import read_json
from optkit.machine import installed
from optkit.tasks import TASKS, TaskType


def missing() -> str | None:
    """Why optimum-intel cannot be used here, in a line; None where it can."""
    if installed("optimum-intel") is not None:
        return None
    return (
        "optimum-intel is not installed: pip install optimum-intel, which needs transformers below 5.6, or use "
        "optkit.runtime.compile_model"
    )


def problem(model_type: str, task: str) -> str | None:
    """Why optimum-intel cannot convert models of this type for ``task``; None where it says that it can."""
    if (why := missing()) is not None:
        return why
    import_openvino()
    import optimum.exporters.openvino  # noqa: F401  adds its configurations to the table
    from optimum.exporters.openvino import utils
    from optimum.exporters.tasks import TasksManager
    from optimum.intel.utils.import_utils import is_transformers_version

    if model_type in getattr(utils, "ONNX_SUPPORTED_ARCHITECTURES", ()):
        return "its export was removed there"
    try:
        with quiet():
            tasks = TasksManager.get_supported_tasks_for_model_type(model_type, "openvino", library_name="transformers")
    except KeyError:
        return "it has no export there"
    if task not in tasks:
        return f"its export there is not for {task}"
    made_by = getattr(tasks[task], "func", tasks[task])
    for limit, beyond in (("MAX_TRANSFORMERS_VERSION", ">"), ("MIN_TRANSFORMERS_VERSION", "<")):
        version = getattr(made_by, limit, None)
        if version is not None and is_transformers_version(beyond, str(version)):
            return f"its export there is for transformers {'up to' if beyond == '>' else 'from'} {version}"
    return None


def export(model: Any, output: Path, *, task: str) -> None:
    """Writes the fp32 IR of ``model`` into ``output`` as ``openvino_model.xml`` and ``.bin``.

    Raises:
        ExportError: if optimum-intel cannot convert it for ``task``.
    """
    from optimum.exporters.openvino.convert import export_from_model
    from optimum.intel import OVConfig

    traced = output / "traced"
    try:
        with quiet():
            # Without a type models above a billion weights become int8 here.
            export_from_model(model, traced, task=task, ov_config=OVConfig(dtype="fp32"))
        for file in traced.glob("openvino_model.*"):
            file.rename(output / file.name)
    except Exception as error:  # tracing runs the model's own code, which may raise anything
        if isinstance(error, OSError) or "iostream error" in str(error):
            raise
        raise ExportError(f"optimum-intel cannot convert it: {reason(error)}") from error
    finally:
        shutil.rmtree(traced, ignore_errors=True)


#: Endings of the architecture that config.json names, and optimum-intel's class for a model of one pass over its input.
#: Models of sound are loaded and converted, and no recipe trains them.
_CLASSES = {task.head or "Model": task.ov_class for task in TASKS.values()} | {
    "ForAudioClassification": "OVModelForAudioClassification"
}
#: optimum's name of the task of a class: of tasks that share one, the first.
_EXPORT_TASKS = {task.ov_class: task.export_task for task in reversed(TASKS.values())} | {
    "OVModelForAudioClassification": "audio-classification"
}
#: Endings of architectures that end in Model and are none without a head, or no one model.
_NO_BASE = re.compile(r"(^Auto|LMHead|DoubleHeads|EncoderDecoder|MT|Rag|Causal|Pre[tT]rained)Model$")


def class_for(folder: Path, way_out: str = "say which class to load with ov_class='OVModelFor...'") -> str:
    """Name of optimum-intel's class for the model in ``folder``, by the architecture in its config.json.

    Args:
        way_out: what the message says to do where it cannot be told.

    Raises:
        OptkitError: if there is no config, or it names no architecture that has one.
    """
    try:
        config = read_json(folder / "config.json")
    except OSError as error:
        raise OptkitError(f"{folder}: no config.json here, which optimum-intel needs: copy the checkpoint's") from error
    except ValueError as error:
        raise OptkitError(f"{folder / 'config.json'}: not JSON: {error}") from error
    names = config.get("architectures") if isinstance(config, dict) else None
    architecture = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else None
    for ending, name in _CLASSES.items():
        if architecture is not None and architecture.endswith(ending) and not _NO_BASE.search(architecture):
            return name
    if architecture is not None and architecture.endswith("Encoder") and config.get("is_encoder_decoder"):
        return _CLASSES["Model"]  # the encoder alone, as BartEncoder
    source = f"names '{architecture[:80]}'" if architecture else "names no architecture"
    raise OptkitError(f"{folder / 'config.json'}: {source}: {way_out}")


def export_task(ov_class: str) -> str:
    """optimum's name of the task that models of ``ov_class`` are for, as ``class_for`` tells it."""
    return _EXPORT_TASKS[ov_class]


def architecture_for(model_type: str, task: TaskType) -> str | None:
    """The class of transformers for models of ``model_type`` with the head that ``task`` needs; None without one."""
    from transformers.models.auto import modeling_auto

    # transformers' table of architectures: ForMaskedLM is MODEL_FOR_MASKED_LM_MAPPING_NAMES.
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", task.head).upper()
    table = "_".join(word for word in ("MODEL", words, "MAPPING_NAMES") if word)
    names = getattr(modeling_auto, table).get(model_type)
    return names[0] if isinstance(names, (tuple, list)) else names


def load(
    folder: Path,
    ov_class: str | None = None,
    *,
    add_extension: Callable[[Any], None] | None = None,
    compile_model: Callable[[Any, Mapping[str, Any]], Any] | None = None,
    **kwargs: Any,
) -> Any:
    """The IR in ``folder`` as optimum-intel's ``ov_class``, compiled for the CPU.

    Args:
        folder: holds ``openvino_model.xml`` and config.json.
        ov_class: ``OVModelForSequenceClassification`` ...; None tells it from config.json.
        add_extension: gets the ``openvino.Core`` that reads the IR, to teach it operations.
        compile_model: makes an ``openvino.CompiledModel`` of a model and OpenVINO's configuration, in optimum-intel's
            stead.
        **kwargs: for ``from_pretrained``.

    Raises:
        OptkitError: if there is no IR, or optimum-intel cannot load it.
    """
    if find_xml(folder) is None:
        raise OptkitError(f"{folder}: no OpenVINO IR here: export the model first")
    name = ov_class or class_for(folder)
    if (why := missing()) is not None:
        raise OptkitError(f"{folder}: {name} cannot load it: {why}")
    import_openvino()
    import optimum.intel
    from optimum.intel.openvino.modeling_base import core

    if not hasattr(optimum.intel, name):
        raise OptkitError(f"{folder}: optimum-intel has no class {name}")
    if add_extension is not None:
        add_extension(core)
    compiles = kwargs.pop("compile", True)
    options = {"load_in_8bit": False, "compile": compiles and compile_model is None, **kwargs}
    with library_errors(f"{folder}: {name} cannot load it"):
        model = getattr(optimum.intel, name).from_pretrained(folder, **options)
    if compile_model is not None:
        # Called by the model's own compile(), at first and again whenever it was reshaped.
        model._compile_model = lambda model, device=None, ov_config=None, *_, **__: compile_model(
            model, ov_config or {}
        )
        model.compile = _one_at_a_time(model.compile)
        if compiles:
            model.compile()
    return model


def _one_at_a_time(compiles: Callable[[], None]) -> Callable[[], None]:
    """``compiles`` behind a lock: where threads call a model first at once, one compiles and the others wait."""
    lock = threading.RLock()

    def compile_once() -> None:
        with lock:
            compiles()

    return compile_once
