"""`distill` beyond the logits, and the keys of ours under `train`: shorthands, places of faults, the resolved copy."""

from __future__ import annotations

import pytest

from optkit.pruning.config import Span
from optkit.recipe import TeacherSpec, load_recipe
from optkit.recipe.resolved import identity

HEAD = """\
optkit: 1
model: {name: bert-base-uncased}
task: {type: text-classification, dataset: {name: glue, config: sst2}, text: sentence}
prune: [{criterion: movement}]
"""


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("hidden: 0", "5:23: distill.hidden.weight: must be above 0, got 0"),
        (
            "hidden: auto",
            "5:31: distill.hidden: expected a weight such as 1.0, or a mapping such as {weight: 1.0}, got",
        ),
        ("hidden: {layers: all}", "5:40: distill.hidden.layers: expected auto, last, a list of the student's"),
        ("hidden: {layers: [1, -2]}", "5:32: distill.hidden.layers: expected auto, last, a list of the student's"),
        ("hidden: {layers: {a: 1}}", "5:32: distill.hidden.layers: expected auto, last, a list of the student's"),
        ("hidden: {wieght: 1}", "5:32: distill.hidden.wieght: unknown key, did you mean 'weight'?"),
        ("attention: {of: map}", "5:39: distill.attention.of: unknown value 'map', did you mean 'maps'?"),
        (
            "data: {}",
            "5:23: distill.data.augment: no source of texts: write `files`, `name`, or `augment`, the number of altered copies of each example",
        ),
        ("data: {augment: -1}", "5:39: distill.data.augment: must be at least 0, got -1"),
        (
            "data: {files: [a.txt, b.doc]}",
            "5:45: distill.data.files.1: unknown file type '.doc': use one of .txt, .csv",
        ),
        (
            "data: {files: a.txt, name: b}",
            "5:37: distill.data.files: two sources of texts: write only one of `name` and `files`",
        ),
        (
            "data: {files: a.txt, config: b}",
            "5:52: distill.data.config: is read with `name` only, for texts of the Hub: remove it, or write `name`",
        ),
        (
            "data: {augment: 1, text: b}",
            "5:48: distill.data.text: is read with `files` or `name` only, `augment` takes the columns of task.text: remove it",
        ),
        (
            "data: {files: a.csv, text: [a, b]}",
            "5:44: distill.data.text: task.text has 1 columns, and this has 2: name as many",
        ),
    ],
)
def test_a_wrong_distillation_is_one_fault_at_its_place(recipes, written, said):
    problems = recipes.problems(f"{HEAD}distill: {{teacher: x, {written}}}\n")
    assert len(problems) == 1 and problems[0].startswith(f"r.yaml:{said}")


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (
            "teacher: {name: x}",
            "5:11: distill.teacher: expected a name, or a list such as [{name: A}, {name: B, weight",
        ),
        ("teacher: []", "5:11: distill.teacher: must not be empty"),
        ("teacher: ''", "5:20: distill.teacher: must not be empty"),
        ("teacher: true", "5:20: distill.teacher: expected text, got true"),
        ("teacher: [{weight: 2}]", "5:21: distill.teacher.0.name: required, but missing: write it"),
        ("teacher: [x, {name: y, wieght: 2}]", "5:34: distill.teacher.1.wieght: unknown key, did you mean 'weight'?"),
        ("teacher: [x, {name: y, weight: -1}]", "5:42: distill.teacher.1.weight: must be at least 0, got -1"),
        (
            "teacher: [x, {name: y, weight: 0}]",
            "5:42: distill.teacher.1.weight: 0, so this teacher is never asked: rem",
        ),
        (
            "teacher: [{name: x, weight: 0}, y]",
            "5:39: distill.teacher.0.weight: 0, so this teacher is never asked: rem",
        ),
        (
            "teacher: [{name: x, weight: 0}], hidden: 1",
            "5:39: distill.teacher.0.weight: 0, so no teacher's logits count",
        ),
        (
            "teacher: [{name: x, weight: 0}, {name: y, weight: 0}], hidden: 1, pooled: 1",
            "5:39: distill.teacher.0.weight: 0, so no teacher's logits count: give one a weight, or leave logits out by ",
        ),
        ("teacher: [x, y], revision: v1", "5:38: distill.revision: is of a single name: write it beside each name"),
    ],
)
def test_a_wrong_teacher_is_one_fault_at_its_place(recipes, written, said):
    problems = recipes.problems(f"{HEAD}distill: {{{written}}}\n")
    assert len(problems) == 1 and problems[0].startswith(f"r.yaml:{said}")


def test_teachers_by_name_and_by_list(recipes, tmp_path):
    one = recipes.load(f"{HEAD}distill: {{teacher: x, revision: v1}}\n").distill
    assert one.teacher == "x" and one.teachers == {"distill.teacher": TeacherSpec(name="x", revision="v1")}
    assert recipes.load(f"{HEAD}distill: {{teacher: 12e4}}\n").distill.teacher == "12e4"

    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "config.json").write_text("{}")
    written = f"{HEAD}distill: {{teacher: [local, {{name: y, weight: 2}}, {{name: ./local, revision: v2}}]}}\n"
    recipe = recipes.load(written, "distill.teacher.0.weight=0", "distill.hidden=1")
    folder = str(tmp_path / "local")
    assert recipe.distill.teachers == {
        "distill.teacher.0": TeacherSpec(name=folder, weight=0),
        "distill.teacher.1": TeacherSpec(name="y", weight=2),
        "distill.teacher.2": TeacherSpec(name=folder, revision="v2"),
    }
    assert recipe.distill.first[0] == "distill.teacher.0"
    assert len(identity(recipe)["distill"]["teacher"][0]["name"]["sha256"]) == 64
    (tmp_path / "resolved.yaml").write_text(recipe.resolved_yaml())
    again = load_recipe(tmp_path / "resolved.yaml")
    assert str(tmp_path) not in recipe.resolved_yaml()
    assert again.distill == recipe.distill and again.hash() == recipe.hash()
    assert recipes.load(f"{HEAD}distill: {{teacher: x}}\n", "distill.teacher.0.weight=3").distill.teacher == (
        TeacherSpec(name="x", weight=3),
    )


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("lr_rewind: jump", "5:20: train.lr_rewind: expected jumps, or the time between two rewinds such as 2ep, got"),
        ("lr_rewind: 0", "5:20: train.lr_rewind: expected jumps, or the time between two rewinds such as 2ep, got 0"),
        ("lr_rewind: 2ep, lr_floor: 1", "5:35: train.lr_floor: expected a share of learning_rate from 0 to below 1"),
        ("lr_floor: 1%", "5:9: train.lr_floor: is read with lr_rewind only: remove it, or write lr_rewind"),
        (
            "lr_rewind: 2ep, lr_scheduler_type: cosine",
            "5:9: train.lr_rewind: the learning rate decays linearly to each rewind: remove lr_scheduler_type",
        ),
        (
            "lr_rewind: 2ep, lr_scheduler_kwargs: {num_cycles: 2}",
            "5:9: train.lr_rewind: its only option is lr_floor: remove lr_scheduler_kwargs",
        ),
        ("hold_out: 0", "5:19: train.hold_out: expected a share of the training split such as 5%, or a number of rows"),
        ("hold_out: 1.0", "5:19: train.hold_out: expected a share of the training split such as 5%, or a number"),
        (
            "hold_out: 5%, eval_strategy: no",
            "5:9: train.hold_out: is evaluated during training, which eval_strategy: no forbids: remove eval_strategy",
        ),
        ("average_last: 0", "5:23: train.average_last: expected a part of training such as 10%, a number of steps, or"),
        ("average_last: x", "5:23: train.average_last: expected a part of training such as 10%, a number of steps, or"),
        (
            "hold_out: 5%, average_last: 10%",
            "5:23: train.average_last: the result is the mean, and hold_out chooses one of the others: remove one",
        ),
        ("freeze: []", "5:9: train.freeze: expected patterns on names of modules such as '*embeddings', got []"),
        ("freeze: 're:('", "5:17: train.freeze: 're:(' is not a valid regular expression: missing )"),
        (
            "freeze: [a, '']",
            "5:9: train.freeze: an empty pattern matches nothing: write a name, or a glob such as '*.attention.*'",
        ),
        (
            "hold_ot: 5%",
            "5:9: train.hold_ot: unknown key, not a field of TrainingArguments, did you mean 'hold_",
        ),
    ],
)
def test_a_wrong_key_of_ours_under_train_is_one_fault(recipes, written, said):
    problems = recipes.problems(f"{HEAD}train: {{{written}}}\n")
    assert len(problems) == 1 and problems[0].startswith(f"r.yaml:{said}")


def test_shorthands_and_what_they_stand_for(recipes):
    written = "distill: {teacher: x, hidden: 2, attention: {layers: {3: 6}}, data: {augment: 4}}"
    distill = recipes.load(f"{HEAD}{written}\n", "distill.hidden.layers=[1, 2]").distill
    assert (distill.hidden.weight, distill.hidden.layers, distill.hidden.normalize) == (2.0, (1, 2), False)
    assert (distill.attention.weight, distill.attention.layers, distill.attention.of) == (1.0, {3: 6}, "relations")
    assert distill.of_states and distill.data.augment == 4 and distill.data.files is None
    assert not recipes.load(f"{HEAD}distill: {{teacher: x}}\n").distill.of_states
    from optkit.pruning import AttentionDistillation, HiddenDistillation

    assert distill.hidden.build() == HiddenDistillation(2.0, (1, 2))
    assert distill.attention.build() == AttentionDistillation(1.0, {3: 6})


def test_keys_of_ours_are_read_and_kept(recipes):
    train = recipes.load(f"{HEAD}train: {{lr_rewind: jumps, lr_floor: 1%, hold_out: 5%}}\n").train
    assert train == {"lr_rewind": "jumps", "lr_floor": 0.01, "hold_out": 0.05}
    assert recipes.load(f"{HEAD}train: {{average_last: 10%}}\n").train == {"average_last": Span(0.1, "share")}
    train = recipes.load(f"{HEAD}train: {{lr_rewind: 2ep, hold_out: 100, lr_scheduler_type: linear}}\n").train
    assert train == {"lr_rewind": Span(2, "epochs"), "hold_out": 100, "lr_scheduler_type": "linear"}


def test_the_resolved_copy_says_the_same_and_hides_where_files_lie(recipes, tmp_path):
    (tmp_path / "texts.txt").write_text("one\n")
    written = "distill: {teacher: x, hidden: {layers: {0: 0, 2: 4}}, data: {files: texts.txt}}\ntrain: {lr_rewind: 1ep}"
    recipe = recipes.load(f"{HEAD}{written}\n")
    assert recipe.distill.data.files == (str(tmp_path / "texts.txt"),)
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(recipe.resolved_yaml())
    assert str(tmp_path) not in resolved.read_text() and "- texts.txt # sha256 " in resolved.read_text()
    again = load_recipe(resolved)
    assert again.distill == recipe.distill and again.train == recipe.train and again.hash() == recipe.hash()
    before = identity(recipe)["distill"]["data"]["files"]
    (tmp_path / "texts.txt").write_text("another\n")
    assert identity(recipe)["distill"]["data"]["files"] != before
