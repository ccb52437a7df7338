from __future__ import annotations

import json
import shutil

import pytest
import torch
from architectures import SIZES
from safetensors.torch import load_file, save_file

from optkit import models
from optkit.errors import OptkitError, PlanError
from optkit.models import Head
from optkit.recipe.distill import TeacherSpec
from optkit.recipe.schema import ModelSpec

AUTO = "AutoModelForSequenceClassification"
TWO = ["LABEL_0", "LABEL_1"]
CONFIG = {"model_type": "bert", **SIZES, "max_position_embeddings": 40}
TRAINED = {"train": "wordpiece", "vocab_size": 100}


@pytest.fixture
def checkpoint(tiny_checkpoint, tmp_path):
    """A copy of the tiny checkpoint to change."""
    folder = tmp_path / "checkpoint"
    shutil.copytree(tiny_checkpoint, folder)
    return folder


def edit(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def rename(folder, labels):
    edit(folder, id2label=dict(enumerate(labels)), label2id={label: i for i, label in enumerate(labels)})


def drop(folder, *prefixes):
    weights = load_file(folder / "model.safetensors")
    kept = {name: w for name, w in weights.items() if not name.startswith(prefixes)}
    assert len(kept) < len(weights)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def logits(model):
    with torch.no_grad():
        return model(input_ids=torch.arange(5, 15).reshape(2, 5)).logits


def has_trained_head(model, head):
    return models.kept_head(model, head) is not None


def one_line(raised, kind=OptkitError):
    assert type(raised.value) is kind
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_random_weights_come_from_the_seed_alone():
    spec = ModelSpec(config=CONFIG, tokenizer=TRAINED)
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = models.load_model(spec, Head(AUTO, ["a", "b", "c"]), seed=7)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    again, other = (models.load_model(spec, Head(AUTO, ["a", "b", "c"]), seed=seed) for seed in (7, 8))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.classifier.weight, other.classifier.weight)
    assert first.config.id2label == {0: "a", 1: "b", 2: "c"} and first.config.label2id == {"a": 0, "b": 1, "c": 2}
    assert first.config.vocab_size == 100 and not first.training


def test_vocabulary_and_padding_follow_the_tokenizer():
    spec = ModelSpec(config=CONFIG, tokenizer=TRAINED)
    tokenizer = models.load_tokenizer(spec, ["one two three"] * 3)
    model = models.load_model(spec, Head(AUTO, TWO), seed=0, tokenizer=tokenizer)
    assert model.config.vocab_size == len(tokenizer) < 100
    assert model.config.pad_token_id == tokenizer.pad_token_id == 0
    assert tokenizer.model_max_length == 40


def test_a_vocabulary_without_room_for_the_tokenizer():
    spec = ModelSpec(config={**CONFIG, "vocab_size": 8}, tokenizer=TRAINED)
    tokenizer = models.load_tokenizer(spec, ["one two three"])
    with pytest.raises(PlanError, match="room for 8: raise model.config.vocab_size"):
        models.load_model(spec, Head(AUTO, TWO), seed=0, tokenizer=tokenizer)


def test_models_without_token_types_get_a_tokenizer_without():
    spec = ModelSpec(
        config={"model_type": "distilbert", "dim": 32, "n_heads": 2, "n_layers": 1, "hidden_dim": 64}, tokenizer=TRAINED
    )
    assert "token_type_ids" not in models.load_tokenizer(spec, ["one two"])("one")
    assert models.load_model(spec, Head(AUTO, TWO), seed=0).distilbert.embeddings.word_embeddings.weight.shape == (
        100,
        32,
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hiden_size": 32}, "model.config.hiden_size: bert has no such setting, did you mean 'hidden_size'?"),
        ({"model_type": "brt"}, "model.config.model_type: unknown model type 'brt', did you mean 'bert'?"),
        ({"num_labels": 2}, "model.config.num_labels: the classes come from the data: remove it"),
        (
            {"hidden_size": 33},
            "model.config: The hidden size (33) is not a multiple of the number of attention heads (2)",
        ),
        ({"hidden_size": "x"}, "model.config: Field 'hidden_size' expected int, got str (value: 'x')"),
    ],
)
@pytest.mark.parametrize(
    "load", [lambda s: models.load_model(s, Head(AUTO, TWO), seed=0), lambda s: models.meta_model(s, Head(AUTO, TWO))]
)
def test_a_config_that_fits_no_model(changes, message, load):
    with pytest.raises(PlanError) as raised:
        load(ModelSpec(config={**CONFIG, **changes}, tokenizer=TRAINED))
    assert one_line(raised, PlanError).startswith(message)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("num_hidden_layers", 0, "0 is no size: give a whole number of 1 or more"),
        ("num_hidden_layers", -1, "-1 is no size"),
        ("num_attention_heads", -1, "-1 is no size"),
        ("intermediate_size", 0, "0 is no size"),
        ("hidden_dropout_prob", 1.5, "1.5 is no share: give a number from 0 to 1"),
        ("hidden_dropout_prob", float("nan"), "nan is no number"),
        ("layer_norm_eps", float("inf"), "inf is no number"),
    ],
)
def test_values_of_no_model(tiny_checkpoint, name, value, said):
    new = ModelSpec(config={**CONFIG, name: value}, tokenizer=TRAINED)
    changed = ModelSpec(name=str(tiny_checkpoint), overrides={name: value})
    for spec, key in ((new, "model.config"), (changed, "model.overrides")):
        with pytest.raises(PlanError) as raised:
            models.meta_model(spec, Head(AUTO, TWO))
        assert one_line(raised, PlanError).startswith(f"{key}.{name}: {said}")


def test_zero_where_zero_is_usual():
    config = {"model_type": "deberta-v2", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    spec = ModelSpec(config={**config, "type_vocab_size": 0, "pad_token_id": 0}, tokenizer=TRAINED)
    assert models.meta_model(spec, Head(AUTO, TWO)).config.type_vocab_size == 0


def test_a_task_that_an_architecture_lacks():
    with pytest.raises(PlanError) as raised:
        models.meta_model(ModelSpec(config={"model_type": "vit"}, tokenizer=TRAINED), Head(AUTO, TWO))
    assert "ViTConfig" in one_line(raised, PlanError)


def test_meta_model_holds_no_memory(tiny_checkpoint):
    for model in (tiny_checkpoint, ModelSpec(name=str(tiny_checkpoint))):
        found = models.meta_model(model, Head(AUTO, ["a", "b", "c"]))
        assert {p.device.type for p in found.parameters()} == {"meta"}
        assert found.classifier.weight.shape == (3, 32)


def test_a_trained_head_is_kept(tiny_checkpoint):
    from transformers import AutoModelForSequenceClassification

    spec = ModelSpec(name=str(tiny_checkpoint))
    plain = AutoModelForSequenceClassification.from_pretrained(tiny_checkpoint)
    assert has_trained_head(spec, Head(AUTO, TWO))
    assert has_trained_head(spec, Head(AUTO, ["negative", "positive"]))
    assert not has_trained_head(spec, Head(AUTO, ["a", "b", "c"]))
    assert not has_trained_head(ModelSpec(config=CONFIG, tokenizer=TRAINED), Head(AUTO, TWO))
    assert torch.equal(logits(models.load_model(spec, Head(AUTO, TWO), seed=0)), logits(plain))


def test_labels_in_another_order_move_the_outputs(checkpoint):
    rename(checkpoint, ["positive", "negative"])
    labels = ["negative", "positive"]
    before = logits(models.load_model(checkpoint, Head(AUTO, ["positive", "negative"]), seed=0))
    model = models.load_model(checkpoint, Head(AUTO, labels), seed=0)
    assert has_trained_head(checkpoint, Head(AUTO, labels))
    assert torch.equal(logits(model), before.flip(1))
    assert model.config.id2label == {0: "negative", 1: "positive"}


def test_numbered_labels_take_the_checkpoints_names(checkpoint):
    rename(checkpoint, ["no", "yes"])
    assert models.adopt_labels(checkpoint, Head(AUTO, TWO)).labels == ("no", "yes")
    assert models.load_model(checkpoint, Head(AUTO, TWO), seed=0).config.id2label == {0: "no", 1: "yes"}
    assert models.adopt_labels(checkpoint, Head(AUTO, ["bad", "good"])).labels == ("bad", "good")
    drop(checkpoint, "classifier")
    assert models.adopt_labels(checkpoint, Head(AUTO, TWO)) == Head(AUTO, TWO)


@pytest.mark.parametrize("labels", [TWO, ["a", "b", "c"]])
def test_a_missing_or_other_head_is_drawn_from_the_seed(checkpoint, labels):
    if len(labels) == 2:
        drop(checkpoint, "classifier")
    stored = load_file(checkpoint / "model.safetensors")
    assert not has_trained_head(checkpoint, Head(AUTO, labels))
    first, again, other = (models.load_model(checkpoint, Head(AUTO, labels), seed=seed) for seed in (1, 1, 2))
    assert first.classifier.weight.shape == (len(labels), 32)
    assert torch.equal(first.classifier.weight, again.classifier.weight)
    assert not torch.equal(first.classifier.weight, other.classifier.weight)
    assert first.classifier.weight.std() > 0
    assert torch.equal(first.bert.pooler.dense.weight, stored["bert.pooler.dense.weight"])


@pytest.mark.parametrize(("stored", "architecture"), [(["cat", "dog"], AUTO), (TWO, "BertForTokenClassification")])
def test_a_head_for_something_else_is_not_started_from_although_it_fits(checkpoint, stored, architecture):
    rename(checkpoint, stored)
    edit(checkpoint, architectures=[architecture.replace("AutoModel", "Bert")])
    weights, ours = load_file(checkpoint / "model.safetensors"), Head(AUTO, ["no", "yes"])
    first, again = (models.load_model(checkpoint, ours, seed=1) for _ in range(2))
    assert not torch.equal(first.classifier.weight, weights["classifier.weight"])
    assert torch.equal(first.classifier.weight, again.classifier.weight)
    assert torch.equal(first.bert.pooler.dense.weight, weights["bert.pooler.dense.weight"])


SINGLE, MULTI, SCORE = "single_label_classification", "multi_label_classification", "regression"


@pytest.mark.parametrize(
    ("stored", "head", "problem"),
    [
        (SCORE, Head(AUTO, TWO), SINGLE),
        (MULTI, Head(AUTO, TWO), SINGLE),
        ("nonsense", Head(AUTO, TWO), SINGLE),
        (None, Head(AUTO, TWO), SINGLE),
        (SINGLE, Head(AUTO, TWO, MULTI), MULTI),
        (SINGLE, Head(AUTO, ["LABEL_0"], SCORE), SCORE),
        (MULTI, Head("AutoModelForTokenClassification", ["O", "B-X"]), None),
        (SCORE, Head("AutoModelForQuestionAnswering"), SCORE),
    ],
)
def test_the_problem_is_the_datas_and_not_the_checkpoints(checkpoint, stored, head, problem):
    edit(checkpoint, problem_type=stored)
    assert models.load_model(checkpoint, head, seed=0).config.problem_type == problem
    assert models.meta_model(checkpoint, head).config.problem_type == problem


def test_the_loss_is_the_problems(checkpoint):
    edit(checkpoint, problem_type=SCORE)
    model = models.load_model(checkpoint, Head(AUTO, TWO), seed=0)
    labels, inputs = torch.tensor([1, 0]), torch.arange(5, 15).reshape(2, 5)
    with torch.no_grad():
        found = model(input_ids=inputs, labels=labels)
    assert torch.equal(found.loss, torch.nn.functional.cross_entropy(found.logits, labels))


def test_a_teacher_has_the_problem_of_its_student(checkpoint):
    edit(checkpoint, problem_type=MULTI)
    teacher = models.load_teacher(TeacherSpec(name=str(checkpoint)), Head(AUTO, TWO))[0]
    assert teacher.config.problem_type == SINGLE


def test_an_image_models_problem_is_the_datas(tiny_vit, tmp_path):
    folder = shutil.copytree(tiny_vit, tmp_path / "vit")
    edit(folder, problem_type=MULTI)
    names = json.loads((folder / "config.json").read_text())["id2label"].values()
    model = models.load_model(folder, Head("AutoModelForImageClassification", list(names)), seed=0)
    assert model.config.problem_type == SINGLE


def test_names_that_are_odd_are_read_and_written_right(checkpoint):
    edit(checkpoint, id2label={"1": "good", "2": "bad"}, label2id={"good": 1, "bad": 2})
    before = logits(models.load_model(checkpoint, Head(AUTO, ["good", "bad"]), seed=0))
    model = models.load_model(checkpoint, Head(AUTO, ["bad", "good"]), seed=0)
    assert torch.equal(logits(model), before.flip(1))
    assert model.config.id2label == {0: "bad", 1: "good"} and model.config.label2id == {"bad": 0, "good": 1}
    edit(checkpoint, id2label={"0": 0, "1": 1}, label2id={"0": 0, "1": 1})
    assert models.load_tokenizer(checkpoint).model_max_length == 64
    assert models.adopt_labels(checkpoint, Head(AUTO, TWO)).labels == ("0", "1")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"id2label": {"0": "O", "1": "O"}}, "id2label gives two outputs the name 'O': write one name for each output"),
        (
            {"id2label": {"0": "a", "1": "b", "2": "c"}},
            "names 3 outputs, and classifier.weight has 2: name each of them",
        ),
        ({"num_labels": 5, "id2label": {"0": "a"}}, "id2label names 1 outputs, and classifier.weight has 2"),
        ({"id2label": {"0": "a", "1": "b"}, "label2id": {"a": 1, "b": 0}}, "contradict each other"),
    ],
)
@pytest.mark.parametrize(
    "load",
    [
        lambda folder: models.load_model(folder, Head(AUTO, TWO), seed=0),
        lambda folder: models.load_teacher(TeacherSpec(name=str(folder)), Head(AUTO, ["a", "b"])),
    ],
)
def test_names_that_cannot_be_told_are_refused_in_a_line(checkpoint, values, said, load):
    edit(checkpoint, **{"label2id": None, **values})
    with pytest.raises(PlanError) as raised:
        load(checkpoint)
    message = one_line(raised, PlanError)
    assert message.startswith(f"{checkpoint}/config.json: ") and said in message


def test_names_that_no_task_needs_are_in_nobodys_way(checkpoint):
    edit(checkpoint, id2label={"0": "O", "1": "O"}, label2id=[])
    assert models.load_model(checkpoint, Head("AutoModel"), seed=0).config.num_labels == 2
    assert models.load_model(checkpoint, Head("AutoModelForQuestionAnswering"), seed=0).config.id2label == {
        0: "LABEL_0",
        1: "LABEL_1",
    }


def test_more_outputs_than_a_config_without_names_says(checkpoint):
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig.from_pretrained(checkpoint, num_labels=3)
    BertForSequenceClassification(config).save_pretrained(checkpoint)
    edit(checkpoint, id2label=None, label2id=None)
    three = Head(AUTO, ["a", "b", "c"])
    assert models.stored_head(checkpoint, three) == ["LABEL_0", "LABEL_1", "LABEL_2"]
    assert models.load_model(checkpoint, three, seed=0).config.id2label == {0: "a", 1: "b", 2: "c"}


def test_a_head_by_its_weights_where_the_architecture_is_not_named(checkpoint, tmp_path):
    from transformers import BertConfig, BertForPreTraining

    masked = Head("AutoModelForMaskedLM")
    assert not has_trained_head(checkpoint, masked)
    edit(checkpoint, architectures=None)
    assert has_trained_head(checkpoint, Head(AUTO, TWO)) and not has_trained_head(checkpoint, masked)
    BertForPreTraining(BertConfig.from_pretrained(checkpoint)).save_pretrained(tmp_path / "pretrained")
    assert has_trained_head(tmp_path / "pretrained", masked)
    weights = load_file(tmp_path / "pretrained/model.safetensors")
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): w
        for name, w in weights.items()
    }
    save_file(old, tmp_path / "pretrained/model.safetensors", metadata={"format": "pt"})
    assert has_trained_head(tmp_path / "pretrained", masked)


def test_a_teachers_tokenizer_cuts_to_what_the_teacher_takes(checkpoint):
    edit(checkpoint, max_position_embeddings=16)
    weights = load_file(checkpoint / "model.safetensors")
    name = "bert.embeddings.position_embeddings.weight"
    save_file(weights | {name: weights[name][:16].clone()}, checkpoint / "model.safetensors", metadata={"format": "pt"})
    assert models.load_teacher(TeacherSpec(name=str(checkpoint)), Head(AUTO, TWO))[1].model_max_length == 16


def test_weights_stored_as_halves_come_as_fp32(checkpoint):
    weights = {name: w.half() for name, w in load_file(checkpoint / "model.safetensors").items()}
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    edit(checkpoint, dtype="float16")
    model = models.load_model(checkpoint, Head(AUTO, TWO), seed=0)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert torch.equal(model.classifier.weight.detach(), weights["classifier.weight"].float())


def test_pickled_weights_load_without_running_code(checkpoint):
    weights = load_file(checkpoint / "model.safetensors")
    (checkpoint / "model.safetensors").unlink()
    torch.save(weights, checkpoint / "pytorch_model.bin")
    assert has_trained_head(checkpoint, Head(AUTO, TWO))
    model = models.load_model(checkpoint, Head(AUTO, TWO), seed=0)
    assert torch.equal(model.classifier.weight.detach(), weights["classifier.weight"])


class Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_pickle_that_would_run_code_is_refused(checkpoint, tmp_path):
    (checkpoint / "model.safetensors").unlink()
    torch.save({"classifier.weight": Touch(tmp_path / "ran")}, checkpoint / "pytorch_model.bin")
    with pytest.raises(OptkitError) as raised:
        models.load_model(checkpoint, Head(AUTO, TWO), seed=0)
    assert one_line(raised).startswith(
        f"{checkpoint}/pytorch_model.bin: asks for io.open, which may be code: nothing of"
    )
    assert not (tmp_path / "ran").exists()


def test_overrides_change_the_config(tiny_checkpoint):
    spec = ModelSpec(name=str(tiny_checkpoint), overrides={"hidden_dropout_prob": 0.0})
    model = models.load_model(spec, Head(AUTO, TWO), seed=0)
    assert model.config.hidden_dropout_prob == 0.0 and model.bert.embeddings.dropout.p == 0.0


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"hidden_droput": 0.0}, "model.overrides.hidden_droput: bert has no such setting"),
        (
            {"problem_type": "regression"},
            "model.overrides.problem_type: what is asked of the model comes from the data",
        ),
        ({"intermediate_size": 128}, "weights have another shape than the config says, first bert.encoder.layer.0"),
    ],
)
def test_overrides_that_cannot_be(tiny_checkpoint, overrides, message):
    with pytest.raises(PlanError) as raised:
        models.load_model(ModelSpec(name=str(tiny_checkpoint), overrides=overrides), Head(AUTO, TWO), seed=0)
    assert message in one_line(raised, PlanError)


def test_a_folder_that_is_missing_or_empty(tmp_path):
    with pytest.raises(PlanError) as raised:
        models.load_model(ModelSpec(name=str(tmp_path / "absent")), Head(AUTO, TWO), seed=0)
    assert one_line(raised, PlanError) == (
        f"model.name: no folder {tmp_path}/absent: give a local folder with --set model.name=FOLDER"
    )
    with pytest.raises(PlanError) as raised:
        models.load_model(ModelSpec(name=str(tmp_path)), Head(AUTO, TWO), seed=0)
    assert "no config.json here" in one_line(raised, PlanError)


@pytest.mark.parametrize(
    "load",
    [
        lambda spec: models.load_model(spec, Head(AUTO, TWO), seed=0),
        lambda spec: models.load_tokenizer(spec),
        lambda spec: has_trained_head(spec, Head(AUTO, TWO)),
        lambda spec: models.meta_model(spec, Head(AUTO, TWO)),
    ],
)
def test_a_hub_that_cannot_be_reached(load):
    with pytest.raises(OptkitError) as raised:
        load(ModelSpec(name="someone/some-model"))
    assert one_line(raised) == (
        "model.name: no folder someone/some-model, and the Hub can't be reached (HF_HUB_OFFLINE is set): "
        "give a local folder with --set model.name=FOLDER"
    )
    assert raised.value.exit_code == 1


@pytest.mark.parametrize("size", [0, 5, 300, -100])
def test_half_written_weights(checkpoint, size):
    path = checkpoint / "model.safetensors"
    with path.open("r+b") as file:
        file.truncate(size if size >= 0 else path.stat().st_size + size)
    for load in (
        lambda: models.load_model(checkpoint, Head(AUTO, TWO), seed=0),
        lambda: has_trained_head(checkpoint, Head(AUTO, TWO)),
    ):
        with pytest.raises(OptkitError) as raised:
            load()
        assert one_line(raised).startswith(f"{path}: damaged or only half written")


def test_missing_weights_and_shards(checkpoint):
    path = checkpoint / "model.safetensors"
    index = checkpoint / "model.safetensors.index.json"
    path.rename(checkpoint / "model-00001-of-00002.safetensors")
    index.write_text(
        json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}})
    )
    with pytest.raises(OptkitError, match="model-00002-of-00002.safetensors is missing"):
        models.load_model(checkpoint, Head(AUTO, TWO), seed=0)
    index.unlink()
    (checkpoint / "model-00001-of-00002.safetensors").unlink()
    with pytest.raises(OptkitError, match="no weights here: expected model.safetensors"):
        models.load_model(checkpoint, Head(AUTO, TWO), seed=0)


def test_a_checkpoint_without_part_of_its_encoder(checkpoint):
    drop(checkpoint, "bert.encoder.layer.1.output")
    with pytest.raises(OptkitError) as raised:
        models.load_model(checkpoint, Head(AUTO, TWO), seed=0)
    assert "4 weights of the bert encoder are missing, first bert.encoder.layer.1.output.LayerNorm.bias" in one_line(
        raised
    )


def test_a_checkpoint_without_pooler_gets_one(checkpoint):
    drop(checkpoint, "bert.pooler", "classifier")
    assert models.load_model(checkpoint, Head(AUTO, TWO), seed=0).bert.pooler.dense.weight.std() > 0


def test_a_head_that_reads_a_pooler_needs_it(checkpoint):
    drop(checkpoint, "bert.pooler")
    assert not has_trained_head(checkpoint, Head(AUTO, TWO))
    with pytest.raises(PlanError, match="has no trained head for SequenceClassification"):
        models.load_teacher(TeacherSpec(name=str(checkpoint)), Head(AUTO, TWO))
    # A tagger has no pooler.
    edit(checkpoint, architectures=["BertForTokenClassification"])
    assert has_trained_head(checkpoint, Head("AutoModelForTokenClassification", TWO))


def test_a_damaged_config(checkpoint):
    (checkpoint / "config.json").write_text('{"model_type": "be')
    with pytest.raises(OptkitError) as raised:
        models.load_model(checkpoint, Head(AUTO, TWO), seed=0)
    assert "its config.json cannot be read" in one_line(raised)


def test_code_in_a_checkpoint_runs_only_when_the_recipe_says_so(checkpoint):
    edit(checkpoint, model_type="own", auto_map={"AutoConfig": "own.OwnConfig"})
    (checkpoint / "own.py").write_text("raise SystemExit('ran')")
    with pytest.raises(PlanError) as raised:
        models.meta_model(checkpoint, Head(AUTO, TWO))
    assert "set model.trust_remote_code=true if you trust it" in one_line(raised, PlanError)


def test_loading_prints_nothing(checkpoint, capfd):
    drop(checkpoint, "classifier")
    models.load_model(checkpoint, Head(AUTO, TWO), seed=0)
    assert capfd.readouterr() == ("", "")


def test_the_models_own_tokenizer_or_a_named_one(tiny_checkpoint, tmp_path):
    own = models.load_tokenizer(ModelSpec(name=str(tiny_checkpoint)))
    assert own.model_max_length == 64 and own("the soup").input_ids[0] == 2
    named = models.load_tokenizer(ModelSpec(config=CONFIG, tokenizer=str(tiny_checkpoint)))
    assert named.get_vocab() == own.get_vocab()


def test_a_folder_without_a_tokenizer(checkpoint):
    for file in checkpoint.glob("*token*"):
        file.unlink()
    with pytest.raises(PlanError) as raised:
        models.load_tokenizer(checkpoint)
    assert one_line(raised, PlanError) == (
        f"{checkpoint}: no tokenizer here: give a folder that has one with --set model.tokenizer=FOLDER"
    )


def test_a_damaged_tokenizer(checkpoint):
    (checkpoint / "tokenizer.json").write_text('{"version": "1.0", "trunc')
    with pytest.raises(OptkitError) as raised:
        models.load_tokenizer(checkpoint)
    assert "its tokenizer cannot be read" in one_line(raised)


def test_a_tokenizer_without_padding(checkpoint):
    path = checkpoint / "tokenizer_config.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in values.items() if k != "pad_token"}))
    with pytest.raises(PlanError, match="no padding token"):
        models.load_tokenizer(checkpoint)


def test_the_teachers_columns_follow_our_labels(checkpoint):
    rename(checkpoint, ["Positive", "Negative"])
    teacher, tokenizer, permutation = models.load_teacher(
        TeacherSpec(name=str(checkpoint)), Head(AUTO, ["negative", "positive"])
    )
    assert permutation == [1, 0] and len(tokenizer) > 5
    assert not teacher.training and not any(p.requires_grad for p in teacher.parameters())


def test_a_teacher_that_numbers_its_classes_goes_by_the_number(tiny_checkpoint):
    for labels in (TWO, ["negative", "positive"]):
        assert models.load_teacher(TeacherSpec(name=str(tiny_checkpoint)), Head(AUTO, labels))[2] == [0, 1]


@pytest.mark.parametrize("labels", [["cat", "dog"], ["positive", "negative", "neutral"], TWO])
def test_a_teacher_with_other_labels(checkpoint, labels):
    rename(checkpoint, ["positive", "negative"])
    with pytest.raises(PlanError) as raised:
        models.load_teacher(TeacherSpec(name=str(checkpoint)), Head(AUTO, labels))
    message = one_line(raised, PlanError)
    assert f"has the labels positive, negative, and the data {', '.join(labels)}:" in message


def test_a_teacher_without_a_head(checkpoint):
    drop(checkpoint, "classifier")
    with pytest.raises(PlanError, match="has no trained head for SequenceClassification"):
        models.load_teacher(TeacherSpec(name=str(checkpoint)), Head(AUTO, TWO))


def test_a_teacher_that_is_nowhere(tmp_path):
    with pytest.raises(PlanError, match="distill.teacher: no folder .*--set distill.teacher=FOLDER"):
        models.load_teacher(TeacherSpec(name=str(tmp_path / "absent")), Head(AUTO, TWO))


def test_a_number_of_layers_that_is_a_mistake_is_refused_before_they_are_built(checkpoint):
    said = "num_hidden_layers is 1000000000, and no model has more than 1000: correct it"
    with pytest.raises(PlanError, match=f"^model.config: {said}"):
        models.meta_model(ModelSpec(config=CONFIG | {"num_hidden_layers": 10**9}, tokenizer=TRAINED), Head(AUTO, TWO))
    edit(checkpoint, num_hidden_layers=10**9)
    with pytest.raises(PlanError, match=f"checkpoint: config.json: {said}"):
        models.meta_model(checkpoint, Head(AUTO, TWO))


@pytest.mark.parametrize("length", ["64", 0, True])
def test_a_tokenizer_that_says_no_length_is_refused(checkpoint, length):
    file = checkpoint / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"model_max_length": length}))
    with pytest.raises(PlanError, match=f"tokenizer_config.json: model_max_length is {length!r}, no number of tokens"):
        models.load_tokenizer(checkpoint)


def test_a_config_with_class_names_to_mend_and_another_fault_is_one_line(checkpoint):
    edit(checkpoint, id2label={"0": "a", "1": "b"}, label2id={}, is_decoder="x")
    for load in (models.load_tokenizer, lambda folder: models.meta_model(folder, Head(AUTO, TWO))):
        with pytest.raises(
            OptkitError, match="checkpoint: its config.json cannot be read: Field 'is_decoder' expected bool"
        ):
            load(checkpoint)
