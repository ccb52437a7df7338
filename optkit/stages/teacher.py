"""What the teacher is asked once, before training: its logits on every text, and texts that its word vectors make.

Training with cached logits costs what it costs without a teacher, and the teacher may have a tokenizer of its own,
since it reads the texts and not the student's token ids. Hidden states and attention are too much to keep: for them the
teacher runs beside the student, on the same token ids, and its logits come along.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from optkit.errors import DataError, OptkitError

if TYPE_CHECKING:
    from datasets import Dataset

    from optkit.pipeline.context import Job
    from optkit.pipeline.run_folder import Stage

NAME, FOLDER = "teacher", "teacher"
_LOGITS, _TEXTS = "logits.safetensors", "texts.parquet"
_COMPARED = 100  # texts that both tokenizers have to read alike


def needed(job: Job) -> bool:
    distill = job.recipe.distill
    return distill is not None and job.trains and (_kept(job) or distill.data is not None)


def _kept(job: Job) -> bool:
    """Whether the teacher's logits are asked for once and kept; else it runs beside the student."""
    return job.task.keeps_logits and not job.recipe.distill.of_states


def key(job: Job) -> str:
    distill = job.identity["distill"]
    asked = {"teacher": [distill["teacher"], distill["revision"]], "logits": _kept(job)}
    texts = {"texts": distill["data"], "seed": job.recipe.seed} if "data" in distill else {}
    labels = list(job.head.labels or ())
    return job.key(data=job.data_identity, labels=labels, **asked, **texts)


def run(job: Job, stage: Stage) -> None:
    from pyarrow import parquet
    from safetensors.numpy import save_file

    from optkit.adapters import passes
    from optkit.models import load_teacher

    model, tokenizer, order = load_teacher(job.recipe.distill, job.head)
    texts = _gather(job, model, tokenizer)
    if texts is not None:
        parquet.write_table(texts.with_format("arrow")[:], stage.folder / _TEXTS)
        stage.facts |= {"unlabelled": len(texts)}
    if not _kept(job):
        return
    with job.reporter.task("encoding train"):
        encoded = job.task.encode(job.splits["train"], tokenizer, job.head)
    with job.reporter.task("teacher") as bar:
        rows = _joined(encoded, None if texts is None else job.task.encode(texts, tokenizer, None))
        logits = passes.predict(model, rows, job.task, tokenizer, tell=bar.advance)
    logits = logits if order is None else logits[:, order]
    if not np.isfinite(logits).all():
        raise OptkitError(f"distill.teacher: {job.recipe.distill.teacher} gives NaN or infinite logits: use another")
    save_file({"logits": np.ascontiguousarray(logits)}, stage.folder / _LOGITS)
    predictions = job.task.decode(logits[: len(encoded)], encoded, job.head)
    references = job.task.references(job.splits["train"], job.head)
    if references is not None:
        stage.facts |= {"train": job.task.score(predictions, references, job.head)}


def count(job: Job) -> int:
    """How many texts without labels there will be; the given ones are read and checked.

    Raises:
        DataError: if they cannot be used.
    """
    spec = job.recipe.distill and job.recipe.distill.data
    if spec is None:
        return 0
    if not job.task.unlabelled:
        raise DataError(f"distill.data: {job.recipe.task.type} is taught on examples with answers alone: remove it")
    if job.head.problem is not None:
        kind = {"regression": "scores", "multi_label_classification": "several labels"}[job.head.problem]
        raise DataError(f"distill.data: {kind} are taught on examples with answers alone: remove it")
    given = _given(job)
    return (len(given) if given is not None else 0) + spec.augment * len(job.splits["train"])


def lessons(job: Job) -> tuple[Dataset, dict[str, Any]]:
    """What a student is taught on and by: its token ids, labelled rows first, with the cached logits if there are any;
    and what the Trainer has to know of the distillation.
    """
    from datasets import Dataset
    from safetensors.numpy import load_file

    from optkit.data.columns import with_columns
    from optkit.data.files import read_file
    from optkit.models import load_teacher, reorder_head

    distill = job.recipe.distill
    texts = None
    if distill.data is not None:
        texts = job.task.encode(Dataset(read_file(job.path(FOLDER) / _TEXTS)), job.tokenizer, None)
    examples = _joined(job.encoded("train"), texts)
    how = {"temperature": distill.temperature, "distillation_weight": distill.weight}
    if _kept(job):
        logits = load_file(job.path(FOLDER) / _LOGITS)["logits"]
        return with_columns(examples, {"teacher_logits": logits.reshape(len(logits), -1)}), how
    model, _, order = load_teacher(distill, job.head)
    if order is not None:
        reorder_head(model, order)
    states = {"hidden": distill.hidden, "attention": distill.attention}
    return examples, how | {"teacher": model} | {name: spec and spec.build() for name, spec in states.items()}


def problems(job: Job, teacher: Any, tokenizer: Any, student: Any) -> list[str]:
    """Why ``student`` (a config) cannot learn from ``teacher`` (a model), a line each.

    Args:
        tokenizer: the teacher's.
    """
    from optkit.models import longest_input
    from optkit.pruning.distillation.matching import state_problems
    from optkit.stages.heads import pixel_problems

    distill = job.recipe.distill
    ours = job.task.teacher_problems(distill, teacher, student)
    if _kept(job):
        return ours + pixel_problems(job, distill, tokenizer, "distill.teacher")
    asked = {name: getattr(distill, name) for name in ("hidden", "attention")}
    built = {name: spec and spec.build() for name, spec in asked.items()}
    found = ours + [f"distill.{name}: {text}" for name, text in state_problems(student, teacher.config, **built)]
    which = next((name for name, spec in asked.items() if spec is not None), "teacher")
    longest = longest_input(teacher.config)
    if longest is not None and longest < job.task.max_length:
        found.append(
            f"distill.{which}: {distill.teacher} takes {longest} tokens, and task.max_length is {job.task.max_length}: "
            "lower it"
        )
    rows = job.splits["train"]
    if not job.task.same_inputs(rows.select(range(min(_COMPARED, len(rows)))), job.tokenizer, tokenizer):
        way_out = ", or distil logits alone" if job.task.keeps_logits else ""
        found.append(
            f"distill.{which}: {distill.teacher} has another tokenizer than the student, so their tokens do not "
            f"compare: use a teacher with the same one{way_out}"
        )
    return found


def _given(job: Job) -> Dataset | None:
    from optkit.data.unlabelled import load_unlabelled

    return load_unlabelled(job.recipe.distill.data, job.task.text)


def _gather(job: Job, model: Any, tokenizer: Any) -> Dataset | None:
    """The texts without labels: those given, then those made, under the names of task.text."""
    import datasets

    from optkit.data.augment import augment, neighbours_of

    spec = job.recipe.distill.data
    if spec is None:
        return None
    parts = [] if (given := _given(job)) is None else [given]
    if spec.augment:
        rows = job.splits["train"]
        texts = list(zip(*([str(text) for text in rows[column]] for column in job.task.text), strict=True))
        table = model.get_input_embeddings().weight.detach().float().cpu().numpy()
        near = neighbours_of(texts, lambda words: _token_ids(tokenizer, words), table)
        made = zip(*augment(texts, spec.augment, job.recipe.seed, near), strict=True)
        columns = {name: list(column) for name, column in zip(job.task.text, made, strict=True)}
        parts.append(datasets.Dataset.from_dict(columns))
    return datasets.concatenate_datasets(parts)


def _token_ids(tokenizer: Any, words: list[str]) -> list[list[int]]:
    """The token ids of each word within a text; none of one that the vocabulary does not hold."""
    # Behind a space: tokenizers that mark the beginnings of words know a word without one as something else.
    ids = tokenizer([f" {word}" for word in words], add_special_tokens=False)["input_ids"]
    return [[] if tokenizer.unk_token_id in word else word for word in ids]


def _joined(labelled: Dataset, unlabelled: Dataset | None) -> Dataset:
    import datasets

    return labelled if unlabelled is None else datasets.concatenate_datasets([labelled, unlabelled])
