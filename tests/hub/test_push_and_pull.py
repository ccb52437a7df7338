"""From a finished run to the Hub and back: the card, the commit, and every way to load it that the card shows."""

from __future__ import annotations

import json
import re

import pytest
from huggingface_hub import ModelCard
from split_scores import split_scores

pytestmark = pytest.mark.slow

REPO = "org/tiny"


@pytest.fixture
def pushed(hub, hub_commands, finished_run):
    done = hub_commands("push", finished_run.folder, "--repo", REPO)
    assert done.code == 0, done.err
    return hub.repositories[REPO]


def test_a_run_leaves_a_card_that_says_what_was_measured(finished_run):
    folder, report = finished_run.folder / "openvino", finished_run.report
    card = ModelCard.load(folder / "README.md")
    splits = split_scores(report)
    values = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert values == {name: round(score, 6) for name, score in splits["int8"].items()} and "accuracy" in values
    assert {(r.dataset_type, r.dataset_name, r.dataset_split) for r in card.data.eval_results} == {
        ("generated", "topics, generated", "validation")
    }
    assert card.data.library_name == "optimum" and card.data.pipeline_tag == "text-classification"
    # Nothing is known of where random weights come from, and nothing is made up.
    assert not {"license", "base_model", "base_model_relation", "datasets", "language"} & set(card.data.to_dict())
    assert "The run began with random weights: no licence comes with a base model." in card.text
    assert (finished_run.folder / "recipe.resolved.yaml").read_text().rstrip() in card.text
    for score in splits["int8"].values():
        assert f"{100 * score:.2f}" in card.text
    layers = report["sparsity"]["pruned"]["layers"]
    drawn = (folder / "sparsity.svg").read_text()
    assert drawn.count("<rect") == 1 + 2 * len(layers)
    assert all(f">{layer['sparsity']:.1%} {layer['structure']}<" in drawn for layer in layers)
    assert str(finished_run.folder.parent) not in card.content


def test_dry_run_asks_nobody_and_names_the_card(finished_run, optkit_cli, hub):
    # In this process the Hub is off limits and no token is there.
    printed = optkit_cli("push", finished_run.folder, "--repo", REPO, "--dry-run")
    assert printed.code == 0, printed.err
    lines = printed.out.splitlines()
    names = {path.name for path in (finished_run.folder / "openvino").iterdir()}
    assert {line.split()[-1] for line in lines[:-2]} == names
    assert lines[-2] == f"card: {finished_run.folder / 'openvino' / 'README.md'}"
    assert lines[-1].endswith(f"would go to {REPO} in one commit; nothing was sent") and hub.requests == []
    facts = json.loads(optkit_cli("push", finished_run.folder, "--repo", REPO, "--dry-run", "--json").out)
    assert facts["published"] is False and facts["bytes"] == sum(facts["files"].values())
    offline = optkit_cli("push", finished_run.folder, "--repo", REPO)
    assert (offline.code, offline.err) == (1, "HF_HUB_OFFLINE is set: unset it to push\n")


def test_optimum_loads_the_repository_by_its_name(pushed, hub_commands, finished_run):
    loaded = hub_commands(
        code=f"""
import numpy as np
from optimum.intel import OVModelForSequenceClassification
from transformers import AutoTokenizer
inputs = AutoTokenizer.from_pretrained("{REPO}")("wheat and corn prices rose", return_tensors="pt")
answers = [
    OVModelForSequenceClassification.from_pretrained(name)(**inputs).logits.numpy()
    for name in ("{REPO}", {str(finished_run.folder / "openvino")!r})
]
assert np.array_equal(*answers), answers
print(answers[0].shape)
"""
    )
    assert (loaded.code, loaded.out) == (0, "(1, 5)\n"), loaded.err


def test_every_snippet_of_the_card_runs(pushed, hub_commands):
    card = pushed.files["README.md"].decode()
    snippets = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert len(snippets) == 3 and "ORG/NAME" not in card
    for snippet in snippets:
        done = hub_commands(code=snippet)
        assert done.code == 0 and done.out.strip(), f"{snippet}\n{done.err}"


def test_snippets_for_one_shape_run_too(hub, hub_commands, finished_run, tmp_path):
    from optkit.report.snippets import snippets
    from optkit.report.stage_facts import Task

    task = finished_run.report["task"]
    folder = tmp_path / "static"
    made = hub_commands(
        code=f"""
import shutil
import openvino as ov
shutil.copytree({str(finished_run.folder / "openvino")!r}, {str(folder)!r})
model = ov.Core().read_model({str(finished_run.folder / "openvino" / "openvino_model.xml")!r})
model.reshape({{port: [2, 16] for port in model.inputs}})
ov.save_model(model, {str(folder / "openvino_model.xml")!r}, compress_to_fp16=False)
"""
    )
    assert made.code == 0, made.err
    assert hub_commands("push", folder, "--repo", REPO).code == 0
    for snippet in snippets(Task.model_validate(task | {"shape": [2, 16]}), REPO).values():
        done = hub_commands(code=snippet)
        assert done.code == 0 and done.out.strip(), f"{snippet}\n{done.err}"
    assert hub_commands(code=snippets(Task.model_validate(task), REPO)["openvino"]).code != 0


def test_the_python_api_pushes_and_pulls(hub, hub_commands, finished_run, tmp_path):
    done = hub_commands(
        code=f"""

import optkit
facts = optkit.push({str(finished_run.folder)!r}, "{REPO}", private=True)
back = optkit.pull("{REPO}", {str(tmp_path / "back")!r})
assert (facts["commit"], facts["files"]) == (back["commit"], back["files"]), (facts, back)
"""
    )
    assert (done.code, done.out, done.err) == (0, "", "") and hub.repositories[REPO].private
    for path in (finished_run.folder / "openvino").iterdir():
        if path.name != "README.md":
            assert (tmp_path / "back" / path.name).read_bytes() == path.read_bytes()


def test_a_recipe_publishes_once_and_only_what_it_asks_for(hub, hub_commands, finished_run, generated_recipe, tmp_path):
    run = finished_run.copy(tmp_path)
    more = ["--output", run, "--push", REPO, "--set", "publish.private=true"]
    done = hub_commands("run", generated_recipe, *more)
    assert done.code == 0, done.err
    assert f"  {hub.url}/{REPO}" in done.err.splitlines() and hub.repositories[REPO].private
    assert hub.repositories[REPO].files.keys() == {path.name for path in (run / "openvino").iterdir()}
    assert f'"{REPO}"' in (run / "openvino" / "README.md").read_text()
    again = hub_commands("run", generated_recipe, *more)
    assert again.code == 0 and "publish: done before, skipped" in again.err and len(hub.repositories[REPO].commits) == 2


def test_a_plan_refuses_what_could_not_be_published(optkit_cli, generated_recipe):
    refused = optkit_cli("validate", "--plan", generated_recipe, "--set", f"publish.repo_id={REPO}")
    assert refused.code == 2 and "publish.repo_id: HF_HUB_OFFLINE is set: unset it to push" in refused.err


def test_what_is_no_run_or_has_no_card_is_refused(optkit_cli, tmp_path):
    def refused(path):
        printed = optkit_cli("push", path, "--repo", REPO, "--dry-run")
        assert printed.code == 2 and printed.err.count("\n") == 1
        return printed.err

    assert f"{tmp_path / 'absent'}: no such file or folder" in refused(tmp_path / "absent")
    assert "holds no exported model (.xml, .onnx or .safetensors): name a run folder" in refused(tmp_path)
    (tmp_path / "openvino").mkdir()
    (tmp_path / "openvino" / "openvino_model.xml").write_text("<net/>")
    assert "its model has no card (README.md): make one with `optkit run`, or write it yourself" in refused(tmp_path)
    (tmp_path / "manifest.json").write_text("{}")
    assert "this run is not finished: run `optkit run` again to finish it" in refused(tmp_path)
    assert "'tiny' is not a repository name: write ORG/NAME" in optkit_cli("push", tmp_path, "--repo", "tiny").err


def test_what_an_earlier_recipe_exported_is_not_published(finished_run, optkit_cli, tmp_path):
    run = finished_run.copy(tmp_path)
    (run / "onnx").mkdir()
    (run / "onnx" / "model.onnx").write_text("of an earlier model")
    facts = json.loads(optkit_cli("push", run, "--repo", REPO, "--dry-run", "--json").out)
    assert facts["files"].keys() == {path.name for path in (run / "openvino").iterdir()}


def test_a_link_to_a_file_elsewhere_is_not_published(finished_run, optkit_cli, tmp_path):
    run = finished_run.copy(tmp_path)
    (tmp_path / "secret").write_text("mine")
    link = run / "openvino" / "notes.txt"
    link.symlink_to(tmp_path / "secret")
    printed = optkit_cli("push", run, "--repo", REPO, "--dry-run")
    said = f"{link}: links to a file outside the folder: copy the file there, or remove the link\n"
    assert (printed.code, printed.err) == (2, said)
    link.unlink()
    link.symlink_to(run / "openvino" / "config.json")
    assert optkit_cli("push", run, "--repo", REPO, "--dry-run").code == 0
