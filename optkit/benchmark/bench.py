"""The benchmark: finds what can run, makes what has to be exported first, measures shape by shape, and tells it all."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from optkit.benchmark import loading, measure
from optkit.benchmark.asked import SEQ, Asked
from optkit.benchmark.engine import Engine, Inputs, Setting, Source
from optkit.benchmark.engines import BACKENDS, QUANTIZING, exact, load, missing, not_by_default
from optkit.benchmark.exporting import export
from optkit.benchmark.inputs import Needs, Shared, Texts
from optkit.benchmark.machine import Watch, complaints, describe
from optkit.benchmark.offers import Offer, Offers, offers, size
from optkit.cpu import physical_cores
from optkit.errors import OptkitError, RecipeError
from optkit.ir.precision import default_precision
from optkit.progress import Reporter

#: 2: OpenVINO computes at its default precision, where 1 had the f32 hint.
FORMAT = 2
#: How far outputs of one model may lie apart, as a share of the largest: fp32, and int8 or bf16, which round.
_EXACT, _ROUNDED = 1e-3, 0.1
#: What anybody would run: ratios are against the first that takes part, where nobody says what to compare.
_REFERENCES = ("openvino", "openvino-int8")
#: Inputs that int8 ranges come from, and their tokens, at most.
_SAMPLES, _SAMPLE = 16, 128
#: Batches on which they are compared: on one alone a model may be undecided, and all of its outputs small.
_COMPARED = 8


def bench(
    paths: Sequence[str | Path], asked: Asked | None = None, *, command: str = "", reporter: Reporter | None = None
) -> dict[str, Any]:
    """Measures the models in ``paths`` on every backend that can run them.

    Args:
        paths: runs, checkpoints, IRs, ONNX models; see ``offers``.
        command: that was given, for the report.
        reporter: who is told; nobody if None.

    Returns:
        the report of docs/bench.md, plain data.

    Raises:
        RecipeError: if a backend cannot run the only path, or nothing can run at all.
        OptkitError: if a model cannot be loaded, or not fed with such inputs.
    """
    asked, reporter = asked or Asked(), reporter or Reporter(quiet=True)
    asked.check()
    found = [offers(path) for path in paths]
    chosen, left_out = _choose(found, asked)
    strict = bool(asked.backends) and len(found) == 1
    watch, threads = Watch(), asked.threads or physical_cores()
    setting = Setting(threads, asked.mode, asked.streams)
    with tempfile.TemporaryDirectory(prefix="optkit-bench-") as folder:
        needs = [Needs.of(offer.setup) for offer in chosen]
        shared = Shared.of(needs)
        read = None if asked.texts is None else Texts.read(asked.texts, needs, next(iter(asked.seq), None))
        work = _Work(asked, reporter, shared, read, _lengths(asked, shared, read))
        models = _exported(chosen, Path(folder), left_out, strict, reporter, work.samples())
        rows = work.shapes(models, setting)
        loads = work.loads(models, setting) if asked.loads else [{} for _ in models]
        sizes = [size(source) for _, source in models]
    noticed = watch.facts()
    warnings = complaints(noticed, threads) + work.warnings
    if noisy := sum(row["noisy"] for shape in rows for row in shape["rows"]):
        warnings.append(f"{noisy} ratios are noisy, their rounds too far apart to tell: raise --duration")
    return {
        "format": FORMAT,
        "command": command,
        "settings": {
            "mode": asked.mode,
            "threads": threads,
            "streams": asked.streams,
            "duration": asked.duration,
            "texts": None if asked.texts is None else str(asked.texts),
            "precision": default_precision(),
        },
        "machine": describe() | noticed,
        "models": [
            {**_key(offer), "source": str(offer.source.path), "exported": offer.exported, "bytes": held} | loaded
            for (offer, _), held, loaded in zip(models, sizes, loads)
        ],
        "left_out": left_out,
        "shapes": rows,
        "warnings": warnings,
    }


def _key(offer: Offer) -> dict[str, str]:
    return {"path": str(offer.path), "model": offer.model, "backend": offer.backend}


def _choose(found: Sequence[Offers], asked: Asked) -> tuple[list[Offer], list[dict[str, str]]]:
    """The offers to measure, path by path, in the order of ``asked.backends``; and what was left out, with the reason.

    Raises:
        RecipeError: if a backend that was named cannot run the only path, nothing can run, or ``against`` is left out.
    """
    chosen, left_out = [], []
    wanted = asked.backends or BACKENDS
    for each in found:
        for backend in dict.fromkeys(wanted):
            why = each.without.get(backend) or missing(backend)
            if why is None and not asked.backends:
                why = not_by_default(backend)
            if why is None:
                chosen += [offer for offer in each.runs if offer.backend == backend]
            elif asked.backends and len(found) == 1:
                raise RecipeError(f"--backends: {backend} cannot run it: {why}")
            else:
                left_out.append({"path": str(each.path), "backend": backend, "why": why})
    if not chosen:
        reasons = "; ".join(dict.fromkeys(f"{each['backend']}: {each['why']}" for each in left_out))
        raise RecipeError(f"no backend can run this: {reasons}")
    if asked.against is not None and asked.against not in {offer.backend for offer in chosen}:
        raise RecipeError(f"--against {asked.against}: it does not take part here")
    return chosen, left_out


def _exported(
    chosen: Sequence[Offer],
    folder: Path,
    left_out: list[dict[str, str]],
    strict: bool,
    reporter: Reporter,
    samples: Sequence[Inputs],
) -> list[tuple[Offer, Source]]:
    """Each offer with what its backend loads; what cannot be exported is left out, unless ``strict``.

    Raises:
        OptkitError: if an export fails and ``strict``, or none is left.
    """
    models, failed = [], None
    for offer in chosen:
        try:
            models.append((offer, export(offer, folder, reporter, samples)))
        except OptkitError as error:
            if strict:
                raise
            failed = error
            left_out.append({"path": str(offer.path), "backend": offer.backend, "why": str(error)})
    if not models and failed is not None:
        raise failed
    return models


def _lengths(asked: Asked, shared: Shared, read: Texts | None) -> list[int]:
    """Tokens of each shape; of texts their median, and 1 of images.

    Raises:
        RecipeError: if the models do not take as many.
    """
    if read is not None:
        lengths = sorted(read.lengths())
        return [lengths[len(lengths) // 2]]
    if shared.pixels:
        if asked.seq:
            raise RecipeError("--seq: images have no length: leave it out")
        return [1]
    longest = shared.longest
    for seq in asked.seq:
        if longest is not None and seq > longest:
            raise RecipeError(f"--seq {seq}: the model takes up to {longest} tokens")
    return list(asked.seq or [SEQ if longest is None else min(SEQ, longest)])


@dataclass
class _Work:
    """One benchmark under way."""

    asked: Asked
    reporter: Reporter
    shared: Shared
    read: Texts | None
    lengths: list[int]
    warnings: list[str] = field(default_factory=list)

    def shapes(self, models: Sequence[tuple[Offer, Source]], setting: Setting) -> list[dict[str, Any]]:
        """A row of every model at every shape, by shapes."""
        shared, kept, found = self.shared, dict[int, Engine](), []
        for seq in self.lengths:
            for batch in self.asked.batch:
                engines = self._engines(models, replace(setting, shape=(batch, seq)), kept)
                sizes: dict[str, Any] = {"batch": batch, "seq": None}
                if self.read is None:
                    feeds = [shared.made_up(batch, seq, seed) for seed in range(_COMPARED)]
                    inputs = feeds[0]
                    timed = self._timed(engines, inputs, self._said(batch, seq))
                    pixels = shared.pixels and {"pixels": " x ".join(map(str, shared.pixels))}
                    sizes |= pixels or {"seq": seq}
                else:
                    batches = self.read.batches(batch)
                    feeds = batches[:_COMPARED]
                    timed, seen = self._timed_texts(engines, batches, f"texts, {batch} at a time")
                    sizes["texts"] = _texts(self.read, batches[:seen])
                found.append(sizes | {"rows": self._rows(models, engines, timed, feeds)})
        return found

    def samples(self) -> list[Inputs]:
        """Inputs one by one for int8 ranges: of the texts, else by chance."""
        if self.read is not None:
            return self.read.batches(1)[:_SAMPLES]
        seq = min(_SAMPLE, self.shared.longest or _SAMPLE)
        return [self.shared.made_up(1, seq, seed) for seed in range(_SAMPLES)]

    def _said(self, batch: int, seq: int) -> str:
        pixels = self.shared.pixels
        return f"{batch} x {' x '.join(map(str, pixels))} pixels" if pixels else f"{batch} x {seq} tokens"

    def _engines(self, models: Sequence[tuple[Offer, Source]], at: Setting, kept: dict[int, Engine]) -> list[Engine]:
        """The engines; optkit anew for each shape, since it plans for one."""
        for number, (offer, source) in enumerate(models):
            if number not in kept or offer.backend == "optkit":
                kept.pop(number, None)
                self.reporter.say(f"loading {offer.name}")
                kept[number] = load(offer.backend, source, at)
        return [kept[number] for number in range(len(models))]

    def _timed(self, engines: Sequence[Engine], inputs: Inputs, label: str) -> dict[int, measure.Measured]:
        run = measure.latency if self.asked.mode == "latency" else measure.throughput
        with self.reporter.task(label) as task:
            return run(
                dict(enumerate(engines)),
                inputs,
                seconds=self.asked.duration,
                tell=lambda done, total: task.advance(done, total, {"rounds": done}),
            )

    def _timed_texts(
        self, engines: Sequence[Engine], batches: Sequence[Inputs], label: str
    ) -> tuple[dict[int, measure.Measured], int]:
        with self.reporter.task(label) as task:
            return measure.texts(
                dict(enumerate(engines)),
                batches,
                seconds=self.asked.duration,
                streamed=self.asked.mode == "throughput",
                tell=lambda done, total: task.advance(done, total, {"rounds": done}),
            )

    def _rows(
        self,
        models: Sequence[tuple[Offer, Source]],
        engines: Sequence[Engine],
        timed: dict[int, measure.Measured],
        feeds: Sequence[Inputs],
    ) -> list[dict[str, Any]]:
        reference, int8 = self._reference(models), _first(models, "openvino-int8")
        found = measure.figures(timed, reference)
        over = {} if int8 is None else measure.figures(timed, int8)
        differs = self._differences(models, engines, feeds)
        rows = []
        for number, (offer, _) in enumerate(models):
            engine = engines[number]
            row = _key(offer) | found[number].to_dict()
            row |= {"reference": number == reference, "difference": differs[number]}
            row |= {"over_int8": over[number].to_dict()["ratio"] if over else None}
            row |= {"streams": engine.streams, "requests": engine.requests} if self.asked.mode == "throughput" else {}
            rows.append(row | ({"plan": engine.plan.reason} if engine.plan is not None else {}))
        return rows

    def _reference(self, models: Sequence[tuple[Offer, Source]]) -> int:
        """The row that ratios are against: of ``against``, else of what anybody would run, and the first of the
        backends that were named.
        """
        against = self.asked.against
        if against is not None and _first(models, against) is None:
            raise OptkitError(f"--against {against}: it was left out")
        wanted = [against] if against else [] if self.asked.backends else _REFERENCES
        return next((found for name in wanted if (found := _first(models, name)) is not None), 0)

    def _differences(
        self, models: Sequence[tuple[Offer, Source]], engines: Sequence[Engine], feeds: Sequence[Inputs]
    ) -> list[float | None]:
        """How far each engine's outputs on ``feeds`` lie from those of the first that runs the same model; None for
        that one.
        """
        first: dict[tuple[Path, str], int] = {}
        logits = [[engine.logits(inputs) for inputs in feeds] for engine in engines]
        found: list[float | None] = []
        for number, (offer, _) in enumerate(models):
            of = first.setdefault((offer.path, offer.model), number)
            found.append(None if of == number else measure.difference(logits[number], logits[of]))
            backends = offer.backend, models[of][0].backend
            allowed = _EXACT if offer.model != "int8 IR" and all(map(exact, backends)) else _ROUNDED
            if of != number and not found[-1] <= allowed:
                whole = math.isfinite(found[-1])
                said = f"outputs differ by {found[-1]:.1%}" if whole else "outputs have other shapes, or are no numbers"
                found[-1] = found[-1] if whole else None  # JSON has no other numbers
                both = f"{offer.name} and {models[of][0].backend}"
                if offer.backend in QUANTIZING:
                    self.warnings.append(f"int8 by default settings loses much: of {both} {said}")
                else:
                    self.warnings.append(f"{both} do not compute the same: {said}, so their times do not compare")
        return found

    def loads(self, models: Sequence[tuple[Offer, Source]], setting: Setting) -> list[dict[str, Any]]:
        """Load time and memory of every model, at the first shape."""
        shape, found = (self.asked.batch[0], self.lengths[0]), []
        inputs = self.shared.made_up(*shape)
        for offer, source in models:
            self.reporter.say(f"loading {offer.name} in a process of its own")
            try:
                found.append({"load": loading.measure(offer.backend, source, replace(setting, shape=shape), inputs)})
            except OptkitError as error:
                self.warnings.append(f"load time and memory of {offer.name} were not measured: {error}")
                found.append({"load": None})
        return found


def _first(models: Sequence[tuple[Offer, Source]], backend: str) -> int | None:
    return next((number for number, (offer, _) in enumerate(models) if offer.backend == backend), None)


def _texts(read: Texts, batches: Sequence[Inputs]) -> dict[str, Any]:
    """What was fed: how many texts and batches of the file were timed, their lengths, and the share of padding."""
    lengths = sorted(read.lengths())
    sizes = [batch["attention_mask"] for batch in batches]
    tokens, slots = sum(int(mask.sum()) for mask in sizes), sum(mask.size for mask in sizes)
    return {
        "texts": len(lengths),
        "timed": sum(len(mask) for mask in sizes),
        "batches": len(sizes),
        "shortest": lengths[0],
        "median": lengths[len(lengths) // 2],
        "longest": lengths[-1],
        "padding": round(1 - tokens / slots, 4),
    }
