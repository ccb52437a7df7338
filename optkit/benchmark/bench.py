"""The work of `optkit bench`: finds the backends that can run the models of some paths, exports, and measures."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optkit.benchmark.backend_support import BackendSupport, RunnableModel, backend_support
from optkit.benchmark.backends import BACKENDS, excluded_by_default, missing
from optkit.benchmark.engines.base import Engine, Inputs, Setting, Source
from optkit.benchmark.engines.loader import load
from optkit.benchmark.exports import export
from optkit.benchmark.inputs import InputSpec, SharedInputs, Texts
from optkit.benchmark.measure import COMPARED, Candidate, Workload, measure
from optkit.benchmark.options import SEQ, BenchmarkOptions
from optkit.benchmark.result import BenchmarkResult, LeftOut
from optkit.errors import OptkitError, UsageError
from optkit.progress import Reporter

#: Where no reference and no backend is named, ratios are against the first of these that takes part.
_REFERENCES = ("openvino", "openvino-int8")
#: Inputs for the ranges of int8, and their tokens, at most.
_SAMPLES, _SAMPLE = 16, 128


def bench(
    paths: Sequence[str | Path],
    options: BenchmarkOptions | None = None,
    *,
    command: str = "",
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Measures the models in ``paths`` on every backend that can run them.

    Args:
        paths: runs, checkpoints, IRs, ONNX models; see ``backend_support``.
        command: the command line, for the report.
        reporter: shows progress; None shows none.

    Returns:
        the report of docs/bench.md, plain data.

    Raises:
        UsageError: if a backend cannot run the only path, or nothing can run at all.
        OptkitError: if a model cannot be loaded, or not fed with such inputs; before any work if OPTKIT_ISA names
            kernels that cannot run here.
    """
    return bench_result(paths, options or BenchmarkOptions(), command, reporter or Reporter(quiet=True)).to_dict()


def bench_result(
    paths: Sequence[str | Path], options: BenchmarkOptions, command: str, reporter: Reporter
) -> BenchmarkResult:
    """``bench``, as a typed result."""
    options.check()
    found = [backend_support(path) for path in paths]
    chosen, left_out = _choose(found, options)
    strict = bool(options.backends) and len(found) == 1
    with tempfile.TemporaryDirectory(prefix="optkit-bench-") as folder:
        specs = [InputSpec.of(model.setup) for model in chosen]
        shared = SharedInputs.of(specs)
        texts = None if options.texts is None else Texts.read(options.texts, specs, next(iter(options.seq), None))
        workloads = _workloads(options, shared, texts)
        sources = _export_all(chosen, Path(folder), left_out, strict, reporter, _samples(shared, texts))
        models = [model for model, _ in sources]
        return measure(
            [_candidate(model, source, reporter) for model, source in sources],
            workloads,
            options,
            reference=reference(models, options),
            plain=_first(models, "openvino-int8"),
            left_out=left_out,
            command=command,
            reporter=reporter,
        )


def _choose(found: Sequence[BackendSupport], options: BenchmarkOptions) -> tuple[list[RunnableModel], list[LeftOut]]:
    """The models to measure, path by path, in the order of ``options.backends``; and those left out, with the reason.

    Raises:
        UsageError: if a backend that was named cannot run the only path, nothing can run, or ``against`` is left out.
    """
    chosen, left_out = [], []
    wanted = options.backends or tuple(BACKENDS)
    for each in found:
        for backend in dict.fromkeys(wanted):
            why = each.unsupported.get(backend) or missing(backend)
            if why is None and not options.backends:
                why = excluded_by_default(backend)
            if why is None:
                chosen += [model for model in each.models if model.backend == backend]
            elif options.backends and len(found) == 1:
                raise UsageError(f"--backends: {backend} cannot run it: {why}")
            else:
                left_out.append(LeftOut(path=str(each.path), backend=backend, why=why))
    if not chosen:
        reasons = "; ".join(dict.fromkeys(f"{each.backend}: {each.why}" for each in left_out))
        raise UsageError(f"no backend can run this: {reasons}")
    if options.against is not None and options.against not in {model.backend for model in chosen}:
        raise UsageError(f"--against {options.against}: it does not take part here")
    return chosen, left_out


def _export_all(
    chosen: Sequence[RunnableModel],
    folder: Path,
    left_out: list[LeftOut],
    strict: bool,
    reporter: Reporter,
    samples: Sequence[Inputs],
) -> list[tuple[RunnableModel, Source]]:
    """Each model with the files that its backend loads; a model that cannot be exported is left out, unless ``strict``.

    Raises:
        OptkitError: if an export fails and ``strict``, or none is left.
    """
    models, failed = [], None
    for model in chosen:
        try:
            models.append((model, export(model, folder, reporter, samples)))
        except OptkitError as error:
            if strict:
                raise
            failed = error
            left_out.append(LeftOut(path=str(model.path), backend=model.backend, variant=model.variant, why=str(error)))
    if not models and failed is not None:
        raise failed
    return models


def _candidate(model: RunnableModel, source: Source, reporter: Reporter) -> Candidate:
    def loaded(setting: Setting) -> Engine:
        reporter.say(f"loading {model.name}")
        return load(model.variant, source, setting)

    return Candidate(
        model.variant,
        model.name,
        loaded,
        same_as=(model.path, model.kind),
        path=model.path,
        source=source,
        exported=model.exported,
        backend=model.backend,
    )


def reference(models: Sequence[RunnableModel], options: BenchmarkOptions) -> int:
    """The number of the model that ratios are against: that of ``against``, else the first of ``_REFERENCES``, or of
    the backends that were named.

    Raises:
        OptkitError: if the one of ``against`` was left out.
    """
    against = options.against
    if against is not None and _first(models, against) is None:
        raise OptkitError(f"--against {against}: it was left out")
    wanted = [against] if against else [] if options.backends else _REFERENCES
    return next((found for name in wanted if (found := _first(models, name)) is not None), 0)


def _first(models: Sequence[RunnableModel], backend: str) -> int | None:
    return next((number for number, model in enumerate(models) if model.backend == backend), None)


def _workloads(options: BenchmarkOptions, shared: SharedInputs, texts: Texts | None) -> list[Workload]:
    """The inputs, by lengths and then by batches.

    Raises:
        UsageError: if the models do not take such lengths.
    """
    found = []
    for seq in _lengths(options, shared, texts):
        for batch in options.batch:
            if texts is not None:
                found.append(Workload((batch, seq), texts.batches(batch), texts=texts))
                continue
            inputs = [shared.dummy_inputs(batch, seq, seed) for seed in range(COMPARED)]
            pixels = " x ".join(map(str, shared.pixels)) if shared.pixels else None
            found.append(Workload((batch, seq), inputs, seq=None if pixels else seq, pixels=pixels))
    return found


def _lengths(options: BenchmarkOptions, shared: SharedInputs, texts: Texts | None) -> list[int]:
    """Tokens of each shape: of texts their median, of images 1."""
    if texts is not None:
        lengths = sorted(texts.lengths())
        return [lengths[len(lengths) // 2]]
    if shared.pixels:
        if options.seq:
            raise UsageError("--seq: images have no length: leave it out")
        return [1]
    longest = shared.longest
    for seq in options.seq:
        if longest is not None and seq > longest:
            raise UsageError(f"--seq {seq}: the model takes up to {longest} tokens")
    return list(options.seq or [SEQ if longest is None else min(SEQ, longest)])


def _samples(shared: SharedInputs, texts: Texts | None) -> Sequence[Inputs]:
    """Single inputs for the ranges of int8: of the texts, else random."""
    if texts is not None:
        return texts.batches(1)[:_SAMPLES]
    seq = min(_SAMPLE, shared.longest or _SAMPLE)
    return [shared.dummy_inputs(1, seq, seed) for seed in range(_SAMPLES)]
