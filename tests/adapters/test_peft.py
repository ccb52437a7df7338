"""Adapters merged into a base model that is pruned: how many zeros were filled is said, whatever the names are."""

from __future__ import annotations

import json
import shutil

import capabilities
import pytest
import torch
import transformers
from pickles import Bomb
from safetensors.torch import load_file, save_file

from optkit.adapters import peft as adapters
from optkit.errors import OptkitError, UsageError

peft = capabilities.package("peft")

SEQ = ("AutoModelForSequenceClassification", "SEQ_CLS")


@pytest.fixture(scope="module")
def bases(tmp_path_factory, tiny_checkpoint, save_checkpoint):
    """The same pruned encoder as a classifier and bare."""
    folder, found = tmp_path_factory.mktemp("bases"), {}
    config = json.loads((tiny_checkpoint / "config.json").read_text())
    sizes = {name: config[name] for name in ("vocab_size", "hidden_size", "num_hidden_layers", "intermediate_size")}
    sizes |= {"num_attention_heads": 2, "max_position_embeddings": 64}
    for name, kind in (("full", "BertForSequenceClassification"), ("bare", "BertModel")):
        found[name] = folder / name
        found[name].mkdir()
        save_checkpoint(found[name], kind, sizes, (1, 4), 0.75)
    return found


@pytest.fixture
def trained(tmp_path):
    """An adapter of a base model whose update is not zero, saved."""

    def make(base, auto_class, kind, **options):
        folder = tmp_path / "adapter"
        model = getattr(transformers, auto_class).from_pretrained(base)
        options = {"target_modules": ["query", "value"]} | options
        model = peft.get_peft_model(model, peft.LoraConfig(task_type=kind, r=2, **options))
        torch.manual_seed(1)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.data.normal_(std=0.1)
        model.save_pretrained(folder)
        return folder

    return make


def linear_zeros(folder):
    """How many zeros each linear weight of the encoder holds, by the end of its name."""
    found = load_file(folder / "model.safetensors")
    return {
        name[name.index("layer.") :]: int((w == 0).sum())
        for name, w in found.items()
        if w.ndim == 2 and "layer." in name
    }


@pytest.mark.parametrize(
    ("base", "auto_class", "kind", "options"),
    [
        ("full", *SEQ, {}),
        ("bare", *SEQ, {}),
        ("bare", "AutoModel", "FEATURE_EXTRACTION", {}),
        ("full", "AutoModel", "FEATURE_EXTRACTION", {}),
        ("bare", "AutoModelForTokenClassification", "TOKEN_CLS", {}),
        ("bare", *SEQ, {"use_dora": True}),
        ("bare", *SEQ, {"use_rslora": True, "target_modules": "all-linear"}),
        ("full", *SEQ, {"bias": "all", "target_modules": ["dense"]}),
    ],
)
def test_filled_zeros_are_counted(bases, trained, tmp_path, base, auto_class, kind, options):
    adapter, output = trained(bases[base], auto_class, kind, **options), tmp_path / "merged"
    output.mkdir()
    notes = adapters.merge(adapter, output)
    before, after = linear_zeros(bases[base]), linear_zeros(output)
    filled = sum(zeros - after[name] for name, zeros in before.items())
    assert filled > 0
    assert f"merging filled {filled:,} of the base model's {sum(before.values()):,} zeros" in notes[1]


def test_a_base_model_with_masks_is_merged_as_it_computes(bases, trained, tmp_path):
    adapter, masked = trained(bases["full"], *SEQ), shutil.copytree(bases["full"], tmp_path / "masked")
    weights, stored = load_file(masked / "model.safetensors"), {}
    for name, weight in weights.items():
        split = name.endswith(".query.weight")
        parts = {f"{name}_orig": weight + (weight == 0), f"{name}_mask": (weight != 0).float()}
        stored |= parts if split else {name: weight}
    save_file({f"module.{name}": weight for name, weight in stored.items()}, masked / "model.safetensors")
    said = json.loads((adapter / "adapter_config.json").read_text())
    notes, merged = {}, {}
    for base in (bases["full"], masked):
        (adapter / "adapter_config.json").write_text(json.dumps(said | {"base_model_name_or_path": str(base)}))
        output = tmp_path / f"merged-{base.name}"
        output.mkdir()
        notes[base], merged[base] = adapters.merge(adapter, output)[1:], load_file(output / "model.safetensors")
    assert notes[masked] == notes[bases["full"]]
    assert all(torch.equal(weight, merged[masked][name]) for name, weight in merged[bases["full"]].items())


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (lambda: peft.PrefixTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=2), "PREFIX_TUNING adds to what"),
        (lambda: peft.PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=2), "PROMPT_TUNING adds to what"),
        (lambda: peft.LNTuningConfig(task_type="SEQ_CLS", target_modules=["LayerNorm"]), "leaves parts of LN_TUNING"),
    ],
)
@pytest.mark.filterwarnings("ignore:Unsupported layer type")
def test_what_cannot_be_merged_is_named(bases, tmp_path, config, said):
    model = transformers.AutoModelForSequenceClassification.from_pretrained(bases["full"])
    peft.get_peft_model(model, config()).save_pretrained(tmp_path / "adapter")
    (tmp_path / "merged").mkdir()
    with pytest.raises(OptkitError, match=said) as raised:
        adapters.merge(tmp_path / "adapter", tmp_path / "merged")
    assert "\n" not in str(raised.value) and not list((tmp_path / "merged").iterdir())


def test_an_update_that_is_zero_fills_nothing(bases, trained, tmp_path):
    adapter = trained(bases["bare"], *SEQ)
    weights = load_file(adapter / "adapter_model.safetensors")
    zero = {name: torch.zeros_like(w) if "lora_B" in name else w for name, w in weights.items()}
    save_file(zero, adapter / "adapter_model.safetensors")
    (tmp_path / "merged").mkdir()
    assert adapters.merge(adapter, tmp_path / "merged") == [f"merged into {bases['bare']}"]


def test_pickled_weights_and_no_task_type(bases, trained, tmp_path):
    adapter = trained(bases["full"], *SEQ)
    weights = load_file(adapter / "adapter_model.safetensors")
    (adapter / "adapter_model.safetensors").unlink()
    torch.save(weights, adapter / "adapter_model.bin")
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"task_type": None}))
    (tmp_path / "merged").mkdir()
    assert "merging filled" in adapters.merge(adapter, tmp_path / "merged")[1]
    said = json.loads((tmp_path / "merged/config.json").read_text())
    assert said["architectures"] == ["BertForSequenceClassification"]
    # What it is for cannot be told from a base model without a name either.
    base = shutil.copytree(bases["full"], tmp_path / "nameless")
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"architectures": None}))
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": str(base)}))
    with pytest.raises(OptkitError, match="set task_type in .*adapter_config.json, one of SEQ_CLS"):
        adapters.merge(adapter, tmp_path / "merged")


def test_a_pickle_runs_nothing(bases, trained, tmp_path):
    adapter = trained(bases["full"], *SEQ)
    (adapter / "adapter_model.safetensors").unlink()
    torch.save({"a": Bomb(tmp_path / "ran")}, adapter / "adapter_model.bin")
    (tmp_path / "merged").mkdir()
    with pytest.raises(OptkitError, match="adapter_model.bin: asks for .*, which may be code"):
        adapters.merge(adapter, tmp_path / "merged")
    assert not (tmp_path / "ran").exists()


def test_a_head_that_neither_holds(bases, trained, tmp_path):
    adapter = trained(bases["bare"], *SEQ)
    weights = load_file(adapter / "adapter_model.safetensors")
    kept = {name: w for name, w in weights.items() if "classifier" not in name}
    assert len(kept) < len(weights)
    save_file(kept, adapter / "adapter_model.safetensors")
    (tmp_path / "merged").mkdir()
    with pytest.raises(OptkitError, match="neither it nor .* holds classifier.bias"):
        adapters.merge(adapter, tmp_path / "merged")


def test_another_kind_of_task(bases, trained, tmp_path):
    adapter = trained(bases["full"], *SEQ)
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"task_type": "CAUSAL_LM"}))
    with pytest.raises(UsageError, match="an adapter for CAUSAL_LM, which is not merged here"):
        adapters.merge(adapter, tmp_path)
