"""The pruned checkpoint and the int8 IR as a sparse folder: the same files in less room."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optkit.stages import export, train

if TYPE_CHECKING:
    from optkit.pipeline.context import Job
    from optkit.pipeline.run_folder import Stage

NAME, FOLDER = "sparse", "sparse"


def needed(job: Job) -> bool:
    return "sparse" in job.recipe.export.formats


def key(job: Job) -> str:
    return job.key(exported=export.key(job), quantized=job.recipe.quantize is not None)


def run(job: Job, stage: Stage) -> None:
    """Adds ``files`` to the stage's facts: for each file of weights its ``size`` and the bytes ``stored`` for it."""
    from optkit.export.sparse_folder import pack_sparse
    from optkit.progress import size

    # The checkpoint in full shape, whose configuration the IR's is; in fp32 the IR would only repeat it.
    sources = [job.path(train.FOLDER), *([job.path(export.FOLDER)] if job.recipe.quantize else [])]
    packed = pack_sparse(sources, stage.folder)
    files = {
        name: {"size": file.size, "stored": (stage.folder / file.data).stat().st_size} for name, file in packed.items()
    }
    for name, found in files.items():
        job.reporter.say(f"  {name}: {size(found['stored'])} for {size(found['size'])}")
    stage.facts |= {"files": files}
