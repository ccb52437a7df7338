#!/usr/bin/env python
"""Whether `optkit bench` counts throughput as OpenVINO's own benchmark_app does: both on one IR, by turns.

Each round runs benchmark_app in a process of its own for --seconds, and our measurement likewise, with the same shape,
threads, streams and requests; the order changes from round to round. The interval of their ratio should hold 1.

    python scripts/compare_benchmark_app.py openvino/ --seq 128 --threads 2 --streams 2
"""

from __future__ import annotations

import argparse
import json
import math
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from optkit.benchmark.engines.base import Setting
from optkit.benchmark.engines.openvino import OpenVino
from optkit.benchmark.inputs import InputSpec, SharedInputs
from optkit.cpu import cpu_name, physical_cores
from optkit.errors import OptkitError
from optkit.ir.io import find_xml, import_openvino
from optkit.timing import LEAST, by_turns, ratios, spread

APP = "benchmark_app"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    summary, _, details = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("model", type=Path, help="an IR: an xml, or a folder with openvino_model.xml, config.json beside it")
    add("--batch", type=int, default=1, help="default: %(default)s")
    add("--seq", type=int, default=128, help="tokens (default: %(default)s)")
    add("--threads", type=int, default=physical_cores(), help="default: the physical cores, %(default)s here")
    add("--streams", type=int, help="that share the threads (default: as many)")
    add("--seconds", type=float, default=10, help="of each turn (default: %(default)s)")
    add("--rounds", type=int, default=LEAST, help="default: %(default)s, the fewest that give an interval")
    add("--json", action="store_true", help="JSON alone on stdout")
    options = parser.parse_args(arguments)
    options.streams = options.streams or options.threads
    if min(options.batch, options.seq, options.threads, options.streams, options.rounds) < 1 or options.seconds < 1:
        parser.error("numbers are at least 1")
    return options


def app() -> str:
    """Where benchmark_app is: beside this Python, or on the path.

    Raises:
        OptkitError: if it is neither there nor there.
    """
    beside = Path(sys.executable).with_name(APP)
    found = str(beside) if beside.is_file() else shutil.which(APP)
    if found is None:
        raise OptkitError(f"{APP} is not installed, and comes with the package openvino")
    return found


def theirs(options: argparse.Namespace, xml: Path, shapes: dict[str, list[int]], requests: int) -> float:
    """Inferences a second, as benchmark_app counts them.

    Raises:
        OptkitError: if it fails, or says no throughput.
    """
    sizes = ",".join(f"{name}[{','.join(map(str, shape))}]" for name, shape in shapes.items())
    words = [app(), "-m", str(xml), "-d", "CPU", "-hint", "none", "-api", "async"]
    words += ["-nthreads", str(options.threads), "-nstreams", str(options.streams), "-nireq", str(requests)]
    # The model stays as it is, of any shape if it is one of any, and is fed once, as ours is.
    words += ["-t", str(math.ceil(options.seconds)), "-data_shape", sizes, "-inference_only"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    # Its own throughput takes the batch to be 1 where the model's layout does not say which axis that is.
    match = re.search(r"Count:\s+(\d+) iterations.*Duration:\s+([0-9.]+) ms", done.stdout, re.DOTALL)
    if done.returncode or match is None:
        last = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
        raise OptkitError(f"{APP} failed: {last}")
    return 1000 * int(match[1]) / float(match[2])


def measure(options: argparse.Namespace) -> dict:
    """Both by turns.

    Raises:
        OptkitError: if there is no IR, or either cannot run it.
    """
    xml = find_xml(options.model)
    if xml is None:
        raise OptkitError(f"{options.model}: no OpenVINO IR here")
    setting = Setting(options.threads, "throughput", options.streams)
    engine = OpenVino.from_file(xml, setting)
    inputs = SharedInputs.of([InputSpec.of(xml.parent)]).dummy_inputs(options.batch, options.seq)
    names = [next(name for name in inputs if name in port.get_names()) for port in engine.compiled.inputs]
    shapes = {name: list(inputs[name].shape) for name in names}
    feeds = [inputs]
    engine.stream(feeds, count=2 * engine.requests)

    def ours() -> float:
        done, taken = engine.stream(feeds, seconds=options.seconds)
        return done / taken

    turns = {"ours": ours, APP: lambda: theirs(options, xml, shapes, engine.requests)}
    taken = by_turns(turns, rounds=options.rounds, tell=lambda done, total: print(f"{done}/{total}", file=sys.stderr))
    ratio = ratios(taken["ours"], taken[APP])
    return {
        "cpu": cpu_name(),
        "openvino": import_openvino().get_version(),
        "settings": {key: str(value) if isinstance(value, Path) else value for key, value in vars(options).items()},
        "shapes": shapes,
        "requests": engine.requests,
        "per_second": taken,
        "ratio": [ratio.median, *ratio.interval],
        "quartiles": {name: list(spread(values).quartiles) for name, values in taken.items()},
    }


def main() -> int:
    options = parse()
    try:
        found = measure(options)
    except OptkitError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(found, indent=1))
        return 0
    for name, values in found["per_second"].items():
        low, high = found["quartiles"][name]
        print(f"{name:14} {statistics.median(values):10.2f} inferences a second, quartiles {low:.2f} to {high:.2f}")
    ratio, low, high = found["ratio"]
    print(f"ours / {APP}: {ratio:.3f}, 95 % interval {low:.3f} to {high:.3f}, {options.rounds} rounds")
    fed = ", ".join(f"{name} {' x '.join(map(str, shape))}" for name, shape in found["shapes"].items())
    print(f"{found['cpu']}, OpenVINO {found['openvino']}, {options.threads} threads, {options.streams} streams,")
    print(f"{found['requests']} requests of {fed}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
