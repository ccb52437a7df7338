"""From a file to a recipe or to every fault: defaults, `extends`, local paths, and where a fault points."""

from __future__ import annotations

import pytest

from optkit.errors import RecipeError
from optkit.pruning.config import Frozen, Movement, Schedule, Span, Structure
from optkit.recipe import load_recipe

FIVE_MISTAKES = """\
optkit: 1
model: {name: bert-base-uncased}
task:
  type: text-classification
  dataset: {name: glue, config: sst2}
train:
  learning_rate: fast
  num_train_epoch: 6
prune:
  - name: encoder
    criterion: movment
    schedul: {shape: cubic, to: 0.80}
quantize:
  calibration: {samples: 0}
"""

FIVE_FAULTS = """\
{file}:7:18: train.learning_rate: expected a number, got 'fast'
    7 |   learning_rate: fast
      |                  ^^^^
{file}:8:3: train.num_train_epoch: unknown key, not a field of TrainingArguments, did you mean 'num_train_epochs'?
    8 |   num_train_epoch: 6
      |   ^^^^^^^^^^^^^^^
{file}:11:16: prune.0.criterion: unknown criterion 'movment', did you mean 'movement'?
   11 |     criterion: movment
      |                ^^^^^^^
{file}:12:5: prune.0.schedul: unknown key, did you mean 'schedule'?
   12 |     schedul: {{shape: cubic, to: 0.80}}
      |     ^^^^^^^
{file}:14:26: quantize.calibration.samples: must be at least 1, got 0
   14 |   calibration: {{samples: 0}}
      |                          ^"""


def test_five_static_mistakes_are_five_faults_at_once(recipes):
    path = recipes.write(FIVE_MISTAKES)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert str(caught.value) == FIVE_FAULTS.format(file=path)
    assert len(caught.value.problems) == 5 and caught.value.exit_code == 2


def test_a_minimal_recipe_has_the_documented_defaults(recipes):
    recipe = recipes.load()
    assert (recipe.name, recipe.seed, recipe.model.revision) == ("r", 42, "main")
    assert (recipe.task.text, recipe.task.metric, recipe.task.max_length) == (("text",), ("accuracy",), 128)
    assert (recipe.evaluate.splits, recipe.evaluate.baseline) == (("validation",), "auto")
    assert (recipe.quantize.weight_range, recipe.quantize.accuracy_backend) == (
        "half",
        "openvino",
    ) and recipe.quantize.calibration.samples == 300
    assert recipe.benchmark is None and recipe.source == recipes.folder / "r.yaml"


def test_a_rule_becomes_the_rule_of_pruning(recipes):
    rules = """\
prune:
  - {criterion: frozen}
  - targets: 're:.*query'
    criterion: {name: movement, momentum: 90%}
    structure: 1x4
    scope: local
    schedule: {shape: linear, from: 10%, to: 0.8, begin: 5, end: 1.5ep, every: 3}
"""
    frozen, grown = (rule.build() for rule in recipes.load(recipes.minimal.split("prune:")[0] + rules).prune)
    assert frozen.criterion == Frozen() and frozen.schedule is None and frozen.name == "rule0"
    assert grown.targets == ("re:.*query",) and grown.criterion == Movement(0.9) and grown.structure == Structure(1, 4)
    assert grown.schedule == Schedule("linear", 0.1, 0.8, Span(5, "steps"), Span(1.5, "epochs"), 3)
    assert grown.scope == "local" and grown.name == "rule1"


def test_text_that_looks_like_a_number_is_text_where_text_is_due(recipes):
    text = recipes.minimal.replace("{name: bert-base-uncased}", "{name: m, revision: 1234567}")
    assert recipes.load(text).model.revision == "1234567"
    assert recipes.load(text.replace("1234567", "1e5")).model.revision == "1e5"
    assert recipes.load(text.replace("1234567", "0123")).model.revision == "0123"
    assert recipes.load(text + "train: {learning_rate: 3e-5}\n").train == {"learning_rate": 3e-5}


def test_a_newer_format_is_one_fault(recipes):
    text = recipes.minimal.replace("optkit: 1", "optkit: 7") + "unknown: 1\n"
    assert recipes.problems(text) == [
        "r.yaml:1:9: optkit: recipe format 7 is newer than this optkit, which reads up to 1: upgrade optkit"
    ]


def test_what_must_be_there_is_named(recipes):
    assert recipes.problems("name: x\n") == [
        "r.yaml:1:1: optkit: required: write `optkit: 1`, the format of the recipe",
        "r.yaml:1:1: model: required, but missing: write it",
        "r.yaml:1:1: task: required, but missing: write it",
        "r.yaml:1:1: quantize: nothing to do: a recipe prunes, quantizes, or both, so write `prune` or `quantize`",
    ]


@pytest.mark.parametrize("text", ["", "# nothing\n", "just words\n", "- a\n"])
def test_what_is_no_mapping_is_one_fault(recipes, text):
    assert recipes.problems(text) == ["r.yaml:1:1: not a recipe: a recipe is a mapping that begins with `optkit: 1`"]


def test_a_file_that_cannot_be_read_is_one_line(recipes):
    for path, reason in ((recipes.folder / "none.yaml", "no such file"), (recipes.folder, "is a directory")):
        with pytest.raises(RecipeError, match=reason) as caught:
            load_recipe(path)
        assert "\n" not in str(caught.value)
    (recipes.folder / "latin.yaml").write_bytes(b"name: \xff\n")
    with pytest.raises(RecipeError, match="not UTF-8 text"):
        load_recipe(recipes.folder / "latin.yaml")


def test_extends_merges_mappings_replaces_lists_and_null_deletes(recipes):
    recipes.write(
        recipes.minimal + "train: {num_train_epochs: 3, weight_decay: 0.1}\nevaluate: {splits: [a, b]}\n", "base.yaml"
    )
    recipes.write("extends: base.yaml\ntrain: {num_train_epochs: 5, learning_rate: 1e-4}\n", "middle.yaml")
    recipe = recipes.load(
        "extends: middle.yaml\ntrain: {weight_decay: null}\nevaluate: {splits: [c]}\nquantize: null\n"
    )
    assert recipe.train == {"num_train_epochs": 5.0, "learning_rate": 1e-4}
    assert recipe.evaluate.splits == ("c",) and recipe.quantize is None and recipe.prune[0].name == "encoder"


def test_a_mapping_under_prune_changes_the_rules_that_it_names(recipes):
    rules = (
        "prune:\n  - {name: heads, structure: head, criterion: taylor}\n"
        "  - {name: encoder, criterion: {name: movement, momentum: 0.5}, schedule: {from: 0.1, to: 0.7}}\n"
        "  - {targets: classifier}\n"
    )
    head, tail = recipes.minimal.split("prune:")[0], "quantize: {}\n"
    recipes.write(head + rules + tail, "base.yaml")
    recipes.write(
        "extends: base.yaml\nprune: {encoder: {structure: 4x4, schedule: {to: 0.9}}, heads: null}\n", "middle.yaml"
    )
    change = "prune: {encoder: {criterion: {momentum: 0.8}, schedule: {from: null}}, rule1: {scope: local}}\n"
    encoder, other = recipes.load("extends: middle.yaml\n" + change, "prune.encoder.schedule.end=50%").prune
    assert encoder.structure == "4x4" and encoder.criterion.model_dump()["momentum"] == 0.8
    assert (encoder.schedule.initial, encoder.schedule.to, encoder.schedule.end.value) == (0.0, 0.9, 0.5)
    assert other.targets == ("classifier",) and other.scope == "local"


def test_a_rule_that_the_base_lacks_is_a_fault_where_it_is_named(recipes):
    recipes.write(recipes.minimal, "base.yaml")
    text = "extends: base.yaml\nprune:\n  encodr: {structure: 4x4}\n  encoder: {structure: 9z}\n  1: null\n"
    anew = "(a list replaces all rules)"
    first, second, third = recipes.problems(text)
    assert first == f"r.yaml:3:3: prune.encodr: there is no rule 'encodr', did you mean 'encoder'? {anew}"
    assert second.startswith("r.yaml:4:24: prune.0.structure: unknown structure '9z'")
    assert third == f"r.yaml:5:3: prune.1: there is no rule '1', only encoder {anew}"


def test_two_changes_of_one_rule_are_a_fault(recipes):
    recipes.write(recipes.minimal, "base.yaml")
    assert recipes.problems("extends: base.yaml\nprune: {encoder: {structure: 4x4}, 0: {scope: local}}\n") == [
        "r.yaml:2:36: prune.0: the same rule as 'encoder': write both changes under one name"
    ]
    assert recipes.problems("extends: base.yaml\nprune: {0: null, encoder: {structure: 4x4}}\n") == [
        "r.yaml:2:18: prune.encoder: the same rule as '0': write both changes under one name"
    ]


def test_a_linked_recipe_finds_its_base_beside_the_file(recipes):
    recipes.write(recipes.minimal, "deep/base.yaml")
    recipes.write("extends: base.yaml\nseed: 3\n", "deep/own.yaml")
    (recipes.folder / "latest.yaml").symlink_to("deep/own.yaml")
    recipe = load_recipe(recipes.folder / "latest.yaml")
    assert (recipe.seed, recipe.name) == (3, "latest")


def test_a_base_whose_name_is_no_path_is_one_fault(recipes):
    (problem,) = recipes.problems('extends: "a\\0b"\n')
    assert problem == "r.yaml:1:10: extends: an escape sequence that stands for no character: remove it"


def test_a_fault_points_at_the_file_or_set_that_wrote_it(recipes):
    recipes.write(recipes.minimal + "train: {num_train_epochs: many}\n", "deep/base.yaml")
    text = "extends: deep/base.yaml\nseed: -1\n"
    assert recipes.problems(text, "task.max_length=0") == [
        "r.yaml:2:7: seed: must be at least 0, got -1",
        "deep/base.yaml:10:27: train.num_train_epochs: expected a number, got 'many'",
        "--set: task.max_length: must be at least 2, got 0",
    ]


def test_cycles_and_missing_bases_are_refused_where_they_are_named(recipes):
    recipes.write("extends: r.yaml\n", "other.yaml")
    assert recipes.problems("extends: other.yaml\n") == [
        "other.yaml:1:10: extends: r.yaml extends itself, directly or through others: remove one `extends`"
    ]
    assert recipes.problems("a: 1\nextends: gone.yaml\n") == [
        "r.yaml:2:10: extends: gone.yaml: no such file or directory: correct the path, which is relative to this file"
    ]
    assert recipes.problems("extends: [a, b]\n") == [
        "r.yaml:1:10: extends: expected the path of one recipe, such as base.yaml"
    ]


def test_local_paths_are_relative_to_whoever_names_them(recipes, monkeypatch):
    base = recipes.minimal.replace("{name: glue, config: sst2}", "{files: {train: a.tsv, validation: ../b.csv}}")
    recipes.write(base.replace("bert-base-uncased", "model"), "deep/base.yaml")
    (recipes.folder / "deep/model").mkdir()
    (recipes.folder / "cwd").mkdir()
    monkeypatch.chdir(recipes.folder / "cwd")
    recipe = recipes.load(
        "extends: deep/base.yaml\ndistill: {teacher: ./teacher}\n",
        "task.dataset.files.test=c.jsonl",
        "task.dataset.files.validation=/data/d.csv",
    )
    folder = str(recipes.folder)
    assert recipe.task.dataset.files == {
        "train": f"{folder}/deep/a.tsv",
        "validation": "/data/d.csv",
        "test": f"{folder}/cwd/c.jsonl",
    }
    assert recipe.model.name == f"{folder}/deep/model" and recipe.distill.teacher == f"{folder}/teacher"
    assert recipe.evaluate.baseline == "auto"


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("model.name", "x" * 300),
        ("model.tokenizer", "a/" * 3000),
        ("evaluate.baseline", "é" * 150),
        ("distill.teacher", "x" * 300),
        ("benchmark.prices", "x" * 300),
    ],
)
def test_a_path_that_no_file_can_have_is_refused_where_it_is_written(recipes, place, value):
    said = "too long for the path of a file or the name of a model: give another"
    assert recipes.problems(recipes.minimal, f"{place}={value}") == [f"--set: {place}: {said}"]


def test_the_recipes_of_the_project_load():
    from pathlib import Path

    files = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))
    assert {"bert_sst2_80sparse.yaml", "bert_sst2_80sparse_element.yaml"} <= {file.name for file in files}
    for file in files:
        recipe = load_recipe(file)
        assert recipe.name == file.stem
        assert [rule.build().name for rule in recipe.prune] == [rule.name for rule in recipe.prune]
