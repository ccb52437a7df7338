"""The pruned checkpoint compiled with Apache TVM, its sparse layers as block-sparse products, in fp32."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optkit.adapters import tvm
from optkit.export.tvm.compile import compile_tvm
from optkit.machine import describe, versions
from optkit.pipeline import serving
from optkit.pipeline.stage import Stage
from optkit.stages import compact, export

if TYPE_CHECKING:
    from optkit.pipeline.context import RunContext
    from optkit.pipeline.run_folder import StageOutput
    from optkit.pipeline.stage import ResolvedModel

NAME, FOLDER = "tvm", "tvm"


def is_needed(context: RunContext) -> bool:
    return "tvm" in context.recipe.export.formats


def key(context: RunContext) -> str:
    """A library is of one CPU, and of the shapes that it is for."""
    own = {"cpu": describe()["cpu"], "shapes": [list(shape) for shape in _shapes(context)]}
    return context.key(exported=export.key(context), versions=versions(("apache-tvm", "torch")), **own)


def recipe_problems(context: RunContext) -> list[str]:
    """That the recipe times what it does not make, a line at most."""
    benchmark = context.recipe.benchmark
    if benchmark is None or "tvm" not in benchmark.backends or is_needed(context):
        return []
    return ["benchmark.backends: tvm runs what `export.formats: [openvino, tvm]` writes: add tvm there"]


def problems(context: RunContext, resolved: ResolvedModel) -> list[str]:
    """Why no library can be made, a line at most."""
    if not is_needed(context):
        return []
    why = tvm.missing()
    if why is None and context.data.head.reads_images:
        why = "only models of texts are compiled: remove it"
    return [] if why is None else [f"export.formats: tvm: {why}"]


def run(context: RunContext, output: StageOutput) -> None:
    """Adds the ``shapes`` and the number of layers in each of the ``forms`` to the stage's facts."""
    index = compile_tvm(
        compact.folder(context),
        output.folder,
        shapes=_shapes(context),
        seed=context.recipe.seed,
        reporter=context.reporter,
    )
    forms = [layer.form for layer in index.layers.values()]
    output.facts |= {
        "shapes": [[shape.batch, shape.seq] for shape in index.shapes],
        "forms": {form: forms.count(form) for form in sorted(set(forms))},
    }


def _shapes(context: RunContext) -> list[tuple[int, int]]:
    """The one shape that the recipe exports for, else those that it times."""
    fixed, benchmark = serving.exported_shape(context), context.recipe.benchmark
    if fixed is not None:
        return [fixed]
    lengths = [context.task.sequence(context.data.tokenizer, seq) for seq in context.data.lengths]
    batches = benchmark.batch if benchmark is not None else (1,)
    return list(dict.fromkeys((batch, seq) for batch in batches for seq in lengths))


STAGE = Stage(NAME, key, run, folder=FOLDER, is_needed=is_needed, recipe_problems=recipe_problems, problems=problems)
