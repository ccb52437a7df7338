"""Every recipe that users copy, from end to end on a tiny model and tiny data: only names and sizes are changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from architectures import SIZES
from split_scores import split_scores

import optkit
from optkit.data.generators import GENERATORS
from optkit.data.generators.entities import TAGS
from optkit.recipe import Recipe, load_recipe

pytestmark = pytest.mark.slow

RECIPES = sorted((Path(__file__).parents[1] / "recipes").glob("*.yaml"))
#: Smaller sizes of a model that a recipe makes from random weights, where its config has them.


class StandIn(NamedTuple):
    """What takes the place of a task's models and data from the Hub."""

    checkpoint: Path
    files: dict[str, Path]
    sets: tuple[str, ...]


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory, tiny_checkpoint, tiny_files, tiny_vit, shape_files) -> Callable[[str], StandIn]:
    """The stand-in for a task, by its name."""
    made = {
        "text-classification": StandIn(tiny_checkpoint, tiny_files, ("task.text=sentence", "task.max_length=32")),
        "image-classification": StandIn(tiny_vit, shape_files, ("train.dataloader_num_workers=0",)),
    }

    def stand_in(task: str) -> StandIn:
        if task not in made:
            made[task] = _generated(tmp_path_factory.mktemp(task), task)
        return made[task]

    return stand_in


def _generated(folder: Path, task: str) -> StandIn:
    """A model with random weights, and files of generated examples."""
    import torch
    import transformers

    from optkit.models.wordpiece import train_wordpiece

    name, columns, words, model_class, labels, more = _OF_TASK[task]
    files, texts = {}, []
    for split, count in {"train": 48, "validation": 12, "test": 12}.items():
        found = GENERATORS[name](split, count, 0)
        rows = [dict(zip(found, values, strict=True)) for values in zip(*found.values(), strict=True)]
        for row in rows if task == "token-classification" else ():
            row["ner_tags"] = [TAGS[tag] for tag in row["ner_tags"]]
        files[split] = folder / f"{split}.jsonl"
        files[split].write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
        texts += [words(row[column]) for row in rows for column in columns]
    tokenizer = train_wordpiece(texts, vocab_size=200, max_length=64)
    config = transformers.BertConfig(**SIZES, vocab_size=len(tokenizer), max_position_embeddings=64, **labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        getattr(transformers, model_class)(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return StandIn(folder, files, more)


#: Of a task: the generator, its text columns, how a cell of them is a text, the model's class, what its config says of
#: labels, and further overrides.
_OF_TASK = {
    "token-classification": (
        *("entities", ("tokens",), " ".join, "BertForTokenClassification"),
        *({"id2label": dict(enumerate(TAGS))}, ("task.max_length=48",)),
    ),
    "feature-extraction": (
        *("similar", ("sentence1", "sentence2"), str, "BertModel"),
        *({}, ("task.label=score", "task.max_length=32")),
    ),
    "question-answering": (
        *("answers", ("question", "context"), str, "BertForQuestionAnswering"),
        *({}, ("task.max_length=32", "task.stride=8")),
    ),
}


def at_hand(recipe: Recipe, stand_ins: Callable[[str], StandIn]) -> list[str]:
    """Overrides that put a local model, teacher and data in the place of those from the Hub, and sizes to match."""
    sets = ["benchmark=null", "evaluate.max_drop=null"]
    if recipe.quantize is not None:
        sets.append("quantize.calibration.samples=8")
    if recipe.task.dataset.generate:
        there = recipe.model.config or {}
        sets += [f"model.config.{name}={size}" for name, size in SIZES.items() if name in there]
        return [*sets, "task.dataset.train=96", "task.dataset.validation=32"]
    checkpoint, files, more = stand_ins(recipe.task.type)
    named = ", ".join(f"{split}: {path}" for split, path in files.items())
    sets += [f"task.dataset={{files: {{{named}}}}}", *more]
    if not recipe.task.label:  # texts alone
        sets += ["task.label=[]", "task.text=sentence1"]
    sets += [f"model={{name: {checkpoint}, overrides: {recipe.model.overrides}}}"]
    if recipe.distill is not None:
        sets.append(f"distill.teacher={checkpoint}")
    if recipe.train.get("num_train_epochs") == 1:  # steps enough for a schedule that begins after the first
        sets.append("train.per_device_train_batch_size=4")
    if recipe.evaluate.baseline != "auto":
        sets.append(f"evaluate.baseline={checkpoint}")
    return sets


def whole_ones() -> list[Path]:
    """A recipe of each task that goes to the end, and those that make the model smaller: behind the training nothing
    else differs from one recipe to the next.
    """
    read = {path: load_recipe(path) for path in RECIPES}
    first = {recipe.task.type: path for path, recipe in reversed(read.items()) if path.stem != "quickstart"}
    smaller = [p for p, r in read.items() if any(rule.structure in ("head", "neuron", "neuron:4") for rule in r.prune)]
    return [*first.values(), *smaller]


@pytest.mark.parametrize("path", [path for path in RECIPES if path.stem != "quickstart"], ids=lambda path: path.stem)
def test_a_recipe_runs_and_reaches_its_targets(path, stand_ins, tmp_path):
    recipe = load_recipe(path)
    whole = path in whole_ones()
    report = optkit.run(
        path, at_hand(recipe, stand_ins), output=tmp_path / "run", stop_after=None if whole else "compact"
    )
    stages = json.loads((tmp_path / "run" / "manifest.json").read_text())["stages"]
    reached = stages["train"]["facts"]["rules"]
    layers = {rule["name"]: len(rule["layers"]) for rule in stages["plan"]["facts"]["rules"]}
    assert [rule["name"] for rule in reached] == [rule.name for rule in recipe.prune]
    for rule, done in zip(recipe.prune, reached, strict=True):
        if rule.schedule is None:  # keeps the zeros that it meets
            continue
        # Under local scope each layer's count is rounded.
        rounded = layers[rule.name] / 2 if rule.scope == "local" else 0
        assert done["pruned"] >= round(rule.schedule.to * done["groups"]) - rounded
    if not whole:
        return
    scores = split_scores(report)
    assert {"pruned", "int8", "dense"} <= scores.keys()
    assert list(scores["int8"]) == list(recipe.task.metric)
