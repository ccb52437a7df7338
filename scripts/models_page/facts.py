"""What becomes of one small model: exported, pruned, quantized, put on the sparse runtime, and compared."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import transformers

from optkit.adapters import nncf, quiet, reason
from optkit.errors import OptkitError
from optkit.export import conversion
from optkit.ir.emulation import emulate_f32
from optkit.ir.io import import_openvino, read_model, save_model
from optkit.models.encoder_decoder import auto_class_for
from optkit.pruning import Pruner, Rule, Schedule
from optkit.pruning.targets import encoder_layers
from optkit.quantization.config import Quantization
from optkit.runtime.program import Kernel
from optkit.runtime.rewriting import rewrite, sites

if TYPE_CHECKING:
    import openvino
    from models_page.kinds import Kind

BATCH, LENGTH = 3, 37
_F32 = {"INFERENCE_PRECISION_HINT": "f32"}
#: Nodes that attention is made of where nothing is fused.
_ATTENTION = ("Softmax", "ScaledDotProductAttention")


def facts(name: str, kind: Kind) -> dict[str, Any]:
    """One row, plain JSON types; ``refused`` says in a line why there is no IR."""
    found: dict[str, Any] = {"note": kind.note}
    try:
        model = _model(name, kind)
    except Exception as error:  # each architecture refuses sizes in its own way
        return found | {"refused": f"no small model can be made: {reason(error)}"}
    found |= _prune(model)
    with tempfile.TemporaryDirectory() as work:
        folder, ir = Path(work, "checkpoint"), Path(work, "ir")
        ir.mkdir()
        images = "ImageClassification" in kind.auto_class
        task = "image-classification" if images else "feature-extraction"
        try:
            with quiet():
                model.save_pretrained(folder)
            found["by"] = conversion.convert(folder, ir, task=task)
            model = type(model).from_pretrained(folder).float().eval()  # some read their own sizes otherwise
        except OptkitError as error:
            why = str(error).removeprefix(f"{folder}: it cannot be converted for {task}: ")
            return found | {"refused": why.splitlines()[0]}
        feeds = [_images()] if images else _texts()
        exported = read_model(ir)
        names = {name for port in exported.inputs for name in port.get_names()}
        found["torch"] = max(_off(_torch(model, feed, names), _run(exported, feed), feed) for feed in feeds)
        given = "pixel_values" if images else "input_ids"
        samples = [{given: feed[given][0]} for feed in feeds]
        try:
            int8 = nncf.quantize_int8(exported, samples, quantization=Quantization())
        except OptkitError as error:
            return found | {"refused": str(error).splitlines()[0]}
        int8_file = Path(work, "int8")
        int8_file.mkdir()
        save_model(int8, int8_file)
        return found | _on_runtime(int8_file, feeds)


def _model(name: str, kind: Kind) -> Any:
    """A model in evaluation mode, every parameter random: a bias of zeros would be folded away."""
    config = transformers.AutoConfig.for_model(name, **kind.config)
    made = auto_class_for(kind.auto_class, config)
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = (made.from_config(config) if kind.auto_class.startswith("Auto") else made(config)).float().eval()
        for parameter_name, parameter in model.named_parameters():
            gain = "norm" in parameter_name.lower() and parameter_name.endswith("weight")
            parameter.data = gain + 0.2 * torch.randn(parameter.shape)
    return model


def _prune(model: Any) -> dict[str, Any]:
    """Half of each encoder layer in 1x4 blocks, in place: how many layers, or why not."""
    wanted = len(encoder_layers(model))
    if not wanted:
        return {"pruned": 0, "prunable": 0}
    schedule = Schedule(to=0.5, shape="constant", begin=0, end=0)
    try:
        pruner = Pruner(model, [Rule(structure="1x4", name="blocks", schedule=schedule)])
        pruner.start(1, 1)
        pruner.update(0)
        pruner.fold()
    except OptkitError as error:
        return {"pruned": 0, "prunable": wanted, "unpruned": str(error).splitlines()[0]}
    return {"pruned": wanted, "prunable": wanted}


def _texts() -> list[dict[str, np.ndarray]]:
    """Texts of several lengths, padded at their end and at their beginning."""
    rng, places = np.random.default_rng(0), np.arange(LENGTH)
    lengths = LENGTH - np.arange(BATCH)[:, None] * (LENGTH // BATCH)
    ids, found = rng.integers(4, 60, (BATCH, LENGTH)), []
    for mask in (places < lengths, places >= LENGTH - lengths):
        given = {"input_ids": np.where(mask, ids, 0), "attention_mask": mask.astype(np.int64)}
        found.append(given | {"token_type_ids": np.zeros_like(ids), "position_ids": places[None].repeat(BATCH, 0)})
    return found


def _images() -> dict[str, np.ndarray]:
    return {"pixel_values": np.random.default_rng(0).normal(size=(BATCH, 3, 32, 32)).astype(np.float32)}


def _torch(model: Any, feed: Mapping[str, np.ndarray], names: set[str]) -> np.ndarray:
    from optkit.pruning.distillation.matching import accepted_inputs

    # Some models add to each token the embedding of its kind wherever it is given.
    given = {key: torch.from_numpy(value) for key, value in feed.items() if key in names}
    with torch.no_grad():
        found = model(**accepted_inputs(model, given))
    return (found["logits"] if "logits" in found else found["last_hidden_state"]).numpy()


def _run(model: openvino.Model, feed: Mapping[str, np.ndarray]) -> np.ndarray:
    compiled = import_openvino().Core().compile_model(model, "CPU", _F32)
    names = [min(port.get_names()) for port in compiled.inputs]
    found = compiled([feed[name] for name in names])
    return next(
        np.array(found[port]) for port in compiled.outputs if port.get_names() & {"logits", "last_hidden_state"}
    )


def _off(wanted: np.ndarray, got: np.ndarray, feed: Mapping[str, np.ndarray]) -> float:
    """The largest difference as a share of the largest number; of padding nobody asks."""
    if "attention_mask" in feed and wanted.shape[:2] == feed["attention_mask"].shape:
        wanted, got = (each[feed["attention_mask"] > 0] for each in (wanted, got))
    return float(np.abs(wanted - got).max() / np.abs(wanted).max())


def _on_runtime(folder: Path, feeds: list[dict[str, np.ndarray]]) -> dict[str, Any]:
    original, model = read_model(folder), read_model(folder)
    # Angles of rotary embeddings are products with a constant vector, and no layers.
    layers = [site for site in sites(model) if min(site.shape) > 1]
    types = Counter(node.get_type_name() for node in original.get_ops())
    kernels = {site.matmul: Kernel("block4" if site.quantization else "element") for site in layers if site.supported}
    result = rewrite(model, kernels)
    steps = Counter(type(step).__name__ for placed in result.programs for step in placed.program.steps)
    why = [site.reason for site in layers if not site.supported]
    why += [*result.left_out.values(), *result.notes.values()]
    unfused = _unfused(model, result.notes.keys())
    # Attention that is OpenVINO's is itself what stands between programs.
    why += unfused if unfused or result.notes else _between_programs(model)
    emulated = emulate_f32(original)
    return {
        "layers": [sum(len(placed.layers) for placed in result.programs), len(layers)],
        "attention": [steps["Attention"], sum(types[each] for each in _ATTENTION)],
        "programs": len(result.programs),
        "emulation": max(_off(_run(emulated, feed), _run(model, feed), feed) for feed in feeds),
        "left_out": sorted({re.sub(r"\s+", " ", line) for line in why}),
    }


def _unfused(model: openvino.Model, explained: Set[str]) -> list[str]:
    """What becomes of a Softmax that is no attention to the runtime, and that it says nothing of: the nodes from it to
    the first that two read, or five of them.
    """
    found = []
    for node in model.get_ordered_ops():
        if node.get_type_name() not in _ATTENTION:
            continue
        chain = [node]
        while len(chain) < 5 and len(readers := chain[-1].output(0).get_target_inputs()) == 1:
            chain.append(next(iter(readers)).get_node())
        if not explained & {each.get_friendly_name() for each in chain}:
            found.append("attention as " + " > ".join(each.get_type_name() for each in chain))
    return found


def _between_programs(model: openvino.Model) -> list[str]:
    """The nodes of OpenVINO through which numbers go from one program to another."""

    def reached(start: list[openvino.Node], following: Callable[[openvino.Node], Iterable[openvino.Node]]) -> set[str]:
        stack, seen = [each for node in start for each in following(node)], set()
        while stack:
            node = stack.pop()
            # Sizes are no numbers of the model's, and what a program makes is another's to tell.
            if node.get_type_name() in ("ShapeOf", "Program") or node.get_name() in seen:
                continue
            seen.add(node.get_name())
            stack += following(node)
        return seen

    programs = [node for node in model.get_ordered_ops() if node.get_type_name() == "Program"]
    behind = reached(programs, lambda node: [p.get_node() for o in node.outputs() for p in o.get_target_inputs()])
    before = reached(programs, lambda node: [value.get_node() for value in node.input_values()])
    types = {node.get_type_name() for node in model.get_ordered_ops() if node.get_name() in behind & before}
    return [f"between programs: {', '.join(sorted(types))}"] if types else []
