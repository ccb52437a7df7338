"""optimum-intel: by whose export configuration an architecture is converted, and why not by its own.

What a configuration knows of an encoder is the inputs that it takes. So a type that has none, or one that is not
allowed with this transformers, is converted by that of a well-known type with the same inputs. Whether what comes out
computes the same is checked for each model by ``adapters.optimum.convert``, and before any training on a small one by
``export.trial``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from inspect import signature
from pathlib import Path
from typing import Any

from optkit.adapters import quiet
from optkit.errors import ExportError
from optkit.ir.io import import_openvino
from optkit.machine import installed
from optkit.models import longest_input
from optkit.tasks import TASKS

#: Lengths of the texts that a model converted in another type's name is tried on, one more of each, and how far outputs
#: may then be off, as a share of the largest.
_LENGTHS, _TOLERANCE = (150, 5, 18), 1e-3
#: Types whose own configuration works for every task that is here, with every release that optkit allows.
PROVEN = frozenset(
    ("bert", "roberta", "distilbert", "electra", "albert", "mpnet", "deberta", "deberta-v2", "camembert", "xlm-roberta")
    + ("rembert", "roformer", "mobilebert", "squeezebert", "vit")
)
#: Types to name as a way out, by what they take.
_WELL_KNOWN = {
    "images": ("vit", "deit", "beit", "swin", "convnext", "resnet"),
    "texts": ("bert", "distilbert", "roberta", "xlm-roberta", "electra", "mpnet", "deberta-v2", "modernbert"),
}


def own_problem(model_type: str, task: str) -> str | None:
    """Why optimum-intel's own configuration cannot convert models of this type for ``task``; None where it can."""
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


def substitute(model: Any, *, segments: bool) -> str:
    """The type by whose configuration ``model`` is converted in place of its own.

    Args:
        segments: whether its tokenizer makes token_type_ids.

    Raises:
        ExportError: if it computes something else for long inputs than for those that it would be traced with.
    """
    if getattr(model.config, "attention_type", None) == "block_sparse":
        # BigBird turns to full attention for good with the first short input.
        raise ExportError("its block-sparse attention cannot be traced, set attention_type to original_full")
    parameters, kinds = signature(model.forward).parameters, getattr(model.config, "type_vocab_size", None)
    if "input_ids" not in parameters:
        return "vit"
    # Without a table of kinds some models add to a token whatever they are given, so it matters whether it is given.
    with_segments = segments if kinds is None else kinds > 1
    return "bert" if with_segments and "token_type_ids" in parameters else "distilbert"


def refusal(model_type: str, task: str, why: str) -> str:
    """One line on a type that cannot be exported, with the types that can."""
    known = _WELL_KNOWN[TASKS[task].reads if task in TASKS else "texts"]
    versions = f"optimum-intel {installed('optimum-intel')} with transformers {installed('transformers')}"
    return (
        f"model: {model_type} cannot be exported to OpenVINO for {task} by {versions}: {why}; take a type that can, "
        f"such as {', '.join(known)}, or stop before it with --stop-after train"
    )


def check_outputs(model: Any, xml: Path) -> None:
    """Refuses an IR that computes something else than ``model`` does, on inputs of other sizes than it was traced with.

    Raises:
        ExportError: saying at which size, and how far its outputs are off.
    """
    import torch

    compiled = import_openvino().Core().compile_model(xml, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    names = [min(port.get_names(), key=lambda name: ("/" in name, name)) for port in compiled.inputs]
    for inputs in _trial_inputs(model, names):
        with torch.no_grad():
            reference = model.eval()(**inputs)
        mask, size = inputs.get("attention_mask"), "x".join(map(str, next(iter(inputs.values())).shape))
        try:
            found = compiled({name: inputs[name].numpy() for name in names})
        except RuntimeError as error:
            raise ExportError(f"it was traced for one size, and fails with inputs of {size}") from error
        for port, array in found.items():
            name = next((name for name in port.get_names() if name in reference), None)
            if name is None:
                continue
            ours, theirs = torch.from_numpy(array), reference[name]
            if mask is not None and theirs.shape[:2] == mask.shape:  # of padding nobody asks
                ours, theirs = ours[mask.bool()], theirs[mask.bool()]
            off = float((ours - theirs).abs().max() / theirs.abs().max())
            if not off <= _TOLERANCE:
                raise ExportError(f"with inputs of {size} it computes something else: {name} is off by {off:.2g}")


def _trial_inputs(model: Any, names: Collection[str]) -> Iterator[dict[str, Any]]:
    """Inputs of these ``names`` by chance, of several sizes; of texts of several lengths."""
    import torch

    config = model.config
    if "pixel_values" in names:
        size = getattr(config, "image_size", 64)
        sides = [size, size] if isinstance(size, int) else list(size)
        for batch in (1, 3):
            yield {"pixel_values": torch.randn(batch, getattr(config, "num_channels", 3), *sides)}
        return
    longest = longest_input(config) or max(_LENGTHS)
    first = min(5, config.vocab_size - 1)
    for batch, length in enumerate(_LENGTHS, 1):
        length = min(length, longest)
        ids = torch.randint(first, config.vocab_size, (batch, length))
        mask = torch.ones_like(ids)
        for row in range(1, batch):
            mask[row, length - row * length // 4 :] = 0
        ids[mask == 0] = getattr(config, "pad_token_id", None) or 0
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
        yield {name: inputs[name] for name in names}
