"""From a checkpoint to an fp32 IR: by optimum-intel where it is installed and knows the architecture, else by
``adapters.conversion``.

Of the types that are known to convert rightly nothing is checked. Every other IR is compared with its model on padded
inputs of several sizes, here for each model, and before any training on a small one by ``export.trial``.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers

from optkit.adapters import conversion, conversion_check, library_errors, optimum, quiet, reason
from optkit.adapters.companions import copy_companions
from optkit.checkpoints.compact_config import needs_loader, read_config
from optkit.errors import ExportError
from optkit.ir.io import MODEL_FILE, import_openvino, save_model
from optkit.machine import installed
from optkit.models import longest_input
from optkit.models.encoder_decoder import auto_class_for, encoder_alone, has_decoder
from optkit.pruning.compaction.checkpoint import load_compact, load_whole, write_former_config
from optkit.pruning.distillation.matching import accepted_inputs
from optkit.tasks import TASKS

if TYPE_CHECKING:
    from transformers import PreTrainedModel

#: Lengths of the texts that a model is tried on, one more of each, and how far outputs may then be off, as a share of
#: the largest.
_LENGTHS, _TOLERANCE = (150, 5, 18), 1e-3
#: Types that optimum-intel converts rightly for every task that is here, with every release that optkit allows.
PROVEN = frozenset(
    ("bert", "roberta", "distilbert", "electra", "albert", "mpnet", "deberta", "deberta-v2", "camembert", "xlm-roberta")
    + ("rembert", "roformer", "mobilebert", "squeezebert", "vit")
)
#: Types to name as a way out, by what they take.
_WELL_KNOWN = {
    "images": ("vit", "deit", "beit", "swin", "convnext", "resnet"),
    "texts": ("bert", "distilbert", "roberta", "xlm-roberta", "electra", "mpnet", "deberta-v2", "modernbert"),
}


def convert(checkpoint: Path, output: Path, *, task: str, seed: int = 0) -> str:
    """Writes the fp32 IR of ``checkpoint`` into ``output``, with its config and tokenizer.

    Args:
        checkpoint: folder that ``from_pretrained`` loads, or of a compacted checkpoint.
        output: folder for ``openvino_model.xml`` and ``.bin``.
        task: optimum's name of the task, such as ``text-classification``.
        seed: of the random inputs that the model is traced with and tried on.

    Returns:
        what converted it, ``optimum-intel`` or ``openvino``.

    Raises:
        ExportError: if this architecture cannot be converted for this task, or the IR computes something else.
    """
    import_openvino()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            with quiet():
                model = _load(checkpoint, task)
            by = _convert(model, checkpoint, output, task)
        except Exception as error:  # tracing runs the model's own code, which may raise anything
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise
            if "iostream error" in str(error):  # all that OpenVINO says when it cannot write
                raise ExportError(f"{output}: the IR cannot be written: is the disk full?") from error
            raise ExportError(f"{checkpoint}: it cannot be converted for {task}: {reason(error)}") from error
    copy_companions(checkpoint, output)
    write_former_config(checkpoint, output)
    return by


def _load(checkpoint: Path, task: str) -> PreTrainedModel:
    """The model of a checkpoint, compacted or not; of a type that may have a decoder, its encoder alone."""
    if needs_loader(read_config(checkpoint)):
        return load_compact(checkpoint).float().eval()
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    config = transformers.AutoConfig.from_pretrained(checkpoint, **options)
    known = TASKS[task].auto_class if task in TASKS else "AutoModelForAudioClassification"
    loader = auto_class_for(known, config)
    model = load_whole(loader, checkpoint, config=config, dtype=torch.float32, trust_remote_code=False).eval()
    if encoder_alone("AutoModel", model.config) and not has_decoder(model):
        model.config.is_encoder_decoder = False  # or it is converted as one with a decoder
    return model


def _convert(model: PreTrainedModel, checkpoint: Path, output: Path, task: str) -> str:
    kind, xml = model.config.model_type, output / MODEL_FILE
    alone = encoder_alone("AutoModel", model.config)
    if not alone and optimum.problem(kind, task) is None:
        try:
            optimum.export(model, output, task=task)
            if kind not in PROVEN:
                check_outputs(model, xml)
            return "optimum-intel"
        except ExportError:  # what it knows of the type is not so, or not any more
            model = _load(checkpoint, task)  # it may have changed its methods
    _convert_ourselves(model, checkpoint, output, task)
    return "openvino"


def _convert_ourselves(model: PreTrainedModel, checkpoint: Path, output: Path, task: str) -> None:
    outputs = TASKS[task].outputs if task in TASKS else ("logits",)
    options = {"outputs": outputs, "segments": makes_segments(checkpoint), "longest": longest_input(model.config)}
    converted = conversion.convert(model, **options)
    xml = save_model(converted, output)
    if "pixel_values" not in {name for port in converted.inputs for name in port.get_names()}:
        check_outputs(model, xml)
        return
    try:
        check_outputs(model, xml, zoom=2)
    except ExportError:  # it takes images of one size
        _, *sides = conversion_check.image_size(model.config)
        converted.reshape([-1, conversion_check.image_size(model.config)[0], *sides])
        check_outputs(model, save_model(converted, output))


def makes_segments(checkpoint: Path) -> bool:
    """Whether the tokenizer beside a checkpoint makes token_type_ids; without one, the caller may."""
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            checkpoint, local_files_only=True, trust_remote_code=False
        )
    except Exception:  # there is none, and each kind of it is missing in its own way
        return True
    return "token_type_ids" in tokenizer.model_input_names


def refusal(model_type: str, task: str, why: str) -> str:
    """One line on a type that cannot be exported, with the types that can."""
    known = _WELL_KNOWN[TASKS[task].reads if task in TASKS else "texts"]
    versions = f"openvino {installed('openvino')} and transformers {installed('transformers')}"
    return (
        f"model: {model_type} cannot be exported to OpenVINO for {task} with {versions}: {why}; take a type that can, "
        f"such as {', '.join(known)}, or stop before it with --stop-after train"
    )


def check_outputs(model: Any, xml: Path, *, zoom: int = 1) -> None:
    """Refuses an IR that computes something else than ``model`` does, on inputs of other sizes than it was traced with.

    Args:
        zoom: how many times as high and wide as the model's own the images are.

    Raises:
        ExportError: saying at which size, and how far its outputs are off.
    """
    core = import_openvino().Core()
    with library_errors("OpenVINO cannot compile it", ExportError):
        compiled = core.compile_model(xml, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    names = [min(port.get_names(), key=lambda name: ("/" in name, name)) for port in compiled.inputs]
    for inputs in _trial_inputs(model, names, zoom):
        mask, size = inputs.get("attention_mask"), "x".join(map(str, next(iter(inputs.values())).shape))
        with torch.no_grad(), library_errors(f"it takes no inputs of {size}", ExportError):
            reference = model.eval()(**accepted_inputs(model, inputs))
        try:
            found = compiled({name: inputs[name].numpy() for name in names})
        except RuntimeError as error:
            raise ExportError(f"it was traced for one size, and fails with inputs of {size}") from error
        for port, array in found.items():
            name = next((name for name in port.get_names() if name in reference), None)
            if name is None:
                continue
            ours, theirs = torch.from_numpy(array), reference[name]
            if mask is not None:  # of padding nobody asks, nor what a model takes from a first token that is padding
                asked = mask.bool() if theirs.shape[:2] == mask.shape else mask[:, 0].bool()
                ours, theirs = ours[asked], theirs[asked]
            off = conversion_check.largest_difference(ours, theirs)
            if off > _TOLERANCE:
                raise ExportError(f"with inputs of {size} it computes something else: {name} is off by {off:.2g}")


def _trial_inputs(model: Any, names: list[str], zoom: int) -> Iterator[Mapping[str, Any]]:
    """Inputs of these ``names`` by chance, of several sizes; of texts of several lengths."""
    if names == ["pixel_values"]:
        channels, *sides = conversion_check.image_size(model.config)
        for batch in (1, 3):
            yield {"pixel_values": torch.randn(batch, channels, *(zoom * side for side in sides))}
        return
    if names == ["input_values"]:
        for batch, samples in ((1, 6000), (3, 5000)):
            yield {"input_values": torch.randn(batch, samples)}
        return
    longest = longest_input(model.config) or max(_LENGTHS)
    for batch, length in enumerate(_LENGTHS, 1):
        ids, mask = conversion_check.random_texts(model.config, batch, min(length, longest))
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
        inputs["position_ids"] = torch.arange(ids.shape[1]).expand_as(ids)
        if unknown := sorted(set(names) - set(inputs)):
            raise ExportError(f"it takes {', '.join(unknown)}, which no tokenizer makes")
        yield {name: inputs[name] for name in names}
