"""What a recipe with a teacher does beyond cached logits: texts beside the labelled, a hold-out, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from manifests import facts
from safetensors.numpy import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertForSequenceClassification

import optkit
from optkit.adapters import passes
from optkit.data.files import read_file
from optkit.errors import PlanError
from optkit.pipeline.context import RunContext
from optkit.pipeline.run_folder import RunDir
from optkit.pipeline.validate import make_plan
from optkit.planning import estimate
from optkit.progress import Reporter
from optkit.recipe import load_recipe
from optkit.stages import teacher

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "more.txt"
    path.write_text("the soup was grim .\n\nwhat a lovely garden\nsour letter\n", encoding="utf-8")
    return path


@pytest.fixture
def job(files_recipe):
    return lambda *overrides: RunContext(load_recipe(files_recipe, overrides), None, Reporter(quiet=True))


def test_texts_are_counted_asked_kept_and_trained_on(files_recipe, tiny_checkpoint, texts, tmp_path):
    given = f"distill={{teacher: {tiny_checkpoint}, data: {{files: {texts}, augment: 2}}}}"
    plan = make_plan(load_recipe(files_recipe, [given]))
    assert plan.examples == {"train": 96, "validation": 32, "unlabelled": 3 + 2 * 96}
    assert (plan.steps, plan.per_epoch) == (38, 19)  # (96 + 195) / 16, two epochs

    output = tmp_path / "run"
    optkit.run(files_recipe, [given], output=output, stop_after="train")
    kept = read_file(output / "teacher" / "texts.parquet")["sentence"].to_pylist()
    assert kept[:3] == ["the soup was grim .", "what a lovely garden", "sour letter"] and len(kept) == 195
    logits = load_file(output / "teacher" / "logits.safetensors")["logits"]
    assert logits.shape == (96 + 195, 2) and facts(output, "teacher")["unlabelled"] == 195
    model = AutoModelForSequenceClassification.from_pretrained(tiny_checkpoint).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_checkpoint)
    with torch.no_grad():
        for row in (0, 2, 3, 50, 194):
            asked = model(**tokenizer(kept[row], return_tensors="pt", truncation=True, max_length=32)).logits[0].numpy()
            assert logits[96 + row] == pytest.approx(asked, abs=1e-5)
    trained = facts(output, "train")
    assert trained["steps"] == 38 and [log["step"] for log in trained["history"]] == list(range(1, 39))

    before = json.loads((output / "manifest.json").read_text())["stages"]["teacher"]["key"]
    texts.write_text("another text\n")
    recipe = load_recipe(files_recipe, [given])
    assert teacher.key(RunContext(recipe, None, Reporter(quiet=True))) != before


def test_teacher_logits_hold_labelled_rows_first_and_the_rest_without_label(job, tiny_checkpoint, texts, tmp_path):
    recipe = job(f"distill={{teacher: {tiny_checkpoint}, data: {{files: {texts}}}}}")
    recipe.path = lambda name: tmp_path / name
    (tmp_path / "teacher").mkdir()
    output = type("Stage", (), {"folder": tmp_path / "teacher", "facts": {}})
    teacher.run(recipe, output)
    examples, how = teacher.teacher_logits(recipe)
    assert examples["labels"][:][-4:] == [1, -100, -100, -100] and len(examples) == 99
    assert how == {"temperature": 2.0, "distillation_weight": 0.9}
    decoded = recipe.data.tokenizer.decode(examples[98]["input_ids"], skip_special_tokens=True)
    assert decoded == "sour letter"
    assert np.asarray(examples[98]["teacher_logits"]).shape == (2,)


def test_states_need_no_cached_logits_and_mind_the_order_of_labels(job, tiny_checkpoint, tmp_path):
    turned = shutil.copytree(tiny_checkpoint, tmp_path / "turned")
    config = json.loads((turned / "config.json").read_text())
    config |= {"id2label": {"0": "right", "1": "left"}, "label2id": {"right": 0, "left": 1}}
    (turned / "config.json").write_text(json.dumps(config))
    recipe = job(f"distill={{teacher: {turned}, hidden: 1.0}}")
    recipe.data.head = dataclasses.replace(recipe.data.head, labels=("left", "right"))
    assert not teacher.is_needed(recipe)
    examples, how = teacher.teacher_logits(recipe)
    assert "teacher_logits" not in examples.column_names and (how["hidden"].weight, how["attention"]) == (1.0, None)
    inputs = recipe.data.tokenizer("the soup was fine", return_tensors="pt")
    plain = AutoModelForSequenceClassification.from_pretrained(tiny_checkpoint).eval()
    with torch.no_grad():
        assert torch.allclose(how["teacher"](**inputs).logits, plain(**inputs).logits[:, [1, 0]])


def test_a_hold_out_is_neither_trained_on_nor_reported(job, files_recipe, tiny_checkpoint, tmp_path):
    whole, parted = job(), job("train.hold_out=12", f"distill={{teacher: {tiny_checkpoint}, data: {{augment: 1}}}}")
    held = {parted.data.tokenizer.decode(ids, skip_special_tokens=True) for ids in parted.data.hold_out["input_ids"]}
    kept = {
        parted.data.tokenizer.decode(ids, skip_special_tokens=True) for ids in parted.data.encode("train")["input_ids"]
    }
    every = {
        whole.data.tokenizer.decode(ids, skip_special_tokens=True) for ids in whole.data.encode("train")["input_ids"]
    }
    assert (len(held), len(kept)) == (12, 84) and held.isdisjoint(kept) and held | kept == every
    assert set(parted.data.splits) == set(whole.data.splits) == {"train", "validation"}
    assert parted.data.splits["validation"].to_dict() == whole.data.splits["validation"].to_dict()
    assert teacher.count_unlabelled(parted) == 84  # nothing is made of what is held out
    assert job("train.hold_out=12").data.hold_out.to_dict() == parted.data.hold_out.to_dict()
    assert job("train.hold_out=12", "seed=8").data.hold_out.to_dict() != parted.data.hold_out.to_dict()
    assert len(job("train.hold_out=12.5%").data.hold_out) == 12

    output = tmp_path / "run"
    optkit.run(files_recipe, ["train.hold_out=12", "train.eval_steps=2"], output=output, stop_after="train")
    assert facts(output, "plan")["examples"] == {"train": 84, "validation": 32, "held out": 12}
    chosen = facts(output, "train")["chosen"]
    assert chosen["step"] in (8, 10, 12) and (chosen["metric"], chosen["examples"]) == ("accuracy", 12)
    model = AutoModelForSequenceClassification.from_pretrained(output / "pruned").eval()
    with torch.no_grad():
        rows = [parted.data.hold_out[i] for i in range(12)]
        right = [
            int(model(input_ids=torch.tensor([row["input_ids"]])).logits.argmax()) == row["labels"] for row in rows
        ]
    assert np.mean(right) == pytest.approx(chosen["score"])


def test_the_learning_rate_rewinds_as_planned(files_recipe, tmp_path):
    jumps = "prune.encoder.schedule={shape: stepwise, to: 0.5, begin: 0, end: 9, jumps: 3}"
    given = [jumps, "train.lr_rewind=jumps", "train.lr_floor=10%", "train.warmup_steps=1"]
    plan = make_plan(load_recipe(files_recipe, given))
    assert plan.rewinds == [3, 6, 9]
    optkit.run(files_recipe, given, output=tmp_path / "run", stop_after="train")
    rates = [log["learning_rate"] for log in facts(tmp_path / "run", "train")["history"]]
    cycle = [1.0, 0.7, 0.4]
    assert rates == pytest.approx([1e-3 * r for r in (0.0, 1.0, 0.55, *cycle, *cycle, *cycle)])


@pytest.fixture
def other_teacher(tmp_path, tiny_checkpoint):
    """A teacher of three heads and 16 positions, with words of its own."""
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "other")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["zebra"])
    tokenizer.save_pretrained(folder)
    changes = {"num_attention_heads": 4, "max_position_embeddings": 16, "vocab_size": len(tokenizer)}
    BertForSequenceClassification(BertConfig.from_pretrained(folder, **changes)).save_pretrained(folder)
    return folder


def test_a_teacher_whose_states_do_not_compare_is_refused(files_recipe, other_teacher):
    given = f"distill={{teacher: {other_teacher}, hidden: {{layers: [3]}}, attention: {{of: maps}}}}"
    with pytest.raises(PlanError) as raised:
        make_plan(load_recipe(files_recipe, [given]))
    assert raised.value.problems == [
        "distill.hidden: the student has no layer 3: its layers are 0 to 2",
        "distill.attention: the student has 2 attention heads and the teacher 4, so their maps do not compare: take "
        "relations",
        "distill.attention: the student's attention_probs_dropout_prob punches holes into its attention maps: set it "
        "to 0 in the model's config, or take relations",
        f"distill.hidden: {other_teacher} takes 16 tokens, and task.max_length is 32: lower it",
        f"distill.hidden: {other_teacher} has another tokenizer than the student, so their tokens do not compare: use "
        "a teacher with the same one, or distil logits alone",
    ]
    assert make_plan(load_recipe(files_recipe, [f"distill={{teacher: {other_teacher}}}"])).steps == 12


def run_teacher(context, folder):
    """Runs the stage into ``folder`` and returns its facts."""
    context.path = lambda name: folder / name
    (folder / "teacher").mkdir(parents=True)
    output = type("Stage", (), {"folder": folder / "teacher", "facts": {}})
    teacher.run(context, output)
    return output.facts


def test_several_teachers_teach_the_mean_of_their_logits(job, tiny_checkpoint, other_teacher, tmp_path):
    """One of another tokenizer and other positions, which turns the labels; states are those of the first alone."""
    config = json.loads((other_teacher / "config.json").read_text())
    config |= {"id2label": {"0": "right", "1": "left"}, "label2id": {"right": 0, "left": 1}}
    (other_teacher / "config.json").write_text(json.dumps(config))

    def labelled(*overrides):
        context = job(*overrides)
        context.data.head = dataclasses.replace(context.data.head, labels=("left", "right"))
        return context

    both = f"distill={{teacher: [{tiny_checkpoint}, {{name: {other_teacher}, weight: 3}}]}}"
    context = labelled(both)
    found = run_teacher(context, tmp_path / "both")
    alone = []
    for i, name in enumerate((tiny_checkpoint, other_teacher)):
        single = run_teacher(labelled(f"distill={{teacher: {name}}}"), tmp_path / str(i))
        alone.append(load_file(tmp_path / str(i) / "teacher" / "logits.safetensors")["logits"])
        assert found["teachers"][f"distill.teacher.{i}"] == single["train"]
    logits = load_file(tmp_path / "both" / "teacher" / "logits.safetensors")["logits"]
    assert np.abs(alone[0] - alone[1]).max() > 1e-3
    assert logits == pytest.approx(0.25 * alone[0] + 0.75 * alone[1], abs=1e-6) and logits.dtype == np.float32
    examples, how = teacher.teacher_logits(context)
    assert np.array_equal(np.asarray(examples["teacher_logits"][:], np.float32), logits) and "teacher" not in how

    # The first is left out of the logits, and runs beside the student.
    given = f"distill={{teacher: [{{name: {tiny_checkpoint}, weight: 0}}, {other_teacher}], hidden: 1.0}}"
    context = labelled(given)
    assert teacher.is_needed(context)
    run_teacher(context, tmp_path / "states")
    examples, how = teacher.teacher_logits(context)
    assert np.array_equal(np.asarray(examples["teacher_logits"][:], np.float32), alone[1])
    assert how["teacher"].config.num_attention_heads == 2 and how["hidden"].weight == 1.0
    assert teacher.key(labelled(both)) != teacher.key(labelled(both.replace("weight: 3", "weight: 2")))


def test_a_run_with_two_teachers(files_recipe, tiny_checkpoint, other_teacher, tmp_path):
    given = f"distill={{teacher: [{tiny_checkpoint}, {other_teacher}], hidden: 1.0, weight: 1.0, data: {{augment: 1}}}}"
    optkit.run(files_recipe, [given, "train.max_steps=8"], output=tmp_path / "run", stop_after="train")
    kept = load_file(tmp_path / "run" / "teacher" / "logits.safetensors")["logits"]
    assert kept.shape == (192, 2) and facts(tmp_path / "run", "train")["steps"] == 8


def test_pooled_states_are_those_of_the_last_teacher(files_recipe, job, tiny_checkpoint, other_teacher, tmp_path):
    """Kept with its tokenizer's view of each text, and trained with beside another teacher's states."""
    given = f"teacher: [{{name: {tiny_checkpoint}, weight: 0}}, {other_teacher}], hidden: 1.0"
    context = job(f"distill={{{given}, pooled: {{layers: auto, of: states}}}}")
    run_teacher(context, tmp_path / "kept")
    examples, how = teacher.teacher_logits(context)
    assert how["pooled"].of == "states" and how["pooled_teacher"].num_attention_heads == 4
    model = BertForSequenceClassification.from_pretrained(other_teacher).eval()
    tokenizer = AutoTokenizer.from_pretrained(other_teacher)
    for row in (0, 50, 95):
        inputs = tokenizer(context.data.splits["train"][row]["sentence"], truncation=True, return_tensors="pt")
        with torch.no_grad():
            states = model(**inputs, output_hidden_states=True).hidden_states
        wanted = torch.cat([states[i][0].mean(0) for i in (1, 2)]).numpy()
        assert np.asarray(examples[row]["teacher_states"]) == pytest.approx(wanted, rel=2e-3, abs=2e-3)
    assert teacher.key(context) != teacher.key(job(f"distill={{{given}}}"))

    output = tmp_path / "run"
    optkit.run(
        files_recipe, [f"distill={{{given}, pooled: 1.0}}", "train.max_steps=8"], output=output, stop_after="train"
    )
    assert facts(output, "train")["steps"] == 8
    deep = f"distill={{teacher: {other_teacher}, pooled: {{layers: [3]}}}}"
    with pytest.raises(PlanError) as raised:
        make_plan(load_recipe(files_recipe, [deep]))
    assert raised.value.problems == ["distill.pooled: the student has no layer 3: its layers are 0 to 2"]


def test_several_teachers_that_cannot_work(files_recipe, tiny_checkpoint, other_teacher):
    unlike = f"distill={{teacher: [{other_teacher}, {tiny_checkpoint}], hidden: 1.0}}"
    with pytest.raises(PlanError) as raised:
        make_plan(load_recipe(files_recipe, [unlike]))
    assert [text.split(": ")[0] for text in raised.value.problems] == ["distill.hidden"] * 2
    absent = f"distill={{teacher: [{tiny_checkpoint}, ./absent]}}"
    with pytest.raises(PlanError, match="distill.teacher.1: no folder"):
        make_plan(load_recipe(files_recipe, [absent]))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            ["train.lr_rewind=jumps"],
            "train.lr_rewind: the learning rate is rewound at jumps, and the schedule of rule 'encoder' is cubic: make it",
        ),
        (
            ["train.lr_rewind=4", "train.warmup_steps=50%"],
            "train.lr_rewind: the warm-up of 6 steps does not end before the learning rate is rewound at step 4",
        ),
        (
            ["train.average_last=50%"],
            "train.average_last: the mean begins after step 6, and the schedule of rule 'encoder' ends at step 8: average",
        ),
        (["train.hold_out=96"], "train.hold_out: 96 of 96 training examples is 96: hold out some, not all"),
        (["train.hold_out=0.1%"], "train.hold_out: 0.001 of 96 training examples is 0: hold out some, not all"),
        (
            ["distill={teacher: TEACHER, data: {files: ./none.txt}}"],
            "none.txt: no such file: correct distill.data.files",
        ),
    ],
)
def test_a_plan_that_cannot_work(given, said, files_recipe, tiny_checkpoint):
    with pytest.raises(PlanError) as raised:
        make_plan(load_recipe(files_recipe, [text.replace("TEACHER", str(tiny_checkpoint)) for text in given]))
    assert len(raised.value.problems) == 1 and said in raised.value.problems[0]


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ("tiny_regression_80sparse", "scores are taught on examples with answers alone: remove it"),
        ("tiny_multilabel_80sparse", "several labels are taught on examples with answers alone: remove it"),
    ],
)
def test_texts_without_answers_need_classes(tiny_checkpoint, recipe, said):
    given = [f"distill={{teacher: {tiny_checkpoint}, data: {{augment: 1}}}}"]
    with pytest.raises(PlanError) as raised:
        make_plan(load_recipe(RECIPES / f"{recipe}.yaml", given))
    assert f"distill.data: {said}" in raised.value.problems


def test_teachers_compute_in_the_precision_of_the_training(job, tiny_checkpoint):
    given = f"distill.teacher={tiny_checkpoint}"
    assert teacher.key(job(given)) != teacher.key(job(given, "train.bf16=true"))
    assert teacher.key(job(given)) == teacher.key(job(given, "train.bf16=false"))


@pytest.mark.parametrize(("kept", "beside"), [(True, False), (False, True)], ids=["kept logits", "logits beside"])
def test_the_estimate_counts_a_teacher_that_runs_beside(job, tiny_checkpoint, monkeypatch, tmp_path, kept, beside):
    context = job(f"distill.teacher={tiny_checkpoint}")
    plan = make_plan(context.recipe)
    monkeypatch.setattr(type(context.task), "keeps_logits", kept)
    context.run = RunDir(tmp_path / "run", "tiny")
    asked = []
    monkeypatch.setattr(passes, "time_steps", lambda *_, teacher, **__: asked.append(teacher is not None) or 0.1)
    estimate.measure(context, plan)
    assert asked == [beside]
