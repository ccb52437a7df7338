"""The resolved copy reads back as the same recipe, and the hash sees what the recipe means and nothing else."""

from __future__ import annotations

import hashlib

import pytest

from optkit.recipe import load_recipe

EVERYTHING = """\
optkit: 1
description: "odd: text, 0123, 'quoted' # and ünicode"
model:
  name: m
  revision: 0123
  overrides: {hidden_dropout_prob: 0.0, pad_token_id: null, label: "1e5", id2label: {0: "no", 1: "null"}}
task:
  type: text-classification
  dataset: {name: glue, config: "2:4"}
  metric: [accuracy, f1]
train: {learning_rate: 3e-5, warmup_steps: 0.3%, eval_steps: 0.1ep, save_steps: 100, logging_steps: 1.0, fp16: false}
prune:
  - criterion: {name: movement, momentum: 0.1}
    targets: ["*.query", "re:.*[ab]"]
    schedule: {begin: 7%, end: 3333333}
  - {criterion: frozen, targets: pooler.dense}
"""


def test_the_resolved_copy_is_the_same_recipe(recipes):
    recipe = recipes.load(EVERYTHING)
    again = load_recipe(recipes.write(recipe.resolved_yaml(), "elsewhere/other.yaml"))
    assert again == recipe and again.hash() == recipe.hash()
    assert again.model.overrides["id2label"] == {"0": "no", "1": "null"}
    assert again.resolved_yaml() == recipe.resolved_yaml()


def test_the_hash_is_the_same_however_it_is_spelt(recipes):
    recipe = recipes.load()
    spelt = """\
quantize: {weight_range: half, calibration: {samples: 300}}
task: {metric: [accuracy], dataset: {config: 'sst2', name: glue}, type: text-classification}
prune: [{criterion: {momentum: 100%, name: movement}, schedule: {end: 0.7, to: 8e-1}, name: encoder}]
model: {revision: main, name: "bert-base-uncased"}
name: r
optkit: 1
"""
    assert recipes.load(spelt).hash() == recipe.hash()
    assert len(recipe.hash()) == 64
    assert recipes.load(recipes.minimal, "prune.0.schedule.to=0.81").hash() != recipe.hash()


def local(recipes, folder: str, data: str, weights: bytes):
    text = recipes.minimal.replace("{name: glue, config: sst2}", "{files: {train: train.tsv, validation: none.tsv}}")
    path = recipes.write(text.replace("bert-base-uncased", "./model") + "name: same\n", f"{folder}/r.yaml")
    recipes.write(data, f"{folder}/train.tsv")
    recipes.write("{}", f"{folder}/model/config.json")
    (path.parent / "model/weights.bin").write_bytes(weights)
    return load_recipe(path)


def test_local_files_count_by_contents_and_not_by_place(recipes):
    recipe = local(recipes, "a", "text\tlabel\n", b"1")
    assert local(recipes, "b", "text\tlabel\n", b"1").hash() == recipe.hash()
    assert local(recipes, "c", "text\tlabel\nx\t1\n", b"1").hash() != recipe.hash()
    assert local(recipes, "d", "text\tlabel\n", b"2").hash() != recipe.hash()
    before = recipe.hash()
    recipes.write("text\tlabel\nlonger\t1\n", "a/train.tsv")
    assert recipe.hash() != before


def test_the_resolved_copy_shows_no_place_but_what_lay_there(recipes):
    recipe = local(recipes, "a", "text\tlabel\n", b"1")
    text = recipe.resolved_yaml()
    assert str(recipes.folder) not in text
    digest = hashlib.sha256(b"text\tlabel\n").hexdigest()
    assert f"train: train.tsv # sha256 {digest}" in text
    assert "validation: none.tsv # sha256 missing" in text
    assert "name: ./model # sha256 " in text
    # Beside the same files it is the same job.
    assert load_recipe(recipes.write(text, "a/resolved.yaml")).hash() == recipe.hash()


def test_a_folder_that_is_a_dataset_counts_by_contents(recipes):
    text = recipes.minimal.replace("{name: glue, config: sst2}", "{name: ./mine}")
    recipes.write("text\tlabel\n", "a/mine/train.tsv")
    path = recipes.write(text, "a/r.yaml")
    recipe = load_recipe(path)
    assert recipe.task.dataset.name == str(path.parent / "mine")
    assert "name: ./mine # sha256 " in recipe.resolved_yaml() and str(recipes.folder) not in recipe.resolved_yaml()
    before = recipe.hash()
    recipes.write("text\tlabel\nx\t1\n", "a/mine/train.tsv")
    assert recipe.hash() != before
    # A name without a path is the Hub's, whatever lies beside the recipe.
    recipes.write(text.replace("./mine", "mine"), "a/hub.yaml")
    assert load_recipe(path.parent / "hub.yaml").task.dataset.name == "mine"


def test_a_price_list_lies_beside_the_recipe_and_counts_by_contents(recipes):
    text = recipes.minimal + "benchmark: {prices: lists/prices.yaml}\n"
    recipes.write("instances: {}", "a/lists/prices.yaml")
    path = recipes.write(text, "a/r.yaml")
    recipe = load_recipe(path)
    assert recipe.benchmark.prices == str(path.parent / "lists" / "prices.yaml")
    digest = hashlib.sha256(b"instances: {}").hexdigest()
    assert f"prices: prices.yaml # sha256 {digest}" in recipe.resolved_yaml()
    assert str(recipes.folder) not in recipe.resolved_yaml()
    before = recipe.hash()
    recipes.write("instances: {m: 1}", "a/lists/prices.yaml")
    assert recipe.hash() != before
    assert "prices" not in recipes.load(recipes.minimal + "benchmark: {}\n").resolved_yaml()


@pytest.mark.parametrize(
    "text", ["yes", "0123", "1e5", "null", "~", "2:4", "*a", "[a]", "a: b", "# a", "", " a ", "1_000"]
)
def test_text_reads_back_as_it_was(recipes, text):
    quoted = text.replace("'", "''")
    recipe = recipes.load(recipes.minimal + f"description: '{quoted}'\n")
    assert load_recipe(recipes.write(recipe.resolved_yaml(), "r/r.yaml")).description == text
