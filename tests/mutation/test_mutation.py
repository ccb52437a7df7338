"""Whatever a person may type or copy by half ends in success or in a line that says what is wrong, where, and the way
out: never in an error that is none of optkit's own.

Cases are drawn from a seed. ``OPTKIT_MUTATIONS=3000`` tries as many of each kind, ``OPTKIT_MUTATION_SEED=21`` others,
``OPTKIT_MUTATION=recipe:17`` the one that a failure names, and ``OPTKIT_MUTATION_WHOLE=1`` goes through conversion and
quantization, too.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import odd_arguments
import odd_data
import odd_folders
import odd_recipes
import odd_reports
import pytest
from doors import STOPPED, Outcome, call
from odd_values import pick
from stock import write_adapter, write_stock

SEED = int(os.environ.get("OPTKIT_MUTATION_SEED", "20"))
COUNTS = {"recipe": 120, "checkpoint": 40, "embedder": 15, "vision": 15, "adapter": 8, "ir": 20}
COUNTS |= {"data": 40, "report": 40, "argument": 40}

# Of damaged inputs libraries warn as they like.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

Case = Callable[[np.random.Generator, Path], tuple[list[object], str]]
"""Writes a mutated input into the folder; gives the command line that takes it, and the input in words."""


@pytest.fixture(scope="session")
def places(tmp_path_factory, tiny_checkpoint, tiny_vit, shape_files) -> dict[str, str]:
    return write_stock(tmp_path_factory.mktemp("stock"), tiny_checkpoint, tiny_vit, shape_files["validation"])


def numbers(kind: str) -> list[int]:
    """Which cases of a kind to try."""
    only = os.environ.get("OPTKIT_MUTATION")
    if only is not None:
        name, _, number = only.partition(":")
        return [int(number)] if name == kind else []
    return list(range(int(os.environ.get("OPTKIT_MUTATIONS", COUNTS[kind]))))


def check(kind: str, case: Case, folder: Path, monkeypatch) -> None:
    """Tries every case of a kind; fails with each fault, its input, and how to try it alone."""
    outcomes: Counter[str] = Counter()
    refusals: Counter[str] = Counter()
    faults: dict[str, list[tuple[int, str, Outcome]]] = {}
    for number in numbers(kind):
        room = folder / str(number)
        room.mkdir()
        monkeypatch.chdir(room)
        arguments, shown = case(np.random.default_rng([SEED, number]), room)
        outcome = call(arguments)
        outcomes[outcome.kind] += 1
        if outcome.kind == "refused":
            refusals[re.sub(r"'[^']*'|[0-9]+|/\S*", "#", outcome.said)[:110]] += 1
        if outcome.kind == "fault":
            faults.setdefault(outcome.signature, []).append(
                (number, f"optkit {' '.join(map(str, arguments))}\n{shown}", outcome)
            )
        if only := os.environ.get("OPTKIT_MUTATION"):
            print(f"{only}: {outcome.kind}\n{shown}\n{outcome.said}")
        monkeypatch.chdir(folder)
        shutil.rmtree(room, ignore_errors=True)
    print(f"{kind}: {sum(outcomes.values())} inputs, {dict(outcomes)}")
    print(*(f"  {count} x {said!r}" for said, count in refusals.most_common(12)), sep="\n")
    said = []
    for signature, found in sorted(faults.items(), key=lambda item: -len(item[1])):
        number, shown, outcome = found[0]
        said.append(
            f"== {len(found)} x {signature}; try OPTKIT_MUTATION={kind}:{number}\n{shown[:3000]}\n{outcome.said}"
        )
    if said:
        pytest.fail("\n".join([f"{outcomes['fault']} of {sum(outcomes.values())}", *said]), pytrace=False)


def test_recipes(places, tmp_path, monkeypatch):
    def case(rng, folder):
        path = odd_recipes.write(rng, folder, places)
        return ["validate", "--plan", path], path.read_bytes().decode("utf-8", "replace")

    check("recipe", case, tmp_path, monkeypatch)


MODEL = """\
optkit: 1
model: {name: ./model}
task: {type: text-classification, dataset: {files: {train: FILE_train, validation: FILE_train}}, text: sentence, max_length: 16}
train: {max_steps: 8}
prune: [{structure: 1x4, schedule: {to: 0.5}}]
"""


def recipe_of(folder: Path, places: dict[str, str], text: str = MODEL) -> Path:
    for name, place in places.items():
        text = text.replace(name, place)
    (folder / "case.yaml").write_text(text, encoding="utf-8")
    return folder / "case.yaml"


def roles(folder: Path, places: dict[str, str]) -> list[list[object]]:
    """Command lines that take a checkpoint in each of its roles."""
    validate = ["validate", "--plan", recipe_of(folder, places)]
    start = ["--set", f"model.name={places['CHECKPOINT']}"]
    data = ["--data", places["FILE_train"], "--text", "sentence", "--samples", "4", "--max-length", "16"]
    return [
        validate,
        validate,
        [*validate, "--set", "train=null", "--set", "oneshot={samples: 4}"],
        [*validate, *start, "--set", "distill={teacher: ./model, hidden: 1.0}"],
        [*validate, *start, "--set", "model.tokenizer=./model"],
        [*validate, *start, "--set", "evaluate={baseline: ./model}"],
        ["inspect", "model"],
        ["inspect", "model"],
        ["quantize", "model", *data, "--output", "int8"],
        ["quantize", "model", *data, "--output", "int8"],
        ["bench", "model", "--backends", "torch", "--seq", "8", "--duration", "0.001", "--no-loads"],
    ]


@pytest.fixture
def nothing_heavy(monkeypatch):
    """`quantize` ends where the conversion would begin, once all of the input has been read."""
    from optkit.errors import OptkitError
    from optkit.export import fp32, openvino

    def stop(*_, **__):
        raise OptkitError(STOPPED)

    if not os.environ.get("OPTKIT_MUTATION_WHOLE"):
        monkeypatch.setattr(fp32, "convert", stop)
        monkeypatch.setattr(openvino, "finish", stop)


def test_checkpoints(places, tmp_path, monkeypatch, nothing_heavy):
    def case(rng, folder):
        shown = odd_folders.damage(rng, Path(places["CHECKPOINT"]), folder / "model", odd_folders.CHECKPOINT)
        return pick(rng, roles(folder, places)), shown

    check("checkpoint", case, tmp_path, monkeypatch)


def test_embedders(places, tmp_path, monkeypatch, nothing_heavy):
    def case(rng, folder):
        shown = odd_folders.damage(rng, Path(places["EMBEDDER"]), folder / "model", odd_folders.EMBEDDER)
        pairs = "{type: feature-extraction, text: [a, b], label: score, max_length: 16, dataset: {files: "
        task = f"{pairs}{{train: {places['FILE_pairs']}, validation: {places['FILE_pairs']}}}}}}}"
        return [*pick(rng, roles(folder, places)[:5]), "--set", f"task={task}"], shown

    check("embedder", case, tmp_path, monkeypatch)


def test_models_of_images(places, tmp_path, monkeypatch):
    def case(rng, folder):
        shown = odd_folders.damage(rng, Path(places["VIT"]), folder / "model", odd_folders.VISION)
        images = places["IMAGES"]
        task = f"{{type: image-classification, dataset: {{files: {{train: {images}, validation: {images}}}}}}}"
        words = pick(rng, [each for each in roles(folder, places) if each[0] in ("validate", "inspect")])
        return [*words, "--set", f"task={task}"] if words[0] == "validate" else words, shown

    check("vision", case, tmp_path, monkeypatch)


def test_adapters(places, tmp_path_factory, tmp_path, monkeypatch, nothing_heavy):
    adapter = write_adapter(Path(places["CHECKPOINT"]), tmp_path_factory.mktemp("adapter") / "adapter")

    def case(rng, folder):
        shown = odd_folders.damage(rng, adapter, folder / "model", odd_folders.ADAPTER)
        return pick(rng, roles(folder, places)[7:10]), shown

    check("adapter", case, tmp_path, monkeypatch)


def test_irs(encoder_folder, places, tmp_path, monkeypatch, nothing_heavy):
    tagged = tmp_path / "tagged"
    tag(shutil.copytree(encoder_folder, tagged))

    def case(rng, folder):
        shown = odd_folders.damage(rng, tagged, folder / "model", odd_folders.IR)
        words = pick(
            rng,
            [
                *(
                    ["inspect", "model"],
                    ["inspect", "model", "--json"],
                    ["inspect", "model", "--runtime", "--plan", "static"],
                ),
                *(
                    ["bake", "model", "--output", "baked"],
                    ["quantize", "model", "--data", places["FILE_train"], "--text", "sentence"],
                ),
                ["bench", "model", "--backends", "openvino-int8", "--seq", "8", "--duration", "0.001", "--no-loads"],
            ],
        )
        return words, shown

    check("ir", case, tmp_path, monkeypatch)


def test_data_files(places, tmp_path, monkeypatch, nothing_heavy):
    def case(rng, folder):
        path, task, shown = odd_data.write(rng, folder)
        recipe = recipe_of(folder, places)
        good = places[f"FILE_{next(kind for kind, said in odd_data.TASKS.items() if said == task)}"]
        files = pick(rng, (f"{{train: {path}, validation: {path}}}", f"{{train: {good}, validation: {path}}}"))
        named = [
            *("--set", f"model.name={places['CHECKPOINT']}"),
            "--set",
            f"task={task}, dataset: {{files: {files}}}}}",
        ]
        unlabelled = f"{{teacher: {places['CHECKPOINT']}, data: {{files: {path}}}}}"
        lines = [["validate", "--plan", recipe, *named]] * 5
        lines.append(["validate", "--plan", recipe, *named[:2], "--set", f"distill={unlabelled}"])
        lines.append(["quantize", places["CHECKPOINT"], "--data", path, "--text", "sentence", "--max-length", "16"])
        return pick(rng, lines), shown

    check("data", case, tmp_path, monkeypatch)


def test_runs_and_reports(places, tmp_path, monkeypatch):
    def case(rng, folder):
        recipe = recipe_of(folder, places, MODEL.replace("./model", "CHECKPOINT"))
        return odd_reports.write(rng, folder, recipe)

    check("report", case, tmp_path, monkeypatch)


def test_arguments(places, encoder_folder, tmp_path, monkeypatch, nothing_heavy):
    def case(rng, folder):
        recipe = recipe_of(folder, places, MODEL.replace("./model", "CHECKPOINT"))
        return odd_arguments.words(rng, folder, places | {"IR": str(encoder_folder)}, recipe), ""

    check("argument", case, tmp_path, monkeypatch)


def tag(folder: Path) -> None:
    """Writes the tags of its layers into an IR."""
    from optkit.ir.io import read_model, save_model
    from optkit.ir.layers import linear_layers
    from optkit.ir.tags import LayerTag, Tags, write_tags

    model = read_model(folder)
    tags = [
        LayerTag(layer.matmul, f"layer{i}.weight", layer.weight.values.shape, "1x4", 0.9, 0.9, 0.9)
        for i, layer in enumerate(linear_layers(model))
    ]
    write_tags(model, Tags(tuple(tags), 0.9, "abc", "1", (("gone.weight", (4, 4)),)))
    (folder / "again").mkdir()
    save_model(model, folder / "again")
    del model
    for file in (folder / "again").iterdir():
        file.replace(folder / file.name)
    (folder / "again").rmdir()


@pytest.mark.parametrize("number", range(len(odd_recipes.bases())))
def test_the_recipes_that_are_changed_are_right(number, places, tmp_path):
    path = tmp_path / "right.yaml"
    path.write_text(odd_recipes.to_text(odd_recipes.bases()[number], places), encoding="utf-8")
    outcome = call(["validate", "--plan", path])
    assert outcome.kind == "success", outcome.said
