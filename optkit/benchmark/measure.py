"""Times variants of models shape by shape, in turns on the same inputs; used by `optkit bench`, the stage `benchmark`
and the scripts.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from optkit import machine
from optkit.benchmark import rounds
from optkit.benchmark.backends import computes_in_fp32, quantized_by_engine
from optkit.benchmark.engines.base import Engine, Inputs, Setting, Source
from optkit.benchmark.inputs import Texts
from optkit.benchmark.load_time import measure_load
from optkit.benchmark.options import BenchmarkOptions
from optkit.benchmark.result import (
    BenchmarkMachine,
    BenchmarkResult,
    LeftOut,
    Load,
    ModelFacts,
    Row,
    Settings,
    Shape,
    TextFacts,
)
from optkit.cpu import physical_cores
from optkit.errors import OptkitError
from optkit.ir import precision
from optkit.progress import SILENT, Reporter
from optkit.variant import Variant

if TYPE_CHECKING:
    from optkit.runtime import Plan

#: How far outputs of one model may lie apart, as a share of the largest: fp32, and int8 or bf16, which round.
_EXACT, _ROUNDED = 1e-3, 0.1
#: Batches on which they are compared: on one alone a model may be undecided, and all of its outputs small.
COMPARED = 8


@dataclass(frozen=True, eq=False)
class Candidate:
    """A variant to be timed.

    Attributes:
        name: in tables.
        load: returns the engine at a setting. It is called once, or at each shape.
        same_as: equal for candidates that should compute the same.
        path: that the user named.
        source: its files; None where neither their size nor their load time is measured.
        exported: whether the files were exported for this benchmark.
        backend: its name in warnings; ``name`` if None.
        for_one_shape: whether an engine serves one shape alone. Those of optkit, which plans for one, always do.
    """

    variant: Variant
    name: str
    load: Callable[[Setting], Engine]
    same_as: Hashable
    path: object = None
    source: Source | None = None
    exported: bool = False
    backend: str | None = None
    for_one_shape: bool = False


@dataclass(frozen=True, eq=False)
class Workload:
    """The inputs of all variants at one shape.

    Attributes:
        planned: (batch, tokens) that optkit plans for.
        inputs: batches. Those of texts are all timed; else the first is, and the others are for comparing outputs.
        seq: tokens of a batch; None of images and texts.
        pixels: of images, such as ``3 x 224 x 224``.
        texts: that ``inputs`` are the batches of.
    """

    planned: tuple[int, int]
    inputs: Sequence[Inputs]
    seq: int | None = None
    pixels: str | None = None
    texts: Texts | None = None

    @property
    def label(self) -> str:
        """The inputs in words, for progress."""
        batch = self.planned[0]
        if self.texts is not None:
            return f"texts, {batch} at a time"
        return f"{batch} x {self.pixels} pixels" if self.pixels else f"{batch} x {self.seq} tokens"


def measure(
    candidates: Sequence[Candidate],
    workloads: Sequence[Workload],
    options: BenchmarkOptions,
    *,
    reference: int | None = None,
    plain: int | None = None,
    left_out: Sequence[LeftOut] = (),
    command: str = "",
    reporter: Reporter = SILENT,
) -> BenchmarkResult:
    """Times every candidate at every workload.

    Args:
        workloads: without any, nothing is loaded, and the result has neither shapes nor models.
        options: the fields that choose backends and inputs are ignored here.
        reference, plain: numbers of the candidates that ratios are against, see ``Row``; None for none.
        left_out: what was not measured, for the result.
        command: the command line, for the result.

    Raises:
        OptkitError: if a model cannot be loaded, or takes other inputs.
    """
    threads, monitor = options.threads or physical_cores(), machine.LoadMonitor()
    setting = Setting(threads, options.mode, options.streams)
    run = _Run(candidates, options, setting, reference, plain, reporter, [])
    shapes = run.shapes(workloads)
    models = [run.model(candidate, workloads[0]) for candidate in candidates] if workloads else []
    facts = monitor.facts()
    warnings = machine.load_warnings(facts, threads) + run.warnings
    if noisy := sum(row.noisy for shape in shapes for row in shape.rows):
        warnings.append(f"{noisy} ratios are noisy (their rounds are too far apart): measure for longer")
    return BenchmarkResult(
        command=command,
        settings=Settings(
            **{name: getattr(options, name) for name in ("mode", "streams", "duration", "rounds", "repeats", "limit")},
            threads=threads,
            texts=None if options.texts is None else str(options.texts),
            precision=precision.default_precision(),
        ),
        machine=BenchmarkMachine(**machine.describe() | facts),
        versions=machine.versions(),
        models=models,
        left_out=list(left_out),
        shapes=shapes,
        warnings=warnings,
    )


@dataclass
class _Run:
    """The state of one benchmark."""

    candidates: Sequence[Candidate]
    options: BenchmarkOptions
    setting: Setting
    reference: int | None
    plain: int | None
    reporter: Reporter
    warnings: list[str]

    def shapes(self, workloads: Sequence[Workload]) -> list[Shape]:
        loaded: dict[int, Engine] = {}
        try:
            return [self._shape(workload, loaded) for workload in workloads]
        finally:
            for engine in reversed(loaded.values()):
                engine.close()

    def _shape(self, workload: Workload, loaded: dict[int, Engine]) -> Shape:
        engines = self._engines(replace(self.setting, shape=workload.planned), loaded)
        timed, texts = self._timed(engines, workload)
        rows = self._rows(engines, timed, workload.inputs[:COMPARED])
        return Shape(batch=workload.planned[0], seq=workload.seq, pixels=workload.pixels, texts=texts, rows=rows)

    def model(self, candidate: Candidate, first: Workload) -> ModelFacts:
        """The figures that are measured once: bytes, and load time and memory at the first workload."""
        facts: dict[str, Any] = {"variant": candidate.variant, "name": candidate.name, "exported": candidate.exported}
        facts |= {"path": None if candidate.path is None else str(candidate.path)}
        if candidate.source is None:
            return ModelFacts(**facts)
        facts |= {"source": str(candidate.source.path), "bytes": candidate.source.size()}
        if self.options.loads:
            self.reporter.say(f"loading {candidate.name} in a process of its own")
            at = replace(self.setting, shape=first.planned)
            try:
                found = measure_load(candidate.variant, candidate.source, at, first.inputs[0])
                facts |= {"load": Load(**found)}
            except OptkitError as error:
                self.warnings.append(f"load time and memory of {candidate.name} were not measured: {error}")
        return ModelFacts(**facts)

    def _engines(self, setting: Setting, loaded: dict[int, Engine]) -> list[Engine]:
        """The engines at the shape of ``setting``."""
        for number, candidate in enumerate(self.candidates):
            if number not in loaded or candidate.for_one_shape or candidate.variant.engine == "optkit":
                if number in loaded:
                    loaded.pop(number).close()
                loaded[number] = candidate.load(setting)
        return [loaded[number] for number in range(len(self.candidates))]

    def _timed(
        self, engines: Sequence[Engine], workload: Workload
    ) -> tuple[dict[int, rounds.Measured], TextFacts | None]:
        options, named = self.options, dict(enumerate(engines))
        with self.reporter.task(workload.label) as task:

            def tell(done: int, total: int) -> None:
                task.advance(done, total, {"rounds": done})

            if workload.texts is not None:
                streamed = options.mode == "throughput"
                timed, seen = rounds.texts(
                    named, workload.inputs, seconds=options.duration, streamed=streamed, tell=tell
                )
                return timed, _text_facts(workload.texts, workload.inputs[:seen])
            if options.mode == "throughput":
                inputs, seconds = workload.inputs[0], options.duration
                return rounds.throughput(named, inputs, seconds=seconds, rounds=options.rounds, tell=tell), None
            timed = rounds.latency(
                named,
                workload.inputs[0],
                seconds=options.duration,
                rounds=options.rounds,
                repeats=options.repeats,
                limit=options.limit,
                tell=tell,
            )
            return timed, None

    def _rows(
        self, engines: Sequence[Engine], timed: Mapping[int, rounds.Measured], inputs: Sequence[Inputs]
    ) -> list[Row]:
        figures = rounds.figures(timed, self.reference)
        over = None if self.plain is None else rounds.figures(timed, self.plain)
        differences = self._differences(engines, inputs)
        rows = []
        for number, (candidate, engine) in enumerate(zip(self.candidates, engines, strict=True)):
            facts = figures[number].to_dict() | {"reference": number == self.reference}
            facts |= {"plain": number == self.plain, "over_plain": over and over[number].to_dict()["ratio"]}
            if self.options.mode == "throughput":
                facts |= {"streams": engine.streams, "requests": engine.requests}
            rows.append(
                Row(
                    variant=candidate.variant,
                    name=candidate.name,
                    path=None if candidate.path is None else str(candidate.path),
                    difference=differences[number],
                    plan=None if engine.plan is None else engine.plan.reason,
                    kernels=None if engine.plan is None else _layers_by_kernel(engine.plan),
                    **facts,
                )
            )
        return rows

    def _differences(self, engines: Sequence[Engine], inputs: Sequence[Inputs]) -> list[float | None]:
        """How far each engine's outputs lie from those of the first that runs the same model; None for that one."""
        first: dict[Hashable, int] = {}
        outputs = [[engine.logits(batch) for batch in inputs] for engine in engines]
        found: list[float | None] = []
        for number, candidate in enumerate(self.candidates):
            of = first.setdefault(candidate.same_as, number)
            if of == number:
                found.append(None)
                continue
            other = self.candidates[of]
            off = rounds.difference(outputs[number], outputs[of])
            found.append(off if math.isfinite(off) else None)  # JSON has no other numbers
            allowed = _EXACT if computes_in_fp32(candidate.variant) and computes_in_fp32(other.variant) else _ROUNDED
            if not off <= allowed:
                self.warnings.append(_warning(candidate, other, off))
        return found


def _warning(candidate: Candidate, other: Candidate, off: float) -> str:
    said = f"outputs differ by {off:.1%}" if math.isfinite(off) else "outputs have other shapes, or are no numbers"
    both = f"{candidate.name} and {other.backend or other.name}"
    if quantized_by_engine(candidate.variant):
        return f"int8 by default settings is inaccurate: {both}: {said}"
    return f"{both} do not compute the same: {said}: do not compare their times"


def _layers_by_kernel(plan: Plan) -> dict[str, int]:
    """How many linear layers ``plan`` gives to each kernel, and to OpenVINO, the most first."""
    kernels = [layer.kernel for layer in plan.layers]
    names = ["OpenVINO" if kernel is None else f"{kernel.name}x{kernel.rows}" for kernel in kernels]
    return dict(Counter(names).most_common())


def _text_facts(texts: Texts, batches: Sequence[Inputs]) -> TextFacts:
    """Facts of the texts in ``batches``, which were timed."""
    lengths = sorted(texts.lengths())
    masks = [batch["attention_mask"] for batch in batches]
    tokens, slots = sum(int(mask.sum()) for mask in masks), sum(mask.size for mask in masks)
    return TextFacts(
        texts=len(lengths),
        timed=sum(len(mask) for mask in masks),
        batches=len(masks),
        shortest=lengths[0],
        median=lengths[len(lengths) // 2],
        longest=lengths[-1],
        padding=round(1 - tokens / slots, 4),
    )
