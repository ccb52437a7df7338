"""The examples: zeros counted in what they save, what they import, accumulation, mistakes in one line."""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import capabilities
import pytest
import torch
from accelerate.state import AcceleratorState, GradientState
from safetensors.numpy import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from optkit import runtime

EXAMPLES = Path(__file__).parents[1] / "examples"
#: 4 matrices of 32x32 and 2 of 64x32 in each of 2 layers.
WEIGHTS = 2 * (4 * 32 * 32 + 2 * 64 * 32)


def encoder(folder: Path) -> dict[str, torch.Tensor]:
    """The encoder's weight matrices (out, in), as plain from_pretrained loads them."""
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    return {name: p.detach() for name, p in model.named_parameters() if ".layer." in name and p.ndim == 2}


@pytest.fixture
def arguments(tiny_checkpoint, tiny_files, tmp_path):
    """What every example is given; later options of the same name win."""
    options = {"--model": tiny_checkpoint, "--train": tiny_files["train"], "--output": tmp_path / "pruned"}
    options |= {"--epochs": 2, "--batch": 16, "--learning-rate": 1e-3}
    return [str(part) for option in options.items() for part in option]


@pytest.fixture
def run_here(arguments, monkeypatch):
    """Runs an example in this process, which spares the imports."""

    def run(name: str, *given: object) -> None:
        monkeypatch.setattr(sys, "argv", [name, *arguments, *map(str, given)])
        monkeypatch.syspath_prepend(EXAMPLES)
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")

    AcceleratorState._reset_state(reset_partial_state=True)
    yield run
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


@pytest.mark.parametrize(
    ("name", "given", "block"),
    [
        ("trainer", ["--validation", "VALIDATION"], (1, 4)),
        ("distillation", ["--teacher", "CHECKPOINT", "--structure", "8x1"], (8, 1)),
        ("distillation", ["--teacher", "WIDE", "--hidden", "0.5", "--attention", "1"], (1, 4)),
        # 20 batches an epoch: 6 steps of 3 batches and one of 2.
        ("accelerate_loop", ["--batch", "5", "--accumulate", "3", "--mixed-precision", "bf16"], (1, 4)),
    ],
)
def test_what_is_saved_has_the_zeros_asked_for(
    name, given, block, run_here, tiny_checkpoint, wide_teacher, tiny_files, tmp_path, capsys
):
    places = {"VALIDATION": tiny_files["validation"], "CHECKPOINT": tiny_checkpoint, "WIDE": wide_teacher}
    run_here(name, *(places.get(part, part) for part in given))
    printed = capsys.readouterr().out

    size = block[0] * block[1]
    groups, pruned = WEIGHTS // size, round(0.8 * WEIGHTS / size)
    weights = encoder(tmp_path / "pruned")
    assert sum(int((w == 0).sum()) for w in weights.values()) == pruned * size
    living = [w.unfold(0, block[0], block[0]).unfold(1, block[1], block[1]).ne(0).flatten(2) for w in weights.values()]
    assert all(torch.equal(cells.all(dim=2), cells.any(dim=2)) for cells in living)
    saved, start = (load_file(folder / "model.safetensors") for folder in (tmp_path / "pruned", tiny_checkpoint))
    assert {weight.shape for weight in saved.values()} == {weight.shape for weight in start.values()}
    assert len(saved) == len(start)
    assert AutoTokenizer.from_pretrained(tmp_path / "pruned")("the soup was fine")["input_ids"]
    assert printed.splitlines()[-2:] == [
        f"sparsity {pruned / groups:.2%}: {pruned} of {groups} groups ({block[0]}x{block[1]}) are zero",
        f"saved in {tmp_path / 'pruned'}",
    ]


BARE = """
import runpy, sys
for name in ("openvino", "pydantic", "nncf", "datasets", "optimum", "evaluate", "ruamel", "typer", "rich"):
    sys.modules[name] = None
examples, checkpoint, *sys.argv[1:] = sys.argv[1:]
sys.path[0] = examples
runpy.run_path(f"{examples}/trainer.py", run_name="__main__")
runpy.run_path(f"{examples}/accelerate_loop.py", run_name="__main__")
sys.argv += ["--teacher", checkpoint, "--hidden", "1", "--attention", "1"]
runpy.run_path(f"{examples}/distillation.py", run_name="__main__")
"""


@pytest.mark.slow
def test_they_need_torch_transformers_and_accelerate_alone(arguments, tiny_checkpoint):
    command = [sys.executable, "-c", BARE, EXAMPLES, tiny_checkpoint, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("saved in ") == 3


def test_accumulated_batches_prune_as_one_large_batch_does(run_here, tiny_checkpoint, tmp_path):
    """Scores that also saw the gradients of an unfinished accumulation would choose other weights."""
    steady = shutil.copytree(tiny_checkpoint, tmp_path / "steady")
    config = json.loads((steady / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (steady / "config.json").write_text(json.dumps(config))
    zeros = []
    for batch, accumulate in [(16, 1), (4, 4)]:
        output = tmp_path / str(batch)
        given = ["--model", steady, "--output", output, "--batch", batch, "--accumulate", accumulate, "--cpu"]
        run_here("accelerate_loop", *given)
        zeros.append(torch.cat([w.flatten() == 0 for w in encoder(output).values()]))
    # Sums in another order differ in their last digits, which decides between blocks whose scores all but tie.
    assert float((zeros[0] == zeros[1]).float().mean()) > 0.99


@pytest.mark.parametrize(
    ("name", "given", "code", "message"),
    [
        ("trainer", ["--epoch", "0"], 2, "argument --epochs: '0' is not a whole number from 1"),
        ("trainer", ["--train", "none.tsv"], 1, "none.tsv: cannot be read: No such file or directory"),
        (
            "trainer",
            ["--train", "wrong.tsv"],
            1,
            "wrong.tsv, line 3: needs columns sentence and label, and a class (0, 1 ...",
        ),
        ("trainer", ["--output", "wrong.tsv"], 2, "argument --output: 'wrong.tsv' is a file, not a folder"),
        ("trainer", ["--sparsity", "1"], 1, "sparsity must grow within [0, 1), got from 0 to 1"),
        ("trainer", ["--structure", "3x1"], 1, "query.weight: blocks of 3x1 do not divide a weight of 32x32"),
        ("distillation", ["--teacher", "three"], 1, "three knows 3 classes, "),
        ("distillation", [], 2, "the following arguments are required: --teacher"),
        (
            "distillation",
            ["--teacher", "CHECKPOINT", "--hidden", "-1"],
            1,
            "the weight of hidden must be above 0, got -1",
        ),
        ("distillation", ["--temperature", "0"], 2, "argument --temperature: '0' is not above 0"),
        ("accelerate_loop", ["--model", "./none"], 1, "./none"),
        ("accelerate_loop", ["--fold"], 2, "unrecognized arguments: --fold"),
    ],
)
def test_a_mistake_is_one_line(name, given, code, message, run_here, tiny_checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("wrong.tsv").write_text("sentence\tlabel\nfine\t1\npoor\tbad\n")
    if "three" in given:
        shutil.copytree(tiny_checkpoint, "three")
        AutoModelForSequenceClassification.from_pretrained(
            "three", num_labels=3, ignore_mismatched_sizes=True
        ).save_pretrained("three")
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        run_here(name, *(tiny_checkpoint if part == "CHECKPOINT" else part for part in given))
    told = end.value.code if isinstance(end.value.code, str) else capsys.readouterr().err
    assert (1 if isinstance(end.value.code, str) else end.value.code) == code
    assert message in told and told.startswith("error: ") and len(told.splitlines()) == 1
    assert not list(tmp_path.glob("pruned/*"))


@pytest.mark.slow
def test_retrieval_ranks_alike_on_the_sparse_runtime(sentence_folders, tmp_path, monkeypatch, capsys):
    capabilities.need("sentence-transformers")
    texts = [f"the {thing} of day {i} was fine" for i, thing in enumerate(("soup", "song", "river", "letter"))]
    (tmp_path / "passages.txt").write_text("\n".join(texts), encoding="utf-8")
    (embedder, _), (_, reranker) = (sentence_folders[task] for task in ("feature-extraction", "text-classification"))
    given = ["--embedder", embedder, "--reranker", reranker, "--passages", tmp_path / "passages.txt", "--top", "3"]
    monkeypatch.setattr(sys, "argv", ["retrieval", *map(str, given), "--query", "the soup", "--length", "16"])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            runpy.run_path(str(EXAMPLES / "retrieval.py"), run_name="__main__")
    finally:
        runtime.unregister()
    lines = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 3 and {text for _, text in lines} < set(texts)
    assert [float(score) for score, _ in lines] == sorted((float(score) for score, _ in lines), reverse=True)
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--embedder", str(tmp_path)])
    with pytest.raises(SystemExit, match=f"error: .*No such file or directory: '{tmp_path}/openvino_model.xml'"):
        runpy.run_path(str(EXAMPLES / "retrieval.py"), run_name="__main__")
