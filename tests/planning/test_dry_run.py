"""Arguments of the Trainer that would fail, or do nothing, are found in the plan."""

import json
from importlib.util import find_spec

import pytest
import torch

import optkit
from optkit.errors import RecipeError
from optkit.pipeline.validate import make_plan
from optkit.recipe import load_recipe

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
TASKS = {
    "topics": ("text-classification", {}),
    "stars": ("text-classification", {"metric": "pearson", "label": "stars"}),
    "complaints": ("text-classification", {"metric": "f1", "label": "labels"}),
    "entities": ("token-classification", {"text": "tokens", "label": "ner_tags"}),
    "answers": ("question-answering", {"text": ["question", "context"], "label": "answers"}),
    "similar": ("feature-extraction", {"text": ["sentence1", "sentence2"], "label": "score"}),
    "passages": ("text-ranking", {"text": ["query", "passage"], "label": "relevance"}),
    "hypotheses": ("zero-shot-classification", {}),
    "notes": ("fill-mask", {"text": "text"}),
}


def recipe(tmp_path, kind="bert", data="topics", **train):
    task, values = TASKS[data]
    source = {"generate": "topics" if data in ("notes", "hypotheses") else data, "train": 24, "validation": 8}
    config = {"model_type": kind, "max_position_embeddings": 64, **SIZES}
    written = {
        "optkit": 1,
        "model": {"config": config, "tokenizer": {"train": "wordpiece", "vocab_size": 200}},
        "task": {"type": task, "dataset": source, "max_length": 32, **values},
        "train": {"max_steps": 4, "per_device_train_batch_size": 8} | train,
        "prune": [{"schedule": {"to": 0.5, "end": "60%", "every": 1}}],
        "evaluate": {"baseline": "none"},
    }
    path = tmp_path / "dry.yaml"
    path.write_text(json.dumps(written))
    return path


def fault(path):
    with pytest.raises(RecipeError) as raised:
        make_plan(load_recipe(path))
    (said,) = raised.value.problems
    assert "\n" not in said
    return said


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ({"optim": "galore_adamw"}, "train.optim: the training cannot start with galore_adamw: You need to install"),
        ({"optim": "lomo"}, "train.optim: the training cannot start with lomo: You need to install"),
        ({"use_liger_kernel": True}, "train.use_liger_kernel: the training cannot start with True: "),
        ({"lr_scheduler_type": "cosine_with_min_lr"}, "train.lr_scheduler_type: the training cannot start with cosine"),
        (
            {"lr_scheduler_type": "warmup_stable_decay"},
            "train.lr_scheduler_type: the training cannot start with warmup_stable_decay: it needs 'num_decay_steps'",
        ),
        (
            {"lr_scheduler_kwargs": {"slope": 2}},
            "train.lr_scheduler_kwargs: the training cannot start with {'slope': 2}",
        ),
        (
            {"dataloader_persistent_workers": True},
            "train.dataloader_persistent_workers: the training cannot start with",
        ),
        ({"adam_beta1": 1.5}, "train.adam_beta1: the training cannot start with 1.5: Invalid beta"),
        ({"save_strategy": "best"}, "train.save_strategy: the training cannot start with best"),
        ({"log_level": "loud"}, "train.log_level: the training cannot start with loud"),
        ({"lr_scheduler_type": "reduce_lr_on_plateau"}, "train: transformers refuses these arguments: lr_scheduler"),
        ({"dataloader_drop_last": True, "per_device_train_batch_size": 64}, "train.dataloader_drop_last: 24 training"),
        ({"label_smoothing_factor": 1.0}, "train.label_smoothing_factor: expected a share from 0 to below 1, got 1"),
    ],
)
def test_what_the_trainer_cannot_start_with(tmp_path, train, said):
    package = {"galore_adamw": "galore_torch", "lomo": "lomo_optim"}.get(train.get("optim"), "")
    if "liger" in next(iter(train)) or package:
        package = package or "liger_kernel"
        assert find_spec(package) is None, f"{package} is installed: take another that is not"
    assert fault(recipe(tmp_path, **train)).startswith(said)


def test_an_architecture_without_gradient_checkpointing(tmp_path):
    said = fault(recipe(tmp_path, "mpnet", gradient_checkpointing=True))
    assert said.startswith("train.gradient_checkpointing: the training cannot start with True: MPNetForSequenceClassif")
    make_plan(load_recipe(recipe(tmp_path, gradient_checkpointing=True)))


def test_half_precision_without_an_accelerator(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    said = fault(recipe(tmp_path, fp16=True))
    assert said == "train.fp16: a CPU trains in fp32 with it: set bf16: true, or remove it"


def test_the_plan_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = recipe(tmp_path)
    state = torch.get_rng_state()
    make_plan(load_recipe(path))
    assert torch.equal(torch.get_rng_state(), state)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("data", TASKS)
def test_label_smoothing_is_for_classes_that_exclude_each_other(tmp_path, data):
    path = recipe(tmp_path, data=data, label_smoothing_factor=0.3)
    if data in ("topics", "entities"):
        make_plan(load_recipe(path))
        return
    assert fault(path).startswith("train.label_smoothing_factor: ")


@pytest.mark.parametrize("data", ["topics", "entities"])
def test_label_smoothing_changes_the_loss(tmp_path, data):
    from optkit.adapters import trainer
    from optkit.adapters.arguments import training_arguments
    from optkit.pipeline.context import RunContext
    from optkit.progress import Reporter

    losses = []
    for factor in (0.0, 0.3):
        asked = load_recipe(recipe(tmp_path, data=data, label_smoothing_factor=factor, max_steps=1, logging_steps=1))
        context = RunContext(asked, None, Reporter(quiet=True))
        examples = context.data.encode("train")
        args = training_arguments(asked.train, tmp_path / "out", seed=1, examples=len(examples))
        model = context.start_model().eval()
        built = trainer.build(
            model, args, train_dataset=examples, collator=context.task.collator(context.data.tokenizer)
        )
        trainer.train(built, None)
        losses.append(next(entry["loss"] for entry in built.state.log_history if "loss" in entry))
    assert abs(losses[0] - losses[1]) > 1e-4


@pytest.mark.parametrize(
    "train",
    [
        {"dataloader_drop_last": True, "per_device_eval_batch_size": 4},
        {"include_for_metrics": ["inputs", "loss"], "eval_accumulation_steps": 1},
        {"train_sampling_strategy": "group_by_length", "lr_scheduler_type": "reduce_lr_on_plateau"},
    ],
)
def test_every_held_out_example_is_scored(tmp_path, train):
    path = recipe(tmp_path, hold_out=7, eval_steps=2, **train)
    optkit.run(path, output=tmp_path / "run", stop_after="train")
    assert '"examples": 7' in json.dumps(json.loads((tmp_path / "run" / "manifest.json").read_text()))


@pytest.mark.parametrize(
    "train", [{"batch_eval_metrics": True}, {"eval_do_concat_batches": False}, {"remove_unused_columns": True}]
)
def test_arguments_that_would_break_the_hold_out_are_refused(tmp_path, train):
    with pytest.raises(RecipeError, match=f"train.{next(iter(train))}: "):
        load_recipe(recipe(tmp_path, hold_out=7, **train))
