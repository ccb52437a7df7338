"""From the pruned checkpoint, compacted where it can be, to a tagged OpenVINO IR, int8 where the recipe asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optkit.stages import compact, train

if TYPE_CHECKING:
    from optkit.rundir import Stage
    from optkit.stages.job import Job

NAME, FOLDER = "export", "openvino"


def needed(job: Job) -> bool:
    return True


def key(job: Job) -> str:
    # Not the hash that the tags carry: a recipe that only measures otherwise needs no new IR.
    return job.key("quantize", "export", pruned=train.key(job))


def run(job: Job, stage: Stage) -> None:
    from optkit.export.openvino import export_openvino

    quantize = job.recipe.quantize
    job.reporter.say("  converting" + (", quantizing to int8" if quantize else "") + ", tagging, verifying")
    result = export_openvino(
        compact.folder(job),
        stage.folder,
        export_task=job.task.export_task,
        rules=job.rules,
        calibration=job.drawn(quantize.calibration.samples) if quantize else (),
        target=quantize.target if quantize else None,
        recipe_hash=job.recipe.hash(),
        seed=job.recipe.seed,
    )
    stage.facts |= {
        "seconds": {name: round(value, 2) for name, value in result.seconds.items()},
        "decompression_rate": result.decompression_rate,
        "layers": len(result.layers),
    }
