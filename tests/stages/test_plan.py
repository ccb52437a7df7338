"""What a recipe asks for and its model cannot do is told in the plan, all of it at once, and nothing is written."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml

from optkit.errors import PlanError
from optkit.pipeline.validate import make_plan
from optkit.recipe import load_recipe
from optkit.runtime.structures import SuitedStructure
from optkit.stages import plan


@pytest.fixture
def unlimited(tiny_checkpoint, tmp_path):
    """``tiny_checkpoint``, whose tokenizer does not say how long an input may be; the model has 64 positions."""
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "unlimited")
    file = folder / "tokenizer_config.json"
    said = json.loads(file.read_text())
    del said["model_max_length"]
    file.write_text(json.dumps(said))
    return folder


def problems(recipe, *sets: str) -> list[str]:
    with pytest.raises(PlanError) as caught:
        make_plan(load_recipe(recipe, list(sets)))
    return caught.value.problems


def test_lengths_beyond_the_positions_are_refused_all_at_once(files_recipe, unlimited):
    lengths = ("benchmark.seq=[32, 65]", "prune.0.allocate={by: latency, speedup: 1.2, seq: 100}", "task.max_length=70")
    found = problems(files_recipe, f"model.name={unlimited}", *lengths, "prune.0.schedule=null")
    assert found[:2] == [
        "task.max_length: 70 is more than the 64 tokens the model takes",
        "prune.0.allocate.seq: 100 is more than the 64 tokens the model takes",
    ]
    assert "benchmark.seq: 65 is more than the 64 tokens the model takes" in found


@pytest.mark.parametrize("length", ["num_train_epochs=1e9", "num_train_epochs=1e308", "max_steps=100000000000"])
def test_a_training_that_never_ends_is_refused_at_once(files_recipe, length):
    (said,) = problems(files_recipe, f"train.{length}", "prune.0.schedule={to: 0.5, every: 1}")
    assert said.startswith("train: ") and said.endswith(" steps never end: lower num_train_epochs or max_steps")


def test_lengths_that_nobody_chose_are_cut_to_the_positions(files_recipe, unlimited):
    from optkit.allocation import choice
    from optkit.pipeline.context import RunContext
    from optkit.progress import Reporter

    by_latency = "prune.0.allocate={by: latency, speedup: 1.2}"
    sets = [f"model.name={unlimited}", "benchmark={backends: [openvino]}", by_latency, "prune.0.schedule=null"]
    context = RunContext(load_recipe(files_recipe, sets), None, Reporter(quiet=True))
    assert context.recipe.benchmark.seq is None and context.data.lengths == (128,)
    assert context.task.dummy_inputs(context.data.tokenizer, 1, 128, seed=0)["input_ids"].shape == (1, 64)
    assert choice.shape(context) == (1, 64)
    recipe = load_recipe(files_recipe, sets[:2])
    make_plan(recipe)
    # Nor does the copy that travels with the model ask for more.
    assert yaml.safe_load(recipe.resolved_yaml())["benchmark"] == {"batch": [1], "backends": ["openvino"]}
    fixed = load_recipe(files_recipe, [*sets[:2], "export.shapes={batch: 1, seq: 40}"])
    assert RunContext(fixed, None, Reporter(quiet=True)).data.lengths == (40,)


def test_positions_behind_the_padding_of_the_tokenizer_that_will_be_used(files_recipe, unlimited):
    """A new model takes its padding from the tokenizer, whose is 0, where the configuration's default is 1."""
    model = "model={config: {model_type: mpnet, hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 2, "
    model += "intermediate_size: 32, max_position_embeddings: 40}, tokenizer: " + str(unlimited) + "}"
    assert problems(files_recipe, model, "task.max_length=39") == [
        "task.max_length: 39 is more than the 38 tokens the model takes"
    ]
    model = model.replace("mpnet", "data2vec-text")
    assert problems(files_recipe, model, "task.max_length=40", "export.formats=[openvino]")[0] == (
        "task.max_length: 40 is more than the 39 tokens the model takes"
    )


BIG_BIRD = "model={config: {model_type: big_bird, hidden_size: 32, num_hidden_layers: 2, intermediate_size: 32, "
BIG_BIRD += "num_attention_heads: 2, max_position_embeddings: 64}, tokenizer: {train: wordpiece, vocab_size: 200}}"


def test_an_architecture_that_cannot_be_exported_is_refused_unless_the_run_stops_before(files_recipe, tmp_path):
    from optkit.pipeline import runner

    sets = [BIG_BIRD, "evaluate.baseline=none"]
    (found,) = problems(files_recipe, *sets, "export.formats=[openvino]")
    assert found.startswith("model: big_bird cannot be exported to OpenVINO for text-classification with openvino ")
    run = {"output": tmp_path / "run"}
    assert runner.run(files_recipe, sets, stop_after="dense", **run)["stopped_after"] == "dense"
    for until in ("plan", None):
        with pytest.raises(PlanError, match="model: big_bird cannot be exported"):
            runner.run(files_recipe, sets, stop_after=until, **run)


def test_other_faults_are_told_beside_it(files_recipe):
    found = problems(files_recipe, BIG_BIRD, "evaluate.baseline=none", "benchmark.seq=65", "quantize.ignored=[nothing]")
    assert {text.partition(":")[0] for text in found} == {"quantize.ignored", "model", "benchmark.seq"}


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        ((), True),
        (("prune.0.structure=2:4", "prune.0.schedule.to=0.5"), True),
        (("prune.0.structure=head",), False),
        (("prune=[]", "train=null"), False),
        (("benchmark.backends=[openvino]",), False),
        (("benchmark=null",), False),
    ],
)
def test_the_plan_says_which_structure_suits_the_runtime_here(files_recipe, monkeypatch, sets, said):
    suited = SuitedStructure("AVX9", "8x4", "which are fast", measured=True)
    monkeypatch.setattr(plan, "suited_structure", lambda: suited)
    notes = make_plan(load_recipe(files_recipe, ["benchmark={}", *sets])).notes
    text = "structure: this CPU runs kernels for AVX9: 8x4 blocks suit them, which are fast (measured)"
    assert [note for note in notes if note.startswith("structure: ")] == [text] * said


def test_without_kernels_the_plan_names_no_structure(files_recipe, monkeypatch):
    monkeypatch.setattr(plan, "suited_structure", lambda: None)
    notes = make_plan(load_recipe(files_recipe, ["benchmark={}"])).notes
    assert not [note for note in notes if note.startswith("structure: ")]


def test_a_plan_writes_nothing(files_recipe, unlimited, tmp_path, monkeypatch, optkit_cli):
    monkeypatch.chdir(tmp_path)
    before = {file: file.read_bytes() for file in (*tmp_path.rglob("*.json"), files_recipe)}
    there = sorted(tmp_path.rglob("*")), sorted(files_recipe.parent.iterdir())
    model = ("--set", f"model.name={unlimited}", "--set", "benchmark={}", "--set", "quantize.finetune={steps: 2}")
    done = optkit_cli("validate", "--plan", files_recipe, *model)
    assert done.code == 0, done.err
    assert (sorted(tmp_path.rglob("*")), sorted(files_recipe.parent.iterdir())) == there
    assert all(file.read_bytes() == content for file, content in before.items())


def test_a_baseline_that_is_trained_needs_a_training(files_recipe):
    assert problems(files_recipe, "train=null", "evaluate.baseline=trained", "prune.0.schedule={to: 0.5}") == [
        "evaluate.baseline: trained is this recipe's training without `prune`: write `train`, or auto"
    ]
