"""Quantization-aware training: a short fine-tuning of the pruned model with int8 simulated, zeros kept, before export.

It learns to give the outputs that it gives without quantization: the loss is the distillation loss of the model as it
was, so no label is needed and nothing is learned anew.
"""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optkit.stages import compact, train

if TYPE_CHECKING:
    from optkit.pipeline.context import Job
    from optkit.pipeline.run_folder import Stage

NAME, FOLDER = "qat", "qat"
#: Of the calibration samples: ranges that training starts from need no more.
SAMPLES = 64
#: What of the recipe's training holds here, too.
_SHARED = ("use_cpu", "dataloader_num_workers", "max_grad_norm")


def needed(job: Job) -> bool:
    return job.recipe.quantize is not None and job.recipe.quantize.finetune is not None


def key(job: Job) -> str:
    spec = job.identity.get("quantize") or {}
    parts = {name: spec.get(name) for name in ("finetune", "target", "smooth_quant", "ignored", "calibration")}
    return job.key("seed", pruned=train.key(job), compact=job.recipe.export.compact, **parts)


def folder(job: Job) -> Path:
    """The checkpoint to export."""
    return job.path(FOLDER) if needed(job) else compact.folder(job)


def problems(job: Job) -> list[str]:
    """Why it cannot be done, a line each."""
    if not needed(job) or job.team.size == 1:
        return []
    return [
        "quantize.finetune: trains in one process: stop this launch with --stop-after compact, and run the recipe "
        "again without torchrun"
    ]


def run(job: Job, stage: Stage) -> None:
    """Adds ``steps``, ``layers`` and the ``history`` of the loss to the stage's facts."""
    from optkit.adapters import arguments, trainer
    from optkit.checkpoints.compact_config import needs_loader, read_config
    from optkit.models import freezing, load_model
    from optkit.pruning.compaction.checkpoint import load_compact
    from optkit.quantization.fake_quantization import FakeQuantization

    source, spec = compact.folder(job), job.recipe.quantize
    loaded = needs_loader(read_config(source))
    trainer.seed_everything(job.recipe.seed)
    model = load_compact(source) if loaded else load_model(source, job.head, seed=0)
    reference = copy.deepcopy(model)
    freezing.freeze(model, job.recipe.train.get("freeze", ()))
    options = {name: value for name, value in job.recipe.train.items() if name in _SHARED}
    options |= {"max_steps": spec.finetune.steps, "learning_rate": spec.finetune.learning_rate}
    options |= {"per_device_train_batch_size": spec.finetune.batch_size, "save_strategy": "no"}
    examples = job.encoded("train")
    simulated = FakeQuantization(
        model,
        job.batches(min(spec.calibration.samples, SAMPLES), 1),
        half_range=spec.target == "any",
        smooth_quant=spec.build().smooth_quant,
        ignored=spec.ignored,
    )
    with tempfile.TemporaryDirectory() as scratch, job.reporter.task("training for int8") as bar:
        built = trainer.build(
            model,
            arguments.training_arguments(options, Path(scratch), seed=job.recipe.seed, examples=len(examples)),
            train_dataset=examples,
            collator=job.task.collator(job.tokenizer),
            callbacks=[trainer.Watch(lambda step, total, logs: bar.advance(step, total, {}))],
            objective=job.task.objective,
            teacher=reference,
            temperature=1.0,
            distillation_weight=1.0,
        )
        trainer.train(built, None)
    simulated.fold()
    save_like(model.cpu(), source, stage.folder)
    stage.facts |= {
        "steps": built.state.global_step,
        "layers": len(simulated.layers),
        "history": [entry for entry in built.state.log_history if "loss" in entry],
    }


def save_like(model: Any, source: Path, folder: Path) -> None:
    """Writes ``model`` as a checkpoint of the form of ``source``, plain or compacted, which it was loaded from."""
    from safetensors.torch import save_file

    from optkit.adapters import optimum
    from optkit.checkpoints.compact_config import needs_loader, read_config
    from optkit.checkpoints.files import COMPACTED
    from optkit.pruning.compaction.checkpoint import own_weights

    optimum.copy_companions(source, folder)
    name = COMPACTED if needs_loader(read_config(source)) else "model.safetensors"
    save_file(own_weights(model), folder / name, metadata={"format": "pt"})
