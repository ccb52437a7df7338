"""How long a model takes to load, and what its weights take on disk."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from runtime_bench.engines import FP32, INT8, Setting, variant_of
from runtime_bench.models import Case, ready
from runtime_bench.result import StoredModel

from optkit.benchmark.load_time import timed
from optkit.benchmark.result import Load
from optkit.errors import OptkitError
from optkit.runtime.loading import new_core


def stored_models(runs: Sequence[tuple[str, Case]], setting: Setting) -> tuple[list[StoredModel], list[str]]:
    """OpenVINO's IRs and optkit's baked ones of ``runs``, with load times and sizes; a warning for each that failed."""
    rows, notes = [], []
    config = setting.config()
    for engine, case in runs:
        folder = ready(setting.size, case, setting.cache, setting.weight_range)
        if engine == FP32:
            rows.append(_model(engine, case, "OpenVINO fp32 IR", folder / "fp32", _plain(config)))
        elif engine == INT8:
            rows.append(_model(engine, case, "OpenVINO int8", folder / "int8", _plain(config)))
        elif engine == "optkit":
            try:
                rows.append(_baked(case, folder / "int8", setting))
            except (OptkitError, ImportError) as error:
                notes.append(f"{case} was not baked: {error}")
    return rows, notes


def _plain(config: dict[str, Any]) -> Callable[[Path], Any]:
    from optkit.ir.io import import_openvino

    def load(xml: Path) -> Any:
        core = import_openvino().Core()
        return core.compile_model(core.read_model(xml), "CPU", config)

    return load


def _baked(case: Case, folder: Path, setting: Setting) -> StoredModel:
    """The IR in ``folder`` baked, and loaded as any OpenVINO program would: the extension, then the model."""
    from optkit.runtime.baking import bake

    def load(xml: Path) -> Any:
        core = new_core()
        return core.compile_model(core.read_model(xml), "CPU", setting.config())

    with tempfile.TemporaryDirectory(dir=setting.cache, prefix="baked-") as temporary:
        output = Path(temporary) / "baked"
        begun = time.perf_counter()
        bake(folder, output, plan=setting.plan, config=setting.config(), shape=(setting.batch, setting.seq))
        seconds = time.perf_counter() - begun
        return _model("optkit", case, "optkit baked", output, load, bake_seconds=seconds)


def _model(
    engine: str, case: Case, name: str, folder: Path, load: Callable[[Path], Any], bake_seconds: float | None = None
) -> StoredModel:
    xml = folder / "openvino_model.xml"
    seconds = timed(lambda: load(xml))
    return StoredModel(
        variant=variant_of(engine, case),
        name=name,
        path=str(case),
        load=Load(seconds=statistics.median(seconds), all=seconds),
        bake_seconds=bake_seconds,
        **_bytes(xml),
    )


def _bytes(xml: Path) -> dict[str, int]:
    """Bytes of the model's constants: embeddings (what a Gather picks rows from), and everything else; of both files.

    Everything else is the encoder with its biases and LayerNorms, the pooler and the classifier.
    """
    model = new_core().read_model(xml)
    sizes = {op.get_name(): op.get_byte_size() for op in model.get_ops() if op.get_type_name() == "Constant"}
    tables: set[str] = set()
    for op in model.get_ops():
        if op.get_type_name() == "Gather":
            tables |= _constants(op.input_value(0).get_node())
    embeddings = sum(sizes[name] for name in tables)
    return {
        "embedding_bytes": embeddings,
        "encoder_bytes": sum(sizes.values()) - embeddings,
        "bytes": xml.stat().st_size + xml.with_suffix(".bin").stat().st_size,
    }


def _constants(node: Any) -> set[str]:
    """Names of the constants that ``node`` is computed from; none where inputs of the model take part."""
    names, waiting, seen = set(), [node], set()
    while waiting:
        node = waiting.pop()
        if node.get_name() in seen:
            continue
        seen.add(node.get_name())
        if node.get_type_name() == "Parameter":
            return set()
        if node.get_type_name() == "Constant":
            names.add(node.get_name())
        waiting += [port.get_node() for port in node.input_values()]
    return names
