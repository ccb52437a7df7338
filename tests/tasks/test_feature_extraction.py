from __future__ import annotations

import csv
from pathlib import Path

import capabilities
import datasets
import numpy as np
import pytest
import torch
from recipe_files import write_recipe
from safetensors.numpy import load_file
from scipy.stats import pearsonr, spearmanr
from split_scores import kept_outputs, split_scores

import optkit
from optkit.adapters import sentence_transformers
from optkit.adapters.sentence_transformers import FILES, Embedding
from optkit.errors import DataError, OptkitError, PlanError, RecipeError
from optkit.models import Head
from optkit.pipeline.validate import make_plan
from optkit.recipe import load_recipe
from optkit.recipe.schema import ModelSpec
from optkit.recipe.task import TaskSpec
from optkit.tasks import get_task

pytestmark = pytest.mark.slow

FROM_NOTHING = """\
optkit: 1
name: embeddings
seed: 3
model: TINY_MODEL
task:
  type: feature-extraction
  dataset: {generate: similar, train: 112, validation: 40}
  text: [sentence1, sentence2]
  label: score
  metric: [spearman, pearson]
  max_length: 32
train: {num_train_epochs: 2, learning_rate: 1e-3, per_device_train_batch_size: 16, hold_out: 16, eval_steps: 2, train_sampling_strategy: group_by_length}
prune:
  - {name: encoder, criterion: {name: movement, saliency: 0}, structure: 1x4, schedule: {to: 0.8, begin: 0%, end: 60%, every: 2}}
quantize: {calibration: {samples: 21}}
benchmark: {batch: [1], seq: [16], backends: [torch, openvino, optkit]}
"""
BY_A_TEACHER = """\
optkit: 1
name: taught
seed: 5
model: {name: MODEL}
task:
  type: feature-extraction
  dataset: {files: {train: TRAIN, validation: VALIDATION}}
  text: sentence
  label: []
  max_length: 32
train: {max_steps: 6, learning_rate: 1e-3, per_device_train_batch_size: 16}
distill: {teacher: MODEL, weight: 1.0}
prune:
  - {name: encoder, criterion: obert, schedule: {to: 0.9, begin: 0, end: 4, every: 2}}
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("recipe") / "embeddings.yaml", FROM_NOTHING)


@pytest.fixture(scope="module")
def run(tmp_path_factory, recipe) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("run") / "run"
    return folder, optkit.run(recipe, output=folder)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory, tiny_checkpoint) -> Path:
    """``tiny_checkpoint``'s encoder as a model of sentence-transformers."""
    from transformers import AutoModel, AutoTokenizer

    folder = tmp_path_factory.mktemp("encoder")
    AutoModel.from_pretrained(tiny_checkpoint).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_checkpoint).save_pretrained(folder)
    sentence_transformers.write(folder, Embedding(), width=32, max_length=24, source=None, revision="main")
    return folder


@pytest.fixture
def taught(tmp_path, encoder, tiny_files) -> Path:
    places = {"MODEL": encoder, "TRAIN": tiny_files["train"], "VALIDATION": tiny_files["validation"]}
    return write_recipe(tmp_path / "taught.yaml", BY_A_TEACHER, places)


def pairs(**columns):
    found = {"sentence1": ["a poor soup", "fine"], "sentence2": ["the soup was awful sour and grim", ""]}
    return datasets.Dataset.from_dict(found | {"score": [4.5, 0.0]} | columns)


def task(model=None, **values):
    given = {"type": "feature-extraction", "dataset": {"files": {"train": "a.tsv"}}}
    given |= {"text": ["sentence1", "sentence2"], "label": ["score"]}
    return get_task(TaskSpec(**given | values), None if model is None else ModelSpec(name=str(model)))


def cosines(embeddings):
    first, second = embeddings[:, 0].astype(np.float64), embeddings[:, 1].astype(np.float64)
    return (first * second).sum(-1) / np.linalg.norm(first, axis=-1) / np.linalg.norm(second, axis=-1)


def test_each_model_is_scored_by_how_its_cosines_follow_the_scores(run):
    folder, report = run
    found = kept_outputs(folder)
    scores = split_scores(report)
    models = {"dense", "pruned", "int8", *({"int8 optkit", "int8 f32"} & scores.keys())}
    assert found.keys() == models | {"labels"} and set(found["labels"]) == set(range(6))
    for name in models:
        assert found[name].shape == (40, 2, 32)
        np.testing.assert_allclose(np.linalg.norm(found[name], axis=-1), 1.0, atol=1e-5)
        own = cosines(found[name])
        assert scores[name]["spearman"] == pytest.approx(spearmanr(own, found["labels"]).statistic, abs=1e-6)
        assert scores[name]["pearson"] == pytest.approx(pearsonr(own, found["labels"]).statistic, abs=1e-6)
    assert scores["agreement"] == pytest.approx((found["pruned"] * found["int8"]).sum(-1).mean(), abs=1e-5)
    assert report["training"]["rules"][0]["pruned"] == round(0.8 * report["training"]["rules"][0]["groups"])
    assert report["training"]["chosen"]["metric"] == "spearman"
    assert {row["variant"] for row in report["benchmark"]["shapes"][0]["rows"]} >= {
        "dense/fp32/torch",
        "pruned/fp32/torch",
        "pruned/int8/openvino",
    }


def test_the_report_says_how_alike_embeddings_are(run):
    folder, report = run
    agreement = split_scores(report)["agreement"]
    said = f"Checkpoint and exported IR give embeddings whose mean cosine is {agreement:.2%} on validation."
    assert said in (folder / "report.md").read_text(encoding="utf-8")


def test_both_folders_are_models_of_sentence_transformers(run):
    folder, _ = run
    package = capabilities.package("sentence-transformers")
    for file in FILES:
        assert (folder / "openvino" / file).read_bytes() == (folder / "pruned" / file).read_bytes()
    found = kept_outputs(folder)
    rows = get_rows(folder)
    # Other batches are padded to other lengths, which may move a rounding of int8 from one side to the other.
    for name, where, options, apart in (
        ("pruned", "pruned", {}, 2e-5),
        ("int8", "openvino", {"backend": "openvino"}, 1e-2),
    ):
        model = package.SentenceTransformer(str(folder / where), device="cpu", **options)
        assert model.max_seq_length == 32
        for text in range(2):
            embeddings = model.encode([row[text] for row in rows])
            np.testing.assert_allclose(embeddings, found[name][:, text], atol=apart, err_msg=name)


def get_rows(folder):
    from optkit.data.generators import GENERATORS

    found = GENERATORS["similar"]("validation", 40, 3)
    return list(zip(found["sentence1"], found["sentence2"]))


def test_a_teacher_alone_trains_embeddings_of_single_texts(taught, tmp_path, encoder):
    report = optkit.run(taught, output=tmp_path / "run")
    scores = split_scores(report)
    found = kept_outputs(tmp_path / "run")
    assert report["evaluate"]["baseline"] == "start" and report["evaluate"]["metric"] == "cosine"
    assert found["dense"].shape == (32, 1, 32) and "labels" not in found
    assert scores["dense"]["cosine"] == pytest.approx(1.0, abs=1e-6)
    for name in ("pruned", "openvino"):
        assert scores[name]["cosine"] == pytest.approx((found[name] * found["dense"]).sum(-1).mean(), abs=1e-5)
    assert report["evaluate"]["drop"] == pytest.approx(100 * (1 - scores["openvino"]["cosine"]), abs=1e-4)
    for name in FILES:
        assert (tmp_path / "run" / "openvino" / name).read_bytes() == (encoder / name).read_bytes()
    # What is kept of the teacher are its embeddings of the training texts.
    kept = load_file(tmp_path / "run" / "teacher" / "logits.safetensors")["logits"]
    assert kept.shape == (96, 1, 32)
    np.testing.assert_allclose(np.linalg.norm(kept, axis=-1), 1.0, atol=1e-5)


def test_a_student_that_starts_as_its_teacher_has_nothing_to_learn(encoder):
    """By cached embeddings and beside the teacher alike: both go through the same pooling."""
    from transformers import AutoModel, AutoTokenizer

    ours, tokenizer = task(encoder), AutoTokenizer.from_pretrained(encoder)
    model = AutoModel.from_pretrained(encoder).eval()
    examples = ours.encode(pairs(), tokenizer, Head("AutoModel"))
    batch = ours.collator(tokenizer)([examples[0], examples[1]])
    assert batch["input_ids"].shape[0] == 4 and batch["labels"].tolist() == [4.5, 0.0]
    assert tokenizer.decode(batch["input_ids"][2], skip_special_tokens=True) == "the soup was awful sour and grim"
    with torch.no_grad():
        found = model(**{name: tensor for name, tensor in batch.items() if name != "labels"})
        kept = {"logits": ours.outputs(found, batch).reshape(2, -1)}
        assert ours.objective.distance(found, found, batch, 1.0).item() == pytest.approx(0.0, abs=1e-5)
        assert ours.objective.distance(found, kept, batch, 1.0).item() == pytest.approx(0.0, abs=1e-5)
        alone = [model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0) for text in ("fine", "")]
    expected = torch.nn.functional.normalize(torch.stack(alone), dim=-1)
    torch.testing.assert_close(ours.outputs(found, batch)[1], expected, atol=1e-5, rtol=0)


def test_texts_are_measured_by_the_longer_and_calibrate_one_by_one(encoder):
    from optkit.adapters.trainer import lengths

    ours = task(encoder, max_length=6)
    tokenizer = ours.load_processor(encoder)
    encoded = ours.encode(pairs(), tokenizer, None)
    assert [ours.length(row) for row in encoded] == lengths(encoded) == [6, 3]
    assert np.isnan(encoded["labels"]).all()
    samples = ours.samples(encoded[0], tokenizer)
    assert [len(sample["input_ids"]) for sample in samples] == [5, 6]
    assert all(set(sample) <= {"input_ids", "attention_mask", "token_type_ids"} for sample in samples)


def test_a_prompt_stands_before_every_text(encoder, monkeypatch):
    ours = task(encoder)
    monkeypatch.setattr(ours, "embedding", Embedding(prompt="the song "))
    tokenizer = ours.load_processor(encoder)
    encoded = ours.encode(pairs(), tokenizer, None)
    assert tokenizer.decode(encoded[1]["input_ids"], skip_special_tokens=True) == "the song fine"
    assert tokenizer.decode(encoded[1]["second_input_ids"], skip_special_tokens=True) == "the song"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"score": [1.0, float("nan")]}, "split 'train', row 2: column 'score' holds no number"),
        ({"score": [None, 1.0]}, "split 'train', row 1: column 'score' holds no number"),
        ({"score": ["2.5", "low"]}, "split 'train', row 2: column 'score' holds no number: 'low'"),
        ({"score": [2.0, 2.0]}, "task.label: every row of split 'train' has the same score in column 'score'"),
        ({"sentence2": ["a", None]}, "split 'train', row 2: column 'sentence2' holds no text: remove the row"),
    ],
)
def test_bad_data_is_one_line(columns, message):
    with pytest.raises(DataError) as raised:
        task().check({"train": pairs(**columns)})
    assert raised.value.problems == [message]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("task.text=sentence1", "a score is of two texts: write text: [sentence1, sentence2], or label: []"),
        ("task.label=[a, b]", "feature-extraction has one column of scores, got a, b"),
        ("task.metric=cosine", "does not measure feature-extraction: use spearman or pearson"),
        ("task.pooling=median", "task.pooling: "),
    ],
)
def test_a_recipe_is_checked_without_data(recipe, change, message):
    with pytest.raises(RecipeError) as raised:
        load_recipe(recipe, [change])
    assert message in str(raised.value)


def test_only_embeddings_go_without_a_label(files_recipe):
    with pytest.raises(RecipeError, match="name the column with the label"):
        load_recipe(files_recipe, ["task.label=[]"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["distill=null"], "distill: without labels only a teacher's embeddings can be learned"),
        (["evaluate.baseline=none"], "evaluate.baseline: without labels embeddings are held against the baseline's"),
        (["train.hold_out=0.1"], "train.hold_out: goes by a score, which a task without labels has none of"),
        (["quantize.max_drop=1"], "quantize.max_drop: goes by a score"),
        (["task.pooling=cls"], "task.pooling: MODEL pools by mean: remove the key"),
        (
            ["distill.teacher=CLS"],
            "distill.teacher: CLS embeds by cls and normalised, the student by mean and normalised",
        ),
        (["distill.teacher=WIDE"], "distill.teacher: its embeddings have 48 numbers and the student's 32"),
        (["train=null", "distill=null", "prune.0.schedule={to: 0.5}"], "prune.0.criterion: obert needs a loss"),
    ],
)
def test_what_cannot_work_is_told_before_any_work(taught, changes, message, encoder, wide_teacher, tmp_path):
    import shutil

    other = shutil.copytree(encoder, tmp_path / "cls")
    sentence_transformers.write(other, Embedding("cls"), width=32, max_length=24, source=None, revision="main")
    places = {"CLS": str(other), "WIDE": str(wide_teacher), "MODEL": str(encoder)}
    for word, place in places.items():
        changes, message = [change.replace(word, place) for change in changes], message.replace(word, place)
    with pytest.raises(PlanError) as raised:
        make_plan(load_recipe(taught, changes))
    assert [problem for problem in raised.value.problems if message in problem] == raised.value.problems


def test_pairs_need_company(recipe):
    with pytest.raises(
        PlanError, match="per_device_train_batch_size: the pairs of a batch are compared: take 2 or more"
    ):
        make_plan(load_recipe(recipe, ["train.per_device_train_batch_size=1"]))


def test_a_baseline_of_another_width_is_told(encoder):
    ours = task(encoder, text=["sentence1"], label=[])
    with pytest.raises(OptkitError, match="evaluate.baseline: its embeddings have 4 numbers and the model's 3"):
        ours.score(np.ones((2, 1, 3), np.float32), np.ones((2, 1, 4), np.float32), Head("AutoModel"))


def test_a_plain_checkpoint_is_pooled_by_what_the_recipe_says_and_is_no_baseline(tiny_checkpoint):
    assert task(tiny_checkpoint).embedding == Embedding("mean", True)
    assert task(tiny_checkpoint, pooling="cls").embedding == Embedding("cls", True)
    assert not task(tiny_checkpoint).is_trained(ModelSpec(name=str(tiny_checkpoint)))


def test_in_one_shot_scores_of_pairs_guide_the_choice(encoder, tmp_path):
    """taylor goes by gradients of the task's loss: other scores, other weights."""
    words, things = "fine lovely great sweet poor awful grim".split(), "soup song table garden river".split()
    rows = [f"the {things[i % 5]} was {words[i % 7]}" for i in range(12)]
    zeros = []
    for turn in (1, 5):
        with open(tmp_path / "pairs.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["sentence1", "sentence2", "score"])
            writer.writerows(
                (text, other, turn * i % 12) for i, (text, other) in enumerate(zip(rows, rows[3:] + rows[:3]))
            )
        text = BY_A_TEACHER.replace("MODEL", str(encoder)).replace("TRAIN", str(tmp_path / "pairs.csv"))
        path = tmp_path / "recipe.yaml"
        path.write_text(text.replace("VALIDATION", str(tmp_path / "pairs.csv")), encoding="utf-8")
        changes = ["task.text=[sentence1, sentence2]", "task.label=score", "train=null", "distill=null"]
        changes += ["prune.0.schedule={to: 0.5}", "prune.0.criterion=taylor", "oneshot.batch_size=6"]
        output = tmp_path / f"run{turn}"
        assert optkit.run(path, changes, output=output, stop_after="train")["stopped_after"] == "train"
        weights = load_file(output / "pruned" / "model.safetensors")
        zeros.append(
            np.concatenate([w.ravel() == 0 for n, w in sorted(weights.items()) if ".layer." in n and w.ndim == 2])
        )
    assert zeros[0].sum() == zeros[1].sum() == len(zeros[0]) // 2
    assert (zeros[0] != zeros[1]).any()
