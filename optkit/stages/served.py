"""How the exported model is served, which is how it is scored and timed: by which runtime and plan, with which
configuration, and which of its scores a drop is judged by.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from optkit.cpu import int8_saturates
from optkit.pipeline.run_folder import digest
from optkit.stages import export

if TYPE_CHECKING:
    from optkit.pipeline.context import Job
    from optkit.runtime import Plan

#: The plan that is scored and timed, beside the predictions that were made with it.
PLAN = "runtime_plan.json"


def times_runtime(job: Job) -> bool:
    """Whether the recipe measures the sparse runtime, and it is there."""
    from optkit.runtime import available

    spec = job.recipe.benchmark
    return spec is not None and "optkit" in spec.backends and available()


def full_range(job: Job) -> bool:
    """Whether int8 products use the weights' full range, which OpenVINO's sums overflow with on CPUs without VNNI."""
    quantize = job.recipe.quantize
    return quantize is not None and quantize.method == "int8" and quantize.target != "any"


def judged_on_runtime(job: Job) -> bool:
    """Whether accuracy is that of the sparse runtime: weights of full range were made for it, or would saturate in
    this CPU's OpenVINO.
    """
    from optkit.runtime import available

    made_for_it = full_range(job) and (job.recipe.quantize.target == "optkit" or int8_saturates())
    return made_for_it and available()


def problems(job: Job) -> list[str]:
    """What of ``quantize.target`` cannot be judged here, a line each."""
    from optkit import runtime

    if not full_range(job) or not int8_saturates() or runtime.available():
        return []
    return [
        f"quantize.target: {job.recipe.quantize.target}: weights of full range overflow OpenVINO's int8 sums on this "
        f"CPU, which has no VNNI, and optkit's runtime, which is exact, is missing: {runtime.missing_reason()}: set it "
        "to any"
    ]


def plan_identity(job: Job) -> dict[str, Any] | None:
    """What decides which plan is made: the ``mode`` and the ``shape`` (batch, tokens); None where none is."""
    if not times_runtime(job) and not judged_on_runtime(job):
        return None
    spec, fixed = job.recipe.benchmark, export.shape(job)
    shape = (spec.batch[0], job.lengths[0]) if spec is not None else fixed or (1, 128)
    return {"mode": "measured" if times_runtime(job) else "static", "shape": list(shape)}


def config(precision: str | None = None) -> dict[str, Any]:
    """OpenVINO's configuration in scoring and timing; ``precision`` None is the default of the CPU."""
    import torch

    from optkit.benchmark.engine import Setting

    return Setting(torch.get_num_threads(), precision=precision).config()


def plan(job: Job) -> Plan:
    """The runtime's plan for the exported model: the one beside the predictions, where it was made for this very model
    and shape, so that what is scored is what is timed; else a new one.
    """
    from optkit import runtime
    from optkit.errors import OptkitError
    from optkit.ir.io import find_xml

    if job.run.facts("evaluate").get("plan_of") == plan_of(job):
        try:
            return runtime.Plan.from_json((job.path("predictions") / PLAN).read_text(encoding="utf-8"))
        except (OSError, OptkitError):
            pass
    asked = plan_identity(job)
    batch, seq = asked["shape"]
    shape = (batch, job.task.sequence(job.tokenizer, seq))
    return runtime.plan(find_xml(job.path(export.FOLDER)), asked["mode"], config=config(), shape=shape)


def kept_plan(job: Job) -> str | None:
    """Digest of the plan that was scored; None where none was."""
    file = job.path("predictions") / PLAN
    return digest(file.read_text(encoding="utf-8")) if times_runtime(job) and file.is_file() else None


def plan_of(job: Job) -> dict[str, Any]:
    """What a plan that is kept was made for."""
    return {"exported": export.key(job)} | (plan_identity(job) or {})
