"""Finds the passages that answer a query: an embedder and a reranker of sentence-transformers on the sparse runtime.

    python examples/retrieval.py --embedder runs/embedder/openvino --reranker runs/reranker/openvino \\
        --passages passages.txt --query "who fixed the bicycle?" --compare

Both folders are what `optkit run` or `optkit quantize` wrote, or what `optkit bake` made of it; others are baked first.
With --compare the same models run in plain OpenVINO, in turns with the others.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sentence_transformers import CrossEncoder, SentenceTransformer

import optkit.runtime
from optkit import OptkitError

CONFIG = {"backend": "openvino", "device": "cpu"}


def baked(folder: Path, to: Path, length: int) -> Path:
    """``folder`` if its IR is baked, else what it is baked to."""
    if b'version="optkit"' in (folder / "openvino_model.xml").read_bytes():
        return folder
    return optkit.runtime.bake(folder, to, shape=(1, length)).xml.parent


def compare(name: str, ours: Callable[[], Any], plain: Callable[[], Any], rounds: int) -> None:
    """Prints how far results are apart, and the median times of both, which run in turns."""
    seconds: dict[Callable[[], Any], list[float]] = {ours: [], plain: []}
    found, expected = np.asarray(ours()), np.asarray(plain())
    for _ in range(rounds):
        for call, own in seconds.items():
            begin = time.perf_counter()
            call()
            own.append(time.perf_counter() - begin)
    fast, slow = (1000 * float(np.median(own)) for own in seconds.values())
    apart = float(np.abs(found - expected).max() / np.abs(expected).max())
    print(f"{name}: {fast:.1f} ms, plain OpenVINO {slow:.1f} ms: {slow / fast:.2f} times as fast, {apart:.1e} apart")


def main(options: argparse.Namespace) -> None:
    passages = [line for line in options.passages.read_text(encoding="utf-8").splitlines() if line.strip()]
    model_options = CONFIG | {"model_kwargs": {"ov_config": {"INFERENCE_PRECISION_HINT": options.precision}}}
    with tempfile.TemporaryDirectory() as scratch:
        folders = [
            baked(folder, Path(scratch) / kind, options.length)
            for kind, folder in (("embedder", options.embedder), ("reranker", options.reranker))
        ]
        optkit.runtime.register()  # lets sentence-transformers load baked IRs
        embedder = SentenceTransformer(str(folders[0]), **model_options)
        reranker = CrossEncoder(str(folders[1]), **model_options)
    vectors = embedder.encode(passages)
    near = np.argsort(-embedder.similarity(embedder.encode([options.query]), vectors).numpy()[0])[: options.top]
    pairs = [(options.query, passages[place]) for place in near]
    for place, score in sorted(zip(near, reranker.predict(pairs)), key=lambda found: -found[1]):
        print(f"{score:.3f}  {passages[place]}")
    if options.compare:
        plain = SentenceTransformer(str(options.embedder), **model_options)
        compare("a query embedded", lambda: embedder.encode([options.query]), lambda: plain.encode([options.query]), 50)
        compare("passages embedded", lambda: embedder.encode(passages), lambda: plain.encode(passages), 10)
        other = CrossEncoder(str(options.reranker), **model_options)
        compare(f"{len(pairs)} passages ranked", lambda: reranker.predict(pairs), lambda: other.predict(pairs), 20)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--embedder", required=True, type=Path, help="a folder with an IR and modules.json")
    parser.add_argument("--reranker", required=True, type=Path, help="a folder with an IR of one output")
    parser.add_argument("--passages", required=True, type=Path, help="a text file, one passage a line")
    parser.add_argument("--query", required=True)
    parser.add_argument("--top", type=int, default=10, help="passages that the reranker reads (%(default)s)")
    parser.add_argument("--length", type=int, default=128, help="tokens to be fast at (%(default)s)")
    parser.add_argument("--precision", default="f32", help="OpenVINO's precision hint (%(default)s)")
    parser.add_argument("--compare", action="store_true", help="against the same models in plain OpenVINO")
    try:
        main(parser.parse_args())
    except (OptkitError, OSError, ValueError) as error:
        sys.exit(f"error: {str(error).strip().splitlines()[0]}")
