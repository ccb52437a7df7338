"""The pruned checkpoint and the int8 IR as a sparse folder: the same files in less room."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optkit.export.sparse_folder import pack_sparse
from optkit.pipeline.stage import Stage
from optkit.progress import size
from optkit.stages import export, train

if TYPE_CHECKING:
    from optkit.pipeline.context import RunContext
    from optkit.pipeline.run_folder import StageOutput

NAME, FOLDER = "sparse", "sparse"


def is_needed(context: RunContext) -> bool:
    return "sparse" in context.recipe.export.formats


def key(context: RunContext) -> str:
    return context.key(exported=export.key(context), quantized=context.recipe.quantize is not None)


def run(context: RunContext, output: StageOutput) -> None:
    """Adds ``files`` to the stage's facts: for each file of weights its ``size`` and the bytes ``stored`` for it."""
    # The checkpoint in full shape, whose configuration the IR's is; in fp32 the IR would only repeat it.
    sources = [context.path(train.FOLDER), *([context.path(export.FOLDER)] if context.recipe.quantize else [])]
    packed = pack_sparse(sources, output.folder)
    files = {
        name: {"size": file.size, "stored": (output.folder / file.data).stat().st_size} for name, file in packed.items()
    }
    for name, found in files.items():
        context.reporter.say(f"  {name}: {size(found['stored'])} for {size(found['size'])}")
    output.facts |= {"files": files}


STAGE = Stage(NAME, key, run, folder=FOLDER, is_needed=is_needed)
