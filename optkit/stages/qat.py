"""Quantization-aware training: a short fine-tuning of the pruned model with int8 simulated, zeros kept, before export.

It learns to give the outputs that it gives without quantization: the loss is the distillation loss of the model as it
was, so no label is needed and nothing is learned anew.
"""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import save_file

from optkit.adapters import arguments, trainer
from optkit.adapters.companions import copy_companions
from optkit.checkpoints.compact_config import needs_loader, read_config
from optkit.checkpoints.files import COMPACTED
from optkit.models import freezing, load_model
from optkit.pipeline.stage import Stage
from optkit.pruning.compaction.checkpoint import load_compact, own_weights
from optkit.quantization.fake_quantization import FakeQuantization
from optkit.stages import compact, train

if TYPE_CHECKING:
    from optkit.pipeline.context import RunContext
    from optkit.pipeline.run_folder import StageOutput
    from optkit.pipeline.stage import ResolvedModel

NAME, FOLDER = "qat", "qat"
#: Of the calibration samples: ranges that training starts from need no more.
SAMPLES = 64
#: What of the recipe's training holds here, too.
_SHARED = ("use_cpu", "dataloader_num_workers", "max_grad_norm")


def is_needed(context: RunContext) -> bool:
    return context.recipe.quantize is not None and context.recipe.quantize.finetune is not None


def key(context: RunContext) -> str:
    spec = context.identity.get("quantize") or {}
    parts = {name: spec.get(name) for name in ("finetune", "weight_range", "smooth_quant", "ignored", "calibration")}
    return context.key("seed", pruned=train.key(context), compact=context.recipe.export.compact, **parts)


def folder(context: RunContext) -> Path:
    """The checkpoint to export."""
    return context.path(FOLDER) if is_needed(context) else compact.folder(context)


def problems(context: RunContext, resolved: ResolvedModel) -> list[str]:
    """Why it cannot be done, a line each."""
    if not is_needed(context) or context.team.size == 1:
        return []
    return [
        "quantize.finetune: trains in one process: stop this launch with --stop-after compact, and run the recipe "
        "again without torchrun"
    ]


def run(context: RunContext, output: StageOutput) -> None:
    """Adds ``steps``, ``layers`` and the ``history`` of the loss to the stage's facts."""
    source, spec = compact.folder(context), context.recipe.quantize
    loaded = needs_loader(read_config(source))
    trainer.seed_everything(context.recipe.seed)
    model = load_compact(source) if loaded else load_model(source, context.data.head, seed=0)
    reference = copy.deepcopy(model)
    freezing.freeze(model, context.recipe.train.get("freeze", ()))
    options = {name: value for name, value in context.recipe.train.items() if name in _SHARED}
    options |= {"max_steps": spec.finetune.steps, "learning_rate": spec.finetune.learning_rate}
    options |= {"per_device_train_batch_size": spec.finetune.batch_size, "save_strategy": "no"}
    examples = context.data.encode("train")
    simulated = FakeQuantization(
        model,
        context.data.batches(min(spec.calibration.samples, SAMPLES), 1),
        half_range=spec.weight_range == "half",
        smooth_quant=spec.build().strength,
        ignored=spec.ignored,
    )
    with tempfile.TemporaryDirectory() as scratch, context.reporter.task("training for int8") as bar:
        built = trainer.build(
            model,
            arguments.training_arguments(options, Path(scratch), seed=context.recipe.seed, examples=len(examples)),
            train_dataset=examples,
            collator=context.task.collator(context.data.tokenizer),
            callbacks=[trainer.Watch(lambda step, total, logs: bar.advance(step, total, {}))],
            objective=context.task.objective,
            teacher=reference,
            temperature=1.0,
            distillation_weight=1.0,
        )
        trainer.train(built, None)
    simulated.fold()
    save_like(model.cpu(), source, output.folder)
    output.facts |= {
        "steps": built.state.global_step,
        "layers": len(simulated.layers),
        "history": [entry for entry in built.state.log_history if "loss" in entry],
    }


def save_like(model: Any, source: Path, folder: Path) -> None:
    """Writes ``model`` as a checkpoint of the form of ``source``, plain or compacted, which it was loaded from."""
    copy_companions(source, folder)
    name = COMPACTED if needs_loader(read_config(source)) else "model.safetensors"
    save_file(own_weights(model), folder / name, metadata={"format": "pt"})


STAGE = Stage(NAME, key, run, folder=FOLDER, is_needed=is_needed, problems=problems)
