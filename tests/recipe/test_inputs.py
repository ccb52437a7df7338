"""Keys that a task's kind of input leaves without a meaning."""

from __future__ import annotations

import pytest

IMAGES = """\
optkit: 1
model: {name: google/vit-base-patch16-224}
task:
  type: image-classification
  dataset: {name: ethz/food101}
train: {num_train_epochs: 1}
prune:
  - {name: encoder, criterion: movement}
quantize: {method: int8}
benchmark: {batch: [1]}
"""
TEXTS = IMAGES.replace("image-classification", "fill-mask").replace("google/vit-base-patch16-224", "bert-base-uncased")
NO_LENGTH = "images have no length in tokens: remove it"


@pytest.mark.parametrize(
    ("text", "override", "said"),
    [
        (IMAGES, "task.text=a", "task.text: image-classification reads images: name their column in task.image"),
        (IMAGES, "task.max_length=64", f"task.max_length: {NO_LENGTH}"),
        (
            IMAGES,
            "task.problem=regression",
            "task.problem: image-classification has only one kind of problem: remove it",
        ),
        (IMAGES, "task.metric=masked_accuracy", "task.metric: does not measure image-classification: use accuracy"),
        (IMAGES, "train.train_sampling_strategy=group_by_length", f"train.train_sampling_strategy: {NO_LENGTH}"),
        (IMAGES, "benchmark.seq=[64]", f"benchmark.seq: {NO_LENGTH}"),
        (IMAGES, "export.shapes={batch: 1, seq: 64}", f"export.shapes.seq: {NO_LENGTH}"),
        (
            IMAGES,
            "export.tokenizer=true",
            "export.tokenizer: this task reads images, which need no tokenizer: remove it",
        ),
        (IMAGES, "model.tokenizer=t", "model.tokenizer: this task reads images, which need no tokenizer: remove it"),
        (
            IMAGES,
            "distill={teacher: t, data: {augment: 1}}",
            "distill.data: is for texts, and this task reads images: remove it",
        ),
        (TEXTS, "task.label=a", "task.label: fill-mask learns from texts without labels: remove it"),
        (TEXTS, "task.image=a", "task.image: fill-mask reads no images: remove it"),
        (TEXTS, "task.metric=accuracy", "task.metric: does not measure fill-mask: use masked_accuracy or"),
        (
            TEXTS,
            "model={config: {model_type: bert}}",
            "model.tokenizer: required with model.config: write a name, or {train: wordpiece, vocab_size: 2000}",
        ),
        (
            TEXTS,
            "model.tokenizer={train: wordpiece}",
            "model.tokenizer: a pretrained model's embeddings belong to its own tokens: remove it, or write model.config",
        ),
    ],
)
def test_a_key_without_meaning_is_refused_at_its_place(recipes, text, override, said):
    problems = recipes.problems(text, override)
    assert len(problems) == 1 and said in problems[0] and problems[0].startswith("--set: ")


def test_an_image_model_from_a_config_needs_no_tokenizer(recipes):
    recipe = recipes.load(IMAGES, "model={config: {model_type: vit}}", "task.image=img")
    assert (recipe.task.image, recipe.task.metric) == ("img", ("accuracy",))
    assert recipes.load(TEXTS).task.metric == ("masked_accuracy",)


def test_defaults_that_are_written_out_are_no_faults(recipes):
    for text in (IMAGES, TEXTS):
        recipe = recipes.load(text)
        assert recipes.load(recipe.resolved_yaml()) == recipe


def test_a_folder_of_images_has_no_ending_but_may_have_one(recipes, tmp_path):
    (tmp_path / "photos.2024").mkdir()
    for folder in ("photos", "photos/", tmp_path / "photos.2024"):
        files = recipes.load(
            IMAGES, f"task.dataset={{files: {{train: {folder}, validation: {folder}}}}}"
        ).task.dataset.files
        assert "photos" in files["train"]
    problems = recipes.problems(IMAGES, "task.dataset={files: {train: photos.zip, validation: b.csv}}")
    assert "task.dataset.files.train: unknown file type '.zip'" in problems[0]
