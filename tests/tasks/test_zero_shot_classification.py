"""Zero-shot classification: pairs of texts and hypotheses, scored as transformers' pipeline answers them."""

from __future__ import annotations

import json
import shutil

import datasets
import numpy as np
import pytest
from data_problems import problems
from split_scores import split_scores

import optkit
from optkit.data.generators import GENERATORS
from optkit.errors import PlanError, RecipeError
from optkit.models import load_tokenizer
from optkit.pipeline.validate import make_plan
from optkit.recipe import load_recipe
from optkit.recipe.schema import ModelSpec
from optkit.recipe.task import TaskSpec
from optkit.tasks import get_task
from optkit.tasks.zero_shot_classification.spec import read_template

NLI = ("contradiction", "neutral", "ENTAILMENT")
TOPICS = ("food", "music", "price", "room", "staff")
TEMPLATE = "The note praises the {}."


@pytest.fixture(scope="module")
def nli(tmp_path_factory):
    """A tiny BERT with a head for natural language inference and random weights."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    from optkit.models.wordpiece import train_wordpiece

    folder = tmp_path_factory.mktemp("nli")
    texts = [*GENERATORS["topics"]("train", 80, 0)["text"], *(TEMPLATE.format(topic) for topic in TOPICS)]
    tokenizer = train_wordpiece(texts, vocab_size=300, max_length=64)
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
    config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, initializer_range=0.2, **sizes)
    config.id2label, config.label2id = dict(enumerate(NLI)), {name: i for i, name in enumerate(NLI)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def renamed(nli, folder, *names):
    """``nli`` with other names for its outputs."""
    config = shutil.copytree(nli, folder) / "config.json"
    ids = {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
    config.write_text(json.dumps(json.loads(config.read_text()) | ids))
    return folder


def task(model=None, **values):
    given = {"type": "zero-shot-classification", "dataset": {"files": {"train": "a.tsv"}}, "text": "text"}
    return get_task(TaskSpec(**given | values), None if model is None else ModelSpec(name=str(model)))


def rows(labels=("food", "staff", "food"), **columns):
    texts = ["a fresh soup", "such a polite waiter", "a tasty fish"][: len(labels)]
    return datasets.Dataset.from_dict({"text": texts, "label": list(labels)} | columns)


def write(path, model, **values):
    given = {"type": "zero-shot-classification", "template": TEMPLATE, "max_length": 40}
    given |= {"dataset": {"generate": "topics", "train": 48, "validation": 24}}
    recipe = {"optkit": 1, "seed": 1, "model": {"name": str(model)}, "task": given, "quantize": {}, "benchmark": None}
    path.write_text(json.dumps(recipe | values))
    return path


@pytest.mark.parametrize("names", [NLI, ("not_entailment", "entailment"), ("Entailment", "other")])
def test_a_text_is_a_pair_with_each_class(nli, tmp_path, names):
    model = renamed(nli, tmp_path / "model", *names) if len(names) == 2 else nli
    if len(names) == 2:
        from transformers import BertConfig, BertForSequenceClassification

        BertForSequenceClassification(BertConfig.from_pretrained(model)).save_pretrained(model)
    ours, data, tokenizer = task(model), rows(), load_tokenizer(model)
    head = ours.head({"train": data, "validation": rows(["staff"])})
    assert head.candidates == ("food", "staff") and head.labels == names
    encoded = ours.encode(data, tokenizer, head)
    expected = [
        tokenizer(text, f"This example is {name}.")["input_ids"] for text in data["text"] for name in ("food", "staff")
    ]
    assert encoded["input_ids"][:] == expected
    entailed = [i for i, name in enumerate(names) if name.lower() == "entailment"][0]
    wrong = 1 - entailed if len(names) == 2 else 0
    assert encoded["labels"][:] == [entailed, wrong, wrong, entailed, entailed, wrong]
    outputs = np.random.default_rng(0).normal(size=(6, len(names)))
    found = ours.decode(outputs, encoded, head)
    assert found.tolist() == outputs[:, entailed].reshape(3, 2).argmax(1).tolist()
    score = ours.score(found, ours.references(data, head), head)["accuracy"]
    assert score == np.mean(found == [0, 1, 0])
    assert ours.describe({}, head) == "classes: food, staff, asked for as 'This example is {}.'"


def test_an_encoder_gets_a_new_head(nli, tmp_path):
    from transformers import BertConfig, BertModel

    folder = shutil.copytree(nli, tmp_path / "bare")
    BertModel(BertConfig.from_pretrained(folder)).save_pretrained(folder)
    for model in (folder, None):
        assert task(model).head({"train": rows()}).labels == ("entailment", "not_entailment")
    texts = list(task(template="About {}.").texts(rows()))
    assert texts == [*rows()["text"], "About food.", "About staff."]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"template": "no place"}, "task.template: has to hold {} once, where the class stands, and no other braces"),
        ({"template": "{} and {}"}, "task.template: has to hold {} once"),
        ({"template": "{name} {}"}, "task.template: has to hold {} once"),
        (
            {"text": ["text", "hypothesis"]},
            "reads one column of texts, its hypotheses are made of the classes: got text,",
        ),
        ({"label": ["a", "b"]}, "zero-shot-classification reads one column of classes: got a, b"),
        ({"type": "text-classification", "template": "x {}"}, "is read by zero-shot-classification only: remove it"),
    ],
)
def test_keys_that_do_not_fit(values, said, tmp_path):
    given = {"type": "zero-shot-classification", "dataset": {"generate": "topics"}} | values
    (tmp_path / "recipe.yaml").write_text(json.dumps({"optkit": 1, "model": {"name": "x"}, "task": given}))
    with pytest.raises(RecipeError) as raised:
        load_recipe(tmp_path / "recipe.yaml")
    assert said in str(raised.value)


def test_classes_without_names_and_models_without_entailment_are_told_in_the_plan(nli, tmp_path):
    for labels in ([0, 1, 0], ["0", "1", "0"]):
        assert problems(task(), {"train": rows(labels)}) == [
            "task.label: column 'label' numbers its classes, and a hypothesis needs a name: write words"
        ]
    assert (
        "is no class: the classes are food, staff"
        in problems(task(), {"train": rows(), "validation": rows(["price", "food", "staff"])})[0]
    )
    for names in (("LABEL_0", "LABEL_1", "LABEL_2"), ("good", "bad", "entailment")):
        model = renamed(nli, tmp_path / names[0], *names)
        with pytest.raises(PlanError) as raised:
            make_plan(load_recipe(write(tmp_path / "recipe.yaml", model)))
        assert raised.value.problems[0] == (
            f"model.name: {model} has the outputs {', '.join(names)}, and entailment or contradiction is none of them: "
            "take a model of natural language inference, or name its outputs in id2label of its config.json"
        )


@pytest.mark.slow
def test_the_pipeline_answers_as_the_report_says(nli, tmp_path):
    from transformers import AutoTokenizer, pipeline

    from optkit.adapters import optimum

    training = {"train": {"max_steps": 6, "learning_rate": 1e-4, "hold_out": 8}, "evaluate": {"baseline": str(nli)}}
    prune = [{"structure": "1x4", "schedule": {"to": 0.5}}]
    export = {"tokenizer": True}
    path = write(
        tmp_path / "recipe.yaml",
        nli,
        **training,
        prune=prune,
        distill={"teacher": str(nli), "pooled": 1.0},
        export=export,
    )
    report = optkit.run(path, output=tmp_path / "run")
    scores, given = split_scores(report), GENERATORS["topics"]("validation", 24, 1)
    assert scores["examples"] == 24
    folder = tmp_path / "run" / "openvino"
    assert read_template(json.loads((folder / "config.json").read_text())) == TEMPLATE
    name, config = ("int8 f32", {"INFERENCE_PRECISION_HINT": "f32"}) if "int8 f32" in scores else ("int8", {})
    for where, known, model in (
        ("dense", "dense", None),
        ("int8", name, optimum.load(folder, "OVModelForSequenceClassification", ov_config=config)),
    ):
        source = nli if model is None else folder
        ask = pipeline(
            "zero-shot-classification", model=model or str(source), tokenizer=AutoTokenizer.from_pretrained(source)
        )
        found = [
            ask(text, candidate_labels=list(TOPICS), hypothesis_template=TEMPLATE)["labels"][0]
            for text in given["text"]
        ]
        right = [answer == TOPICS[label] for answer, label in zip(found, given["label"])]
        assert scores[known]["accuracy"] == pytest.approx(np.mean(right)), where
    assert 0.05 < scores["dense"]["accuracy"] < 0.95
