"""Heads before any work: one that is not there, one that training replaces, one whose outputs are in another order."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import optkit
from optkit.adapters import passes
from optkit.errors import OptkitError, PlanError
from optkit.pipeline import baseline
from optkit.pipeline.context import RunContext
from optkit.pipeline.validate import make_plan
from optkit.planning import label_order
from optkit.progress import Reporter
from optkit.recipe import load_recipe

NAMES = ("poor", "nice", "odd")


def edit(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def sentences(split, count):
    """Texts whose last word but one tells which of ``NAMES`` they are."""
    words = (("poor", "awful"), ("fine", "lovely"), ("sour", "grim"))
    rng = np.random.default_rng(len(split))
    for i in range(count):
        yield f"the soup of day {i} was {words[i % 3][rng.integers(2)]} .", NAMES[i % 3]


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Files of two splits, 90 and 30 rows: text, label (a word), number (0 to 2), tokens and tags, question answers."""
    folder = tmp_path_factory.mktemp("rows")
    for split, count in (("train", 90), ("validation", 30)):
        lines = []
        for text, label in sentences(split, count):
            words = text.split()
            answer = {"text": ["soup"], "answer_start": [4]}
            lines.append(
                {"text": text, "label": label, "number": NAMES.index(label), "tokens": words, "answers": answer}
                | {"tags": ["B-X" if word == "soup" else "O" for word in words], "second": text}
            )
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_checkpoint, rows):
    """A classifier that learned ``rows`` in the order of the sorted words, and does not say so."""
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    folder = shutil.copytree(tiny_checkpoint, tmp_path_factory.mktemp("trained") / "trained")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts, labels = zip(*sentences("train", 90))
    ids = torch.tensor([sorted(NAMES).index(label) for label in labels])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = BertConfig.from_pretrained(folder, num_labels=3, hidden_dropout_prob=0.0, initializer_range=0.2)
        model = BertForSequenceClassification(config)
        optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
        for _ in range(40):
            loss = model(**tokenizer(list(texts), return_tensors="pt", padding=True), labels=ids).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
    assert loss < 0.3
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def turned(trained, tmp_path):
    """The same, each output in the place of the next."""
    folder = shutil.copytree(trained, tmp_path / "turned")
    weights = load_file(folder / "model.safetensors")
    weights |= {f"classifier.{name}": weights[f"classifier.{name}"].roll(1, 0) for name in ("weight", "bias")}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


TRAIN = "train: {max_steps: 3}\nprune: [{schedule: {to: 0.5, begin: 0, end: 2, every: 1}}]\n"


@pytest.fixture
def recipe(rows, tmp_path):
    def write(model, more="quantize: {}\n", kind="text-classification", columns="text: text, label: label"):
        path = tmp_path / "recipe.yaml"
        files = f"{{train: {rows}/train.jsonl, validation: {rows}/validation.jsonl}}"
        model = model if str(model).startswith("{") else f"{{name: {model}}}"
        path.write_text(
            f"optkit: 1\nname: heads\nmodel: {model}\n"
            f"task: {{type: {kind}, dataset: {{files: {files}}}, {columns}, max_length: 32}}\n{more}"
        )
        return path

    return write


def refused(path, run=False):
    with pytest.raises(PlanError) as raised:
        optkit.run(path, output=path.parent / "run", stop_after="plan") if run else make_plan(load_recipe(path))
    assert len(raised.value.problems) == 1, raised.value.problems
    return raised.value.problems[0]


ALONE = "quantize: {}\n"
WITHOUT = "model: without `train` it has to be fine-tuned already, and "


@pytest.mark.parametrize(
    ("kind", "columns", "head"),
    [
        ("text-classification", "text: [text, second], label: label", "SequenceClassification"),
        ("token-classification", "text: tokens, label: tags", "TokenClassification"),
        ("question-answering", "text: [text, second], label: answers", "QuestionAnswering"),
        ("fill-mask", "text: text", "MaskedLM"),
    ],
)
@pytest.mark.parametrize("more", [ALONE, "quantize: {finetune: {steps: 3}}\n"])
def test_what_is_not_trained_has_a_head(recipe, tiny_checkpoint, tmp_path, kind, columns, head, more):
    from transformers import BertConfig, BertModel

    folder = shutil.copytree(tiny_checkpoint, tmp_path / "bare")
    BertModel(BertConfig.from_pretrained(folder)).save_pretrained(folder)
    path = recipe(folder, more, kind, columns)
    assert refused(path) == f"{WITHOUT}{folder} has no head for {head}: write `train`, or name another model"


def test_a_head_for_other_labels_is_none(recipe, tiny_checkpoint):
    said = f"{tiny_checkpoint} has a head for LABEL_0, LABEL_1, and the data has nice, odd, poor"
    for more in (ALONE, "prune: [{schedule: {to: 0.5}}]\n"):
        assert refused(recipe(tiny_checkpoint, more)) == f"{WITHOUT}{said}: write `train`, or name another model"


def test_random_weights_are_not_quantized(recipe):
    config = "{model_type: bert, hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 64}"
    path = recipe(f"{{config: {config}, tokenizer: {{train: wordpiece, vocab_size: 100}}}}")
    assert refused(path) == f"{WITHOUT}this one has random weights: write `train`"


def test_images_need_a_head_too(shape_files, tiny_vit, tmp_path):
    from transformers import ViTConfig, ViTModel

    folder = shutil.copytree(tiny_vit, tmp_path / "vit")
    ViTModel(ViTConfig.from_pretrained(folder)).save_pretrained(folder)
    files = ", ".join(f"{split}: {shape_files[split]}" for split in ("train", "validation"))
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"optkit: 1\nmodel: {{name: {folder}}}\nquantize: {{}}\n"
        f"task: {{type: image-classification, dataset: {{files: {{{files}}}}}}}\n"
    )
    assert f"{folder} has no head for ImageClassification" in refused(path)


def test_a_head_that_training_replaces_is_named(recipe, tiny_checkpoint, tmp_path):
    plan = make_plan(load_recipe(recipe(tiny_checkpoint, TRAIN)))
    name = tiny_checkpoint.name
    assert plan.models == [f"the head of {name} (LABEL_0, LABEL_1) is replaced by a new one for nice, odd, poor"]
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "tagger")
    edit(folder, architectures=["BertForTokenClassification"])
    plan = make_plan(load_recipe(recipe(folder, TRAIN)))
    assert plan.models == ["tagger has no head for SequenceClassification: a new one for nice, odd, poor is trained"]


@pytest.mark.slow
def test_a_stale_problem_and_odd_names_are_said_and_written_right(recipe, trained, tmp_path):
    folder = shutil.copytree(trained, tmp_path / "stale")
    names = {"id2label": {"1": "nice", "2": "odd", "3": "poor"}, "label2id": {"nice": 1, "odd": 2, "poor": 3}}
    edit(folder, problem_type="multi_label_classification", **names)
    path = recipe(folder)
    assert make_plan(load_recipe(path)).models == [
        "config.json of stale: id2label counts from 1: read as from 0",
        "config.json of stale: problem_type is multi_label_classification: the data's counts, single_label_classification",
    ]
    optkit.run(path, output=tmp_path / "run", stop_after="export")
    for name in ("pruned", "openvino"):
        said = json.loads((tmp_path / "run" / name / "config.json").read_text())
        assert said["problem_type"] == "single_label_classification"
        assert said["id2label"] == {"0": "nice", "1": "odd", "2": "poor"}
        assert said["label2id"] == {"nice": 0, "odd": 1, "poor": 2}


def test_outputs_in_another_order_are_named_before_the_work(recipe, trained, turned, tmp_path):
    said = refused(recipe(turned), run=True)
    assert said.startswith(f"model.name: {turned}: its LABEL_0, LABEL_1, LABEL_2 answer the data's poor, nice, odd: ")
    assert said.endswith('name them in its config.json: "id2label": {"0": "poor", "1": "nice", "2": "odd"}')
    edit(turned, id2label={"0": "poor", "1": "nice", "2": "odd"}, label2id={"poor": 0, "nice": 1, "odd": 2})
    for folder in (trained, turned):
        optkit.run(recipe(folder), output=tmp_path / f"of_{folder.name}", stop_after="plan")


def test_numbers_for_labels_have_a_way_out_too(recipe, turned, trained, tmp_path):
    numbers = "text: text, label: number"
    optkit.run(recipe(turned, columns=numbers), output=tmp_path / "fits", stop_after="plan")
    said = refused(recipe(trained, columns=numbers), run=True)
    assert "its LABEL_0, LABEL_1, LABEL_2 answer the data's 1, 2, 0: " in said
    assert said.endswith(
        "write words as labels of the data, and give them the same names in id2label of its config.json"
    )
    edit(turned, id2label={"0": "nice", "1": "odd", "2": "poor"}, label2id={})
    optkit.run(recipe(turned, columns=numbers), output=tmp_path / "named", stop_after="plan")
    weights = load_file(turned / "model.safetensors")
    weights |= {f"classifier.{name}": weights[f"classifier.{name}"].flip(0) for name in ("weight", "bias")}
    save_file(weights, turned / "model.safetensors", metadata={"format": "pt"})
    said = refused(recipe(turned, columns=numbers), run=True)
    assert "its nice, odd, poor answer the data's 2, 1, 0: " in said
    assert said.endswith("write words as labels of the data, its own")


@pytest.mark.parametrize("key", ["distill.teacher", "evaluate.baseline"])
def test_a_teacher_and_a_baseline_in_another_order(recipe, trained, turned, key):
    part, name = key.split(".")
    path = recipe(trained, TRAIN + f"{part}: {{{name}: {turned}}}\n")
    assert refused(path, run=True).startswith(f"{key}: {turned}: its LABEL_0, LABEL_1, LABEL_2 answer the data's poor,")


@pytest.mark.parametrize("names", [("nice", "odd", "poor"), ("odd", "poor", "nice")])
@pytest.mark.parametrize("key", ["model.name", "distill.teacher", "evaluate.baseline"])
def test_names_that_the_outputs_contradict(recipe, trained, turned, key, names):
    edit(turned, id2label=dict(enumerate(names)), label2id={name: i for i, name in enumerate(names)})
    part, name = key.split(".")
    path = recipe(turned) if part == "model" else recipe(trained, TRAIN + f"{part}: {{{name}: {turned}}}\n")
    said = refused(path, run=True)
    assert said.startswith(f"{key}: {turned}: its {', '.join(names)} answer the data's poor, nice, odd: ")
    assert said.endswith(
        'as they are named: name them in its config.json: "id2label": {"0": "poor", "1": "nice", "2": "odd"}'
    )
    edit(turned, id2label={"0": "poor", "1": "nice", "2": "odd"}, label2id={"poor": 0, "nice": 1, "odd": 2})
    optkit.run(path, output=path.parent / "run", stop_after="plan")


def test_tags_in_another_order(recipe, tiny_checkpoint, tmp_path, monkeypatch):
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "tagger")
    edit(folder, architectures=["BertForTokenClassification"])
    context = RunContext(
        load_recipe(recipe(folder, ALONE, "token-classification", "text: tokens, label: tags")), None, Reporter(True)
    )
    assert baseline.kind(context) == "start"

    def answers(turn):
        def predict(model, encoded, task, processor, **_):
            longest = max(map(len, encoded["labels"]))
            logits = np.zeros((len(encoded), longest, 2), np.float32)
            for row, labels in enumerate(encoded["labels"]):
                for token, label in enumerate(np.maximum(labels, 0)):
                    logits[row, token, 1 - label if turn else label] = 1
            return logits

        return predict

    monkeypatch.setattr(passes, "predict", answers(turn=False))
    label_order.check_order(context)
    monkeypatch.setattr(passes, "predict", answers(turn=True))
    with pytest.raises(PlanError, match="its LABEL_0, LABEL_1 answer the data's O, B-X"):
        label_order.check_order(context)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (shutil.rmtree, "evaluate.baseline: no folder "),
        (lambda folder: (folder / "model.safetensors").unlink(), "no weights here"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\xff" * 64), "damaged or only half written"),
        (lambda folder: (folder / "config.json").write_text("{"), "its config.json cannot be read"),
        (
            lambda folder: edit(folder, id2label={"0": "a", "1": "b", "2": "c"}),
            "evaluate.baseline: .* the labels a, b, c",
        ),
        (lambda folder: edit(folder, id2label={"0": "a", "1": "a", "2": "c"}), "two outputs the name 'a'"),
        (lambda folder: edit(folder, architectures=["BertModel"]), "evaluate.baseline: .* no trained head"),
        (lambda folder: [file.unlink() for file in folder.glob("tokenizer*")], "no tokenizer here"),
    ],
)
def test_a_baseline_that_cannot_be_evaluated_is_found_by_the_plan(recipe, trained, tmp_path, damage, said):
    folder = shutil.copytree(trained, tmp_path / "baseline")
    path = recipe(trained, TRAIN + f"evaluate: {{baseline: {folder}}}\n")
    make_plan(load_recipe(path))
    damage(folder)
    with pytest.raises(OptkitError, match=said) as raised:
        make_plan(load_recipe(path))
    assert "\n" not in str(raised.value) and "distill" not in str(raised.value)
