#!/usr/bin/env python
"""Measures what docs/performance.md shows, and writes its tables, its charts and the cost of a million inferences.

Each measurement is a run of ``scripts/bench_runtime.py`` whose JSON is kept in ``--output`` and not made again, so this
may be stopped and started again; remove a file to have it measured anew. Close other programs first. The page is
rewritten after each, with what there is by then; ``--list`` measures nothing.

    python scripts/performance_page.py --output runs/performance
    python scripts/performance_page.py --output runs/performance --only lengths
    python scripts/performance_page.py --output runs/performance --prices prices.yaml
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pages
from performance.tables import Measured, render
from runtime_bench.result import read

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "performance.md"
#: One model at other shapes than the main one's.
ONE = ("--cases", "90:1x4", "--engines", "openvino-int8,optkit", "--parts", "ratios", "--rounds", "10")
#: What is served: dense in both precisions, and pruned.
SERVED = ("--cases", "0:dense,80:1x4,90:1x4,95:1x4", "--engines", "openvino-int8,optkit", "--parts", "ratios")
#: Where the curves of speed against sparsity are measured.
CURVES = "0:dense,50:1x4,70:1x4,80:1x4,90:1x4,95:1x4,80:element,90:element,95:element"
SHAPES = {
    "": ("--cases", CURVES),
    "-lengths": (*ONE, "--repeats", "2", "--seq", "32,384"),
    "-batch": (*ONE, "--repeats", "2", "--batch", "8"),
    "-thread": (*ONE, "--threads", "1"),
    "-streams": (*SERVED, "--rounds", "10", "--streams", "2"),
}
#: By name, which is that of the JSON file: arguments of bench_runtime.py, as the CPU is and held to AVX2.
MEASUREMENTS = {
    f"{isa}{name}": (*(("--isa", isa) if isa == "avx2" else ()), *arguments)
    for isa in ("native", "avx2")
    for name, arguments in SHAPES.items()
}


def parse() -> argparse.Namespace:
    parser = pages.parser(__doc__, PAGE)
    parser.add_argument("--cache", type=Path, help="bench_runtime.py's folder for models")
    parser.add_argument("--prices", type=Path, help="a price list, see docs/sweeps.md; no dollars without one")
    parser.add_argument("--list", action="store_true", help="what is measured and what is not, and stop")
    return parser.parse_args()


def measure(options: argparse.Namespace, name: str) -> int:
    """Runs one measurement; its exit status."""
    file = options.output / f"{name}.json"
    unfinished = file.with_suffix(".unfinished")
    arguments = [*MEASUREMENTS[name], *(["--cache", str(options.cache)] if options.cache else [])]
    words = [sys.executable, str(HERE / "bench_runtime.py"), *arguments, "--json", str(unfinished)]
    status = subprocess.run(words, stdout=subprocess.DEVNULL, check=False).returncode
    if status == 0:
        unfinished.rename(file)
    return status


def found(options: argparse.Namespace) -> dict[str, Measured]:
    """What has been measured, with the arguments that repeat it."""
    measured: dict[str, Measured] = {}
    for name, arguments in MEASUREMENTS.items():
        file = options.output / f"{name}.json"
        if file.is_file():
            measured[name] = Measured(read(file), arguments)
    return measured


def write(options: argparse.Namespace) -> None:
    """The page with what there is, and its charts.

    Raises:
        OptkitError: for a price list that is none.
        ValueError: for a page that has no place for the tables.
    """
    from optkit.report.prices import load_prices

    text, charts = render(found(options), load_prices(options.prices) if options.prices else None)
    pages.write_between(options.page, text)
    for name, chart in charts.items():
        (options.page.parent / name).write_text(chart, encoding="utf-8")


def main() -> int:
    from optkit.errors import OptkitError

    options = parse()
    chosen = [name for name in MEASUREMENTS if options.only in name]
    if not chosen:
        print(f"performance_page: no measurement's name holds '{options.only}'", file=sys.stderr)
        return 2
    failed = 0
    options.output.mkdir(parents=True, exist_ok=True)
    try:
        for name in chosen:
            done = (options.output / f"{name}.json").is_file()
            print(f"{name}: {'done' if done else 'to do'}", flush=True)
            if done or options.list:
                continue
            if measure(options, name):
                failed += 1
            else:
                write(options)
        if not options.list:
            write(options)
    except (OptkitError, OSError, ValueError) as error:
        print(f"performance_page: {error}", file=sys.stderr)
        return 2
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
