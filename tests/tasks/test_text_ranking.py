"""Rerankers: metrics over the passages of each query, and CrossEncoder's folders in and out."""

from __future__ import annotations

import json
import warnings

import capabilities
import datasets
import numpy as np
import pytest
import torch
from data_problems import problems
from split_scores import split_scores

import optkit
from optkit import metrics, runtime
from optkit.adapters import cross_encoder, sentence_transformers
from optkit.adapters.sentence_transformers import Embedding
from optkit.data.splits import part
from optkit.errors import DataError, PlanError, RecipeError
from optkit.pipeline.validate import make_plan
from optkit.recipe import load_recipe
from optkit.recipe.schema import ModelSpec
from optkit.recipe.task import TaskSpec
from optkit.tasks import get_task
from optkit.tasks.text_ranking.task import RelevanceObjective

LENGTH = 14


def task(model=None, **values):
    given = {"type": "text-ranking", "dataset": {"files": {"train": "a.tsv"}}}
    given |= {"text": ["query", "passage"], "label": "relevance"}
    return get_task(TaskSpec(**given | values), None if model is None else ModelSpec(name=str(model)))


def rows(queries="abab", relevances=(1, 0, 0, 1)):
    passages = [f"passage {i}" for i in range(len(queries))]
    return datasets.Dataset.from_dict({"query": list(queries), "passage": passages, "relevance": list(relevances)})


def test_metrics_are_means_over_queries():
    ranked = metrics.load(["mrr_at_10", "ndcg_at_10"])
    scores = [[3.0, 1.0, 2.0], [0.0, 5.0], [1.0, 1.0], [9.0, 1.0], [float(-i) for i in range(12)]]
    relevances = [[0.0, 1.0, 2.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.0], [0.0] * 10 + [1.0, 1.0]]
    found = ranked.compute(
        [{"scores": each} for each in scores], [{"relevances": each} for each in relevances], classes=0
    )
    # The tie counts against the model, the query without a relevant passage not at all, rank 11 as nothing.
    assert found["mrr_at_10"] == pytest.approx((1 / 2 + 1 + 1 / 2 + 0) / 4)
    gain = lambda rank: 1 / np.log2(1 + rank)  # noqa: E731
    first = (2 * gain(2) + 1 * gain(3)) / (2 * gain(1) + 1 * gain(2))
    assert found["ndcg_at_10"] == pytest.approx((first + 1 + (gain(1) + gain(2)) / 2 + 0) / 4)


def test_the_passages_of_a_query_may_stand_anywhere(tokenizer):
    ours, data = task(), rows("abcab", (1, 0, 1, 0, 2))
    encoded = ours.encode(data, tokenizer, ours.head({"train": data}))
    found = ours.decode(np.arange(5.0)[:, None], encoded, None)
    assert [each.tolist() for each in found] == [[0, 3], [1, 4], [2]]
    assert [each.tolist() for each in ours.references(data, None)] == [[1, 0], [0, 2], [1]]
    assert ours.score(found, ours.references(data, None), None)["mrr_at_10"] == pytest.approx((1 / 2 + 1 + 1) / 3)
    assert ours.agreement(found, [-found[0], found[1], found[2]]) == pytest.approx(2 / 3)


def test_a_hold_out_takes_whole_queries():
    data = rows("abcdefgh" * 8, [1] * 8 + [0] * 56)
    stay, held = part(data, 20, 3, task().groups(data))
    assert len(held) == 24 and not set(stay["query"]) & set(held["query"])
    with pytest.raises(DataError, match="train.hold_out: 60 of 64 training examples takes every query: hold out fewer"):
        part(data, 60, 3, task().groups(data))


def test_the_loss_is_the_cross_entropy_of_the_labelled_pairs():
    logits = torch.tensor([[0.5], [-1.0], [2.0]])
    labels = torch.tensor([3.0, 0.25, float("nan")])
    expected = -torch.log(torch.sigmoid(logits[0])) - (
        0.25 * torch.log(torch.sigmoid(logits[1])) + 0.75 * torch.log(torch.sigmoid(-logits[1]))
    )
    objective = RelevanceObjective()
    torch.testing.assert_close(objective.loss({"logits": logits}, {"labels": labels}), expected[0] / 2)
    assert objective.loss({"logits": logits}, {}) == 0
    assert objective.distance({"logits": logits}, {"logits": logits + 2}, {}, 1.0) == 4


def test_data_that_cannot_be_ranked_is_told_row_for_row():
    def faults(**splits):
        return problems(task(), splits)

    good = rows()
    assert task().describe({"train": good}, None) == "label: scores from 0 to 1; queries: train 2"
    assert faults(train=good, validation=rows("abab", (1, 0, 0, 0))) == [
        "split 'validation', row 2: no passage of the query 'b' has a relevance above 0: no model can be right there: "
        "remove them, or mark the relevant passage"
    ]
    (several,) = faults(train=good, validation=rows("aabbcc", (1, 0, 0, 0, 0, 0)))
    assert several.startswith(
        "split 'validation', row 3: no passage of the query 'b' has a relevance above 0, and 1 more"
    )
    assert faults(train=good, validation=rows("abcd")) == [
        "task.text: every query in column 'query' of split 'validation' has one passage, and nothing to rank: give each "
        "of its passages a row with the same query"
    ]
    assert faults(train=rows("abab", (1, -1, 0, 1))) == [
        "split 'train', row 2: column 'relevance' holds -1: a relevance is 0 or more"
    ]
    assert "relevance" in faults(train=rows("abab", ("1", "0", "high", "0")))[0]
    task().check({"train": rows("abab", (1, 0, 0, 0)), "validation": good})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"text": "passage"}, "text-ranking reads two columns: write [query, passage], got passage"),
        ({"label": ["a", "b"]}, "text-ranking has one column of relevances, got a, b"),
        ({"label": []}, "name the column with the label"),
        ({"metric": "accuracy"}, "does not measure text-ranking: use mrr_at_10 or ndcg_at_10"),
    ],
)
def test_keys_that_do_not_fit(values, said, tmp_path):
    given = {"type": "text-ranking", "text": ["query", "passage"], "label": "relevance"}
    recipe = {"optkit": 1, "model": {"name": "x"}, "task": given | {"dataset": {"generate": "passages"}} | values}
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    with pytest.raises(RecipeError) as raised:
        load_recipe(tmp_path / "recipe.yaml")
    assert said in str(raised.value)


def package():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return capabilities.package("sentence-transformers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A reranker as CrossEncoder saves it: cut at 14 tokens, with its logits as scores."""
    from transformers import BertConfig, BertForSequenceClassification

    from optkit.data.generators import GENERATORS
    from optkit.models.wordpiece import train_wordpiece

    plain, path = tmp_path_factory.mktemp("plain"), tmp_path_factory.mktemp("reranker")
    found = GENERATORS["passages"]("train", 160, 0)
    tokenizer = train_wordpiece(found["query"] + found["passage"], vocab_size=300, max_length=64)
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
    config = BertConfig(
        vocab_size=len(tokenizer), num_labels=1, max_position_embeddings=64, initializer_range=0.2, **sizes
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        BertForSequenceClassification(config).save_pretrained(plain)
    tokenizer.save_pretrained(plain)
    options = {"device": "cpu", "max_length": LENGTH, "activation_fn": torch.nn.Identity()}
    package().CrossEncoder(str(plain), **options).save_pretrained(str(path))
    return path


def write(tmp_path, model, **values):
    given = {"type": "text-ranking", "text": ["query", "passage"], "label": "relevance"}
    given |= {"dataset": {"generate": "passages", "train": 64, "validation": 48}, "max_length": 32}
    recipe = {"optkit": 1, "seed": 1, "model": {"name": str(model)}, "task": given}
    recipe |= {"prune": [{"structure": "1x4", "schedule": {"to": 0.9}}], "evaluate": {"baseline": "none"}} | values
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    return tmp_path / "recipe.yaml"


@pytest.mark.slow
def test_a_cross_encoder_is_pruned_quantized_baked_and_loads_as_one_again(folder, tmp_path):
    capabilities.need("extension")
    training = {
        "train": {"max_steps": 8, "learning_rate": 1e-4, "hold_out": 16},
        "quantize": {"calibration": {"samples": 16}},
    }
    teacher = changed(folder, tmp_path / "teacher", "config.json", id2label={"0": "score"}, label2id={"score": 0})
    distill = {"teacher": str(teacher), "weight": 0.5, "pooled": {"of": "states"}}
    path = write(tmp_path, folder, **training, distill=distill, benchmark=None)
    report = optkit.run(path, output=tmp_path / "run")
    scores, given = split_scores(report), optkit.data.generators.GENERATORS["passages"]("validation", 48, 1)
    pairs, relevances = list(zip(given["query"], given["passage"])), np.reshape(given["relevance"], (-1, 4))

    def load(where, **options):
        model = package().CrossEncoder(str(where), device="cpu", **options)
        assert isinstance(model.activation_fn, torch.nn.Identity) and model.max_seq_length == LENGTH
        return model.predict(pairs)

    def mrr(found):
        ranks = [1 + (row[1:] >= row[0]).sum() for row in found.reshape(-1, 4)]
        return np.mean([1 / rank for rank in ranks])

    assert relevances[:, 0].all() and not relevances[:, 1:].any()
    plain = load(tmp_path / "run" / "pruned")
    assert scores["pruned"]["mrr_at_10"] == pytest.approx(mrr(plain), abs=1e-6)
    options = {"backend": "openvino", "model_kwargs": {"ov_config": {"INFERENCE_PRECISION_HINT": "f32"}}}
    exported = load(tmp_path / "run" / "openvino", **options)
    name = "int8 f32" if "int8 f32" in scores else "int8"
    assert scores[name]["mrr_at_10"] == pytest.approx(mrr(exported), abs=1e-6)
    baked = runtime.bake(tmp_path / "run" / "openvino", tmp_path / "baked").xml.parent
    runtime.register()
    try:
        found = load(baked, **options)
    finally:
        runtime.unregister()
    # An activation at a tie may become the next of 255 steps.
    np.testing.assert_allclose(found, exported, atol=0.02 * np.ptp(exported))
    assert np.corrcoef(plain, exported)[0, 1] > 0.9


def fault(path):
    with pytest.raises(PlanError) as raised:
        make_plan(load_recipe(path))
    return raised.value.problems


def changed(source, folder, file, **values):
    import shutil

    shutil.copytree(source, folder)
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return folder


def test_folders_that_are_no_reranker_are_told_in_the_plan(folder, tmp_path, tiny_checkpoint):
    from transformers import BertConfig, BertForSequenceClassification

    two = changed(folder, tmp_path / "two", "config.json")
    BertForSequenceClassification(BertConfig.from_pretrained(folder, num_labels=2)).save_pretrained(two)
    assert fault(write(tmp_path, two))[0] == (
        f"model.name: {two} is a CrossEncoder of 2 outputs, and a reranker has one: take one with num_labels 1, or its "
        "base model, or write task.type: text-classification"
    )
    prompted = changed(
        folder, tmp_path / "q", "config_sentence_transformers.json", prompts={"q": "Q: "}, default_prompt_name="q"
    )
    assert f"model.name: {prompted} puts a prompt before its texts" in fault(write(tmp_path, prompted))[0]
    embedder = changed(folder, tmp_path / "embedder", "config.json")
    sentence_transformers.write(embedder, Embedding(), width=64, max_length=16, source=None, revision="main")
    assert (
        f"model.name: {embedder} is made of Transformer, Pooling, Normalize: a reranker is"
        in fault(write(tmp_path, embedder))[0]
    )
    with pytest.raises(PlanError, match="is made of Transformer: only Transformer and Pooling"):
        sentence_transformers.read(str(folder))
    assert cross_encoder.read(str(tiny_checkpoint)) is None


def test_an_older_folder_keeps_its_activation(folder, tmp_path):
    older = changed(folder, tmp_path / "older", "config.json", sentence_transformers={"activation_fn": "torch.nn.Tanh"})
    for name in ("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"):
        (older / name).unlink()
    stored = cross_encoder.read(str(older))
    assert stored == cross_encoder.CrossEncoder(1, "torch.nn.Tanh", None, has_modules=False)
    ours = task(older, max_length=20)
    (tmp_path / "out").mkdir()
    ours.save_extra_files(tmp_path / "out", None, ours.load_processor(older))
    assert cross_encoder.read(str(tmp_path / "out")) == cross_encoder.CrossEncoder(2, "torch.nn.Tanh", 14)


@pytest.mark.slow
def test_a_cross_encoder_of_classes_is_quantized_and_loads_as_one_again(folder, tmp_path):
    from transformers import BertConfig, BertForSequenceClassification

    classes = changed(folder, tmp_path / "classes", "config.json")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        BertForSequenceClassification(BertConfig.from_pretrained(folder, num_labels=3)).save_pretrained(classes)
    given = optkit.data.generators.GENERATORS["passages"]("train", 16, 1)
    pairs = list(zip(given["query"], given["passage"]))
    optkit.quantize(classes, data=pairs, output=tmp_path / "ir", task="text-classification")
    options = {"backend": "openvino", "model_kwargs": {"ov_config": {"INFERENCE_PRECISION_HINT": "f32"}}}
    models = [package().CrossEncoder(str(classes), device="cpu")]
    models.append(package().CrossEncoder(str(tmp_path / "ir"), device="cpu", **options))
    expected, found = (model.predict(pairs) for model in models)
    assert found.shape == (16, 3) and models[1].max_seq_length == models[0].max_seq_length == LENGTH
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.95
