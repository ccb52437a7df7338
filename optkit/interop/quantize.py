"""int8 of a model that somebody else pruned, or nobody: opened, checked, quantized and tagged, its zeros kept."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optkit.adapters import optimum, peft
from optkit.checkpoints.plain import plain_folder
from optkit.deprecation import renamed_arguments
from optkit.errors import OptkitError, UsageError, argument
from optkit.export import precision
from optkit.export.fp32 import convert
from optkit.export.openvino import finish
from optkit.folders import move_into_place
from optkit.interop import graph
from optkit.interop.calibration import Data, draw
from optkit.interop.checkpoint import check_checkpoint
from optkit.interop.configuration import check_outputs, complete_config, name_architecture
from optkit.interop.graph import open_ir
from optkit.interop.opening import Opened, open_model
from optkit.interop.structure import idle_groups, sentence
from optkit.progress import SILENT, Reporter
from optkit.quantization.config import FORMER_TARGETS, Quantization
from optkit.spelling import suggest
from optkit.tasks import TASKS

if TYPE_CHECKING:
    from optkit.export.fp32 import NamedModel
    from optkit.ir.tags import LayerTag, Tags


@dataclass(frozen=True)
class QuantizeResult:
    """What ``quantize`` made.

    Attributes:
        output: the folder, which ``OVModelFor...`` loads.
        kind: what the model came as: ``checkpoint``, ``adapter``, ``onnx`` or ``ir``.
        task: optimum's name of it.
        ov_class: optimum-intel's class that loads it.
        structure: how the model is pruned, in a sentence.
        tags: as read back from the IR.
        samples: how many texts calibration looked at.
        notes: what else is to be known.
        seconds: by step.
    """

    output: Path
    kind: str
    task: str
    ov_class: str
    structure: str
    tags: Tags
    samples: int
    notes: tuple[str, ...]
    seconds: dict[str, float]

    @property
    def layers(self) -> tuple[LayerTag, ...]:
        """Zeros and structure of each linear layer, before and in int8."""
        return self.tags.layers

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "output": str(self.output),
            "kind": self.kind,
            "task": self.task,
            "ov_class": self.ov_class,
            "structure": self.structure,
            "samples": self.samples,
            "notes": list(self.notes),
            "seconds": {name: round(value, 2) for name, value in self.seconds.items()},
            "layers": [asdict(layer) for layer in self.layers],
        }


@renamed_arguments({"weight_range": FORMER_TARGETS}, target="weight_range")
def quantize(
    model: str | Path,
    *,
    data: Data | None = None,
    text: Sequence[str] = (),
    output: str | Path | None = None,
    weight_range: str = "half",
    samples: int = 300,
    max_length: int = 128,
    task: str | None = None,
    revision: str = "main",
    seed: int = 42,
    reporter: Reporter = SILENT,
) -> QuantizeResult:
    """Makes a model int8 and tags each linear layer with its structure and share of zeros, every zero kept.

    Args:
        model: folder or Hub id of a checkpoint or a PEFT adapter; an ONNX model or an fp32 IR, as file or folder.
        data: what to calibrate with: a file (csv, tsv, json, jsonl, parquet, txt), a dataset of the Hub (``name`` or
            ``name:config``), or texts, pairs of them as tuples.
        text: the column of texts in ``data``, or two for pairs; it may be left out where there is one such column.
        output: a folder, new or empty; ``NAME-int8`` by default. Nothing is left in it if this raises.
        weight_range: of int8 that the weights use: ``half`` or ``full``, see ``Quantization``.
        samples: how many texts to calibrate with, drawn by ``seed``.
        max_length: tokens that a text is cut to.
        task: optimum's name of it, such as ``text-classification``; told from config.json by default.
        revision: branch, tag or commit of a Hub id.
        reporter: hears of each step, and how far it is.

    Raises:
        UsageError: if an argument is wrong, or what is needed is not there.
        OptkitError: if the model or the data is damaged, holds NaN or code, or cannot be quantized.
    """
    if samples < 1 or max_length < 2:
        raise UsageError("samples is at least 1, and max_length at least 2")
    quantization: Quantization | None = Quantization(weight_range=weight_range)
    opened = open_model(model, revision)
    folder = _output(output, model)
    with ExitStack() as stack:
        work = stack.enter_context(_workplace(folder))
        stack.enter_context(_name_in_messages(work, model))
        notes: list[str] = []
        kind, opened = opened.kind, _merge_adapter(opened, work / "merged", notes, reporter)
        task, ov_class = _task(opened, task)
        opened = complete_config(opened, work / "configured", task, notes)
        source, already = None, False
        if opened.kind == "onnx":
            reporter.say("reading the ONNX model")
            source, already = graph.open_onnx(opened.path, opened.setup, task)
        if already:
            notes.append("the model was int8 already: its weights are as they were, and no data was looked at")
            calibration, quantization = [], None
        elif data is None:
            raise UsageError(
                "data: the ranges of int8 activations come from texts like those that the model will see: give a file "
                f"or a dataset with {argument('data')}"
            )
        else:
            reporter.say("reading calibration data")
            calibration = draw(data, text, setup=opened.setup, samples=samples, max_length=max_length, seed=seed)
        source = source or _fp32(opened, task, work / "fp32", seed, reporter)
        check_outputs(source, task)
        # The converter drops what is zero as a whole, and the task what it has no use for, such as a pooler.
        there = set(source.parameters.values())
        facts = {name: fact for name, fact in source.facts.items() if name in there or fact.zeros == fact.size}
        structure = sentence(facts, idle_groups(source.setup, source.weights))
        reporter.say(structure)
        reporter.say("quantizing to int8, tagging, verifying" if quantization else "tagging, verifying")
        (work / "openvino").mkdir()
        how: dict[str, Any] = {"calibration": calibration, "quantization": quantization, "reporter": reporter}
        result = finish(source, work / "openvino", **how)
        notes.append(precision.advice(result.xml, calibration))
        if quantization is not None and weight_range == "full":
            notes.append(
                "range: weights use all of it, which is exact on optkit's runtime and on CPUs with VNNI; elsewhere "
                "OpenVINO's int8 sums overflow: use the half range for those"
            )
        del source
        name_architecture(work / "openvino", task, ov_class)
        move_into_place(work / "openvino", folder)
    about = (kind, task, ov_class, structure, result.tags, len(calibration), tuple(notes))
    return QuantizeResult(folder, *about, dict(result.seconds))


@contextmanager
def _workplace(folder: Path) -> Iterator[Path]:
    """A folder beside ``folder``, on the same disk, which is gone in the end."""
    try:
        place = tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-")
    except OSError as error:
        raise UsageError(f"{folder.parent}: {error.strerror}: choose another {argument('output')}") from None
    with place as name:
        yield Path(name)


@contextmanager
def _name_in_messages(work: Path, model: str | Path) -> Iterator[None]:
    """Has messages on a copy in ``work`` name the model that it was made from."""
    try:
        yield
    except OptkitError as error:
        message = re.sub(rf"{re.escape(str(work))}/\w+", lambda _: str(model), str(error))
        if message == str(error):
            raise
        raise type(error)(message) from error


def _output(output: str | Path | None, model: str | Path) -> Path:
    stem = Path(model).stem if Path(model).is_file() else Path(model).resolve().name
    folder = Path(output) if output is not None else Path(f"{stem}-int8")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder}: there is something already: choose another {argument('output')}, new or empty")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: {error.strerror}: choose another {argument('output')}") from None
    return folder


def _merge_adapter(opened: Opened, folder: Path, notes: list[str], reporter: Reporter) -> Opened:
    """``opened``, an adapter as the checkpoint that it makes of its base model."""
    if opened.kind != "adapter":
        return opened

    reporter.say("merging the adapter into its base model")
    folder.mkdir()
    notes += peft.merge(opened.path, folder)
    return Opened("checkpoint", folder, folder)


def _task(opened: Opened, task: str | None) -> tuple[str, str]:
    """optimum's name of the task and optimum-intel's class."""
    known = [name for name, each in TASKS.items() if each.reads == "texts" and each.export_task == name]
    if task is None:
        way_out = f"say what it is for with {argument('task')}, one of {', '.join(known)}"
        task = optimum.export_task(optimum.class_for(opened.setup, way_out))
    if task not in known:
        near = suggest(task, known) or f": one of {', '.join(known)}"
        raise UsageError(f"task '{task}' is not calibrated with texts{near}; others go through a recipe")
    return task, TASKS[task].ov_class


def _fp32(opened: Opened, task: str, folder: Path, seed: int, reporter: Reporter) -> NamedModel:
    """The model of a checkpoint, written into ``folder``, or of an IR."""
    if opened.kind == "ir":
        reporter.say("reading the IR")
        return open_ir(opened.path, opened.setup, task)
    reporter.say("reading and converting the checkpoint")
    checkpoint = plain_folder(opened.path)
    check_checkpoint(checkpoint, TASKS[task].auto_class)
    folder.mkdir()
    return convert(checkpoint, folder, export_task=task, seed=seed)
