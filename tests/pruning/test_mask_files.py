"""Trainers whose checkpoints are not the model's state dict: masks come back, the best model is the best."""

from __future__ import annotations

import shutil

import capabilities
import pytest
import torch
from architectures import SIZES
from safetensors import safe_open
from torch import nn
from transformers import BertConfig, BertForSequenceClassification, BertModel, Trainer

from optkit.errors import PruningError
from optkit.models.wordpiece import train_wordpiece
from optkit.pruning import Movement, PruningCallback, Rule, Schedule
from optkit.pruning.mask_files import FILE
from optkit.pruning.targets import linear_layers

WORDS = [f"{a} {b}" for a in ("soup", "song", "table", "garden") for b in ("fine", "poor", "great", "grim")]
WEIGHTS = 2 * (4 * 32 * 32 + 2 * 64 * 32)
SCHEDULE = Schedule(to=0.5, begin=0, end=4, every=1)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Folders of an encoder and of one with a head for a score, with a tokenizer."""
    folder, tokenizer = tmp_path_factory.mktemp("models"), train_wordpiece(WORDS, 100, 16)
    for name, cls, labels in (("bi", BertModel, 2), ("cross", BertForSequenceClassification, 1)):
        torch.manual_seed(0)
        config = BertConfig(**SIZES, vocab_size=len(tokenizer), max_position_embeddings=16, num_labels=labels)
        cls(config).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return folder


@pytest.fixture(params=["bi", "cross"])
def trainer(request, checkpoints, tmp_path):
    """``trainer(criterion=...)``: a trainer of sentence-transformers for 8 steps, with its callback as ``.pruning``."""
    library = capabilities.package("sentence-transformers")
    from datasets import Dataset

    rows = [{"a": text, "b": WORDS[i * 3 % 16], "score": float(i % 2)} for i, text in enumerate(WORDS)]
    rows = Dataset.from_list(rows)

    def build(criterion=None, **given):
        rule = Rule(schedule=SCHEDULE, **({"criterion": criterion} if criterion else {}))
        defaults = {"max_steps": 8, "per_device_train_batch_size": 4, "learning_rate": 1e-3, "save_steps": 2, "seed": 3}
        defaults |= {"report_to": "none", "disable_tqdm": True, "use_cpu": True, "logging_strategy": "no"}
        defaults |= {"output_dir": str(tmp_path / "out")} | given
        pruning = PruningCallback(rule)
        if request.param == "bi":
            from sentence_transformers.sentence_transformer import losses, modules

            parts = [modules.Transformer(str(checkpoints / "bi")), modules.Pooling(32)]
            model = library.SentenceTransformer(modules=parts, device="cpu")
            args, loss = library.SentenceTransformerTrainingArguments(**defaults), losses.CosineSimilarityLoss(model)
            cls = library.SentenceTransformerTrainer
        else:
            from sentence_transformers import cross_encoder
            from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss

            model = cross_encoder.CrossEncoder(str(checkpoints / "cross"), num_labels=1, device="cpu")
            args, loss = cross_encoder.CrossEncoderTrainingArguments(**defaults), BinaryCrossEntropyLoss(model)
            cls = cross_encoder.CrossEncoderTrainer
        made = cls(model, args, train_dataset=rows, eval_dataset=rows, loss=loss, callbacks=[pruning])
        made.pruning = pruning
        return made

    return build


def zeros(model: nn.Module) -> int:
    layers = {name: layer for name, layer in linear_layers(model).items() if ".layer." in name}
    assert sum(layer.weight.numel() for layer in layers.values()) == WEIGHTS
    return sum(int((layer.weight == 0).sum()) for layer in layers.values())


def saved_zeros(folder) -> int:
    with safe_open(next(folder.rglob("model.safetensors")), framework="pt") as opened:
        names = [n for n in opened.keys() if ".layer." in n and n.endswith("weight") and "LayerNorm" not in n]
        assert len(names) == 12
        return sum(int((opened.get_tensor(name) == 0).sum()) for name in names)


@pytest.mark.parametrize("criterion", [None, Movement()])
def test_a_resumed_training_ends_as_the_uninterrupted_one(trainer, criterion, tmp_path):
    whole = trainer(criterion)
    whole.train()
    whole.pruning.fold()
    assert zeros(whole.model) == WEIGHTS // 2
    whole.model.save_pretrained(str(tmp_path / "final"))
    assert saved_zeros(tmp_path / "final") == WEIGHTS // 2
    shutil.rmtree(tmp_path / "out" / "checkpoint-8")
    resumed = trainer(criterion)
    resumed.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-2"))
    resumed.pruning.fold()
    expected = dict(whole.model.named_parameters())
    assert all(torch.equal(value, expected[name]) for name, value in resumed.model.named_parameters())


def test_the_best_model_is_one_at_the_target(trainer, tmp_path):
    best = {"load_best_model_at_end": True, "metric_for_best_model": "eval_loss", "greater_is_better": True}
    made = trainer(**best, eval_strategy="steps", eval_steps=2, save_total_limit=None)
    made.train()
    chosen = tmp_path / "out" / made.state.best_model_checkpoint.rpartition("/")[2]
    assert int(chosen.name.partition("-")[2]) in (4, 6)  # the loss falls, and the highest at the target is asked for
    made.pruning.fold()
    assert zeros(made.model) == WEIGHTS // 2
    made.model.save_pretrained(str(tmp_path / "final"))
    with safe_open(next((tmp_path / "final").rglob("model.safetensors")), framework="pt") as final:
        with safe_open(next(chosen.rglob("model.safetensors")), framework="pt") as kept:
            assert all(torch.equal(final.get_tensor(name), kept.get_tensor(name)) for name in final.keys())


def test_masks_that_are_not_there_or_not_these_are_refused(trainer, tmp_path):
    made = trainer()
    made.train()
    out = tmp_path / "out"
    shutil.copy(out / "checkpoint-8" / FILE, out / "checkpoint-2" / FILE)
    with pytest.raises(PruningError, match="not the masks of the weights that were loaded, first "):
        trainer().train(resume_from_checkpoint=str(out / "checkpoint-2"))
    (out / "checkpoint-2" / FILE).unlink()
    with pytest.raises(PruningError, match="not found, and the weights that were loaded have no masks without it"):
        trainer().train(resume_from_checkpoint=str(out / "checkpoint-2"))


class Wrapper(nn.Module):
    """A model of the user's own: the Trainer saves its whole state dict, masks included."""

    def __init__(self, bert):
        super().__init__()
        self.bert = bert

    def forward(self, input_ids, attention_mask, labels):
        return self.bert(input_ids=input_ids, attention_mask=attention_mask, labels=labels)


def test_a_state_dict_that_is_saved_whole_needs_no_file(bert, rows, arguments, tmp_path):
    def build():
        pruning = PruningCallback(Rule(schedule=SCHEDULE))
        args = arguments(tmp_path, max_steps=6, save_strategy="steps", save_steps=2)
        made = Trainer(Wrapper(bert()), args, train_dataset=rows(24), callbacks=[pruning])
        made.pruning = pruning
        return made

    whole, resumed = build(), build()
    whole.train()
    assert not list(tmp_path.rglob(FILE))
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    expected = whole.model.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in resumed.model.state_dict().items())
    whole.pruning.fold()
    assert zeros(whole.model) == WEIGHTS // 2
