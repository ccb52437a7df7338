"""optimum-intel: converts a checkpoint to an OpenVINO IR, and loads IRs as ``OVModelFor...``."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

from optkit.adapters import quiet, reason
from optkit.errors import ExportError, OptkitError
from optkit.ir.io import find_xml, import_openvino

# What a checkpoint holds beside its weights. Copied byte for byte, since a tokenizer that is loaded and saved again
# changes with the version of transformers, and for a checkpoint without one an empty one would appear.
COMPANIONS = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "spm.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
    "chat_template.jinja",
    "preprocessor_config.json",
    "processor_config.json",
)


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
    from optimum.exporters.openvino import main_export
    from optimum.intel import OVConfig

    traced = output / "traced"
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            main_export(
                str(checkpoint),
                traced,
                task=task,
                library_name="transformers",
                ov_config=OVConfig(dtype="fp32"),  # without it models above a billion weights become int8 here
                model_loading_kwargs={"torch_dtype": torch.float32},
                local_files_only=True,
            )
        except Exception as error:  # tracing runs the model's own code, which may raise anything
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise
            if "iostream error" in str(error):  # all that OpenVINO says when it cannot write
                raise ExportError(f"{output}: the IR cannot be written: is the disk full?") from error
            raise ExportError(f"{checkpoint}: optimum-intel cannot convert it for {task}: {reason(error)}") from error
    for file in traced.glob("openvino_model.*"):
        file.rename(output / file.name)
    shutil.rmtree(traced)
    for name in COMPANIONS:
        if (checkpoint / name).is_file():
            shutil.copyfile(checkpoint / name, output / name)


def load(folder: Path, ov_class: str) -> Any:
    """The IR in ``folder`` as optimum-intel's ``ov_class``, compiled for the CPU.

    Args:
        folder: holds ``openvino_model.xml`` and config.json.
        ov_class: ``OVModelForSequenceClassification`` ...

    Raises:
        OptkitError: if there is no IR, or optimum-intel cannot load it.
    """
    if find_xml(folder) is None:
        raise OptkitError(f"{folder}: no OpenVINO IR here: export the model first")
    import_openvino()
    import optimum.intel

    with quiet():
        try:
            return getattr(optimum.intel, ov_class).from_pretrained(folder, load_in_8bit=False)
        except Exception as error:
            raise OptkitError(f"{folder}: {ov_class} cannot load it: {reason(error)}") from error
