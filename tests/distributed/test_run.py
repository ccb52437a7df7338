"""Two processes train as one: the same losses, the same masks in both, and one line where anything goes wrong.

All runs come from one harness (launched.py), which imports everything once; they meet over gloo on the CPU.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from recipe_files import TINY_MODEL
from safetensors.torch import load_file

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

# A rule for each kind of criterion: what gradients tell, also of masked weights, what inputs tell, and what neither does.
STEADY = """\
optkit: 1
name: steady
seed: 5
model:
  config: {model_type: bert, hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 64, hidden_dropout_prob: 0.0, attention_probs_dropout_prob: 0.0}
  tokenizer: {train: wordpiece, vocab_size: 300}
task:
  type: text-classification
  dataset: {generate: topics, train: 96, validation: 20}
  max_length: 32
train:
  num_train_epochs: 2
  learning_rate: 1e-3
  per_device_train_batch_size: 4
  gradient_accumulation_steps: 2
  max_grad_norm: 0.3
  train_sampling_strategy: group_by_length
  dataloader_num_workers: 1
  logging_steps: 1
  save_strategy: 'no'
evaluate: {baseline: none}
prune:
  - {name: regrowing, targets: '*.query', criterion: {name: movement, momentum: 0.9}, structure: 1x4, regrow: true, schedule: {to: 0.7, begin: 2, end: 10, every: 2}}
  - {name: magnitude, targets: '*.key', criterion: magnitude, schedule: {to: 0.7, begin: 0, end: 10, every: 2}}
  - {name: taylor, targets: '*.value', criterion: taylor, structure: 4x1, schedule: {to: 0.7, begin: 2, end: 10, every: 2}}
  - {name: wanda, targets: '*.attention.output.dense', criterion: wanda, structure: row, schedule: {to: 0.5, begin: 2, end: 10, every: 2}}
  - {name: obert, targets: '*.intermediate.dense', criterion: obert, structure: 1x4, schedule: {to: 0.7, begin: 4, end: 10, every: 3}}
  - {name: movement, targets: 'bert.encoder.layer.0.output.dense', criterion: movement, schedule: {to: 0.7, begin: 2, end: 10, every: 2}}
  - {name: soft, targets: 'bert.encoder.layer.1.output.dense', criterion: soft_movement, structure: 4x4, schedule: {to: 0.7, begin: 2, end: 10, every: 2}}
"""
#: 6 steps of 16 examples an epoch, whoever takes them.
STEPS = 12
# All that draws random numbers, in half precision, with a wider teacher, made texts and a choice of the best.
RESUMED = """\
optkit: 1
name: resumed
seed: 6
model: {name: CHECKPOINT}
task:
  type: text-classification
  dataset: {files: {train: TRAIN, validation: TRAIN}}
  text: sentence
  max_length: 32
train:
  max_steps: 7
  learning_rate: 1e-3
  per_device_train_batch_size: 4
  gradient_accumulation_steps: 2
  bf16: true
  save_steps: 2
  logging_steps: 1
  lr_rewind: 3
  hold_out: 8
distill: {teacher: TEACHER, weight: 0.5, hidden: 0.5, attention: 0.5, data: {augment: 1}}
evaluate: {baseline: none}
prune:
  - {name: regrowing, targets: '*.attention.*', criterion: movement, structure: 1x4, regrow: true, schedule: {to: 0.6, begin: 1, end: 6, every: 1}}
  - {name: wanda, targets: '*.intermediate.dense', criterion: wanda, schedule: {to: 0.6, begin: 1, end: 6, every: 1}}
"""
#: Of two rules the second is given a sparsity for each layer, by what the first will leave: the work of one process.
ALLOCATED = (
    "prune=["
    "{name: first, targets: '*.query', criterion: magnitude, schedule: {to: 0.5, begin: 2, end: 10}}, "
    "{name: second, targets: '*.dense', exclude: 'classifier*', criterion: magnitude, "
    "schedule: {to: 0.5, begin: 2, end: 10}, allocate: {by: sensitivity}}]"
)
# Embeddings are means of states, so that no loss uses the pooler.
POOLED = """\
optkit: 1
name: pooled
seed: 7
model: TINY_MODEL
task:
  type: feature-extraction
  dataset: {generate: similar, train: 32, validation: 20}
  text: [sentence1, sentence2]
  label: score
  max_length: 32
train: {max_steps: 4, per_device_train_batch_size: 4, gradient_checkpointing: true, save_strategy: 'no'}
evaluate: {baseline: none}
prune: [{criterion: movement, structure: 1x4, schedule: {to: 0.5, begin: 1, end: 3, every: 1}}]
""".replace("TINY_MODEL", TINY_MODEL)


class Launch(NamedTuple):
    """One command in several processes: each rank's exit code, and what it left in ``folder``."""

    folder: Path
    codes: list[int | None]

    def said(self, rank: int) -> tuple[str, str]:
        return tuple((self.folder / f"{stream}-{rank}").read_text(encoding="utf-8") for stream in ("out", "err"))

    def masks(self, rank: int) -> dict[str, torch.Tensor]:
        return load_file(self.folder / f"masks-{rank}.safetensors")

    @property
    def facts(self) -> dict:
        manifest = json.loads((self.folder / "run" / "manifest.json").read_text(encoding="utf-8"))
        return manifest["stages"]["train"]["facts"]


@pytest.fixture(scope="module")
def launches(tmp_path_factory, tiny_checkpoint, wide_teacher, tiny_files) -> dict[str, Launch]:
    folder = tmp_path_factory.mktemp("launched")
    recipes = {"steady": STEADY, "resumed": RESUMED, "pooled": POOLED}
    for name, text in recipes.items():
        text = text.replace("CHECKPOINT", str(tiny_checkpoint)).replace("TRAIN", str(tiny_files["train"]))
        text = text.replace("TEACHER", str(wide_teacher))
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")

    def job(name: str, recipe: str, *changes: str, processes: int = 2, within: str | None = None, **more) -> dict:
        place = folder / (within or name)
        words = ["run", folder / f"{recipe}.yaml", "--output", place / "run", "--stop-after", "train", "--quiet"]
        words += [word for change in changes for word in ("--set", change)]
        given = {"processes": processes, "arguments": [str(word) for word in words], "folder": str(folder / name)}
        return given | {"sabotage": None, "lock": None} | more

    loop = {"--model": tiny_checkpoint, "--train": tiny_files["train"], "--output": folder / "loop" / "pruned"}
    loop |= {"--batch": 4, "--accumulate": 2, "--learning-rate": 1e-3, "--mixed-precision": "bf16"}
    words = ["accelerate_loop", "--cpu", *(str(part) for option in loop.items() for part in option)]
    jobs = [
        job("alone", "steady", "train.per_device_train_batch_size=8", processes=1),
        job("together", "steady"),
        job("whole", "resumed"),
        job("killed", "resumed", sabotage=[None, "kill"]),
        job("resumed", "resumed", within="killed"),
        job("scores", "steady", sabotage=[1, "scores"]),
        job("raise", "steady", sabotage=[1, "raise"]),
        job("interrupt", "resumed", sabotage=[0, "interrupt"]),
        job("locked", "steady", lock=str(folder / "locked" / "run")),
        job("typo", "steady", "prune.wanda.schedul=1"),
        job("loop", "steady", arguments=words),
        job("pooled", "pooled"),
        job("allocated", "steady", ALLOCATED, "train.ddp_timeout=20"),
    ]
    # The harness forks, and threads would be lost: of tokenizers, too, whose warning of that is what a test looks for.
    environment = {name: value for name, value in os.environ.items() if name != "TOKENIZERS_PARALLELISM"}
    environment |= {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        "OMP_NUM_THREADS": "1",
        "TORCH_CPP_LOG_LEVEL": "ERROR",
    }
    harness = subprocess.run(
        [sys.executable, Path(__file__).with_name("launched.py"), json.dumps(jobs)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert harness.returncode == 0, harness.stderr
    ended = json.loads(harness.stdout)
    return {Path(j["folder"]).name: Launch(Path(j["folder"]), end["codes"]) for j, end in zip(jobs, ended)}


def test_two_processes_train_as_one_with_their_batches(launches):
    alone, together = launches["alone"], launches["together"]
    assert (alone.codes, together.codes) == ([0], [0, 0]), (alone.said(0), together.said(0), together.said(1))
    assert (alone.facts["steps"], together.facts["steps"]) == (STEPS, STEPS)
    assert (alone.facts["processes"], together.facts["processes"]) == (1, 2)
    assert alone.facts["rules"] == together.facts["rules"]
    # The same examples in each step, so sums differ in their order alone; from step to step that grows a little.
    history = [[(entry["step"], entry["loss"]) for entry in run.facts["history"]] for run in (alone, together)]
    assert [step for step, _ in history[1]] == list(range(1, STEPS + 1))
    assert [loss for _, loss in history[1]] == pytest.approx([loss for _, loss in history[0]], rel=1e-3)
    norms = [[entry["grad_norm"] for entry in run.facts["history"]] for run in (alone, together)]
    assert norms[1] == pytest.approx(norms[0], rel=2e-2) and max(norms[0]) > 0.3  # some were clipped


def test_masks_are_the_same_in_both_processes_and_those_of_one(launches):
    alone, ours, theirs = launches["alone"].masks(0), *(launches["together"].masks(rank) for rank in (0, 1))
    assert ours.keys() == theirs.keys() == alone.keys() and len(ours) == 12
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    for name, mask in ours.items():
        # Scores that differ in their last digits decide between groups that all but tie.
        assert float((mask == alone[name]).float().mean()) > 0.97, name


def test_nobody_but_the_first_process_prints(launches):
    together = launches["together"]
    assert together.said(0) == (f"stopped after train: {together.folder}/run\n", "")
    for name in ("together", "scores", "raise", "interrupt", "locked", "typo"):
        assert launches[name].said(1) == ("", ""), name


def test_a_killed_run_of_two_processes_ends_like_a_whole_one(launches):
    whole, killed, resumed = launches["whole"], launches["killed"], launches["resumed"]
    assert (whole.codes, killed.codes, resumed.codes) == ([0, 0], [-9, -9], [0, 0]), resumed.said(0)
    files = [launch.folder / "run" / "pruned" / "model.safetensors" for launch in (whole, killed)]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert (whole.facts["resumed_at"], killed.facts["resumed_at"]) == (0, 2)
    assert whole.facts["history"] == killed.facts["history"] and len(whole.facts["history"]) == 7
    assert whole.facts["chosen"] == killed.facts["chosen"] and whole.facts["chosen"]["step"] in (6, 7)
    for rank in (0, 1):
        ours, theirs = resumed.masks(rank), whole.masks(rank)
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_pooler_that_no_loss_uses_does_not_stop_gradient_checkpointing(launches):
    pooled = launches["pooled"]
    assert pooled.codes == [0, 0], pooled.said(0)
    assert pooled.facts["steps"] == 4 and pooled.facts["rules"][0]["pruned"] == pooled.facts["rules"][0]["groups"] // 2


def test_what_one_process_prunes_alone_waits_for_no_other(launches):
    allocated = launches["allocated"]
    assert allocated.codes == [0, 0], allocated.said(0)
    first, second = allocated.facts["rules"]
    assert (first["pruned"], second["pruned"]) == (first["groups"] // 2, second["groups"] // 2)
    ours, theirs = allocated.masks(0), allocated.masks(1)
    assert ours and all(torch.equal(mask, theirs[name]) for name, mask in ours.items())


def test_masks_that_differ_are_an_error_in_both(launches):
    scores = launches["scores"]
    assert scores.codes == [1, 1]
    assert scores.said(0) == (
        "",
        "rule 'magnitude': the mask of bert.encoder.layer.0.attention.self.key differs between processes (rank 1 from "
        "the rest): give all the same model, seed and rules, and let DDP average the gradients\n",
    )


def test_a_failure_of_another_process_is_told_by_the_first(launches):
    failed = launches["raise"]
    assert failed.codes == [1, 1]
    line = "process 1: unexpected ValueError: a bug in two lines (run again with --debug for the traceback)\n"
    assert failed.said(0) == ("", line)


def test_an_interrupt_ends_both(launches):
    stopped = launches["interrupt"]
    assert stopped.codes == [130, 130]
    newest = stopped.folder / "run" / "checkpoints" / "checkpoint-2"
    line = f"interrupted; the last whole checkpoint is {newest}; run the same command again to go on\n"
    assert stopped.said(0) == ("", line)


def test_what_is_wrong_from_the_start_is_told_once(launches):
    locked, typo = launches["locked"], launches["typo"]
    assert (locked.codes, typo.codes) == ([1, 1], [2, 2])
    line = f"{locked.folder}/run: another optkit is at work here: wait for it, or choose --output\n"
    assert locked.said(0) == ("", line)
    assert typo.said(0)[1].startswith("--set: prune.3.schedul: unknown key, did you mean 'schedule'?\n")


def test_a_loop_of_ones_own_prunes_alike_in_both(launches):
    loop = launches["loop"]
    assert loop.codes == [0, 0], loop.said(0)
    ours, theirs = loop.masks(0), loop.masks(1)
    assert len(ours) == 12 and all(torch.equal(mask, theirs[name]) for name, mask in ours.items())
    printed, _ = loop.said(0)
    assert "sparsity 80.00%: 3277 of 4096 groups (1x4) are zero" in printed


def test_accelerate_launches_the_command(tmp_path, files_recipe):
    """The launcher's own processes, store and exit code; nothing but JSON on stdout.

    Without a GPU its processes train on the CPU.
    """
    command = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    command += ["--mixed_precision", "no", "--dynamo_backend", "no", "-m", "optkit", "run", str(files_recipe)]
    changes = ["--set", "evaluate.baseline=none", "--set", "train.max_steps=10"]
    words = [*command, *changes, "--output", str(tmp_path / "run"), "--stop-after", "train", "--json"]
    done = subprocess.run(
        [sys.executable, *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["stopped_after"] == "train"
    assert "Warning" not in done.stderr and done.stderr.count("[1/") == 2, done.stderr
    facts = json.loads((tmp_path / "run" / "manifest.json").read_text(encoding="utf-8"))["stages"]["train"]["facts"]
    assert (facts["steps"], facts["processes"]) == (10, 2)
