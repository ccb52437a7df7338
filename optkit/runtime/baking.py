"""Writes an IR that holds packed weights in our operation: it loads without planning and packing, in any program.

The packed form knows nothing of instruction sets, so a baked IR runs wherever the extension does. What was decided when
it was baked is which layers are ours and in which blocks; the portable IR stays the source.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from optkit.deprecation import renamed_arguments
from optkit.errors import OptkitError, UsageError
from optkit.folders import move_into_place
from optkit.ir.io import find_xml, save_model
from optkit.ir.tags import ROOT, Tags, optkit_version, write_tags
from optkit.runtime import extension
from optkit.runtime.loading import holds_programs, new_core, read
from optkit.runtime.planning import Plan, apply, make_plan
from optkit.runtime.rewriting.rewrite import Rewrite

if TYPE_CHECKING:
    import openvino

FORMAT_VERSION = 1


@dataclass(frozen=True, eq=False)
class Baked:
    """What ``bake`` wrote.

    Attributes:
        xml: the IR.
        plan: that it was baked by.
        rewrite: the programs in it.
        bytes_before, bytes_after: of the files that hold weights and graph.
    """

    xml: Path
    plan: Plan
    rewrite: Rewrite
    bytes_before: int
    bytes_after: int


@renamed_arguments(source="model")
def bake(
    model: str | Path,
    output: str | Path,
    *,
    plan: str | Plan = "static",
    config: Mapping[Any, Any] | None = None,
    shape: tuple[int, int] = (1, 128),
    isa: str | None = None,
    dynamic: bool = False,
) -> Baked:
    """Writes the IR at ``model`` with our operations into ``output``, with the files that lie beside it.

    Any program that loads the extension (``core.add_extension(optkit.runtime.extension_path())``) runs it, whatever
    the instruction set. Layers that OpenVINO computes faster stay as they are.

    Args:
        model: a folder with ``openvino_model.xml``, or an xml, whose companions are then left behind.
        output: a folder of its own, empty or not there yet; it appears when it is whole.
        plan: ``static``, which gives the same bytes each time for the same instruction set, AMX being one;
            ``measured``; or a Plan.
        config: of OpenVINO, to measure with.
        shape: (batch, sequence length) to be fast at.
        isa: instruction set that a static plan is for, such as that of the machine which will serve the model; None
            takes the one in use here.
        dynamic: whether activations that the model does not quantize may be quantized as they come.

    Raises:
        OptkitError: if the extension or the IR is missing, the IR is baked already, ``output`` is not empty or is
            the folder of ``model``, there is nothing to gain, or the file system refuses.
    """
    source, output = Path(model), Path(output)
    extension.library()
    _check_output(source, output)
    core = new_core()
    portable = read(source, core)
    xml = find_xml(source) or source
    if holds_programs(portable):
        raise UsageError(f"{xml}: baked already: bake the portable IR that it was made from")
    if not isinstance(plan, Plan):
        options: dict[str, Any] = {"config": config, "shape": shape, "isa": isa, "dynamic": dynamic}
        plan, _ = make_plan(portable, plan, core=core, **options)
    baked, placed = apply(portable, plan)
    if not placed.programs:
        raise OptkitError(f"{xml}: nothing to bake: {_why_nothing(plan, placed)}")
    _describe(baked, plan, placed)
    with _folder(output) as folder:
        save_model(baked, folder)
        if source.is_dir():
            _copy_companions(source, folder)
    written = output / "openvino_model.xml"
    return Baked(written, plan, placed, _size(xml), _size(written))


def baked_layers(source: str | Path) -> dict[str, dict[str, str]]:
    """What a baked IR says of the layers in it: ``program``, ``kernel`` and ``rows`` by MatMul; empty if it is none.

    Raises:
        OptkitError: if there is no IR, its programs are damaged, or the extension for them is missing.
    """
    model = read(Path(source), new_core())
    path = [ROOT, "runtime", "layers"]
    layers = model.get_rt_info(path).value if model.has_rt_info(path) else {}
    if not holds_programs(model) or not isinstance(layers, dict):
        return {}
    return {
        str(layer): {str(name): str(getattr(value, "value", value)) for name, value in said.items()}
        for layer, said in sorted(layers.items(), key=lambda item: _natural_order(str(item[0])))
        if isinstance(said, dict)
    }


def _natural_order(name: str) -> list[tuple[int, str]]:
    """Sorts layer 2 before layer 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _check_output(source: Path, output: Path) -> None:
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output}: is a file: choose a folder for the baked IR")
    if source.exists() and output.exists() and output.resolve() in (source.resolve(), source.resolve().parent):
        raise UsageError(f"{output}: holds the portable IR, which stays as it is: choose another folder")
    if output.resolve() == Path.cwd():
        raise UsageError(f"{output}: is the current folder: choose another")
    if output.is_dir() and any(output.iterdir()):
        raise UsageError(f"{output}: is not empty: choose another folder, or remove it")


def _why_nothing(plan: Plan, placed: Rewrite) -> str:
    if not plan.layers:
        return "the model has no linear layers"
    if placed.left_out:
        name, why = next(iter(placed.left_out.items()))
        return f"{name}: {why}"
    return f"{plan.reason}; the portable IR is what to serve"


def _describe(model: openvino.Model, plan: Plan, placed: Rewrite) -> None:
    """Says in the rt_info what was baked; what the IR said of its sparsity stays."""
    if not model.has_rt_info(ROOT):
        write_tags(model, Tags((), 1.0))
    kernels = plan.kernels
    facts = {
        "format_version": str(FORMAT_VERSION),
        "optkit_version": optkit_version(),
        "plan": plan.mode,
        "planned_for": plan.isa,
        "dynamic": str(plan.dynamic).lower(),
    }
    for name, value in facts.items():
        model.set_rt_info(value, [ROOT, "runtime", name])
    for program in placed.programs:
        for layer in program.layers:
            kernel = kernels[layer]
            said = {"program": program.name, "kernel": kernel.name, "rows": str(kernel.rows)}
            for name, value in said.items():
                model.set_rt_info(value, [ROOT, "runtime", "layers", layer, name])


@contextmanager
def _folder(output: Path) -> Iterator[Path]:
    """A temporary folder beside ``output`` that becomes it at the end, if nothing was raised."""
    temporary = None
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        # mkdir gives the permissions that the user wants for folders, which mkdtemp does not.
        temporary = output.parent / f".{output.name}-{uuid4().hex[:12]}"
        temporary.mkdir()
        yield temporary
        move_into_place(temporary, output)
    except OSError as error:
        raise OptkitError(f"{output}: cannot be written: {error.strerror}: choose another folder") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _copy_companions(source: Path, folder: Path) -> None:
    """Copies what lies beside the IR, byte for byte, whatever its name: config, tokenizer, the tokenizer's own IR.

    Left behind are the model itself, in this and in other formats, hidden files, and folders that no modules.json of
    sentence-transformers names.
    """
    for file in source.iterdir():
        if file.is_file() and not file.name.startswith(".") and not _holds_the_model(file):
            shutil.copyfile(file, folder / file.name)
    for name in _module_folders(source / "modules.json"):
        if (source / name).is_dir():
            shutil.copytree(source / name, folder / name)


def _holds_the_model(file: Path) -> bool:
    if file.suffix in (".xml", ".bin"):
        return not file.name.startswith(("openvino_tokenizer", "openvino_detokenizer"))
    return file.suffix in (".safetensors", ".onnx", ".onnx_data", ".data", ".pt", ".pth", ".ckpt", ".h5", ".msgpack")


def _module_folders(modules: Path) -> list[str]:
    """Folders of a sentence-transformers model, each directly in it."""
    try:
        said = json.loads(modules.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    paths = [each.get("path") for each in said if isinstance(each, dict)] if isinstance(said, list) else []
    return sorted({path for path in paths if isinstance(path, str) and re.fullmatch(r"[\w-][\w.-]*", path)})


def _size(xml: Path) -> int:
    return xml.stat().st_size + xml.with_suffix(".bin").stat().st_size
