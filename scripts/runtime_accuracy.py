#!/usr/bin/env python
"""Whether the sparse runtime scores as the model does: accuracy of one IR in OpenVINO, in float32, and in optkit.

The float32 figure is the IR's meaning: every FakeQuantize evaluated as written, no int8 kernel involved. OpenVINO's own
int8 differs from it where its 16-bit sums saturate, on CPUs without VNNI with weights of full range (``--isa avx2``
makes it believe that this is one), and where it computes in bf16 between int8 layers, which is its default on CPUs that
have it; the f32 hint forbids that. optkit runs by its static plan, at both precisions, and with every layer that it can
take.

    python scripts/runtime_accuracy.py runs/minilm_sst2_80sparse/openvino dev.tsv test.tsv
    python scripts/runtime_accuracy.py runs/minilm_sst2_80sparse/openvino dev.tsv test.tsv --isa avx2
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from runtime_bench.machine import ENVIRONMENT, pretend

BATCH = 16


def parse() -> argparse.Namespace:
    summary, _, details = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="an int8 IR for text classification, with its tokenizer")
    parser.add_argument("files", type=Path, nargs="+", help="tab-separated, with the columns sentence and label")
    parser.add_argument("--isa", choices=list(ENVIRONMENT), help="run as a CPU would that has no more than this")
    parser.add_argument("--json", action="store_true", help="JSON alone on stdout")
    return parser.parse_args()


def read(files: list[Path]) -> tuple[list[str], np.ndarray]:
    """All sentences, and their labels (int64)."""
    rows: list[dict[str, str]] = []
    for file in files:
        with open(file, encoding="utf-8", newline="") as stream:
            rows += csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
    return [row["sentence"] for row in rows], np.array([int(row["label"]) for row in rows])


def batches(folder: Path, sentences: list[str]) -> list[tuple[list[int], dict[str, np.ndarray]]]:
    """Numbers of the sentences and their tokens, padded to the longest of the batch; short ones first."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    order = sorted(range(len(sentences)), key=lambda number: len(sentences[number]))
    found = []
    for start in range(0, len(order), BATCH):
        numbers = order[start : start + BATCH]
        texts = [sentences[number] for number in numbers]
        found.append((numbers, dict(tokenizer(texts, padding=True, truncation=True, return_tensors="np"))))
    return found


def logits(compiled: Any, data: list, count: int) -> np.ndarray:
    """(sentences, labels) in the order of the file."""
    request, found = compiled.create_infer_request(), None
    names = {name for port in compiled.inputs for name in port.get_names()}
    for numbers, tokens in data:
        result = request.infer({name: value for name, value in tokens.items() if name in names})[0]
        found = np.zeros((count, result.shape[-1]), np.float32) if found is None else found
        found[numbers] = result
    return found


def main() -> int:
    options = parse()
    if options.isa:
        pretend(options.isa)
    import openvino

    from optkit import runtime
    from optkit.cpu import cpu_name
    from optkit.errors import OptkitError
    from optkit.ir.emulation import emulate_f32
    from optkit.ir.io import read_model
    from optkit.runtime import Kernel, extension
    from optkit.runtime.rewriting import rewrite, sites

    try:
        model = read_model(options.folder)
        sentences, labels = read(options.files)
        data = batches(options.folder, sentences)
        core, f32 = openvino.Core(), {"INFERENCE_PRECISION_HINT": "f32"}
        extension.add_to(core)
        everything = model.clone()
        rewrite(everything, {site.matmul: Kernel("block4") for site in sites(model) if site.supported})
        engines = {
            "float32, as written": core.compile_model(emulate_f32(model), "CPU", f32),
            "OpenVINO int8": core.compile_model(model, "CPU", f32 if options.isa else {}),
            "OpenVINO int8, f32 hint": core.compile_model(model, "CPU", f32),
            "optkit": runtime.compile_model(options.folder, f32 if options.isa else {}, plan="static"),
            "optkit, f32 hint": runtime.compile_model(options.folder, f32, plan="static"),
            "optkit, every layer, f32": core.compile_model(everything, "CPU", f32),
        }
    except (OptkitError, OSError, KeyError, ValueError) as error:
        print(f"runtime_accuracy: {error}", file=sys.stderr)
        return 2
    found = {name: logits(compiled, data, len(labels)) for name, compiled in engines.items()}
    reference = found["float32, as written"]
    rows = {
        name: {
            "accuracy": round(100 * float((scores.argmax(1) == labels).mean()), 3),
            "other_answers": int((scores.argmax(1) != reference.argmax(1)).sum()),
            "logits_off": round(float(np.abs(scores - reference).max()), 5),
        }
        for name, scores in found.items()
    }
    report = {"cpu": cpu_name(), "isa": extension.isa(), "held_to": options.isa, "sentences": len(labels), "rows": rows}
    if options.json:
        print(json.dumps(report, indent=1))
        return 0
    print(f"{report['sentences']} sentences, {report['cpu']}, optkit on {report['isa']}")
    print(f"{'':24}{'accuracy':>10}{'other answers':>16}{'logits off':>12}")
    for name, row in rows.items():
        print(f"{name:24}{row['accuracy']:>10.3f}{row['other_answers']:>16}{row['logits_off']:>12.5f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
