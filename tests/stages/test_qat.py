"""Int8 with everything on: trained for it with zeros kept, held to a limit on examples that nothing else sees, told."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from optkit.errors import PlanError
from optkit.ir.io import read_model
from optkit.ir.layers import linear_layers
from optkit.pipeline.context import RunContext
from optkit.pipeline.validate import make_plan
from optkit.progress import Reporter
from optkit.recipe import load_recipe
from optkit.stages import export, qat

pytestmark = pytest.mark.slow

SETS = [
    "train=null",
    "prune=[{name: blocks, structure: 1x4, schedule: {to: 0.7}}]",
    "quantize.calibration.samples=10",
    "quantize.finetune={steps: 3, learning_rate: 1e-3, batch_size: 8}",
    "quantize.max_drop=100",
    "quantize.control.samples=20",
    "quantize.sensitivity=true",
    "quantize.ignored=classifier",
]


def _sets(*more):
    return [part for text in [*SETS, *more] for part in ("--set", text)]


@pytest.fixture(scope="module")
def done(tmp_path_factory, files_recipe, optkit_cli):
    run = tmp_path_factory.mktemp("qat") / "run"
    printed = optkit_cli("run", files_recipe, "--output", run, "--stop-after", "export", *_sets())
    assert printed.code == 0, printed.err
    return run, printed, json.loads((run / "manifest.json").read_text(encoding="utf-8"))["stages"]


def test_training_for_int8_keeps_every_zero_and_is_what_is_exported(done):
    run, _, stages = done
    pruned, trained = (load_file(run / name / "model.safetensors") for name in ("pruned", "qat"))
    assert pruned.keys() == trained.keys()
    assert {file.name for file in (run / "pruned").iterdir()} == {file.name for file in (run / "qat").iterdir()}
    changed = 0
    for name, weight in pruned.items():
        if weight.ndim == 2 and ".layer." in name:
            assert np.array_equal(weight == 0, trained[name] == 0) and (weight == 0).mean() > 0.3
            changed += not np.array_equal(weight, trained[name])
    assert changed == 12
    assert stages["qat"]["facts"]["steps"] == 3 and len(stages["qat"]["facts"]["history"]) == 3
    assert all(entry["loss"] >= 0 for entry in stages["qat"]["facts"]["history"])
    classifier = next(layer for layer in linear_layers(read_model(run / "openvino")) if "classifier" in layer.matmul)
    assert np.array_equal(classifier.weight.values, trained["classifier.weight"])


def test_the_facts_and_the_printed_table(done):
    run, printed, stages = done
    facts = stages["export"]["facts"]["quantization"]
    assert facts["method"] == "int8" and facts["fp32"] == ["classifier"]
    control = facts["control"]
    assert (control["limit"], control["tried"], control["metric"]) == (100, 1, "accuracy")
    assert (control["examples"], control["held_out"]) == (20, False)
    assert control["before"] == control["after"] == pytest.approx(100 * (control["reference"] - _score(control)))
    layers = facts["sensitivity"]["layers"]
    assert facts["sensitivity"] == json.loads((run / "openvino" / "sensitivity.json").read_text(encoding="utf-8"))
    assert "classifier" not in {layer["module"] for layer in layers} and layers[0]["error"] > 0
    assert layers[0]["module"] in printed.err.replace("\n", "") and "all together" in printed.err


def _score(control):
    return round(20 * (control["reference"] - control["before"] / 100)) / 20


def _job(recipe, *more):
    return RunContext(load_recipe(recipe, [*SETS, *more]), None, Reporter(quiet=True))


def test_accuracy_is_held_on_examples_that_calibration_does_not_see(files_recipe):
    context = _job(files_recipe)
    held = export._control_rows(context)
    seen = [sample["input_ids"] for sample in context.data.draw(10)]
    assert len(held) == 20 and not any(
        ids in seen for ids in context.task.encode(held, context.data.tokenizer, context.data.head)["input_ids"]
    )
    assert held[:] == export._control_rows(_job(files_recipe))[:]
    kept = _job(files_recipe, "train={num_train_epochs: 1, hold_out: 0.25}")
    assert export._control_rows(kept)[:] == kept.data.hold_out_rows[:]


def test_it_is_done_again_only_where_it_would_be_another(files_recipe):
    def keys(*more):
        context = _job(files_recipe, *more)
        return qat.key(context), export.key(context)

    first = keys()
    for change, again in (
        ("quantize.max_drop=3", (False, True)),
        ("quantize.finetune.steps=4", (True, True)),
        ("quantize.weight_range=full", (True, True)),
        ("evaluate.max_drop=9", (False, False)),
    ):
        assert tuple(a != b for a, b in zip(first, keys(change), strict=True)) == again, change


def test_what_cannot_work_is_found_by_the_plan(files_recipe):
    with pytest.raises(PlanError) as caught:
        make_plan(load_recipe(files_recipe, [*SETS, "quantize.ignored=[classifier, '*.qeury']"]))
    assert caught.value.problems == [
        "quantize.ignored: '*.qeury' matches no module of the model, did you mean 'query'?"
    ]
    context = _job(files_recipe)
    context.team.size = 2
    assert qat.problems(context, None)[0].startswith("quantize.finetune: trains in one process: stop this launch with")
