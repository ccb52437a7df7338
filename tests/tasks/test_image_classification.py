from __future__ import annotations

import json
import shutil

import datasets
import numpy as np
import PIL.Image
import pytest
import torch
from capabilities import need
from data_problems import problems
from split_scores import split_scores

import optkit
from optkit import models
from optkit.data.images import open_image, pixels
from optkit.data.splits import load_splits
from optkit.errors import DataError, OptkitError, PlanError
from optkit.models import Head
from optkit.recipe.schema import ModelSpec
from optkit.recipe.task import TaskSpec
from optkit.tasks import get_task

FILES = {"files": {"train": "a.csv"}}
VIT = {"model_type": "vit", "image_size": 8, "patch_size": 4}


def task(**values):
    return get_task(TaskSpec(**{"type": "image-classification", "dataset": FILES} | values))


def greys(*values):
    return [PIL.Image.fromarray(np.full((6, 9), value, np.uint8)) for value in values]


def rows(images, labels, feature=None):
    features = datasets.Features({"image": feature or datasets.Image(), "label": datasets.Value("string")})
    return datasets.Dataset.from_dict({"image": images, "label": labels}, features, split="train")


def faults(splits, **values):
    return problems(task(**values), splits)


@pytest.fixture(scope="module")
def processor():
    return models.load_image_processor(ModelSpec(config=VIT))


def test_pixels_are_made_for_the_batch_and_not_kept(processor):
    train = rows(greys(0, 51, 255), ["b", "a", "b"])
    head = task().head({"train": train})
    assert head == Head("AutoModelForImageClassification", ["a", "b"])
    encoded = task().encode(train, processor, head)
    assert encoded[1]["image"]["bytes"] == train.cast_column("image", datasets.Image(decode=False))[1]["image"]["bytes"]
    batch = task().collator(processor)([encoded[i] for i in range(3)])
    assert {name: (tuple(t.shape), t.dtype) for name, t in batch.items()} == {
        "pixel_values": ((3, 3, 8, 8), torch.float32),
        "labels": ((3,), torch.int64),
    }
    assert batch["labels"].tolist() == [1, 0, 1]
    # Resized to the model's size, and mapped from 0 ... 255 to -1 ... 1.
    assert [image.unique().tolist() for image in batch["pixel_values"]] == [[-1], [pytest.approx(-0.6)], [1]]
    [sample] = task().samples(encoded[2], processor)
    assert list(sample) == ["pixel_values"] and np.array_equal(sample["pixel_values"], batch["pixel_values"][2].numpy())


def test_images_of_one_channel():
    grey = models.load_image_processor(ModelSpec(config=VIT | {"num_channels": 1}))
    colours = PIL.Image.fromarray(np.full((4, 3, 3), (255, 0, 0), np.uint8))
    encoded = task().encode(rows([*greys(255), colours], ["a", "b"]), grey, None)
    batch = task().collator(grey)([encoded[i] for i in range(2)])
    assert batch["pixel_values"].shape == (2, 1, 8, 8) and batch["labels"].tolist() == [-100, -100]
    # ITU-R 601's share of red.
    assert batch["pixel_values"][1].unique().tolist() == [pytest.approx(2 * 76 / 255 - 1)]


def test_folders_and_lists_of_files_hold_the_same(shape_files, processor, tmp_path):
    from_folder = load_splits(
        TaskSpec(type="image-classification", dataset={"files": {"train": str(shape_files["train"])}}).dataset,
        seed=0,
        needed=["train"],
        file_columns=["image"],
    )["train"]
    # Relative to the file that names them, as a data set that is moved as a whole keeps them.
    shutil.copytree(shape_files["train"], tmp_path / "images")
    places = [str(path).replace(str(shape_files["train"]), "images") for path in from_folder["image"]]
    (tmp_path / "a.csv").write_text(
        "image,label\n" + "\n".join(f"{p},{n}" for p, n in zip(places, from_folder["label"]))
    )
    spec = TaskSpec(type="image-classification", dataset={"files": {"train": str(tmp_path / "a.csv")}})
    listed = load_splits(spec.dataset, seed=0, needed=["train"], file_columns=get_task(spec).files)["train"]
    assert len(listed) == 60 and listed["label"][:] == from_folder["label"][:]
    images = [[pixels(open_image(cell), 3) for cell in found["image"][:]] for found in (from_folder, listed)]
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(*images))
    get_task(spec).check({"train": listed})


def test_rows_are_numbered_as_in_the_split(processor):
    train = rows(greys(1, 2, 3, 4), ["a", "b", "a", "b"])
    encoded = task().encode(train.select([3, 1]), processor, task().head({"train": train}))
    assert [encoded[i]["_where"] for i in range(2)] == ["split 'train', row 4", "split 'train', row 2"]
    assert [encoded[i]["labels"] for i in range(2)] == [1, 1]


def test_what_is_wrong_with_images(tmp_path):
    path = tmp_path / "a.png"
    greys(1)[0].save(path)
    listed = lambda *names: rows(list(names), ["a", "b"], datasets.Value("string"))  # noqa: E731
    mend = ": mend it, or remove the row"
    assert faults({"train": listed(str(path), str(tmp_path / "b.png"))}) == [
        f"split 'train', row 2: the image {tmp_path}/b.png cannot be read (no such file){mend}"
    ]
    path.write_text("no image")
    assert faults({"train": listed(str(path), str(path))}) == [
        f"split 'train', row 1: the image cannot be read (it is no image file){mend}"
    ]
    held = datasets.Image(decode=False)
    assert faults({"train": rows([{"bytes": b"x", "path": None}, None], ["a", "b"], held)}) == [
        f"split 'train', row 1: the image cannot be read (it is no image file){mend}"
    ]
    assert faults({"train": rows([*greys(1), None], ["a", "b"])}) == [
        "split 'train', row 2: column 'image' holds no image: remove the row"
    ]
    assert faults({"train": rows([1, 2], ["a", "b"], datasets.Value("int64"))}) == [
        "task.image: column 'image' of split 'train' holds int64, not images"
    ]
    assert faults({"train": rows(greys(1, 2), ["a", "b"])}, image="img") == [
        "task.image: no column 'img' in split train, did you mean 'image'?: the columns are image, label"
    ]


def test_what_is_wrong_with_labels():
    train = rows(greys(1, 2), ["a", "b"])
    assert faults({"train": train, "validation": rows(greys(1), ["c"])}) == [
        "split 'validation', row 1: label 'c' is no class: the classes are a, b"
    ]
    assert faults({"train": train}, label=["label", "image"])[0].startswith("task.label: an image has one label here")


def test_a_damaged_image_is_named_when_it_is_read(processor, tmp_path):
    path = tmp_path / "a.png"
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:800])
    train = rows([str(path)] * 2, ["a", "b"], datasets.Value("string"))
    task().check({"train": train})
    encoded = task().encode(train, processor, None)
    with pytest.raises(DataError, match=r"^split 'train', row 2: the image cannot be read \(.*\): mend it, or remove"):
        task().collator(processor)([encoded[1]])


def test_a_processor_that_leaves_sizes_as_they_are(processor):
    free = type(processor)(do_resize=False)
    encoded = task().encode(rows([*greys(1), PIL.Image.new("L", (5, 5))], ["a", "b"]), free, None)
    with pytest.raises(
        DataError, match=r"row 2: its image processor leaves images at different sizes, \(3, 6, 9\) and"
    ):
        task().collator(free)([encoded[0], encoded[1]])


def test_scores_and_random_inputs(processor):
    train = rows(greys(1, 2, 3), ["a", "b", "b"])
    head = task().head({"train": train})
    found = task().decode(np.array([[2.0, 1.0], [0.0, 1.0], [3.0, 1.0]]), None, head)
    assert task(metric=["accuracy", "f1"]).score(found, task().references(train, head), head) == pytest.approx(
        {"accuracy": 2 / 3, "f1": 2 / 3}
    )
    inputs = task().dummy_inputs(processor, 2, 128, seed=0)
    assert inputs["pixel_values"].shape == (2, 3, 8, 8) and inputs["pixel_values"].std() > 0.02
    assert torch.equal(inputs["pixel_values"], task().dummy_inputs(processor, 2, 64, seed=0)["pixel_values"])


def test_processors_that_read_alike(processor):
    train = rows(greys(1, 2), ["a", "b"])
    assert task().same_inputs(train, processor, models.load_image_processor(ModelSpec(config=VIT)))
    assert not task().same_inputs(
        train, processor, type(processor)(size={"height": 8, "width": 8}, image_mean=[0.4] * 3)
    )


def test_no_processor_beside_the_model(tiny_vit, tmp_path):
    shutil.copyfile(tiny_vit / "config.json", tmp_path / "config.json")
    with pytest.raises(PlanError, match="no preprocessor_config.json here"):
        models.load_image_processor(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.raises(OptkitError, match="preprocessor_config.json: cannot be read"):
        models.load_image_processor(tmp_path)
    with pytest.raises(PlanError, match="bert does not say which images it takes"):
        models.load_image_processor(ModelSpec(config={"model_type": "bert"}))


RECIPE = """\
optkit: 1
name: vit
seed: 3
model: {name: VIT}
task: {type: image-classification, dataset: {files: {train: TRAIN/, validation: VALIDATION/}}}
train: {num_train_epochs: 2, learning_rate: 1e-3, per_device_train_batch_size: 8, hold_out: 12, eval_steps: 4, save_steps: 4}
distill: {teacher: VIT, weight: 0.5}
prune:
  - {name: heads, criterion: magnitude, structure: head, schedule: {to: 0.25, begin: 0, end: 8, every: 4}}
  - {name: encoder, criterion: magnitude, structure: 1x4, schedule: {to: 0.5, begin: 0, end: 8, every: 4}}
quantize: {calibration: {samples: 8}}
export: {shapes: {batch: 2}}
benchmark: {batch: [2], backends: [torch, openvino, optkit]}
"""


@pytest.fixture(scope="module")
def recipe(tiny_vit, shape_files, tmp_path_factory):
    path = tmp_path_factory.mktemp("vit") / "vit.yaml"
    text = RECIPE.replace("VIT}", f"{tiny_vit}}}").replace("VIT,", f"{tiny_vit},")
    path.write_text(
        text.replace("TRAIN", str(shape_files["train"])).replace("VALIDATION", str(shape_files["validation"]))
    )
    return path


@pytest.mark.slow
def test_held_out_taught_compacted_and_exported_for_one_size(recipe, tmp_path):
    need("optimum-intel")
    from optimum.intel import OVModelForImageClassification

    from optkit import runtime
    from optkit.ir.io import read_model

    report = optkit.run(recipe, output=tmp_path / "run")
    scores = split_scores(report)
    names = {"dense", "pruned", "int8"} | ({"int8 optkit"} if runtime.available() else set())
    assert names <= scores.keys() and scores["agreement"] >= 0.9
    chosen, tried = report["training"]["chosen"], report["training"]["scores"]
    assert chosen["examples"] == 12
    assert {"step": chosen["step"], "score": chosen["score"]} in tried and chosen["score"] == max(
        t["score"] for t in tried
    )
    [shape] = report["benchmark"]["shapes"]
    assert (shape["batch"], shape["seq"], shape["pixels"]) == (2, None, "3 x 24 x 24")
    assert "| 2 x 3 x 24 x 24 pixels | " in (tmp_path / "run" / "report.md").read_text()
    folder = tmp_path / "run" / "openvino"
    # The IR says which images it takes, and has a processor beside it.
    assert read_model(folder).input(0).get_partial_shape().to_shape() == [2, 3, 24, 24]
    assert json.loads((folder / "preprocessor_config.json").read_text())["size"] == {"height": 24, "width": 24}
    model = OVModelForImageClassification.from_pretrained(folder)
    assert model(pixel_values=torch.zeros(2, 3, 24, 24)).logits.shape == (2, 5)


def test_a_processor_of_another_size_than_the_model(recipe, tiny_vit, tmp_path):
    folder = shutil.copytree(tiny_vit, tmp_path / "vit")
    file = folder / "preprocessor_config.json"
    file.write_text(file.read_text().replace("24", "32"))
    with pytest.raises(PlanError, match=r"takes no 3 x 32 x 32 pixels, which its image processor makes"):
        optkit.run(recipe, [f"model.name={folder}"], output=tmp_path / "run")
