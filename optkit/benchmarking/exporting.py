"""Makes of a checkpoint what a backend runs that takes none: fp32 ONNX, or an fp32 IR."""

from __future__ import annotations

from pathlib import Path

from optkit.benchmarking.engine import Source
from optkit.benchmarking.offers import EXPORTS, Offer
from optkit.progress import Reporter


def export(offer: Offer, folder: Path, reporter: Reporter) -> Source:
    """The files that ``offer``'s backend loads: its source, or what is exported of it into ``folder``.

    Raises:
        OptkitError: if the checkpoint cannot be exported.
    """
    if not offer.exported:
        return offer.source
    kind = EXPORTS[offer.backend]
    output = folder / f"{len(list(folder.iterdir()))}-{kind}"
    output.mkdir()
    reporter.say(f"exporting {offer.source.path} for {offer.backend}")
    checkpoint = offer.source.path
    if kind == "onnx":
        from optkit.export.onnx import export_onnx

        return Source("onnx", export_onnx(checkpoint, output).path)
    from optkit.adapters import optimum
    from optkit.ir.io import MODEL_FILE

    ov_class = optimum.class_for(checkpoint)
    optimum.convert(checkpoint, output, task=next(name for name, of in optimum.TASKS.items() if of == ov_class))
    return Source("ir", output / MODEL_FILE)
