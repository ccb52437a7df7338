"""Every order that a model allows leaves its outputs what they were."""

from __future__ import annotations

import pytest
import torch
import transformers
from architectures import ARCHITECTURES, inputs_of, logits_of, small_model

from optkit.errors import PruningError
from optkit.pruning.config import PERMUTATIONS
from optkit.pruning.permutation.spaces import allowed_kinds, reorder, spaces

#: What the attention of these models does not allow; everything else is allowed for every architecture.
REFUSED = {"mpnet": {"heads"}}
#: Heads of other tasks, of each kind of layout that there is.
TASKS = [
    *(("bert", f"BertFor{task}") for task in ("TokenClassification", "QuestionAnswering", "MaskedLM")),
    *(("roberta", f"RobertaFor{task}") for task in ("TokenClassification", "QuestionAnswering", "MaskedLM")),
    *(("distilbert", f"DistilBertFor{task}") for task in ("TokenClassification", "QuestionAnswering", "MaskedLM")),
    *(("electra", f"ElectraFor{task}") for task in ("TokenClassification", "QuestionAnswering", "MaskedLM")),
    *(("mpnet", f"MPNetFor{task}") for task in ("TokenClassification", "QuestionAnswering", "MaskedLM")),
    *(("albert", f"AlbertFor{task}") for task in ("TokenClassification", "QuestionAnswering", "MaskedLM")),
    *(("deberta", f"DebertaV2For{task}") for task in ("TokenClassification", "QuestionAnswering", "MaskedLM")),
    *(("modernbert", f"ModernBertFor{task}") for task in ("TokenClassification", "QuestionAnswering", "MaskedLM")),
]


def model_of(name, class_name=None, **changes):
    if class_name is None:
        return small_model(name, **changes)
    before = ARCHITECTURES[name]
    ARCHITECTURES[name] = (class_name, before[1])
    try:
        return small_model(name, **changes)
    finally:
        ARCHITECTURES[name] = before


@torch.no_grad()
def outputs_of(model):
    found = model(**inputs_of(model))
    return torch.cat([value.flatten() for value in found.values() if isinstance(value, torch.Tensor)])


def shuffled(model, kind):
    """Reorders ``model`` at random, as far as ``kind`` allows; whether every order moved something."""
    generator = torch.Generator().manual_seed(3)
    found = spaces(model, kind)
    if kind == "heads":
        for query, value in zip(found[::2], found[1::2], strict=True):
            size = query.count // query.parts
            order = (torch.randperm(query.parts, generator=generator)[:, None] * size + torch.arange(size)).flatten()
            reorder(model, query, order)
            reorder(model, value, order)
        return
    for space in found:
        size = space.count // space.parts
        order = [part * size + torch.randperm(size, generator=generator) for part in range(space.parts)]
        reorder(model, space, torch.cat(order))


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("kind", PERMUTATIONS)
def test_a_random_order_keeps_the_outputs(name, kind):
    model = small_model(name)
    allowed, refused = allowed_kinds(model, [kind])
    assert set(refused) == {kind} & REFUSED.get(name, set())
    if refused:
        return
    wanted, weights = logits_of(model).double(), torch.cat([p.flatten() for p in model.parameters()])
    shuffled(model, kind)
    assert not torch.equal(weights, torch.cat([p.flatten() for p in model.parameters()]))
    assert torch.allclose(logits_of(model).double(), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "class_name"), TASKS)
def test_hidden_features_may_be_reordered_below_the_head_of_every_task(name, class_name):
    model = model_of(name, class_name)
    wanted = outputs_of(model)
    shuffled(model, "hidden")
    found = outputs_of(model)
    assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))


def test_features_of_embeddings_as_wide_as_the_hidden_state_move_with_it():
    model = model_of("electra", "ElectraForMaskedLM", embedding_size=32)
    wanted = outputs_of(model)
    shuffled(model, "hidden")
    assert torch.allclose(outputs_of(model), wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))


def test_queries_under_rotary_embeddings_keep_their_order():
    named = [space.name for space in spaces(small_model("modernbert"), "head_features")]
    assert named == ["model.layers.0.value", "model.layers.1.value"]


def test_an_encoder_whose_outputs_are_hidden_states_is_refused():
    model = model_of("bert", "BertModel")
    kinds, refused = allowed_kinds(model, ["all"])
    assert kinds == ["neurons", "head_features", "heads"]
    assert refused == {
        "hidden": "BertModel has no task head, and the order of the hidden features is part of its outputs"
    }


def test_a_part_that_is_not_known_is_refused():
    model = small_model("bert")
    model.extra = torch.nn.Linear(32, 4)
    assert allowed_kinds(model, ["hidden"])[1] == {
        "hidden": "whether extra.weight of BertForSequenceClassification reads the hidden state is not known"
    }


def test_a_model_of_another_type_is_refused():
    config = transformers.T5Config(
        vocab_size=64, d_model=32, d_kv=8, d_ff=48, num_layers=1, num_heads=4, decoder_start_token_id=0
    )
    with pytest.raises(PruningError, match="is not known for models of type 't5'"):
        spaces(transformers.T5EncoderModel(config), "neurons")


def test_what_is_no_order_is_refused():
    model = small_model("bert")
    (space,) = spaces(model, "hidden")
    with pytest.raises(PruningError, match="hidden: not an order of its 32 features"):
        reorder(model, space, torch.zeros(32, dtype=torch.int64))
