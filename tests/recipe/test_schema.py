"""Static checks of the parts of a recipe: each wrong value is refused, at its own place."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from optkit.recipe import Recipe


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "name=../x",
            "name: '../x' cannot name a folder: use letters, digits, '.', '_' and '-', a letter or digit first",
        ),
        ("name=.x", "name: '.x' cannot name a folder: use letters, digits, '.', '_' and '-', a letter or digit first"),
        ("seed=true", "seed: expected a whole number, got true"),
        ("seed='1'", "seed: expected a whole number, got '1'"),
        ("seed=1.5", "seed: expected a whole number, got 1.5"),
        ("model={}", "model.config: write either `name`, for a pretrained model, or `config`, for random weights"),
        (
            "model.config={model_type: bert}",
            "model.config: write either `name`, for a pretrained model, or `config`, for random weights",
        ),
        ("model={config: {}, tokenizer: t}", "model.config.model_type: required: write the architecture, such as bert"),
        (
            "model={config: {model_type: bert}}",
            "model.tokenizer: required with model.config: write a name, or {train: wordpiece, vocab_size: 2000}",
        ),
        ("model.tokenizer={train: bpe}", "model.tokenizer.train: unknown value 'bpe', one of wordpiece"),
        ("model.tokenizer=[a]", "model.tokenizer: expected a name, or {train: wordpiece"),
        ("model.trust_remote_code=yes", "model.trust_remote_code: expected true or false, got 'yes'"),
        ("task.type=text-clasification", "task.type: unknown task 'text-clasification', did you mean"),
        ("task.metric=[accuracy, acuracy]", "task.metric.1: unknown metric 'acuracy', did you mean 'accuracy'?"),
        ("task.text=[a, b, c]", "task.text: at most 2 elements, got 3"),
        ("task.dataset={}", "task.dataset.generate: no source of data: write one of `name`, `files` and `generate`"),
        (
            "task.dataset.files={train: a.csv}",
            "task.dataset.files: two sources of data: write only one of `name`, `files` and `generate`",
        ),
        ("task.dataset={files: {train: a.txt}}", "task.dataset.files.train: unknown file type '.txt': use one of .csv"),
        ("task.dataset={files: {a b: a.csv}}", "task.dataset.files.a b: 'a b' is not a valid name"),
        ("task.dataset.train=5", "task.dataset.train: is read with `generate` only: remove it, or write `generate`"),
        ("task.dataset={generate: nothing}", "task.dataset.generate: unknown dataset 'nothing'"),
        ("distill={teacher: t, weight: 1.5}", "distill.weight: must be at most 1, got 1.5"),
        ("distill={teacher: t, temperature: 0}", "distill.temperature: must be above 0, got 0"),
        ("distill={weight: 0.5}", "distill.teacher: required, but missing"),
        ("quantize.weight_range=avx", "quantize.weight_range: unknown value 'avx', one of half, full"),
        (
            "quantize.accuracy_backend=torch",
            "quantize.accuracy_backend: unknown value 'torch', one of openvino, optkit",
        ),
        ("quantize.target=avx", "quantize.target: unknown value: in place of target, write weight_range: half, or"),
        (
            "export.formats=[onnx]",
            "export.formats: openvino is required, evaluation and report need it: write [openvino, onnx]",
        ),
        ("export.formats=[openvino, onxx]", "export.formats.1: unknown value 'onxx', did you mean 'onnx'?"),
        ("export.shapes=fixed", "export.shapes: expected dynamic, or {batch: 1, seq: 128}, got 'fixed'"),
        ("export.shapes={batch: 0}", "export.shapes.batch: must be at least 1, got 0"),
        ("export.shapes={sequence: 8}", "export.shapes.sequence: unknown key"),
        ("evaluate.splits=[]", "evaluate.splits: must not be empty"),
        ("evaluate.max_drop=.nan", "evaluate.max_drop: expected a finite number, got nan"),
        ("benchmark={batch: [0]}", "benchmark.batch.0: must be at least 1, got 0"),
        ("benchmark={backends: [tourch]}", "benchmark.backends.0: unknown backend 'tourch', did you mean 'torch'?"),
        ("publish.repo_id=a/b/c", "publish.repo_id: 'a/b/c' is not a repository name: write ORG/NAME"),
        ("publish.repo_id=o/a--b", "publish.repo_id: 'o/a--b' is not a repository name"),
        ("publish.repo_id=name", "publish.repo_id: 'name' is not a repository name"),
    ],
)
def test_a_wrong_value_is_one_fault(recipes, override, said):
    problems = recipes.problems(recipes.minimal, override)
    assert len(problems) == 1 and problems[0].startswith(f"--set: {said}")


QUESTIONS = "task={type: question-answering, dataset: {name: squad}, text: [question, context], label: answers%s}"
WORDS = "task={type: token-classification, dataset: {name: conll}, text: tokens, label: tags%s}"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            QUESTIONS.replace("[question, context]", "context") % "",
            "text: question-answering reads two columns: write [",
        ),
        (
            QUESTIONS.replace("answers%s", "[a, b]%s") % "",
            "label: question-answering has one column of answers, got a, b",
        ),
        (
            QUESTIONS % ", max_length: 64, stride: 32",
            "stride: 32 tokens shared by two windows of 64 (task.max_length): ",
        ),
        (QUESTIONS % ", stride: -1", "stride: must be at least 0, got -1"),
        (QUESTIONS % ", max_answer_length: 0", "max_answer_length: must be at least 1, got 0"),
        (
            QUESTIONS % ", metric: accuracy",
            "metric: does not measure question-answering: use answer_f1 or exact_match",
        ),
        (QUESTIONS % ", problem: regression", "problem: question-answering has only one kind of problem: remove it"),
        (
            WORDS.replace("tokens", "[a, b]") % "",
            "text: token-classification reads one column, of lists of words, got a, b",
        ),
        (WORDS % ", stride: 8", "stride: is read by question-answering only: remove it"),
        (WORDS % ", null_threshold: 1.0", "null_threshold: is read by question-answering only: remove it"),
        (
            WORDS % ", metric: f1",
            "metric: does not measure token-classification: use entity_f1 or entity_precision or",
        ),
    ],
)
def test_what_a_task_does_not_read_is_one_fault(recipes, override, said):
    problems = recipes.problems(recipes.minimal, override)
    assert len(problems) == 1 and problems[0].startswith(f"--set: task.{said}")


def test_windows_of_a_third_unless_said_otherwise(recipes):
    task = recipes.load(recipes.minimal, QUESTIONS % ", max_length: 384").task
    assert (task.stride, task.max_answer_length, task.null_threshold) == (128, 30, 0.0)
    assert task.metric == ("answer_f1",) and recipes.load(recipes.minimal, WORDS % "").task.stride is None
    assert recipes.load(recipes.minimal, QUESTIONS % ", max_length: 64, stride: 31").task.stride == 31


def test_a_split_that_no_file_gives_is_named(recipes):
    text = recipes.minimal.replace("{name: glue, config: sst2}", "{files: {train: a.tsv, validation: b.tsv}}")
    assert recipes.load(text).task.dataset.splits == ("train", "validation")
    assert recipes.problems(text + "evaluate: {splits: [validation, tset]}\n") == [
        "r.yaml:10:33: evaluate.splits.1: the dataset has no split 'tset', only train, validation"
    ]


@pytest.mark.parametrize("repo_id", ["organisation/name-1.5_x", None])
def test_hub_ids(recipes, repo_id):
    assert recipes.load(recipes.minimal + f"publish: {{repo_id: {repo_id or 'null'}}}\n").publish.repo_id == repo_id


def test_a_recipe_can_be_made_in_python_and_is_frozen():
    task = {"type": "text-classification", "dataset": {"name": "glue", "config": "sst2"}, "text": ["a", "b"]}
    recipe = Recipe.model_validate({"model": {"name": "m"}, "task": task, "prune": [{"criterion": "magnitude"}]})
    assert recipe.source is None and recipe.task.text == ("a", "b") and recipe.prune[0].schedule.to == 0.8
    with pytest.raises(ValidationError, match="frozen"):
        recipe.seed = 3
