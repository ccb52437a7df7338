"""What teachers are asked once, before training: their logits on every text, and texts that the first's word vectors
make.

Training with cached logits costs what it costs without a teacher, and each teacher may have a tokenizer of its own,
since it reads the texts and not the student's token ids. Hidden states and attention are too much to keep: for them the
first teacher runs beside the student, on the same token ids. Where it is the only one, its logits come along.
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
    from collections.abc import Sequence

    from optkit.pipeline.context import RunContext
    from optkit.pipeline.run_folder import StageOutput
    from optkit.pipeline.stage import ResolvedModel
    from optkit.recipe import TeacherSpec

NAME, FOLDER = "teacher", "teacher"
_LOGITS, _TEXTS = "logits.safetensors", "texts.parquet"
_COMPARED = 100  # texts that both tokenizers have to read alike


def is_needed(context: RunContext) -> bool:
    distill = context.recipe.distill
    return distill is not None and context.recipe.trains and (_keeps_logits(context) or distill.data is not None)


def _keeps_logits(context: RunContext) -> bool:
    """Whether the teachers' logits are asked for once and kept; else one teacher gives them beside the student."""
    distill = context.recipe.distill
    return context.task.keeps_logits and (not distill.of_states or len(distill.teachers) > 1)


def _runs_beside(context: RunContext) -> bool:
    """Whether the first teacher runs beside the student, on its tokens."""
    return context.recipe.distill.of_states or not context.task.keeps_logits


def key(context: RunContext) -> str:
    distill = context.identity["distill"]
    source = {"teacher": [distill["teacher"], distill["revision"]], "logits": _keeps_logits(context)}
    texts = {"texts": distill["data"], "seed": context.recipe.seed} if "data" in distill else {}
    labels = list(context.data.head.labels or ())
    return context.key(data=context.data_identity, labels=labels, **source, **texts)


def run(context: RunContext, output: StageOutput) -> None:
    texts = _gather(context)
    if texts is not None:
        parquet.write_table(texts.with_format("arrow")[:], output.folder / _TEXTS)
        output.facts |= {"unlabelled": len(texts)}
    if not _keeps_logits(context):
        return
    asked = {key: spec for key, spec in context.recipe.distill.teachers.items() if spec.weight}
    each = {key: _ask(context, key, spec, texts) for key, spec in asked.items()}
    logits = _mean([(spec.weight, each[key]) for key, spec in asked.items()])
    save_file({"logits": np.ascontiguousarray(logits)}, output.folder / _LOGITS)
    if (scores := _scores(context, logits)) is not None:
        output.facts |= {"train": scores}
        if len(each) > 1:
            output.facts |= {"teachers": {key: _scores(context, found) for key, found in each.items()}}


def _ask(context: RunContext, key: str, spec: TeacherSpec, texts: Dataset | None) -> np.ndarray:
    """The logits of one teacher, from its own tokens: of the training split, then of ``texts``; float32 (rows, ...),
    in the order of our labels.
    """
    model, tokenizer, order = load_teacher(spec, context.data.head, key=key)
    with context.reporter.task("encoding train"):
        encoded = context.task.encode(context.data.splits["train"], tokenizer, context.data.head)
    with context.reporter.task("teacher") as bar:
        rows = _join(encoded, None if texts is None else context.task.encode(texts, tokenizer, None))
        logits = passes.predict(model, rows, context.task, tokenizer, tell=bar.advance)
    if not np.isfinite(logits).all():
        raise OptkitError(f"{key}: {spec.name} gives NaN or infinite logits: use another")
    return logits if order is None else logits[:, order]


def _mean(parts: Sequence[tuple[float, np.ndarray]]) -> np.ndarray:
    """The mean of logits, each with its weight; float32."""
    if len(parts) == 1:
        return parts[0][1]
    total = sum(weight for weight, _ in parts)
    return sum(np.float64(weight / total) * logits for weight, logits in parts).astype(np.float32)


def _scores(context: RunContext, logits: np.ndarray) -> dict[str, float] | None:
    """How right logits (rows, ...) are on the training split, whose rows are the first; None where nothing says so."""
    encoded, head = context.data.encode("train"), context.data.head
    references = context.task.references(context.data.splits["train"], head)
    if references is None:
        return None
    return context.task.score(context.task.decode(logits[: len(encoded)], encoded, head), references, head)


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
        examples = with_columns(examples, {"teacher_logits": logits.reshape(len(logits), -1)})
    if not _runs_beside(context):
        return examples, how
    key, spec = distill.first
    model, _, order = load_teacher(spec, context.data.head, key=key)
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
    distill, student = context.recipe.distill, resolved.model.config
    if len(distill.teachers) > 1 and not context.task.keeps_logits:
        return [
            f"distill.teacher: for {context.recipe.task.type} a teacher runs beside the student, so there can be one "
            "alone: name one"
        ]
    found: list[str] = []
    for key, spec in distill.teachers.items():
        teacher, tokenizer, _ = load_teacher(spec, context.data.head, key=key)
        found += context.task.teacher_problems(distill, key, teacher, student)
        if _keeps_logits(context):
            found += pixel_problems(context, spec, tokenizer, key)
        if _runs_beside(context) and key == distill.first[0]:
            found += _problems_beside(context, spec.name, teacher, tokenizer, student)
    return found


def _problems_beside(context: RunContext, name: str, teacher: Any, tokenizer: Any, student: Any) -> list[str]:
    """Why a teacher cannot run beside the student (its config), on the student's tokens, a line each."""
    distill = context.recipe.distill
    states = {name: getattr(distill, name) for name in ("hidden", "attention")}
    built = {name: spec and spec.build() for name, spec in states.items()}
    found = [f"distill.{name}: {text}" for name, text in state_problems(student, teacher.config, **built)]
    which = next((name for name, spec in states.items() if spec is not None), "teacher")
    longest = longest_input(teacher.config)
    if longest is not None and longest < context.task.max_length:
        found.append(
            f"distill.{which}: {name} takes {longest} tokens, and task.max_length is "
            f"{context.task.max_length}: lower it"
        )
    rows = context.data.splits["train"]
    if not context.task.same_inputs(rows.select(range(min(_COMPARED, len(rows)))), context.data.tokenizer, tokenizer):
        way_out = ", or distil logits alone" if context.task.keeps_logits else ""
        found.append(
            f"distill.{which}: {name} has another tokenizer than the student, so their tokens do not "
            f"compare: use a teacher with the same one{way_out}"
        )
    return found


def _load_given(context: RunContext) -> Dataset | None:
    return load_unlabelled(context.recipe.distill.data, context.task.text)


def _gather(context: RunContext) -> Dataset | None:
    """The texts without labels: those given, then those made by the first teacher's word vectors, under the names of
    task.text.
    """
    spec = context.recipe.distill.data
    if spec is None:
        return None
    parts = [] if (given := _load_given(context)) is None else [given]
    if spec.augment:
        key, first = context.recipe.distill.first
        model, tokenizer, _ = load_teacher(first, context.data.head, key=key)
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
