"""Which layers a rule means, and the lines that refuse."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import AlbertConfig, AlbertForSequenceClassification, BertConfig, BertForMaskedLM

from optkit.errors import PruningError
from optkit.pruning.config import Frozen, Magnitude, Movement, Rule
from optkit.pruning.targets import linear_layers, matches, resolve_rules, resolve_targets

PARTS = ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"]
PARTS += ["intermediate.dense", "output.dense"]
ENCODER = [f"bert.encoder.layer.{i}.{part}" for i in range(2) for part in PARTS]


@pytest.fixture(scope="module")
def model(bert):
    return bert()


def problems(model, *rules: Rule) -> list[tuple[int, str]]:
    return resolve_rules(model, rules)[1]


def test_encoder_linear_is_every_linear_layer_of_the_repeated_blocks(model):
    assert list(resolve_targets(model, Rule())) == ENCODER
    assert sorted(set(linear_layers(model)) - set(ENCODER)) == ["bert.pooler.dense", "classifier"]


def test_the_meta_device_suffices(model):
    with torch.device("meta"):
        ghost = type(model)(model.config)
    assert list(resolve_targets(ghost, Rule())) == ENCODER


@pytest.mark.parametrize(
    ("targets", "exclude", "expected"),
    [
        ("*.query", (), [ENCODER[0], ENCODER[6]]),
        (r"re:.*\.1\.attention\.self\.(query|key)", (), [ENCODER[6], ENCODER[7]]),
        (("classifier", "encoder_linear"), "*attention*", [*ENCODER[4:6], *ENCODER[10:], "classifier"]),
        ("*", "encoder_linear", ["bert.pooler.dense", "classifier"]),
        ("*.layer.[0]*.dense", (), ENCODER[3:6]),
    ],
)
def test_patterns(model, targets, exclude, expected):
    assert list(resolve_targets(model, Rule(targets=targets, exclude=exclude))) == expected


def test_a_regular_expression_matches_the_whole_name_and_case_counts():
    assert matches("re:a.c", "abc") and not matches("re:a.c", "abcd")
    assert matches("*.Dense", "x.y.Dense") and not matches("*.Dense", "x.y.dense")


def test_what_is_no_regular_expression_is_an_error(model):
    with pytest.raises(PruningError, match=r"'re:layers.\(0' is no regular expression: missing \)"):
        resolve_targets(model, Rule(targets="re:layers.(0"))


def test_a_pattern_that_matches_nothing_is_an_error_with_a_name_that_is_there(model):
    with pytest.raises(PruningError) as error:
        resolve_targets(model, Rule(targets=("encoder_linear", "clasifier"), name="head"))
    assert str(error.value) == "rule 'head': 'clasifier' matches no linear layer; a name here is 'classifier'"


def test_an_exclude_that_matches_nothing_is_an_error_too(model):
    with pytest.raises(PruningError) as error:
        resolve_targets(model, Rule(exclude="*.outptu.dense"))
    assert str(error.value).startswith(
        "rule 'weights': exclude: '*.outptu.dense' matches no linear layer; a name here is"
    )


def test_an_exclude_that_leaves_nothing_is_an_error(model):
    with pytest.raises(PruningError, match="rule 'weights': exclude leaves no linear layer of encoder_linear"):
        resolve_targets(model, Rule(exclude="*"))


def test_a_model_without_repeated_blocks_is_told_to_name_layers():
    with pytest.raises(
        PruningError, match="'encoder_linear' matches no linear layer: the model has no numbered list of layers"
    ):
        resolve_targets(nn.Sequential(nn.Linear(2, 2)), Rule())


def test_blocks_that_do_not_divide_name_each_weight(model):
    found = problems(model, Rule(targets="*.query", structure="3x1", name="odd"))
    way_out = "blocks of 3x1 do not divide a weight of 32x32: exclude it or choose other blocks"
    assert found == [(0, f"rule 'odd': {name}.weight: {way_out}") for name in (ENCODER[0], ENCODER[6])]


@pytest.mark.parametrize(
    ("first", "second", "clash"),
    [
        (Rule(structure="1x4"), Rule(structure="element"), False),
        (Rule(structure="2x4"), Rule(structure="1x2"), False),
        (Rule(structure="element"), Rule(structure="1x4"), True),
        (Rule(structure="1x4"), Rule(structure="4x1"), True),
        (Rule(structure="1x4"), Rule(structure="1x4"), True),
        (Rule(structure="1x4", criterion=Movement()), Rule(criterion=Magnitude()), False),
        (Rule(structure="1x4", criterion=Movement()), Rule(criterion=Movement(momentum=0.9)), True),
        (Rule(structure="1x4", regrow=True), Rule(), True),
        (Rule(structure="1x4"), Rule(regrow=True), True),
        (Rule(targets="*.key"), Rule(targets="*.query", criterion=Frozen()), False),
    ],
)
def test_rules_on_one_weight_nest_or_are_refused(model, first, second, clash):
    found = problems(model, first, second)
    assert [index for index, _ in found] == [1] * clash
    assert all(
        "both claim bert.encoder.layer.0.attention.self.query.weight: give them separate" in text for _, text in found
    )


def test_every_problem_of_every_rule_is_told_at_once(model):
    found = problems(model, Rule(targets="nothing"), Rule(targets="classifier", structure="4x1"), Rule(exclude="*"))
    assert [index for index, _ in found] == [0, 1, 2]


def test_a_layer_that_a_model_uses_many_times_is_one_layer():
    config = AlbertConfig(
        vocab_size=50,
        embedding_size=8,
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
    )
    layers = resolve_targets(AlbertForSequenceClassification(config), Rule())
    assert len(layers) == 6 and len({id(layer) for layer in layers.values()}) == 6


def test_a_weight_that_is_also_an_embedding_is_refused():
    config = BertConfig(vocab_size=48, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    model = BertForMaskedLM(config)
    assert problems(model, Rule()) == []
    tied = "rule 'weights': cls.predictions.decoder.weight is also bert.embeddings.word_embeddings.weight"
    assert problems(model, Rule(targets="*.decoder")) == [
        (0, f"{tied}: exclude cls.predictions.decoder, or untie them")
    ]


def test_two_layers_with_one_weight_are_refused(stack):
    model = stack((4, 4), (4, 4))
    model.layers[1].weight = model.layers[0].weight
    assert problems(model, Rule()) == [
        (0, "rule 'weights': layers.0.weight is also layers.1.weight: exclude layers.0, or untie them")
    ]
