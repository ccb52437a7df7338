"""The whole job: what it leaves, what a second run does again, and what a change of the recipe does."""

from __future__ import annotations

import html
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from capabilities import need
from recipe_files import write_recipe
from split_scores import kept_outputs, split_scores

import optkit
from optkit import runtime
from optkit.benchmark.result_migration import read_result
from optkit.errors import OptkitError, UsageError
from optkit.pipeline import runner
from optkit.recipe import load_recipe
from optkit.variant import Variant

pytestmark = pytest.mark.slow

STAGES = ["plan", "dense", "train", "compact", "export", "evaluate", "benchmark", "report"]


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text())["stages"]


def done(printed):
    """The stages that were worked on and those that were skipped, from what a run said."""
    skipped = re.findall(r"\[\d+/\d+\] (\w+): done before, skipped", printed.err)
    return [name for name in re.findall(r"\[\d+/\d+\] (\w+)$", printed.err, re.MULTILINE)], skipped


def test_the_run_folder(finished_run):
    assert {path.name for path in finished_run.folder.iterdir()} == {
        *(".lock", "manifest.json", "recipe.resolved.yaml", "report.json", "report.html", "report.md"),
        *("checkpoints", "checkpoints-dense", "dense", "pruned", "openvino", "predictions"),
    }
    assert list(manifest(finished_run.folder)) == STAGES
    for entry in manifest(finished_run.folder).values():
        assert len(entry["key"]) == 64 and entry["seconds"] >= 0 and entry["versions"]["torch"] == torch.__version__
    resolved = load_recipe(finished_run.folder / "recipe.resolved.yaml")
    assert resolved.hash() == finished_run.report["recipe_hash"]


def test_the_outputs_behind_every_score_are_kept(finished_run):
    scores = split_scores(finished_run.report)
    outputs = kept_outputs(finished_run.folder)
    labels = outputs.pop("labels")
    assert len(labels) == scores["examples"] and {"dense", "pruned", "int8"} <= outputs.keys()
    for name, logits in outputs.items():
        assert float((logits.argmax(axis=1) == labels).mean()) == pytest.approx(scores[name]["accuracy"], abs=1e-9)


def test_the_plan_is_kept_in_the_manifest(finished_run):
    plan = manifest(finished_run.folder)["plan"]["facts"]
    assert (plan["steps"], plan["per_epoch"], plan["baseline"]) == (16, 8, "trained")
    assert plan["examples"] == {"train": 120, "validation": 40}
    assert plan["labels"] == ["food", "music", "price", "room", "staff"]
    [rule] = plan["rules"]
    assert (rule["weights"], rule["groups"], len(rule["layers"])) == (16384, 4096, 12)
    assert [step for step, _ in rule["changes"]] == [0, 2, 4, 6, 8, 10, 11] and rule["changes"][-1][1] == 0.8
    assert plan["estimate"]["disk"] > finished_run.report["bytes"]["pruned"] and plan["estimate"]["step"] > 0


def test_the_report_counts_what_lies_there(finished_run):
    folder, report = finished_run.folder, finished_run.report
    zeros = 4 * round(0.8 * 4096)
    assert report["training"]["rules"] == [
        {"name": "encoder", "structure": "1x4", "groups": 4096, "pruned": zeros // 4, "target": 0.8}
    ]
    assert (report["training"]["steps"], report["training"]["resumed_at"], report["seed"]) == (16, 0, 3)
    for kind in ("pruned", "openvino"):
        found = report["sparsity"][kind]
        assert set(found["denominators"]) == {"encoder_linear", "linear", "matmul_conv", "all"}
        assert len(found["layers"]) == 14
    pruned = report["sparsity"]["pruned"]["denominators"]
    assert pruned["encoder_linear"] == {"zeros": zeros, "size": 16384, "sparsity": zeros / 16384}
    assert pruned["linear"]["size"] == 16384 + 32 * 32 + 5 * 32
    # Quantization rounds more weights to zero, never fewer.
    assert report["sparsity"]["openvino"]["denominators"]["encoder_linear"]["zeros"] >= zeros
    held = {name: (folder / name / "model.safetensors").stat().st_size for name in ("dense", "pruned")}
    held["openvino"] = sum((folder / "openvino" / f"openvino_model.{end}").stat().st_size for end in ("xml", "bin"))
    assert report["bytes"] == held
    assert list(report["seconds"]) == STAGES[:-1] and report["versions"]["openvino"] and report["machine"]["cpu"]
    [shape] = report["benchmark"]["shapes"]
    timed = {row["variant"] for row in shape["rows"]}
    assert {"dense/fp32/torch", "pruned/fp32/torch", "pruned/int8/openvino"} <= timed


def test_the_sparse_runtime_is_measured_and_scored_or_left_out_by_name(finished_run):
    benchmark, printed = finished_run.report["benchmark"], (finished_run.folder / "report.md").read_text()
    scored = split_scores(finished_run.report)
    [shape], ours = benchmark["shapes"], Variant("pruned", "int8", "optkit")
    if runtime.available():
        plan = read_result(benchmark).runtime
        assert benchmark["left_out"] == [] and ours.id in [row["variant"] for row in shape["rows"]]
        assert "OpenVINO" in plan and plan in printed
        # Its integers are the same, and its floats are not added in the same order: a sentence in 40 may tip over. Plain
        # OpenVINO rounds more where its default precision is bf16.
        plain = scored.get("int8 f32", scored["int8"])
        assert scored["int8 optkit"]["accuracy"] == pytest.approx(plain["accuracy"], abs=1 / 40 + 1e-9)
        assert "| int8 IR, optkit |" in printed
    else:
        [(variant, why)] = [(each.variant, each.why) for each in read_result(benchmark).left_out]
        assert (variant, why) == (ours, runtime.missing_reason()) and "int8 optkit" not in scored
        assert "`int8, optkit` was left out" in printed and ours.id not in [row["variant"] for row in shape["rows"]]


def test_the_report_scores_what_the_folders_predict(finished_run, generated_recipe):
    need("optimum-intel")
    from optimum.intel import OVModelForSequenceClassification
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from optkit.data.splits import load_splits

    split = load_splits(load_recipe(generated_recipe).task.dataset, seed=3, needed=["validation"])["validation"]
    auto = {name: AutoModelForSequenceClassification for name in ("dense", "pruned")}
    predictions = {}
    for kind, loader in (auto | {"openvino": OVModelForSequenceClassification}).items():
        model = loader.from_pretrained(finished_run.folder / kind)
        tokenizer = AutoTokenizer.from_pretrained(finished_run.folder / kind)
        inputs = tokenizer(split["text"][:], padding=True, truncation=True, max_length=32, return_tensors="pt")
        with torch.no_grad():
            predictions[kind] = model(**inputs).logits.argmax(-1).numpy()
        assert list(model.config.id2label.values()) == ["food", "music", "price", "room", "staff"]
    scored = split_scores(finished_run.report)
    references = np.asarray(split["label"])
    for kind, name in {"dense": "dense", "pruned": "pruned", "openvino": "int8"}.items():
        assert scored[name]["accuracy"] == (predictions[kind] == references).mean()
        assert 0 <= scored[name]["f1"] <= 1
    assert scored["agreement"] == (predictions["pruned"] == predictions["openvino"]).mean()
    assert scored["examples"] == 40
    lost = 100 * (scored["dense"]["accuracy"] - scored["int8"]["accuracy"])
    assert finished_run.report["evaluate"]["drop"] == pytest.approx(lost)


def test_json_is_alone_on_stdout(finished_run):
    written = json.loads((finished_run.folder / "report.json").read_text())
    assert json.loads(finished_run.printed.out) == written | {"output": str(finished_run.folder)}
    assert done(finished_run.printed) == (STAGES, [])
    assert "plan of tiny" in finished_run.printed.err and "training: 16/16" in finished_run.printed.err


def test_sparsity_while_training_is_in_the_history(finished_run):
    history = finished_run.report["history"]
    assert [entry["step"] for entry in history] == list(range(1, 17))
    assert [round(entry["sparsity"], 3) for entry in history[-6:]] == [0.8] * 6
    assert all(a["sparsity"] <= b["sparsity"] for a, b in zip(history, history[1:]))
    assert "learning_rate" in history[0] and history[0]["target_sparsity"] == 0


def test_sparsity_of_a_run_folder(finished_run):
    found = optkit.sparsity(finished_run.folder)
    reports = found if isinstance(found, dict) else {"pruned": found}
    assert reports["pruned"].to_dict()["denominators"] == finished_run.report["sparsity"]["pruned"]["denominators"]


def placeless(report: dict) -> dict:
    """A report without the places of its run: a copy's holds its own and those of the first."""
    return json.loads(re.sub(r'"/[^"]*?/run(?=["/])', '"RUN', json.dumps(report)))


def test_a_second_run_skips_everything_and_says_so(finished_run, generated_recipe, optkit_cli, tmp_path):
    folder = finished_run.copy(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    again = optkit_cli("run", generated_recipe, "--output", folder, "--json")
    assert (again.code, done(again)) == (0, ([], STAGES))
    assert placeless(json.loads(again.out)) == placeless(finished_run.report)
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    unlike = {path.name for path in after if after[path] != before.get(path)}
    assert unlike - {".lock"} == {"manifest.json", "recipe.resolved.yaml"} and set(before) == set(after)


def test_quiet_prints_the_result_only(finished_run, generated_recipe, optkit_cli, tmp_path):
    folder = finished_run.copy(tmp_path)
    quiet = optkit_cli("run", generated_recipe, "--output", folder, "--quiet")
    assert (quiet.code, quiet.err) == (0, "")
    assert "int8 IR" in quiet.out and f"{folder}/openvino" in quiet.out


def test_python_does_what_the_command_does(finished_run, generated_recipe, capfd, tmp_path):
    folder = finished_run.copy(tmp_path)
    expected = placeless(finished_run.report)
    assert placeless(optkit.run(generated_recipe, output=folder)) == expected
    assert placeless(optkit.run(load_recipe(generated_recipe), output=folder)) == expected
    assert capfd.readouterr() == ("", "")
    with pytest.raises(UsageError, match="overrides need a recipe file"):
        optkit.run(load_recipe(generated_recipe), ["seed=1"], output=folder)


def test_a_change_of_evaluate_trains_nothing_and_max_drop_fails_the_run(
    finished_run, generated_recipe, optkit_cli, tmp_path, monkeypatch
):
    from optkit.stages import evaluate

    measured = evaluate.run

    def worse(context, output):
        measured(context, output)
        output.facts["drop"] = 7.5

    monkeypatch.setattr(evaluate, "STAGE", replace(evaluate.STAGE, run=worse))
    folder = finished_run.copy(tmp_path)
    weights = (folder / "pruned" / "model.safetensors").stat().st_mtime_ns
    changed = ("run", generated_recipe, "--output", folder, "--set", "evaluate.max_drop=2.5")
    printed = optkit_cli(*changed)
    assert printed.code == 1
    assert printed.err.splitlines()[-1] == (
        f"{folder}: the exported model is 7.50 points below the dense baseline, evaluate.max_drop allows 2.5: prune "
        "less, train longer, or raise it"
    )
    assert done(printed) == (["plan", "evaluate", "report"], ["dense", "train", "compact", "export", "benchmark"])
    assert (folder / "pruned" / "model.safetensors").stat().st_mtime_ns == weights
    assert {path.name for path in (folder / "stale").iterdir()} == {"predictions-1"}
    report = json.loads((folder / "report.json").read_text())
    assert (report["evaluate"]["within_max_drop"], report["evaluate"]["max_drop"]) == (False, 2.5)
    assert "7.50 points below the dense baseline (TOO MUCH: max_drop allows 2.5), and" in report["verdict"]
    for name in ("report.md", "report.html", "openvino/README.md"):
        assert html.escape(report["verdict"], quote=False) in (folder / name).read_text().replace("&#39;", "'")
    assert report["verdict"] in printed.out

    (folder / "report.json").unlink()
    again = optkit_cli(*changed)
    assert (again.code, done(again)[0]) == (1, ["report"])
    assert json.loads((folder / "report.json").read_text()) == report


def test_a_change_of_prune_trains_again_and_keeps_the_old(finished_run, generated_recipe, optkit_cli, tmp_path):
    folder = finished_run.copy(tmp_path)
    old = (folder / "pruned" / "model.safetensors").read_bytes()
    arguments = ("run", generated_recipe, "--output", folder, "--stop-after", "train", "--set")
    printed = optkit_cli(*arguments, "prune.encoder.schedule.to=0.5")
    assert (printed.code, done(printed)) == (0, (["plan", "train"], ["dense"]))
    assert printed.out == f"stopped after train: {folder}\n"
    assert {path.name for path in (folder / "stale").iterdir()} == {"pruned-1", "checkpoints-1"}
    assert (folder / "stale" / "pruned-1" / "model.safetensors").read_bytes() == old
    assert optkit.sparsity(folder / "pruned").denominators["encoder_linear"]["zeros"] == 8192
    # Back to what it was: the same bytes come out.
    printed = optkit_cli(*arguments, "prune.encoder.schedule.to=0.8", "--json")
    assert json.loads(printed.out) == {"name": "tiny", "stopped_after": "train", "output": str(folder)}
    assert (folder / "pruned" / "model.safetensors").read_bytes() == old


def test_fresh_sets_everything_aside(finished_run, generated_recipe, optkit_cli, tmp_path):
    folder = finished_run.copy(tmp_path)
    printed = optkit_cli("run", generated_recipe, "--output", folder, "--fresh", "--stop-after", "plan")
    assert (printed.code, done(printed)) == (0, (["plan"], []))
    assert {path.name for path in (folder / "stale").iterdir()} == {
        *("checkpoints-1", "checkpoints-dense-1", "dense-1", "pruned-1", "openvino-1", "predictions-1")
    }
    assert list(manifest(folder)) == ["plan"]


def test_what_another_run_made_from_the_same_inputs_is_copied(finished_run, generated_recipe, optkit_cli, tmp_path):
    arguments = ("run", generated_recipe, "--output", tmp_path / "run", "--reuse", finished_run.folder, "--stop-after")
    changed = optkit_cli(*arguments, "train", "--set", "prune.encoder.schedule.to=0.5")
    assert f"dense: copied from {finished_run.folder}" in changed.err
    assert "train: copied from" not in changed.err
    printed = optkit_cli(*arguments, "export")
    assert [line.split(": ")[0].split()[-1] for line in printed.err.splitlines() if "copied from" in line] == [
        *("train", "export")
    ]
    ours, theirs = (manifest(folder) for folder in (tmp_path / "run", finished_run.folder))
    for stage, name in (("dense", "dense"), ("train", "pruned"), ("export", "openvino")):
        assert ours[stage]["facts"] == theirs[stage]["facts"] and ours[stage]["key"] == theirs[stage]["key"]
        made = {path.relative_to(finished_run.folder / name) for path in (finished_run.folder / name).rglob("*")}
        assert made == {path.relative_to(tmp_path / "run" / name) for path in (tmp_path / "run" / name).rglob("*")}
        for path in made:
            if (finished_run.folder / name / path).is_file():
                assert (tmp_path / "run" / name / path).read_bytes() == (finished_run.folder / name / path).read_bytes()


def test_only_a_run_is_reused(generated_recipe, optkit_cli, tmp_path):
    arguments = ("run", generated_recipe, "--output", tmp_path / "run", "--stop-after", "dense", "--reuse")
    printed = optkit_cli(*arguments, tmp_path / "nothing")
    assert printed.code == 2
    assert printed.err.splitlines()[-1] == (
        f"--reuse: {tmp_path / 'nothing'} is not a run folder: name one that `optkit run` made"
    )


def test_a_half_written_stage_is_swept_up(finished_run, generated_recipe, optkit_cli, tmp_path):
    folder = finished_run.copy(tmp_path)
    (folder / ".tmp-train").mkdir()
    (folder / ".tmp-train" / "model.safetensors").write_bytes(b"half")
    printed = optkit_cli("run", generated_recipe, "--output", folder)
    assert (printed.code, done(printed)) == (0, ([], STAGES))
    assert not (folder / ".tmp-train").exists()


def test_a_stage_whose_folder_was_deleted_is_done_again(finished_run, generated_recipe, optkit_cli, tmp_path):
    folder = finished_run.copy(tmp_path)
    old = (folder / "pruned" / "model.safetensors").read_bytes()
    shutil.rmtree(folder / "pruned")
    printed = optkit_cli("run", generated_recipe, "--output", folder, "--stop-after", "train")
    assert (printed.code, done(printed)) == (0, (["train"], ["plan", "dense"]))
    # From its last checkpoint, without a step.
    assert manifest(folder)["train"]["facts"]["resumed_at"] == 16
    assert (folder / "pruned" / "model.safetensors").read_bytes() == old


def test_what_is_only_quantized_is_not_trained(files_recipe, tiny_checkpoint, tmp_path):
    from safetensors.torch import load_file

    without = ["prune=null", "train=null"]
    optkit.run(files_recipe, without, output=tmp_path / "run", stop_after="train")
    start = load_file(tiny_checkpoint / "model.safetensors")
    kept = load_file(tmp_path / "run" / "pruned" / "model.safetensors")
    assert kept.keys() == start.keys() and all(torch.equal(kept[name], start[name]) for name in start)
    facts = manifest(tmp_path / "run")["train"]["facts"]
    assert (facts["steps"], facts["history"]) == (0, [])
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_teacher_is_asked_once(files_recipe, tiny_checkpoint, tmp_path):
    from safetensors.numpy import load_file

    output, teacher = tmp_path / "run", f"distill={{teacher: {tiny_checkpoint}}}"
    optkit.run(files_recipe, [teacher], output=output, stop_after="train")
    assert load_file(output / "teacher" / "logits.safetensors")["logits"].shape == (96, 2)
    before, first = manifest(output), (output / "pruned" / "model.safetensors").read_bytes()
    # Temperature and weight need no new logits, but another training.
    optkit.run(files_recipe, [teacher, "distill.weight=0.5"], output=output, stop_after="train")
    assert manifest(output)["teacher"] == before["teacher"]
    assert manifest(output)["train"]["key"] != before["train"]["key"]
    assert (output / "pruned" / "model.safetensors").read_bytes() != first


TRANSFER = """\
optkit: 1
name: transfer
seed: 11
model: {name: SPARSE}
task:
  type: text-classification
  dataset: {files: {train: TRAIN, validation: VALIDATION}}
  text: sentence
  max_length: 32
train: {num_train_epochs: 3, learning_rate: 3e-3, per_device_train_batch_size: 16, weight_decay: 0.1}
evaluate: {baseline: none}
prune: [{criterion: frozen}]
quantize: {}
export: {compact: false}
"""


def test_a_sparse_checkpoint_goes_to_another_task_without_losing_a_zero(finished_run, tiny_files, tmp_path):
    from safetensors.numpy import load_file

    from optkit.ir.io import read_model
    from optkit.ir.layers import linear_layers
    from optkit.ir.tags import read_tags

    sparse, output = finished_run.folder / "pruned", tmp_path / "run"  # five topics, 80 % in 1x4 blocks
    places = {"SPARSE": sparse, "TRAIN": tiny_files["train"], "VALIDATION": tiny_files["validation"]}
    optkit.run(write_recipe(tmp_path / "transfer.yaml", TRANSFER, places), output=output, stop_after="export")

    before, after = (load_file(folder / "model.safetensors") for folder in (sparse, output / "pruned"))
    zeros = {name: weight == 0 for name, weight in before.items() if ".layer." in name and weight.ndim == 2}
    lost = 4 * round(0.8 * 4096)
    assert sum(int(zero.sum()) for zero in zeros.values()) == lost
    model = read_model(output / "openvino" / "openvino_model.xml")
    names = {tag.matmul: tag.parameter for tag in read_tags(model).layers}
    stored = {names[layer.matmul]: layer.weight for layer in linear_layers(model) if layer.matmul in names}
    for name, zero in zeros.items():
        assert not after[name][zero].any() and after[name][~zero].all(), name
    # Where a query is nothing but zeros, neither it nor the key is in the graph.
    exported = zeros.keys() & stored.keys()
    assert len(exported) >= 8 and all(stored[name].dtype == "i8" for name in exported)
    assert not any(np.asarray(stored[name].values)[zeros[name]].any() for name in exported)
    changed = sum(int((after[name] != before[name]).sum()) for name in zeros)
    assert changed > 0.9 * (16384 - lost)  # what is left has learned
    assert (before["classifier.weight"].shape, after["classifier.weight"].shape) == ((5, 32), (2, 32))
    assert optkit.sparsity(output / "pruned").denominators["encoder_linear"]["zeros"] == lost
    [rule] = manifest(output)["train"]["facts"]["rules"]
    assert (rule["pruned"], rule["groups"]) == (lost, 16384)


@pytest.mark.parametrize("writer", ["torch", "safetensors", "python"])
def test_a_full_disk_is_known_by_any_librarys_words(writer):
    import safetensors.torch

    tensors = {"a": torch.zeros(100_000)}
    with pytest.raises(Exception) as caught, open("/dev/full", "w") as full:
        if writer == "torch":
            torch.save(tensors, "/dev/full")
        elif writer == "safetensors":
            safetensors.torch.save_file(tensors, "/dev/full")
        else:
            full.write("x" * 100_000)
    assert runner._disk_is_full(caught.value)
    assert runner._disk_is_full(OptkitError("wrapped").with_traceback(None)) is False


def test_max_drop_within_and_without_baseline(finished_run):
    runner.enforce_max_drop({"stopped_after": "train"})
    runner.enforce_max_drop({"evaluate": {"within_max_drop": True}})
    with pytest.raises(OptkitError, match="2.00 points below the dense baseline, evaluate.max_drop allows 1:"):
        evaluated = {"within_max_drop": False, "drop": 2.0, "max_drop": 1.0}
        runner.enforce_max_drop(finished_run.report | {"evaluate": finished_run.report["evaluate"] | evaluated})


def test_a_run_that_was_moved_tells_where_it_is_now(finished_run, generated_recipe, tmp_path):
    moved = finished_run.copy(tmp_path)
    report = runner.run(generated_recipe, output=moved)
    assert report["output"] == str(moved) and set(report["folders"]) == set(finished_run.report["folders"])
    assert all(Path(folder).parent == moved for folder in report["folders"].values())
