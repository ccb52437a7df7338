#!/usr/bin/env python
"""Accuracy against speed for one model pruned in many ways: runs or reuses recipes, times their int8 IRs by turns
against the dense model's in plain OpenVINO, and writes a section of docs/frontier.md with its picture.

Runs are those of ``scripts/accuracy_table.py``, made here where ``--output`` lacks them, and others by ``--run``. Times
are taken once, in one process, and kept in ``--output``; ``--again`` takes them anew.

    python scripts/frontier_page.py --data SST2 --model MINILM --output runs/frontier --only one-shot
    python scripts/frontier_page.py --data SST2 --model MINILM --output runs/frontier --only none \\
      --section MiniLM-L6 --run '80 % 4x4=runs/a' --run '80 % 16x4=runs/b'
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pages
from accuracy_cells import AUGMENTED, Cell
from accuracy_table import INT8, correct, drop, folder_of, run_cell

import optkit
from optkit.errors import OptkitError
from optkit.report.render.charts.frontier import Mark, frontier_chart, mark_dominated
from optkit.report.speed import ratio_text, ratio_with_interval
from optkit.variant import DENSE as DENSE_MODEL
from optkit.variant import PRUNED

PAGE = Path(__file__).resolve().parent.parent / "docs" / "frontier.md"
#: The page before anything was measured.
_EMPTY = """\
# Accuracy against speed

Which way of pruning gives most accuracy for a speed, on SST-2 ([data and intervals](accuracy.md)): encoders pruned in
blocks, single weights or whole heads and neurons, as int8 IRs on optkit's runtime. Points are those that the int8 IR
lost against the dense model in PyTorch, on 2,693 development and test sentences, with a 95 % interval over sentences.
Times are of all IRs of a model by turns in one process; 1 is the int8 IR of the dense model in plain OpenVINO. *Beaten*
rows lose no less than another row and are no faster. *The same IR in OpenVINO* shows what OpenVINO gains by itself,
which skips no zeros but runs a model without the heads and neurons that were removed.

```bash
python scripts/frontier_page.py --data SST2 --model MODEL --output runs/frontier --section NAME
```

runs what is missing and reuses the rest; `--run NAME=FOLDER` adds runs of your own. Of any runs of yours, [`optkit
pareto`](sweeps.md) draws the same picture from the times that each run measured.
"""


def picture_name(page: Path, section: str) -> str:
    """The file name of a section's picture, which lies beside the page: letters and digits that a link may have."""
    return f"{page.stem}-{re.sub(r'[^a-z0-9]+', '-', section.lower()).strip('-')}.svg"


def _new_section(name: str) -> str:
    begin, end = pages.marks(name)
    return f"\n## {name}\n\n{begin}\n{end}\n"


_ONE_SHOT, _STRUCTURED = "oneshot_bert_sst2.yaml", "oneshot_bert_sst2_structured.yaml"
#: The model as it is: its int8 IR is what times are against.
DENSE = Cell("frontier", "dense", _ONE_SHOT, ("prune=[]", "oneshot=null"))


def _one_shot(structure: str, share: int) -> Cell:
    sets = f"prune.encoder.structure={structure}", f"prune.encoder.schedule.to={share / 100}"
    return Cell("frontier", f"one-shot, {share} % {structure}", _ONE_SHOT, sets)


def _units(share: int) -> Cell:
    sets = tuple(f"prune.{rule}.schedule.to={share / 100}" for rule in ("heads", "neurons"))
    return Cell("frontier", f"one-shot, heads and neurons -{share} %", _STRUCTURED, sets)


def _trained(structure: str, share: int) -> Cell:
    sets = f"prune.encoder.structure={structure}", f"prune.encoder.schedule.to={share / 100}"
    return Cell("frontier", f"{share} % {structure}", AUGMENTED, sets)


CELLS = (
    *(_one_shot(structure, share) for structure in ("1x4", "4x4", "16x4") for share in (50, 70)),
    *(_units(share) for share in (33, 50)),
    *(_trained(structure, share) for structure in ("1x4", "4x4", "16x4") for share in (80, 90)),
)


@dataclass(frozen=True)
class Point:
    """A run: what it lost with half of its 95 % interval, in points of 100, and how many times as fast it is."""

    name: str
    lost: tuple[float, float]
    zeros: float
    ratio: tuple[float, ...]
    plain: tuple[float, ...]
    milliseconds: float
    noisy: bool


def parse() -> argparse.Namespace:
    parser = pages.parser(__doc__, PAGE)
    parser.add_argument("--data", type=Path, required=True, help="folder with train.tsv, dev.tsv and test.tsv of SST-2")
    parser.add_argument("--model", type=Path, required=True, help="the encoder fine-tuned on it")
    parser.add_argument("--section", default="MiniLM-L6", help="the model's section (default: %(default)s)")
    parser.add_argument(
        "--run",
        action="append",
        default=[],
        dest="runs",
        help="NAME=FOLDER of a finished run of it; one named dense stands for the dense model",
    )
    parser.add_argument("--set", action="append", default=[], dest="sets", help="one more override for every cell")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seq", type=int, default=128, help="tokens of a text that is timed (default: %(default)s)")
    parser.add_argument("--again", action="store_true", help="take the times again")
    return parser.parse_args()


def collect(options: argparse.Namespace) -> dict[str, Path]:
    """The runs by name, the dense one first; those that are missing are made.

    Raises:
        subprocess.CalledProcessError: if a run failed.
        OptkitError: for a --run that names no run.
    """
    given = {}
    for text in options.runs:
        name, equals, folder = text.partition("=")
        if not equals or not (Path(folder) / "report.json").is_file():
            raise OptkitError(f"--run {text}: expected NAME=FOLDER of a finished run")
        given[name] = Path(folder)
    found = {DENSE.name: given.pop(DENSE.name)} if DENSE.name in given else {}
    for cell in (*(() if found else (DENSE,)), *(cell for cell in CELLS if options.only in cell.name)):
        folder = folder_of(options, cell, cell.seeds[0])
        if not folder.with_suffix(".json").is_file():
            print(f"{cell.name}: to do", flush=True)
            run_cell(options, cell, cell.seeds[0])
        found[cell.name] = folder
    return found | given


def times(options: argparse.Namespace, runs: dict[str, Path]) -> dict[str, Any]:
    """What ``optkit bench`` measured of the runs, plain data; kept beside them."""
    options.output.mkdir(parents=True, exist_ok=True)  # before the times are taken: all runs may lie elsewhere
    file = options.output / "times.json"
    asked = {"runs": {name: str(path) for name, path in runs.items()}, "seq": options.seq, "threads": options.threads}
    if file.is_file() and not options.again:
        kept = json.loads(file.read_text(encoding="utf-8"))
        if kept["asked"] == asked:
            return kept["result"]
    backends = ("openvino-int8", "optkit")
    shape = {"batch": (1,), "seq": (options.seq,), "threads": options.threads, "loads": False}
    result = optkit.bench(list(runs.values()), optkit.BenchmarkOptions(backends=backends, against=backends[0], **shape))
    file.write_text(json.dumps({"asked": asked, "result": result}), encoding="utf-8")
    return result


def points(runs: dict[str, Path], result: dict[str, Any]) -> list[Point]:
    """The runs as points, the dense one among them, the fastest first."""
    found, (shape,) = [], result["shapes"]
    for name, path in runs.items():
        report = json.loads((path / "report.json").read_text(encoding="utf-8"))
        own = {row["variant"].split("/")[2]: row for row in shape["rows"] if row["path"] == str(path)}
        sparse = own["optkit"]
        zeros = report["sparsity"]["openvino"]["denominators"]["encoder_linear"]["sparsity"]
        ratios = [tuple(own[engine].get("ratio") or (1.0,)) for engine in ("optkit", "openvino")]
        facts = sparse["milliseconds"], bool(sparse.get("noisy"))
        right = correct(path)
        if DENSE_MODEL not in right:  # the dense model's own run has no other baseline
            right[DENSE_MODEL] = right[PRUNED]
        found.append(Point(name, drop([right], INT8), zeros, *ratios, *facts))
    return sorted(found, key=lambda point: -point.ratio[0])


def advice(found: list[Point]) -> str:
    """What to take for one point and for two."""
    said = []
    for limit, words in ((1.0, "one point"), (2.0, "two")):
        best = next((point for point in found if point.lost[0] <= limit), None)
        if best is not None:
            said.append(f"**{best.name}** for {words} ({ratio_text(best.ratio[0])} times as fast)")
    return f"On this CPU, take {', '.join(said)}." if said else "Nothing here is within two points."


def render(found: list[Point], result: dict[str, Any], picture: str) -> str:
    """The text of a section."""
    machine, beaten = result["machine"], {mark.name for mark in _marks(found) if mark.dominated}
    lines = [
        advice(found),
        "",
        f"![Accuracy lost against speed gained]({picture})",
        "",
        f"{machine['cpu']}, {result['settings']['threads']} threads, 1 x {result['shapes'][0]['seq']} tokens; OpenVINO "
        f"computes in {result['settings']['precision'] or 'f32'} what is not int8.",
        "",
        "| | points below dense | zeros in the IR | times as fast as OpenVINO int8, dense | the same IR in OpenVINO | "
        "ms | |",
        "|---|---|--:|---|---|--:|---|",
    ]
    for point in found:
        words = [word for word, holds in (("noisy", point.noisy), ("beaten", point.name in beaten)) if holds]
        lines.append(
            f"| {point.name} | {point.lost[0]:.2f} ± {point.lost[1]:.2f} | {point.zeros:.0%} | "
            f"**{ratio_with_interval(point.ratio)}** | {ratio_with_interval(point.plain)} | "
            f"{point.milliseconds:.2f} | {', '.join(words)} |"
        )
    return "\n".join([*lines, ""])


def write(page: Path, section: str, text: str) -> None:
    """Puts ``text`` into a section of the page; makes what is not there yet."""
    before = page.read_text(encoding="utf-8") if page.exists() else _EMPTY
    if pages.marks(section)[0] not in before:
        page.write_text(before + _new_section(section), encoding="utf-8")
    pages.write_between(page, text, section)


def _marks(found: list[Point]) -> list[Mark]:
    return mark_dominated([Mark(point.name, point.lost[0], point.ratio[0]) for point in found])


def main() -> int:
    options = parse()
    try:
        runs = collect(options)
        result = times(options, runs)
        found = points(runs, result)
        picture = options.page.with_name(picture_name(options.page, options.section))
        write(options.page, options.section, render(found, result, picture.name))
    except Exception as error:
        print(f"frontier_page: {error}", file=sys.stderr)
        return 1
    axis = f"times as fast as OpenVINO int8, dense, on {result['machine']['cpu']}"
    chart = frontier_chart(
        _marks(found),
        title=f"{options.section}: accuracy lost against speed gained",
        axis=axis,
        lost="points of accuracy",
    )
    picture.write_text(chart, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
