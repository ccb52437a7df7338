"""What teachers are asked once, before training: their logits on every text, and texts that the first's word vectors
make.

Training with cached logits costs what it costs without a teacher, and each teacher may have a tokenizer of its own,
since it reads the texts and not the student's token ids. So are its states of whole sentences, averaged over tokens.
Hidden states of tokens and attention are too much to keep: for them the first teacher runs beside the student, on the
same token ids. Where it is the only one, its logits come along.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import datasets
import numpy as np
from datasets import Dataset
from pyarrow import parquet
from safetensors.numpy import save_file

from optkit.adapters import arguments, passes
from optkit.data.augment import augment, neighbours_of
from optkit.data.columns import with_columns
from optkit.data.files import read_file
from optkit.data.unlabelled import load_unlabelled
from optkit.errors import DataError, OptkitError
from optkit.models import load_teacher, meta_model, reorder_head
from optkit.models.source import Source
from optkit.pipeline.stage import Stage
from optkit.planning import teachers
from optkit.planning.teachers import keeps_logits, runs_beside
from optkit.pruning.distillation.pooled import pooled_pairs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from optkit.pipeline.context import RunContext
    from optkit.pipeline.run_folder import StageOutput
    from optkit.recipe import TeacherSpec

NAME, FOLDER = "teacher", "teacher"
_LOGITS, _STATES, _TEXTS = "logits.safetensors", "states.safetensors", "texts.parquet"


def is_needed(context: RunContext) -> bool:
    distill = context.recipe.distill
    if distill is None or not context.recipe.trains:
        return False
    return keeps_logits(context) or distill.pooled is not None or distill.data is not None


def key(context: RunContext) -> str:
    distill = context.identity["distill"]
    source = {"teacher": [distill["teacher"], distill["revision"]], "logits": keeps_logits(context)}
    texts = {"texts": distill["data"], "seed": context.recipe.seed} if "data" in distill else {}
    labels = list(context.data.head.labels or ())
    if "pooled" in distill:  # which layers of the teacher are asked for depends on the student's depth
        source |= {"pooled": distill["pooled"]["layers"], "model": context.identity["model"]}
    if (precision := arguments.precision_of(context.recipe.train)) is not None:
        source |= {"precision": str(precision)}
    return context.key(data=context.data_identity, labels=labels, **source, **texts)


def run(context: RunContext, output: StageOutput) -> None:
    distill = context.recipe.distill
    loaded: dict[str, _Loaded] = {}  # the one that texts are made by
    if distill.data is not None and distill.data.augment:
        loaded[distill.first[0]] = _load(context, *distill.first)
    texts = _gather(context, *loaded.values())
    if texts is not None:
        parquet.write_table(texts.with_format("arrow")[:], output.folder / _TEXTS)
        output.facts |= {"unlabelled": len(texts)}
    each = {}
    for key, spec in distill.teachers.items():
        pooled, counts = distill.pooled is not None and key == distill.last[0], spec.weight and keeps_logits(context)
        if not pooled and not counts:
            continue
        found, states = _ask(context, key, spec, loaded.pop(key, None) or _load(context, key, spec), texts, pooled)
        if counts:
            each[key] = found
        if states is not None:
            save_file({"states": states}, output.folder / _STATES)
    if not keeps_logits(context):
        return
    logits = _mean([(distill.teachers[key].weight, found) for key, found in each.items()])
    save_file({"logits": np.ascontiguousarray(logits)}, output.folder / _LOGITS)
    if (scores := _scores(context, logits)) is not None:
        output.facts |= {"train": scores}
        if len(each) > 1:
            output.facts |= {"teachers": {key: _scores(context, found) for key, found in each.items()}}


#: A teacher, its tokenizer, and its column for each of our labels.
_Loaded = tuple[Any, Any, list[int] | None]


def _load(context: RunContext, key: str, spec: TeacherSpec) -> _Loaded:
    return load_teacher(spec, context.data.head, key=key)


def _ask(
    context: RunContext, key: str, spec: TeacherSpec, loaded: _Loaded, texts: Dataset | None, pooled: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """The logits of one teacher, from its own tokens: of the training split, then of ``texts``; float32 (rows, ...),
    in the order of our labels. And, if asked, its pooled states (rows, layers * width), float16.
    """
    model, tokenizer, order = loaded
    with context.reporter.task("encoding train"):
        encoded = context.task.encode(context.data.splits["train"], tokenizer, context.data.head)
    with context.reporter.task("teacher") as bar:
        rows = _join(encoded, None if texts is None else context.task.encode(texts, tokenizer, None))
        # As a teacher beside the student computes.
        how = {"precision": arguments.precision_of(context.recipe.train), "batch_size": 64, "tell": bar.advance}
        if pooled:
            pairs = pooled_pairs(context.recipe.distill.pooled.build(), _student_config(context), model.config)
            layers = [theirs for _, theirs in pairs]
            logits, states = passes.predict_pooled(model, rows, context.task, tokenizer, layers, **how)
        else:
            logits, states = passes.predict(model, rows, context.task, tokenizer, **how), None
    if not np.isfinite(logits).all():
        raise OptkitError(f"{key}: {spec.name} gives NaN or infinite logits: use another")
    # In half precision: rounding by 0.05 % is far less than what a student can follow.
    return logits if order is None else logits[:, order], states if states is None else states.astype(np.float16)


def _student_config(context: RunContext) -> Any:
    return meta_model(context.recipe.model, context.data.head).config


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
    if keeps_logits(context):
        logits = context.tensors(FOLDER, _LOGITS)["logits"].numpy()
        examples = with_columns(examples, {"teacher_logits": logits.reshape(len(logits), -1)})
    if distill.pooled is not None:
        states = context.tensors(FOLDER, _STATES)["states"].numpy()
        examples = with_columns(examples, {"teacher_states": states})
        key, spec = distill.last
        config = meta_model(Source(spec.name, spec.revision, key=key), context.data.head).config
        how |= {"pooled": distill.pooled.build(), "pooled_teacher": config}
    if not runs_beside(context):
        return examples, how
    model, _, order = _load(context, *distill.first)
    if order is not None:
        reorder_head(model, order)
    states = {"hidden": distill.hidden, "attention": distill.attention}
    return examples, how | {"teacher": model} | {name: spec and spec.build() for name, spec in states.items()}


def recipe_problems(context: RunContext) -> list[str]:
    """Why there is nothing to distill into, a line at most."""
    if context.recipe.distill is None or context.recipe.trains:
        return []
    return ["distill: nothing is trained, so there is nothing to distill into: write `train`"]


def _load_given(context: RunContext) -> Dataset | None:
    return load_unlabelled(context.recipe.distill.data, context.task.text)


def _gather(context: RunContext, first: _Loaded | None = None) -> Dataset | None:
    """The texts without labels: those given, then those made by the first teacher's word vectors, if texts are to be
    made; under the names of task.text.
    """
    spec = context.recipe.distill.data
    if spec is None:
        return None
    parts = [] if (given := _load_given(context)) is None else [given]
    if first is not None:
        model, tokenizer, _ = first
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
    problems=teachers.problems,
)
