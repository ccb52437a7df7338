"""What a report says of steps that not every run takes: compaction, the sparse folder, allocation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optkit.progress import size
from optkit.report.render.blocks import Block, Table
from optkit.report.verdict import openvino
from optkit.report.words import thread_words


def compaction(report: Mapping[str, Any]) -> list[Block]:
    """What left the model."""
    found = report["compact"]
    rows = [(name, f"{left:,}", f"{before:,}") for name, (left, before) in found["kept"].items()]
    loads = "loads with plain `from_pretrained`" if found["plain"] else "loads with `optkit.load_compact`"
    said = (
        f"`compact/` ({size(report['bytes']['compact'])}) computes what `pruned/` does to within {found['differ']:.1g} "
        f"and {loads}; the IR is made of it. What it took out counts as zeros in every sparsity here."
    )
    return [Table(("of", "left", "before"), rows), said]


def sparse_folder(found: Mapping[str, Any]) -> list[Block]:
    """What the files weigh without their zeros."""
    rows = [(name, size(file["size"]), size(file["stored"])) for name, file in found["files"].items()]
    said = "`sparse/` gives these files back byte for byte, with `optkit.unpack_sparse`."
    return [Table(("file", "bytes", "in `sparse/`"), rows), said]


def allocation(report: Mapping[str, Any], name: str) -> str:
    """What was chosen for a rule, and the speedup that was measured in the end beside the one that was foretold."""
    found = report["allocation"][name]
    said = f"{name}: {allocated(found)}."
    rows = (report["benchmark"] or {}).get("rows", [])
    shape = (found.get("batch"), found.get("seq"))
    times = next((row["milliseconds"] for row in rows if (row["batch"], row["seq"] or 1) == shape), {})
    ours = times.get("int8 optkit", times.get("optkit"))
    if ours is not None and "dense openvino" in times:
        said += f" Measured: {times['dense openvino'] / ours:.2f}x."
    return said


def allocated(found: Mapping[str, Any]) -> str:
    """One sentence on what was chosen for a rule, see ``optkit.allocation.choice``."""
    shares = [layer["sparsity"] for layer in found["layers"]]
    said = f"{len(shares)} layers at {min(shares):.0%} to {max(shares):.0%} by {found['by']}"
    said += f", {found['sparsity']:.2%} in all"
    if found["by"] == "latency":
        inputs = f"{found['batch']} x {found['seq']} tokens" if found["seq"] > 1 else f"batches of {found['batch']}"
        foretold = "predicted" if found["measured"] is None else "measured before training"
        speedup = found["predicted"] if found["measured"] is None else found["measured"]
        said += (
            f"; asked for {found['speedup']:g}x, {foretold} {speedup:.2f}x the dense model's "
            f"{found['dense_milliseconds']:.2f} ms in {openvino(found.get('precision', 'f32'))} at {inputs} on "
            f"{thread_words(found['threads'])}"
        )
    return said
