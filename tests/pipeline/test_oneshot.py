"""A recipe that prunes and does not train: in one shot, on a model that is fine-tuned already."""

from __future__ import annotations

import json

import pytest
from safetensors.torch import load_file

from optkit.pipeline import oneshot
from optkit.pipeline.context import RunContext
from optkit.progress import Reporter
from optkit.recipe import load_recipe
from optkit.stages import train

pytestmark = pytest.mark.slow

RULES = """prune=[
  {name: heads, criterion: fisher, structure: head, schedule: {to: 0.25}},
  {name: neurons, criterion: fisher, structure: 'neuron:4', schedule: {to: 0.5}},
  {name: blocks, criterion: reconstruction, structure: 1x4, schedule: {to: 0.7}}]"""
MORE = ["evaluate.max_drop=9", "oneshot.samples=41", "prune.blocks.criterion.damping=0.1"]
SETS = ["train=null", RULES, "oneshot.samples=40", "oneshot.batch_size=16", "quantize.calibration.samples=10"]


def arguments(*sets: str) -> list[str]:
    return [part for text in sets for part in ("--set", text)]


@pytest.fixture(scope="module")
def done(tmp_path_factory, files_recipe, optkit_cli):
    run = tmp_path_factory.mktemp("oneshot") / "run"
    printed = optkit_cli("run", files_recipe, "--output", run, *arguments(*SETS))
    assert printed.code == 0, printed.err
    return run, printed


def test_every_rule_reaches_its_target_without_a_step(done, tiny_checkpoint):
    run, printed = done
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    assert "one shot: no training, 40 examples of the training split to go by" in " ".join(printed.err.split())
    assert report["training"]["steps"] == 0 and not list(run.glob("checkpoints*"))
    assert [(rule["name"], rule["pruned"], rule["groups"]) for rule in report["training"]["rules"]] == [
        ("heads", 1, 4),
        ("neurons", 16, 32),
        ("blocks", round(0.7 * 4096), 4096),
    ]
    start, pruned = load_file(tiny_checkpoint / "model.safetensors"), load_file(run / "pruned" / "model.safetensors")
    zeros = sum(int((tensor == 0).sum()) for name, tensor in pruned.items() if ".layer." in name and tensor.dim() == 2)
    assert zeros == 4 * round(0.7 * 4096)
    assert start.keys() == pruned.keys()
    assert (run / "compact").is_dir() and (run / "openvino").is_dir()
    assert report["evaluate"]["baseline"] == "start"


def test_it_is_done_again_only_where_the_examples_are_others(done, files_recipe, optkit_cli):
    run, _ = done
    again = optkit_cli("run", files_recipe, "--output", run, "--stop-after", "train", *arguments(*SETS))
    assert again.code == 0 and "train: done before, skipped" in again.err
    keys = [
        train.key(RunContext(load_recipe(files_recipe, [*SETS, more]), None, Reporter(quiet=True))) for more in MORE
    ]
    done_with = json.loads((run / "manifest.json").read_text(encoding="utf-8"))["stages"]["train"]["key"]
    assert [key == done_with for key in keys] == [True, False, False]


def test_examples_are_drawn_by_the_seed_and_batched_by_length(files_recipe):
    def batches(*more):
        return oneshot.batches(RunContext(load_recipe(files_recipe, [*SETS, *more]), None, Reporter(quiet=True)))

    found = batches()
    assert [len(batch["labels"]) for batch in found] == [16, 16, 8]
    lengths = [length for batch in found for length in batch["attention_mask"].sum(1).tolist()]
    assert lengths == sorted(lengths)
    assert all(ours["input_ids"].equal(theirs["input_ids"]) for ours, theirs in zip(found, batches(), strict=True))
    other = batches("seed=8")
    assert any(not a["input_ids"].equal(b["input_ids"]) for a, b in zip(found, other, strict=True))
    assert sum(len(batch["labels"]) for batch in batches("oneshot.samples=1000")) == 96


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (["train=null"], None),
        (["train=null", "prune.0.criterion=movement"], "prune.0: movement has to watch training: write `train`"),
        (["train=null", "prune.0.regrow=true"], "prune.0: weights return in training only"),
        (["prune.0.criterion=reconstruction"], "prune.0: reconstruction prunes in one shot, and this is training"),
        (["oneshot={samples: 5}"], "oneshot: before a training it prunes what a schedule begins `from`, and no rule's"),
        (["oneshot={samples: 5}", "prune=[]"], "oneshot: belongs to a recipe with `prune`"),
        (["oneshot={samples: 5}", "prune.0.schedule.from=0.3"], None),
        (["train=null", "distill.teacher=CHECKPOINT"], "distill: nothing is trained"),
        (
            ["train=null", "prune.0.criterion=fisher"],
            "prune.0.structure: fisher chooses heads or neurons, not element: use reconstruction, or structure: head",
        ),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_done(files_recipe, tiny_checkpoint, optkit_cli, sets, said):
    sets = [text.replace("CHECKPOINT", str(tiny_checkpoint)) for text in sets]
    code, out, err = optkit_cli("validate", "--plan", files_recipe, *arguments(*sets))
    assert code == (2 if said else 0)
    assert said is None or said in " ".join((out + err).split())


def test_a_model_that_is_not_fine_tuned_is_refused(generated_recipe, optkit_cli):
    sets = arguments("train=null", "prune.0.criterion=magnitude")
    code, out, err = optkit_cli("validate", "--plan", generated_recipe, *sets)
    said = "model: without `train` it has to be fine-tuned already, and this one has random weights: write `train`"
    assert code == 2 and said in " ".join((out + err).split())


def test_a_model_that_is_not_fine_tuned_has_nothing_to_begin_with(generated_recipe, optkit_cli):
    sets = arguments("oneshot={samples: 5}", "prune.0.schedule.from=0.3")
    code, out, err = optkit_cli("validate", "--plan", generated_recipe, *sets)
    said = "model: for `oneshot` it has to be fine-tuned already, and this one has random weights: remove `oneshot`"
    assert code == 2 and said in " ".join((out + err).split())


def test_sparsities_may_be_allocated_first(files_recipe, optkit_cli, tmp_path):
    rule = "{name: blocks, criterion: reconstruction, structure: 1x4, allocate: {by: sensitivity}, schedule: {to: 0.5}}"
    sets = arguments("train=null", f"prune=[{rule}]", "oneshot.samples=20")
    printed = optkit_cli("run", files_recipe, "--output", tmp_path / "run", "--stop-after", "train", *sets)
    assert printed.code == 0, printed.err
    chosen = json.loads((tmp_path / "run" / "allocation" / "allocation.json").read_text(encoding="utf-8"))
    pruned = load_file(tmp_path / "run" / "pruned" / "model.safetensors")
    layers = chosen["rules"]["blocks"]["layers"]
    assert len({layer["sparsity"] for layer in layers}) > 1
    for layer in layers:
        assert float((pruned[f"{layer['name']}.weight"] == 0).float().mean()) == layer["sparsity"]
