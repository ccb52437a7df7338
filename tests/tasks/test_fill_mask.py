from __future__ import annotations

import datasets
import numpy as np
import pytest
import torch
from capabilities import need
from manifests import facts
from safetensors.torch import load_file
from split_scores import split_scores

import optkit
from optkit import models
from optkit.errors import DataError, Interrupted, PlanError
from optkit.models import Head
from optkit.recipe.task import TaskSpec
from optkit.tasks import get_task

pytestmark = pytest.mark.slow

TEXTS = ["the soup of day 1 was fine .", "the song of day 2 was poor .", "soup"]


def task(**values):
    return get_task(TaskSpec(**{"type": "fill-mask", "dataset": {"files": {"train": "a.tsv"}}} | values))


def rows(*texts):
    return datasets.Dataset.from_dict({"text": list(texts)}, split="train")


def test_special_tokens_and_padding_stay_in_sight(tokenizer):
    assert task().head({"train": rows(*TEXTS)}) == Head("AutoModelForMaskedLM")
    encoded = task(max_length=6).encode(rows(*TEXTS), tokenizer, None)
    whole = tokenizer(TEXTS, truncation=True, max_length=6)["input_ids"]
    assert encoded["input_ids"][:] == whole
    for training in (True, False):
        batch = task().collator(tokenizer, training=training)([encoded[i] for i in range(3)])
        assert list(batch["labels"].shape) == list(batch["input_ids"].shape) == [3, 6]
        hidden = batch["labels"] != -100
        assert hidden.sum(1).tolist() == [1, 1, 1]
        for row, ids in enumerate(whole):
            places = hidden[row].nonzero()[:, 0].tolist()
            assert 0 < min(places) and max(places) < len(ids) - 1
            assert batch["labels"][row, places].tolist() == [ids[i] for i in places]
    assert (batch["input_ids"][hidden] == tokenizer.mask_token_id).all()
    [sample] = task().samples(encoded[0], tokenizer)
    assert "labels" not in sample and np.array_equal(sample["input_ids"], batch["input_ids"][0].numpy())


def test_scores_and_agreement():
    # Found, hidden, log likelihood, and what was put in their place.
    ours = np.array([[2, 2, np.log(0.25), 7, 8], [0, 1, np.log(0.5), 9, 0]])
    theirs = np.array([[1, 2, np.log(0.25), 7, 6], [0, 1, np.log(0.5), 9, 5]])
    metrics = task(metric=["masked_accuracy", "masked_likelihood"])
    assert metrics.score(ours, (), None) == pytest.approx({"masked_accuracy": 2 / 3, "masked_likelihood": 0.5})
    assert task().agreement(ours, theirs) == pytest.approx(2 / 3)


def test_texts_without_anything_to_hide(tokenizer):
    with pytest.raises(DataError) as raised:
        task().check({"train": rows("the soup", " ", "x")})
    assert raised.value.problems == ["split 'train', row 2: column 'text' holds no text: remove the row"]
    with pytest.raises(DataError, match="^split 'train', row 2: the text has no token to hide: remove the row$"):
        task().encode(rows("the soup", "\u200b"), tokenizer, None)


def test_a_tokenizer_without_a_mask_token(tiny_checkpoint, monkeypatch):
    maskless = models.load_tokenizer(tiny_checkpoint)
    maskless.mask_token = None
    monkeypatch.setattr("optkit.tasks.base.load_tokenizer", lambda *_: maskless)
    with pytest.raises(PlanError, match="needs a tokenizer with a mask token"):
        task().load_processor(tiny_checkpoint)


RECIPE = """\
optkit: 1
name: masked
seed: 3
model:
  config: {model_type: bert, hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 64}
  tokenizer: {train: wordpiece, vocab_size: 200}
task: {type: fill-mask, dataset: {generate: topics, train: 96, validation: 20}, max_length: 24, metric: [masked_accuracy, masked_likelihood]}
train: {num_train_epochs: 2, learning_rate: 2e-3, per_device_train_batch_size: 8, save_steps: 4, hold_out: 16, eval_steps: 5}
prune:
  - {criterion: magnitude, structure: 1x4, scope: local, schedule: {to: 0.5, begin: 0%, end: 80%, every: 3}}
quantize: {calibration: {samples: 8}}
evaluate: {baseline: none}
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("masked")
    path = folder / "masked.yaml"
    path.write_text(RECIPE)
    return path, folder / "run", optkit.run(path, output=folder / "run")


def test_tied_embeddings_survive_pruning_saving_and_export(whole):
    need("optimum-intel")
    from optimum.intel import OVModelForMaskedLM
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    from optkit.ir.io import read_model

    _, folder, report = whole
    assert "cls.predictions.decoder.weight" not in load_file(folder / "pruned" / "model.safetensors")
    model = AutoModelForMaskedLM.from_pretrained(folder / "pruned")
    assert model.cls.predictions.decoder.weight is model.bert.embeddings.word_embeddings.weight
    assert report["sparsity"]["openvino"]["denominators"]["encoder_linear"]["zeros"] >= 8192
    nodes = {node.get_friendly_name(): node for node in read_model(folder / "openvino").get_ops()}
    decoder = nodes["__module.cls.predictions.decoder/aten::linear/MatMul"].input_value(1)
    table = nodes["__module.bert.embeddings.word_embeddings/aten::embedding/Gather"].input_value(0)
    assert decoder.get_node().get_friendly_name() == table.get_node().get_friendly_name()
    exported = OVModelForMaskedLM.from_pretrained(folder / "openvino")
    inputs = AutoTokenizer.from_pretrained(folder / "openvino")("We loved the [MASK].", return_tensors="pt")
    with torch.no_grad():
        ours, theirs = model(**inputs).logits, exported(**inputs).logits
    assert theirs.shape == (1, inputs["input_ids"].shape[1], 200)
    # int8 of weights and activations, against the spread of the logits.
    assert (ours - theirs).abs().max() < 0.3 * ours.std()
    scores = split_scores(report)
    assert list(scores["int8"]) == ["masked_accuracy", "masked_likelihood"]
    assert scores["int8"]["masked_likelihood"] == pytest.approx(scores["pruned"]["masked_likelihood"], rel=0.1)


def test_the_output_layer_has_a_weight_in_onnx(whole):
    from optkit.adapters import onnx

    need("onnx", "onnxscript")
    folder = whole[1] / "pruned"
    layers = {layer.matmul: layer.weight.values for layer in onnx.linear_layers(onnx.trace(folder))}
    table = load_file(folder / "model.safetensors")["bert.embeddings.word_embeddings.weight"]
    assert np.array_equal(layers["/cls/predictions/decoder/MatMul"], table.numpy())


def test_the_best_is_chosen_by_masks_that_stay(whole):
    from optkit.adapters import passes
    from optkit.pipeline.context import RunContext
    from optkit.progress import Reporter
    from optkit.recipe import load_recipe

    path, folder, report = whole
    context, chosen = RunContext(load_recipe(path), None, Reporter(quiet=True)), report["training"]["chosen"]
    assert chosen["examples"] == len(context.data.hold_out) == 16
    outputs = passes.predict(
        models.load_model(folder / "pruned", context.data.head, seed=0),
        context.data.hold_out,
        context.task,
        context.data.tokenizer,
    )
    assert context.task.score(outputs, (), context.data.head)["masked_accuracy"] == pytest.approx(chosen["score"])


def test_a_resumed_training_hides_what_it_would_have_hidden(whole, tmp_path, monkeypatch):
    from optkit.adapters.trainer import Watch

    def stop(self, args, state, control, **_):
        if state.global_step == 15:  # in the second epoch
            raise KeyboardInterrupt

    path, folder, _ = whole
    with monkeypatch.context() as patched, pytest.raises((KeyboardInterrupt, Interrupted)):
        patched.setattr(Watch, "on_step_end", stop)
        optkit.run(path, output=tmp_path / "run", stop_after="train")
    optkit.run(path, output=tmp_path / "run", stop_after="train")
    assert facts(tmp_path / "run", "train")["resumed_at"] == 12 and facts(folder, "train")["resumed_at"] == 0
    files = [run / "pruned" / "model.safetensors" for run in (folder, tmp_path / "run")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_teacher_beside_the_student(whole, tmp_path):
    path, folder, _ = whole
    still = "overrides: {hidden_dropout_prob: 0.0, attention_probs_dropout_prob: 0.0}"
    sets = [f"model={{name: {folder}/pruned, {still}}}", f"distill={{teacher: {folder}/pruned, weight: 1.0}}"]
    sets += ["train.learning_rate=0", "evaluate.baseline=auto", "prune.0.schedule={to: 0.5, begin: 0, end: 0}"]
    optkit.run(path, sets, output=tmp_path / "run", stop_after="train")
    # What does not move away from its teacher differs from it by nothing.
    assert max(abs(entry["loss"]) for entry in facts(tmp_path / "run", "train")["history"]) < 1e-6
