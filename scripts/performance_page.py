#!/usr/bin/env python
"""Measures what docs/performance.md shows, and writes its tables, its charts and the cost of a million inferences.

Each measurement is a run of ``scripts/bench_runtime.py`` whose JSON is kept in ``--output`` and not made again, so this
may be stopped and started again; remove a file to have it measured anew. Close other programs first. The page is
rewritten after each, with what there is by then; ``--list`` measures nothing.

    python scripts/performance_page.py --output runs/performance
    python scripts/performance_page.py --output runs/performance --only lengths
    python scripts/performance_page.py --output runs/performance --prices prices.yaml

A page is of one machine; another machine's has a name of its own:

    python scripts/performance_page.py --output runs/performance-amx --page docs/performance-amx.md
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import pages
from performance.measured import Measured
from performance.tables import render
from runtime_bench.result import read

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "performance.md"
#: The structures that are compared.
STRUCTURES = "0:dense,80:1x4,90:1x4,95:1x4,80:4x4,90:4x4,80:16x4,90:16x4,90:element"
#: What is measured at other shapes.
SHAPED = ("--cases", "90:1x4,90:4x4,90:16x4", "--engines", "optkit", "--parts", "ratios")
WHOLE = ("--cases", STRUCTURES, "--parts", "ratios,shares", "--rounds", "12")
#: By name, which is that of the JSON file: arguments of bench_runtime.py, the most important first. All take about a
#: quarter of an hour once the models are built.
MEASUREMENTS: dict[str, tuple[str, ...]] = {
    "native": (*WHOLE, "--engines", "torch,onnxruntime,optkit"),
    "native-loads": (
        *("--cases", "0:dense,80:1x4,90:1x4,80:4x4,90:4x4,80:16x4,90:16x4,90:element"),
        *("--engines", "optkit", "--parts", "loads"),
    ),
    "native-simulation": (
        *("--cases", "0:dense,90:1x4", "--engines", "optkit", "--parts", "schedules"),
        *("--seq", "16,128,384", "--plan", "static"),
    ),
    "native-lengths": (*SHAPED, "--rounds", "8", "--repeats", "2", "--seq", "16,32,384,512"),
    "native-batch": (*SHAPED, "--rounds", "8", "--repeats", "2", "--batch", "8"),
    "avxvnni": ("--isa", "avxvnni", *WHOLE, "--engines", "optkit"),
    "avx2": ("--isa", "avx2", *WHOLE, "--engines", "optkit"),
    "native-minilm": (
        *("--model", "minilm", "--cases", "80:1x4,80:4x4", "--engines", "optkit"),
        *("--parts", "ratios", "--rounds", "20"),
    ),
    "native-thread": (*SHAPED, "--rounds", "8", "--threads", "1"),
    "native-streams": (*SHAPED, "--rounds", "6", "--streams", "2"),
}


def parse() -> argparse.Namespace:
    parser = pages.parser(__doc__, PAGE)
    parser.add_argument("--cache", type=Path, help="bench_runtime.py's folder for models")
    parser.add_argument(
        "--model",
        choices=("base", "tiny"),
        default="base",
        help="tiny tries the script in a few minutes: give it another --page and --output (default: %(default)s)",
    )
    parser.add_argument("--prices", type=Path, help="a price list, see docs/sweeps.md; no dollars without one")
    parser.add_argument("--list", action="store_true", help="what is measured and what is not, and stop")
    return parser.parse_args()


def arguments_of(name: str, options: argparse.Namespace) -> tuple[str, ...]:
    """Those of bench_runtime.py."""
    arguments = MEASUREMENTS[name]
    return arguments if options.model == "base" or "--model" in arguments else ("--model", options.model, *arguments)


def measure(options: argparse.Namespace, name: str) -> int:
    """Runs one measurement; its exit status."""
    file = options.output / f"{name}.json"
    unfinished = file.with_suffix(".unfinished")
    arguments = [*arguments_of(name, options), *(["--cache", str(options.cache)] if options.cache else [])]
    words = [sys.executable, str(HERE / "bench_runtime.py"), *arguments, "--json", str(unfinished)]
    status = subprocess.run(words, stdout=subprocess.DEVNULL, check=False).returncode
    if status == 0:
        unfinished.rename(file)
    return status


def found(options: argparse.Namespace) -> dict[str, Measured]:
    """What has been measured, with the arguments that repeat it."""
    measured: dict[str, Measured] = {}
    for name in MEASUREMENTS:
        file = options.output / f"{name}.json"
        if file.is_file():
            measured[name] = Measured(read(file), arguments_of(name, options))
    return measured


def write(options: argparse.Namespace) -> None:
    """The page with what there is, and its charts.

    Raises:
        OptkitError: for a price list that is none.
        ValueError: for a page that has no place for the tables.
    """
    from optkit.report.prices import load_prices

    prices = load_prices(options.prices) if options.prices else None
    text, charts = render(found(options), prices, options.page.stem)
    pages.write_between(options.page, text)
    for name, chart in charts.items():
        (options.page.parent / name).write_text(chart, encoding="utf-8")


def main() -> int:
    from optkit.cpu import cpu_flags
    from optkit.errors import OptkitError

    options = parse()
    possible = set(MEASUREMENTS) - (set() if "avx_vnni" in cpu_flags() else {"avxvnni"})
    chosen = [name for name in MEASUREMENTS if options.only in name and name in possible]
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
            begun = time.perf_counter()
            if measure(options, name):
                failed += 1
            else:
                print(f"{name}: measured in {time.perf_counter() - begun:.0f} s", flush=True)
                write(options)
        if not options.list:
            write(options)
    except (OptkitError, OSError, ValueError) as error:
        print(f"performance_page: {error}", file=sys.stderr)
        return 2
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
