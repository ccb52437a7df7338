"""A training that is killed anywhere and run again ends, bit for bit, where an uninterrupted one ends."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import optkit

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
STEPS, EVERY = 24, 4
TOPICS = ("food", "music", "price", "room", "staff")

# Two epochs and, as BERT has it by default, dropout: all that draws random numbers while training.
RECIPE = f"""\
optkit: 1
name: killed
seed: 5
model:
  MODEL
task:
  type: text-classification
  dataset: {{generate: topics, train: 192, validation: 20}}
  max_length: 32
train:
  num_train_epochs: 2
  learning_rate: 2e-3
  per_device_train_batch_size: 8
  gradient_accumulation_steps: 2
  warmup_steps: 10%
  train_sampling_strategy: SAMPLING
  save_steps: {EVERY}
MOREevaluate: {{baseline: none}}
prune:
"""
# Random weights and a tokenizer trained in each process anew; and a checkpoint, whose parameters were loaded.
FROM_CONFIG = """\
config: {model_type: bert, hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 64}
  tokenizer: {train: wordpiece, vocab_size: 300}"""
FROM_CHECKPOINT = "name: CHECKPOINT"
# Projected hidden states, relations, made texts beside the labelled, rewinds and a choice of the best: 352 rows.
TAUGHT = f"""\
  max_steps: {STEPS}
  lr_rewind: jumps
  lr_floor: 0.1
  hold_out: 16
  eval_steps: 3
distill: {{teacher: TEACHER, hidden: {{layers: {{1: 1, 2: 3}}}}, attention: 0.5, data: {{augment: 1}}}}
"""
VARIANTS = {
    "movement": (
        FROM_CONFIG,
        "group_by_length",
        "",
        "  - {criterion: {name: movement, momentum: 0.9}, structure: 1x4, regrow: true, schedule: {to: 0.8, begin: 0%, end: 80%, every: 3}}\n",
    ),
    "magnitude": (
        FROM_CHECKPOINT,
        "random",
        "",
        "  - {criterion: magnitude, structure: 4x1, scope: local, schedule: {to: 0.7, begin: 2, end: 20, every: 1}}\n",
    ),
    "taught": (
        FROM_CHECKPOINT,
        "group_by_length",
        TAUGHT,
        "  - {criterion: taylor, structure: 1x4, schedule: {shape: stepwise, to: 0.6, begin: 1, end: 16, jumps: 3}}\n",
    ),
    "permuted": (
        FROM_CHECKPOINT,
        "random",
        "  average_last: 10\ndistill: {teacher: TEACHER, hidden: {layers: {2: 3}}, attention: 0.5}\n",
        "  - {criterion: magnitude, structure: 4x4, scope: local, permute: all, schedule: {to: 0.7, begin: 2, end: 14}}\n",
    ),
}


def deaths(seed: int, evaluates: bool) -> list[tuple[int, str, int]]:
    """One death of each kind, in any order; each run is given so few steps that all are met before the last.

    Where a hold-out is evaluated, those alone that may part what is chosen from what is trained.
    """
    rng = random.Random(seed)
    files_of_state = 4  # optimizer, schedule, random states, arguments
    batches = (2 * EVERY + 1, 3 * EVERY)  # of two accumulated ones: between the first save of a run and its second
    chosen = [
        (signal.SIGKILL, "weights", 1),
        (signal.SIGKILL, "state", rng.randint(1, files_of_state)),
        (signal.SIGKILL, "marker", 1),
        (signal.SIGINT, "backward", rng.randint(*batches)),
        (signal.SIGKILL, "backward", rng.randint(*batches)),
        (signal.SIGKILL, "rotation", 1),
    ]
    if evaluates:
        chosen = [*chosen[-2:], (signal.SIGKILL, "evaluated", 1)]
    else:
        rng.shuffle(chosen)
    # The last one has all its checkpoints, and dies before the result is in its place.
    return [*chosen, (signal.SIGKILL, "fold", 1)]


class Ended(NamedTuple):
    """How the runs of one variant ended: exit codes, and whole checkpoints after each of the killed ones."""

    folder: Path
    deaths: list[tuple[int, str, int]]
    codes: list[int]
    whole: list[list[str]]
    said: str


@pytest.fixture(scope="module")
def teacher(tmp_path_factory, tiny_checkpoint) -> Path:
    """Of five topics, with the tokenizer of ``tiny_checkpoint``; wider and deeper."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    folder = shutil.copytree(tiny_checkpoint, tmp_path_factory.mktemp("teacher") / "topics")
    changes = {"hidden_size": 48, "num_hidden_layers": 3, "id2label": dict(enumerate(TOPICS))}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        config = BertConfig.from_pretrained(folder, label2id={name: i for i, name in enumerate(TOPICS)}, **changes)
        BertForSequenceClassification(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def ended(tmp_path_factory, tiny_checkpoint, teacher) -> dict[str, Ended]:
    jobs = {}
    for seed, (variant, (model, sampling, more, rule)) in enumerate(VARIANTS.items()):
        folder = tmp_path_factory.mktemp(variant)
        text = RECIPE.replace("MODEL", model.replace("CHECKPOINT", str(tiny_checkpoint)))
        text = text.replace("SAMPLING", sampling).replace("MORE", more.replace("TEACHER", str(teacher)))
        (folder / "killed.yaml").write_text(text + rule, encoding="utf-8")
        jobs[variant] = (str(folder / "killed.yaml"), str(folder), deaths(seed, "hold_out" in more))
    harness = subprocess.run(
        [sys.executable, Path(__file__).with_name("killed_runs.py"), json.dumps(list(jobs.values()))],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert harness.returncode == 0, harness.stderr
    told = zip(jobs.items(), json.loads(harness.stdout))
    return {
        variant: Ended(Path(folder), chosen, end["codes"], end["whole"], harness.stderr)
        for (variant, (_, folder, chosen)), end in told
    }


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_killed_run_ends_like_a_whole_one(variant, ended):
    folder, chosen, codes, checkpoints, said = ended[variant]
    expected = [130 if number == signal.SIGINT else -number for number, *_ in chosen]
    assert codes == [0, *expected, 0], (chosen, said)
    # What was whole stays whole: each run goes on from there or beyond.
    newest = [int(names[-1].split("-")[1]) if names else 0 for names in checkpoints]
    assert newest == sorted(newest) and newest[-1] == STEPS

    whole, killed = (folder / name / "pruned" / "model.safetensors" for name in ("whole", "killed"))
    assert killed.read_bytes() == whole.read_bytes()
    manifests = [json.loads((folder / name / "manifest.json").read_text()) for name in ("whole", "killed")]
    facts = [manifest["stages"]["train"]["facts"] for manifest in manifests]
    assert [fact["steps"] for fact in facts] == [STEPS, STEPS]
    assert (facts[0]["resumed_at"], facts[1]["resumed_at"]) == (0, STEPS)
    assert facts[0].get("chosen") == facts[1].get("chosen")
    assert [fact.get("averaged") for fact in facts] == [10 if variant == "permuted" else None] * 2
    assert facts[0]["rules"] == facts[1]["rules"] and facts[0]["history"] == facts[1]["history"]
    assert not list((folder / "killed").glob(".tmp-*"))

    zeros = optkit.sparsity(killed.parent).denominators["encoder_linear"]["zeros"]
    assert zeros == (16 if variant == "permuted" else 4) * facts[1]["rules"][0]["pruned"]


@pytest.mark.parametrize("variant", ["movement", "magnitude"])
def test_an_interrupted_run_names_its_last_whole_checkpoint(variant, ended):
    folder, chosen, _, checkpoints, said = ended[variant]
    at = [number for number, *_ in chosen].index(signal.SIGINT)
    newest = folder / "killed" / "checkpoints" / checkpoints[at][-1]
    line = f"interrupted; the last whole checkpoint is {newest}; run the same command again to go on"
    assert line in said.splitlines()
