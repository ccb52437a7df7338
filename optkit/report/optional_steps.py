"""The sections on steps that not every run has: compaction, the sparse folder, allocation."""

from __future__ import annotations

from optkit.progress import size, thread_count
from optkit.report.render.blocks import Block, Table
from optkit.report.schema import Facts
from optkit.report.speed import exported
from optkit.report.stage_facts import Allocation, Compaction, SparseFolder
from optkit.report.verdict import openvino_at
from optkit.variant import DENSE


def compaction(facts: Facts, found: Compaction) -> list[Block]:
    """What compaction removed."""
    rows = [(name, f"{left:,}", f"{before:,}") for name, (left, before) in found.kept.items()]
    loads = "loads with plain `from_pretrained`" if found.plain else "loads with `optkit.load_compact`"
    said = (
        f"`compact/` ({size(facts.bytes.get('compact', 0))}) computes what `pruned/` does to within {found.differ:.1g} "
        f"and {loads}; the IR is made of it. What it took out counts as zeros in every sparsity here."
    )
    return [Table(("of", "left", "before"), rows), said]


def sparse_folder(found: SparseFolder) -> list[Block]:
    """The size of the files without their zeros."""
    rows = [(name, size(file.size), size(file.stored)) for name, file in found.files.items()]
    said = "`sparse/` gives these files back byte for byte, with `optkit.unpack_sparse`."
    return [Table(("file", "bytes", "in `sparse/`"), rows), said]


def allocation(facts: Facts, name: str, found: Allocation) -> str:
    """What was chosen for a rule, and the speedup that was measured in the end beside the one that was predicted."""
    said = f"{name}: {allocated(found)}."
    shapes = facts.benchmark.shapes if facts.benchmark else []
    shape = next((shape for shape in shapes if (shape.batch, shape.seq or 1) == (found.batch, found.seq)), None)
    if shape is None or DENSE.on("openvino") not in shape.milliseconds:
        return said
    ours = exported(shape)
    if ours is not None and ours.engine == "optkit":
        said += f" Measured: {shape.milliseconds[DENSE.on('openvino')] / shape.milliseconds[ours]:.2f}x."
    return said


def allocated(found: Allocation) -> str:
    """One sentence on what was chosen for a rule, see ``optkit.stages.allocate``."""
    shares = [layer.sparsity for layer in found.layers]
    said = f"{len(shares)} layers at {min(shares):.0%} to {max(shares):.0%} by {found.by}"
    said += f", {found.sparsity:.2%} in all"
    if found.speedup is None or found.seq is None or found.threads is None or found.dense_milliseconds is None:
        return said
    inputs = f"{found.batch} x {found.seq} tokens" if found.seq > 1 else f"batches of {found.batch}"
    known = "predicted" if found.measured is None else "measured before training"
    speedup = found.predicted if found.measured is None else found.measured
    return said + (
        f"; asked for {found.speedup:g}x, {known} {speedup:.2f}x the dense model's "
        f"{found.dense_milliseconds:.2f} ms in {openvino_at(found.precision)} at {inputs} on "
        f"{thread_count(found.threads)}"
    )
