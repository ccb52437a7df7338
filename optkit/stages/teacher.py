"""What the teacher is asked once, before training: its logits on every text, and texts that its word vectors make.

Training with cached logits costs what it costs without a teacher, and the teacher may have a tokenizer of its own,
since it reads the texts and not the student's token ids. Hidden states and attention are too much to keep: for them the
teacher runs beside the student, on the same token ids, and its logits come along.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import datasets
import numpy as np
from datasets import Dataset
from pyarrow import parquet
from safetensors.numpy import load_file, save_file

from optkit.adapters import passes
from optkit.data.augment import augment, neighbours_of
from optkit.data.columns import with_columns
from optkit.data.files import read_file
from optkit.data.unlabelled import load_unlabelled
from optkit.errors import DataError, OptkitError
from optkit.models import load_teacher, longest_input, reorder_head
from optkit.pipeline.stage import Stage
from optkit.planning.heads import pixel_problems
from optkit.pruning.distillation.matching import state_problems

if TYPE_CHECKING:
    from optkit.pipeline.context import RunContext
    from optkit.pipeline.run_folder import StageOutput
    from optkit.pipeline.stage import ResolvedModel

NAME, FOLDER = "teacher", "teacher"
_LOGITS, _TEXTS = "logits.safetensors", "texts.parquet"
_COMPARED = 100  # texts that both tokenizers have to read alike


def is_needed(context: RunContext) -> bool:
    distill = context.recipe.distill
    return distill is not None and context.recipe.trains and (_keeps_logits(context) or distill.data is not None)


def _keeps_logits(context: RunContext) -> bool:
    """Whether the teacher's logits are asked for once and kept; else it runs beside the student."""
    return context.task.keeps_logits and not context.recipe.distill.of_states


def key(context: RunContext) -> str:
    distill = context.identity["distill"]
    source = {"teacher": [distill["teacher"], distill["revision"]], "logits": _keeps_logits(context)}
    texts = {"texts": distill["data"], "seed": context.recipe.seed} if "data" in distill else {}
    labels = list(context.data.head.labels or ())
    return context.key(data=context.data_identity, labels=labels, **source, **texts)


def run(context: RunContext, output: StageOutput) -> None:
    model, tokenizer, order = load_teacher(context.recipe.distill, context.data.head)
    texts = _gather(context, model, tokenizer)
    if texts is not None:
        parquet.write_table(texts.with_format("arrow")[:], output.folder / _TEXTS)
        output.facts |= {"unlabelled": len(texts)}
    if not _keeps_logits(context):
        return
    with context.reporter.task("encoding train"):
        encoded = context.task.encode(context.data.splits["train"], tokenizer, context.data.head)
    with context.reporter.task("teacher") as bar:
        rows = _join(encoded, None if texts is None else context.task.encode(texts, tokenizer, None))
        logits = passes.predict(model, rows, context.task, tokenizer, tell=bar.advance)
    logits = logits if order is None else logits[:, order]
    if not np.isfinite(logits).all():
        raise OptkitError(
            f"distill.teacher: {context.recipe.distill.teacher} gives NaN or infinite logits: use another"
        )
    save_file({"logits": np.ascontiguousarray(logits)}, output.folder / _LOGITS)
    predictions = context.task.decode(logits[: len(encoded)], encoded, context.data.head)
    references = context.task.references(context.data.splits["train"], context.data.head)
    if references is not None:
        output.facts |= {"train": context.task.score(predictions, references, context.data.head)}


def count_unlabelled(context: RunContext) -> int:
    """How many texts without labels there will be; the given ones are read and checked.

    Raises:
        DataError: if they cannot be used.
    """
    spec = context.recipe.distill and context.recipe.distill.data
    if spec is None:
        return 0
    if not context.task.unlabelled:
        raise DataError(f"distill.data: {context.recipe.task.type} is taught on examples with answers alone: remove it")
    if context.data.head.problem is not None:
        kind = {"regression": "scores", "multi_label_classification": "several labels"}[context.data.head.problem]
        raise DataError(f"distill.data: {kind} are taught on examples with answers alone: remove it")
    given = _load_given(context)
    return (len(given) if given is not None else 0) + spec.augment * len(context.data.splits["train"])


def teacher_logits(context: RunContext) -> tuple[Dataset, dict[str, Any]]:
    """What a student is taught on and by: its token ids, labelled rows first, with the cached logits if there are any;
    and what the Trainer has to know of the distillation.
    """
    distill = context.recipe.distill
    texts = None
    if distill.data is not None:
        texts = context.task.encode(Dataset(read_file(context.path(FOLDER) / _TEXTS)), context.data.tokenizer, None)
    examples = _join(context.data.encode("train"), texts)
    how = {"temperature": distill.temperature, "distillation_weight": distill.weight}
    if _keeps_logits(context):
        logits = load_file(context.path(FOLDER) / _LOGITS)["logits"]
        return with_columns(examples, {"teacher_logits": logits.reshape(len(logits), -1)}), how
    model, _, order = load_teacher(distill, context.data.head)
    if order is not None:
        reorder_head(model, order)
    states = {"hidden": distill.hidden, "attention": distill.attention}
    return examples, how | {"teacher": model} | {name: spec and spec.build() for name, spec in states.items()}


def recipe_problems(context: RunContext) -> list[str]:
    """Why there is nothing to distill into, a line at most."""
    if context.recipe.distill is None or context.recipe.trains:
        return []
    return ["distill: nothing is trained, so there is nothing to distill into: write `train`"]


def problems(context: RunContext, resolved: ResolvedModel) -> list[str]:
    """Why the student cannot learn from the teacher, a line each.

    Raises:
        OptkitError: if the teacher cannot be loaded.
    """
    if context.recipe.distill is None:
        return []
    teacher, tokenizer, _ = load_teacher(context.recipe.distill, context.data.head)
    student = resolved.model.config
    distill = context.recipe.distill
    ours = context.task.teacher_problems(distill, teacher, student)
    if _keeps_logits(context):
        return ours + pixel_problems(context, distill, tokenizer, "distill.teacher")
    states = {name: getattr(distill, name) for name in ("hidden", "attention")}
    built = {name: spec and spec.build() for name, spec in states.items()}
    found = ours + [f"distill.{name}: {text}" for name, text in state_problems(student, teacher.config, **built)]
    which = next((name for name, spec in states.items() if spec is not None), "teacher")
    longest = longest_input(teacher.config)
    if longest is not None and longest < context.task.max_length:
        found.append(
            f"distill.{which}: {distill.teacher} takes {longest} tokens, and task.max_length is "
            f"{context.task.max_length}: lower it"
        )
    rows = context.data.splits["train"]
    if not context.task.same_inputs(rows.select(range(min(_COMPARED, len(rows)))), context.data.tokenizer, tokenizer):
        way_out = ", or distil logits alone" if context.task.keeps_logits else ""
        found.append(
            f"distill.{which}: {distill.teacher} has another tokenizer than the student, so their tokens do not "
            f"compare: use a teacher with the same one{way_out}"
        )
    return found


def _load_given(context: RunContext) -> Dataset | None:
    return load_unlabelled(context.recipe.distill.data, context.task.text)


def _gather(context: RunContext, model: Any, tokenizer: Any) -> Dataset | None:
    """The texts without labels: those given, then those made, under the names of task.text."""
    spec = context.recipe.distill.data
    if spec is None:
        return None
    parts = [] if (given := _load_given(context)) is None else [given]
    if spec.augment:
        rows = context.data.splits["train"]
        texts = list(zip(*([str(text) for text in rows[column]] for column in context.task.text), strict=True))
        table = model.get_input_embeddings().weight.detach().float().cpu().numpy()
        near = neighbours_of(texts, lambda words: _token_ids(tokenizer, words), table)
        made = zip(*augment(texts, spec.augment, context.recipe.seed, near), strict=True)
        columns = {name: list(column) for name, column in zip(context.task.text, made, strict=True)}
        parts.append(datasets.Dataset.from_dict(columns))
    return datasets.concatenate_datasets(parts)


def _token_ids(tokenizer: Any, words: list[str]) -> list[list[int]]:
    """The token ids of each word within a text; none of one that the vocabulary does not hold."""
    # Behind a space: tokenizers that mark the beginnings of words know a word without one as something else.
    ids = tokenizer([f" {word}" for word in words], add_special_tokens=False)["input_ids"]
    return [[] if tokenizer.unk_token_id in word else word for word in ids]


def _join(labelled: Dataset, unlabelled: Dataset | None) -> Dataset:
    return labelled if unlabelled is None else datasets.concatenate_datasets([labelled, unlabelled])


STAGE = Stage(
    NAME,
    key,
    run,
    folder=FOLDER,
    is_needed=is_needed,
    recipe_problems=recipe_problems,
    count_unlabelled=count_unlabelled,
    problems=problems,
)
