#!/usr/bin/env python
"""How fast the sparse runtime is: optkit beside OpenVINO, ONNX Runtime and torch, on one model, in one process.

Builds a model with random weights (nothing is downloaded), prunes it in one shot to each of ``--cases``, exports it,
quantizes it with NNCF, and times the engines by turns, all with the same threads and inputs. What
is built is kept in ``--cache``.

In each round every engine has a turn: one inference that warms the caches, then the median of ``--repeats``. The order
moves on by one from round to round. Read ``ratio``: the time of OpenVINO's int8 on the dense model, at its default
precision, over the engine's, by rounds, the median. CPUs without VNNI have the fp32 IR for it, to which ``over fp32``
compares everywhere. Between ``quartiles`` lies the middle half of the rounds' ratios; "noisy" marks those too far apart
to tell much: close other programs and raise ``--rounds``.

    python scripts/bench_runtime.py
    python scripts/bench_runtime.py --isa avx2 --batch 1,8 --seq 128 --json avx2.json
    python scripts/bench_runtime.py --cases 90:1x4 --streams 2 --parts ratios
    python scripts/bench_runtime.py --cases 90:1x4 --seq 16,128 --parts schedules
    python scripts/bench_runtime.py --cases 0:dense,95:4x4 --engines tvm,optkit --parts ratios
    python scripts/bench_runtime.py --from avx2.json --markdown
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from runtime_bench.machine import ENVIRONMENT, default_precision, environment, keep_plans, notes, pretend

from optkit.cpu import cpu_cores

if TYPE_CHECKING:
    from runtime_bench.result import RuntimeResult

    from optkit.benchmark.result import LeftOut

CASES = "0:dense,80:1x4,90:1x4,95:1x4,80:4x4,90:4x4,80:16x4,90:16x4,90:element,95:element"
PARTS = ("ratios", "shares", "loads", "schedules")
#: Those that run where none is named: what is measured.
MEASURED = PARTS[:3]


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    summary, _, details = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "optkit" / "bench_runtime"
    add(
        "--model",
        choices=("base", "minilm", "tiny", "modernbert", "deberta", "qwen3"),
        default="base",
        help="a size of BERT, ModernBERT-base, DeBERTa-v3-base, or six layers of Qwen3-Embedding-0.6B "
        "(default: %(default)s)",
    )
    add("--cases", default=CASES, help="percent:structure, separated by commas (default: %(default)s)")
    add(
        "--engines",
        help="torch, onnxruntime, openvino-fp32, openvino-fp32-f32, openvino-int8, openvino-int8-f32, tvm, optkit, "
        "optkit-fp32; default: all but tvm and the last that are installed, those with the f32 hint where f32 is not "
        "OpenVINO's default. openvino-int8 and openvino-fp32 always run on the dense model: ratios are against them",
    )
    add("--batch", type=_numbers, default=[1], help="batch sizes, separated by commas (default: 1)")
    add("--seq", type=_numbers, default=[128], help="sequence lengths, separated by commas (default: 128)")
    add("--threads", type=int, default=2, help="of every engine (default: %(default)s)")
    add(
        "--streams",
        type=int,
        default=1,
        help="more than 1 measures throughput of OpenVINO and optkit: so many streams "
        "share the threads, with as many requests in flight as OpenVINO asks for (default: %(default)s)",
    )
    add("--rounds", type=int, default=20, help="default: %(default)s")
    add("--repeats", type=int, default=3, help="inferences of a turn (default: %(default)s)")
    add("--plan", choices=("measured", "static"), default="measured", help="optkit's (default: %(default)s)")
    add("--isa", choices=list(ENVIRONMENT), help="run as a CPU would that has no more than this")
    add(
        "--weight-range",
        choices=("half", "full"),
        default="half",
        help="of int8 that the weights use, as in a recipe's quantize.weight_range: half is right in OpenVINO on CPUs "
        "without VNNI, too (default: %(default)s)",
    )
    add("--static-shapes", action="store_true", help="models of the one shape; default: of any")
    add(
        "--parts",
        default=",".join(MEASURED),
        help="ratios and times; shares of operators, and rates of kernels; loads and sizes; schedules: latency by "
        "threads as the engine's cost model expects it (default: %(default)s)",
    )
    add("--cache", type=Path, default=cache, help="folder for the models (default: %(default)s)")
    add("--json", type=Path, metavar="FILE", help="writes everything that was measured, rounds included; - for stdout")
    add("--markdown", action="store_true", help="tables in Markdown")
    add("--from", dest="source", type=Path, metavar="FILE", help="shows an earlier --json file, and measures nothing")
    options = parser.parse_args(arguments)
    options.parts = options.parts.split(",")
    if unknown := [part for part in options.parts if part not in PARTS]:
        parser.error(f"--parts: '{unknown[0]}' is none of {', '.join(PARTS)}")
    if min(options.threads, options.streams, options.rounds, options.repeats) < 1:
        parser.error("--threads, --streams, --rounds and --repeats are at least 1")
    if options.threads > cpu_cores():
        parser.error(f"--threads {options.threads}: this process may use {cpu_cores()} CPUs")
    if options.streams > options.threads:
        parser.error(f"--streams {options.streams}: each needs a thread, and --threads is {options.threads}")
    if options.json and not options.json.absolute().parent.is_dir():
        parser.error(f"--json: there is no folder {options.json.parent}")
    return options


def _numbers(text: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = [0]
    if min(numbers) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no list of numbers above 0 such as 1,8")
    return numbers


def measure(options: argparse.Namespace) -> RuntimeResult:
    """Measures everything that was asked for.

    Raises:
        OptkitError: for lengths that the models do not take, before anything is built, or what ``start`` raises.
    """
    import torch
    from runtime_bench import engines, inside, loading, schedules, timing
    from runtime_bench.models import DENSE, LONGEST, Case
    from runtime_bench.result import RuntimeResult

    from optkit.errors import OptkitError

    if max(options.seq) > LONGEST:
        raise OptkitError(f"--seq: the models take up to {LONGEST} tokens, not {max(options.seq)}")
    torch.set_num_threads(options.threads)
    cases = list(dict.fromkeys(Case.parse(text) for text in options.cases.split(",")))
    names, left_out = _engines(options)
    setting = engines.Setting(
        size=options.model,
        cache=options.cache,
        batch=1,
        seq=128,
        threads=options.threads,
        streams=options.streams,
        plan=options.plan,
        static=options.static_shapes,
        weight_range=options.weight_range,
        # A CPU of a lesser instruction set has no bf16, and OpenVINO would go on using this one's.
        precision="f32" if options.isa else None,
    )
    runs = engines.runs_of(names, cases)
    shapes = [dataclasses.replace(setting, batch=b, seq=s) for s in options.seq for b in options.batch]
    result = timing.compare(
        runs,
        shapes if "ratios" in options.parts else [],
        setting,
        rounds=options.rounds,
        repeats=options.repeats,
        left_out=left_out,
        command=shlex.join(["python", *sys.argv]),
    )
    operators, peak, models, warnings = [], None, [], notes(options.isa) + result.warnings
    if "shares" in options.parts:
        for shape in shapes:
            latency = dataclasses.replace(shape, streams=1)
            for name, case in runs:
                if name in engines.STREAMED and (case in (DENSE, cases[0]) or name.startswith("optkit")):
                    operators.append(inside.operator_times(name, case, latency))
        if any(name.startswith("optkit") for name in names):
            peak = inside.peak(options.threads)
    if "loads" in options.parts:
        models, failed = loading.stored_models(runs, shapes[0])
        warnings += failed
    settings = result.settings.model_dump() | {
        "precision": default_precision(options.isa),
        "size": options.model,
        "cases": [str(case) for case in cases],
        **{name: getattr(options, name) for name in ("weight_range", "plan", "static_shapes", "isa")},
        "environment": environment(),
    }
    measured = {name: getattr(result, name) for name in type(result).model_fields}
    measured |= {"settings": settings, "warnings": warnings, "operators": operators, "peak": peak, "models": models}
    if "schedules" in options.parts:
        measured["schedules"] = [each for case in cases for each in schedules.scheduled_times(case, shapes)]
    return RuntimeResult(**measured)


def _engines(options: argparse.Namespace) -> tuple[list[str], list[LeftOut]]:
    """Engines that take part, in the order of tables, and those that cannot and were not asked for by name."""
    from runtime_bench import engines

    from optkit.benchmark.result import LeftOut

    usual = engines.default_engines(default_precision(options.isa))
    asked = options.engines.split(",") if options.engines else list(usual)
    if unknown := [name for name in asked if name not in engines.ENGINES]:
        raise ValueError(f"--engines: '{unknown[0]}' is none of {', '.join(engines.ENGINES)}")
    names, left_out = [], []
    for name in engines.ENGINES:
        if name not in asked:
            continue
        streamed = options.streams == 1 or name in engines.STREAMED
        why = engines.missing(name) if streamed else "it has no streams"
        if why is None:
            names.append(name)
        elif options.engines and streamed:
            raise ValueError(f"--engines: {name}: {why}")
        else:
            left_out.append(LeftOut(backend=name, why=why))
    return names, left_out


def main() -> int:
    options = parse()
    try:
        if options.isa and not options.source:
            pretend(options.isa)
        keep_plans(options.cache)
        from optkit.errors import OptkitError
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    from runtime_bench.result import read
    from runtime_bench.tables import render

    try:
        result = read(options.source) if options.source else measure(options)
        if options.json and str(options.json) != "-":
            options.json.write_text(result.model_dump_json(indent=1) + "\n", encoding="utf-8")
    except (OptkitError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(result.model_dump_json(indent=1) if str(options.json) == "-" else render(result, options.markdown))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
