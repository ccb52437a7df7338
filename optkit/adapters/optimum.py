"""optimum-intel: converts a checkpoint to an OpenVINO IR, and loads IRs as ``OVModelFor...``."""

from __future__ import annotations

import errno
import re
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from optkit.adapters import export_types, library_errors, quiet, reason
from optkit.adapters.companions import copy_companions
from optkit.checkpoints.compact_config import needs_loader, read_config
from optkit.errors import ExportError, OptkitError
from optkit.ir.io import find_xml, import_openvino
from optkit.json_files import read_json
from optkit.models.encoder_decoder import encoder_alone, has_decoder
from optkit.pruning.compaction.checkpoint import load_compact, write_former_config
from optkit.tasks import TASKS, TaskType


def convert(checkpoint: Path, output: Path, *, task: str, seed: int = 0) -> None:
    """Writes the fp32 IR of ``checkpoint`` into ``output``, with its config and tokenizer.

    Args:
        checkpoint: folder that ``from_pretrained`` loads.
        output: folder for ``openvino_model.xml`` and ``.bin``.
        task: optimum's name of the task, such as ``text-classification``.
        seed: of the random inputs that the model is traced with.

    Raises:
        ExportError: if optimum-intel cannot convert this architecture for this task.
    """
    import_openvino()
    import torch
    from optimum.exporters.openvino.convert import export_from_model
    from optimum.intel import OVConfig

    traced = output / "traced"
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            model, substituted = _traceable(checkpoint, task)
            # Without a type models above a billion weights become int8 here.
            export_from_model(model, traced, task=task, ov_config=OVConfig(dtype="fp32"))
            if substituted:
                export_types.check_outputs(model, traced / "openvino_model.xml")
        except Exception as error:  # tracing runs the model's own code, which may raise anything
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise
            if "iostream error" in str(error):  # all that OpenVINO says when it cannot write
                raise ExportError(f"{output}: the IR cannot be written: is the disk full?") from error
            why = _why(checkpoint, task, error)
            raise ExportError(f"{checkpoint}: optimum-intel cannot convert it for {task}: {why}") from error
    for file in traced.glob("openvino_model.*"):
        file.rename(output / file.name)
    shutil.rmtree(traced)
    copy_companions(checkpoint, output)
    write_former_config(checkpoint, output)


def _why(checkpoint: Path, task: str, error: Exception) -> str:
    own = export_types.own_problem(read_config(checkpoint).get("model_type", ""), task)
    # OpenVINO's own first line names its source code.
    traced = re.search(r"Exception:\s*(\S.*)", str(error))
    operation = re.search(r"Conversion is failed for: (\S+)", str(error))
    cause = f"OpenVINO has no {operation[1]}" if operation else traced[1][:200] if traced else reason(error)
    return f"{own}, and as another type it cannot be: {cause}" if own else cause


def _traceable(checkpoint: Path, task: str) -> tuple[Any, bool]:
    """The model of a checkpoint, compacted or not, ready to be converted for ``task``, and whether by the export
    configuration of another type.
    """
    import torch
    from optimum.exporters.tasks import TasksManager

    if needs_loader(read_config(checkpoint)):
        model = load_compact(checkpoint).float()
    else:
        options = {"framework": "pt", "library_name": "transformers", "local_files_only": True}
        model = _encoder_alone(checkpoint, task)
        if model is None:
            model = TasksManager.get_model_from_task(task, str(checkpoint), torch_dtype=torch.float32, **options)
    alone = encoder_alone("AutoModel", model.config) and not has_decoder(model)
    if alone:
        model.config.is_encoder_decoder = False  # or it is converted as one with a decoder
    if not alone and export_types.own_problem(model.config.model_type, task) is None:
        return model, False
    model.config.export_model_type = export_types.substitute(model, segments=_makes_segments(checkpoint))
    # ModernBERT's fused attention marks what a token must not see by -inf, and a window that holds padding alone then
    # becomes NaN; the plain one takes the lowest finite number.
    model.config._attn_implementation = "eager"
    return model, True


def _encoder_alone(checkpoint: Path, task: str) -> Any:
    """The encoder in a checkpoint of a type that may have a decoder; None for other types."""
    import torch
    from transformers import AutoConfig, AutoModelForTextEncoding

    task_type = TASKS.get(task)
    if task_type is None or task_type.head:
        return None
    config = AutoConfig.from_pretrained(checkpoint, local_files_only=True, trust_remote_code=False)
    if not encoder_alone("AutoModel", config):
        return None
    return AutoModelForTextEncoding.from_pretrained(checkpoint, dtype=torch.float32, local_files_only=True)


def _makes_segments(checkpoint: Path) -> bool:
    """Whether the tokenizer beside a checkpoint makes token_type_ids; without one, the caller may."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(checkpoint, local_files_only=True, trust_remote_code=False)
    except Exception:  # there is none, and each kind of it is missing in its own way
        return True
    return "token_type_ids" in tokenizer.model_input_names


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
