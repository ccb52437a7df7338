"""Weights that cannot be masked as they are: one line that names the layer and the way out, whoever asks."""

from __future__ import annotations

import capabilities
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune
from transformers import Trainer

from optkit.errors import PruningError
from optkit.pruning import Pruner, PruningCallback, Rule, Schedule, compact, one_shot

RULE = Rule(schedule=Schedule(to=0.5))


def masked_by_torch(layer: nn.Linear) -> None:
    prune.l1_unstructured(layer, "weight", 0.5)


def float8(layer: nn.Linear) -> None:
    layer.weight = nn.Parameter(layer.weight.detach().to(torch.float8_e4m3fn), requires_grad=False)


def integers(layer: nn.Linear) -> None:
    layer.weight = nn.Parameter(layer.weight.detach().to(torch.int8), requires_grad=False)


class Packed(nn.Parameter):
    """As libraries of quantized weights make them."""


def packed(layer: nn.Linear) -> None:
    layer.weight = Packed(layer.weight.detach())


def old_weight_norm(layer: nn.Linear) -> None:
    layer.weight_g = nn.Parameter(layer.weight.detach().norm(dim=1, keepdim=True))
    layer.weight_v = nn.Parameter(layer.weight.detach().clone())
    del layer.weight
    layer.weight = layer.weight_v * layer.weight_g


CASES = {
    "prune": (masked_by_torch, "is computed from weight_orig and weight_mask: call torch.nn.utils.prune.remove("),
    "weight_norm": (parametrizations.weight_norm, "is parametrized: call torch.nn.utils.parametrize.remove_param"),
    "old_weight_norm": (old_weight_norm, "is computed from weight_g and weight_v: call torch.nn.utils.remove_weight_n"),
    "old_spectral_norm": (nn.utils.spectral_norm, "call torch.nn.utils.remove_spectral_norm(layer)"),
    "float8": (float8, "is stored as float8_e4m3fn, not in floating point: prune the model before"),
    "integers": (integers, "is stored as int8, not in floating point"),
    "packed": (packed, "is stored as a Packed, not in floating point"),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("structure", ["element", "1x4", "head"])
def test_a_weight_that_is_none_is_named_with_the_way_out(bert, case, structure):
    change, said = CASES[case]
    model = bert()
    for layer in (model.bert.encoder.layer[0].attention.self.query, model.bert.encoder.layer[1].output.dense):
        change(layer)
    with pytest.raises(PruningError) as error:
        Pruner(model, [Rule(structure=structure, schedule=Schedule(to=0.5))])
    start = "rule 'weights': bert.encoder.layer.0.attention.self.query.weight (and 1 more) "
    assert str(error.value).startswith(start) and said in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_one_shot_and_the_trainer_say_the_same(bert, rows, arguments, tmp_path):
    model = bert()
    masked_by_torch(model.bert.encoder.layer[0].output.dense)
    batch = {"input_ids": torch.ones(1, 4, dtype=torch.long)}
    with pytest.raises(PruningError, match="torch.nn.utils.prune.remove"):
        one_shot(model, RULE, [batch])
    with pytest.raises(PruningError, match="torch.nn.utils.prune.remove"):
        Trainer(model, arguments(tmp_path), train_dataset=rows(8), callbacks=[PruningCallback(RULE)])
    prune.remove(model.bert.encoder.layer[0].output.dense, "weight")
    Pruner(model, [RULE])


def test_a_model_is_not_compacted_with_them(bert):
    model = bert()
    masked_by_torch(model.bert.encoder.layer[0].attention.self.query)
    with pytest.raises(PruningError, match="query.weight is computed from weight_orig and weight_mask: call torch"):
        compact(model)


def test_layers_that_no_rule_matches_may_be_what_they_like(bert):
    model = bert()
    masked_by_torch(model.classifier)
    Pruner(model, [RULE])


def test_a_second_pruner_is_told_to_fold_the_first(bert):
    model = bert()
    Pruner(model, [RULE])
    with pytest.raises(PruningError, match="has a mask already: fold the earlier masks"):
        Pruner(model, [RULE])


def test_weights_that_are_not_loaded_are_refused(bert):
    with pytest.raises(PruningError, match="query.weight is on the meta device.*load the model whole"):
        Pruner(bert().to("meta"), [RULE])


@pytest.mark.parametrize(
    "targets", ["encoder_linear", "*base_layer", "*lora_A*", "classifier*", "*.intermediate.dense"]
)
@pytest.mark.parametrize("inject", [False, True])
def test_a_model_with_adapters_is_refused(bert, targets, inject):
    peft = capabilities.package("peft")
    model, config = bert(), peft.LoraConfig(target_modules=["query", "value"], r=2)
    adapted = peft.inject_adapter_in_model(config, model) if inject else peft.get_peft_model(model, config)
    with pytest.raises(PruningError) as error:
        Pruner(adapted, [Rule(targets=targets)])
    assert "of peft, and merging an adapter fills the zeros below it" in str(error.value)
    assert "model = model.merge_and_unload(), and prune the merged model" in str(error.value)


def test_a_merged_adapter_is_no_adapter(bert, rows, arguments, tmp_path):
    peft = capabilities.package("peft")
    adapted = peft.get_peft_model(bert(), peft.LoraConfig(target_modules=["query"], r=2, task_type="SEQ_CLS"))
    with pytest.raises(PruningError, match="of peft"):
        Trainer(adapted, arguments(tmp_path), train_dataset=rows(8), callbacks=[PruningCallback(RULE)])
    with pytest.raises(PruningError, match="of peft"):
        one_shot(adapted, RULE, [{"input_ids": torch.ones(1, 4, dtype=torch.long)}])
    merged = adapted.merge_and_unload()
    one_shot(merged, RULE, [{"input_ids": torch.ones(1, 4, dtype=torch.long)}])
    query = merged.bert.encoder.layer[0].attention.self.query
    assert type(query) is nn.Linear and bool((query.weight == 0).any())
