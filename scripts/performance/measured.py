"""What bench_runtime.py measured for the page, and the names under which the page shows it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from runtime_bench.engines import FP32, INT8, engine_of
from runtime_bench.result import CaseRow, RuntimeResult

#: Instruction sets by the CPU's flag, the best first.
FLAGS = {"amx_int8": "AMX", "avx512_vnni": "AVX-512 VNNI", "avx_vnni": "AVX-VNNI", "avx2": "AVX2"}
#: What stands for which engine in tables.
SERVED = {
    INT8: "OpenVINO int8",
    FP32: "OpenVINO fp32 IR",
    "torch": "torch fp32",
    "onnxruntime": "ONNX Runtime fp32",
    "optkit": "optkit",
}
#: The models by bench_runtime.py's sizes.
MODELS = {
    "base": "BERT-base",
    "minilm": "MiniLM-L6 (six layers, 384 wide)",
    "tiny": "Tiny BERT",
    "modernbert": "ModernBERT-base",
    "qwen3": "Qwen3-Embedding-0.6B (six layers of 28)",
}
#: The engines that ratios are against, on the dense model.
REFERENCES = (INT8, FP32)
#: The measurements at other shapes than the main one's.
SHAPED = ("lengths", "batch", "thread", "streams")


class Measured(NamedTuple):
    """A result of bench_runtime.py, and the arguments that gave it."""

    result: RuntimeResult
    arguments: Sequence[str]

    @property
    def isa(self) -> str:
        machine, isa = self.result.machine, self.result.settings.isa
        if isa:
            return next(said for flag, said in FLAGS.items() if flag.replace("_", "") == isa)
        return next((said for flag, said in FLAGS.items() if flag in machine.instruction_sets), machine.cpu)

    @property
    def model(self) -> str:
        return MODELS[self.result.settings.size]

    @property
    def threads(self) -> int:
        return self.result.threads

    @property
    def reference(self) -> str:
        """The engine that ratios are against."""
        against = self.result.shapes[0].against if self.result.shapes else None
        return INT8 if against is None else engine_of(against)

    @property
    def precision(self) -> str:
        """At which precision OpenVINO computed."""
        return f"at its default precision ({self.result.precision})"

    def rows(self, *, engine: str | None = None, case: str | None = None) -> list[CaseRow]:
        """Rows of all shapes, of one engine and of one case where these are given."""
        return [row for row in self.result.case_rows if engine in (None, row.engine) and case in (None, row.case)]

    def row(self, engine: str, case: str) -> CaseRow | None:
        return next(iter(self.rows(engine=engine, case=case)), None)

    @property
    def command(self) -> str:
        return shlex.join(["python", "scripts/bench_runtime.py", *self.arguments])


def times(ratio: float | None) -> str:
    """A ratio in digits that tell it from others; nothing for None."""
    if ratio is None:
        return ""
    return f"{ratio:.1f}" if ratio >= 1 else f"{ratio:.2f}"


def name_of(row: CaseRow) -> str:
    """The engine and its model, such as ``optkit, 90% 1x4``."""
    return f"{SERVED.get(row.engine, row.engine)}, {row.case}"


def by_shape(measured: Mapping[str, Measured]) -> dict[str, dict[str, CaseRow]]:
    """Rows of the models that were measured at several shapes: by shape, the longest last, and by ``name_of``.

    A shape names its threads and its streams where these are not the usual ones.
    """
    shaped = {name: one for name, one in measured.items() if name.partition("native-")[2] in SHAPED}
    cases = {row.case for one in shaped.values() for row in one.rows(engine="optkit")}
    if "native" in measured:
        shaped["native"] = measured["native"]
    found: dict[tuple[int, int, int, str], dict[str, CaseRow]] = {}
    for name, one in shaped.items():
        streams = one.result.streams
        for row in one.rows():
            if row.engine not in REFERENCES and (row.engine != "optkit" or row.case not in cases):
                continue
            shape = f"{row.shape.batch} x {row.shape.seq}"
            single = name.endswith("-thread")
            shape += f", {one.threads} thread{'s' * (one.threads > 1)}" if single else ""
            shape += f", {streams} streams" if streams > 1 else ""
            at = (2 * (streams > 1) + single, row.shape.batch, row.shape.seq or 0, shape)
            found.setdefault(at, {})[name_of(row)] = row
    return {at[-1]: found[at] for at in sorted(found)}
