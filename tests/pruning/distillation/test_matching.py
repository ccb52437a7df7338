"""A student beside its teacher: what is compared in each architecture, projections, and that nothing of it stays."""

from __future__ import annotations

import pytest
import torch
from architectures import inputs_of, small_model

from optkit.errors import PruningError
from optkit.pruning import Rule, Schedule, permute
from optkit.pruning.distillation.matching import PROJECTIONS, StateMatcher, accepted_inputs, state_problems
from optkit.pruning.distillation.states import AttentionDistillation, HiddenDistillation, relation_loss
from optkit.pruning.layouts import layouts

RELATIONS = AttentionDistillation(layers="auto")
MAPS = AttentionDistillation(layers="auto", of="maps")
STEADY = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def cost(matcher: StateMatcher, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    matcher.watch(True)
    ours = matcher.student(**inputs, **matcher.requests)
    with torch.no_grad():
        theirs = matcher.teacher(**inputs, **matcher.requests)
    loss = matcher.loss(ours, theirs, inputs.get("attention_mask"))
    matcher.watch(False)
    return loss


@pytest.mark.parametrize(
    "name", ["bert", "distilbert", "electra", "albert", "mpnet", "deberta", "modernbert", "vit", "roberta"]
)
def test_every_architecture_has_states_and_relations_to_compare(name):
    deeper = {"n_layers" if name == "distilbert" else "num_hidden_layers": 4}
    student, teacher = small_model(name), small_model(name, **deeper)
    inputs = inputs_of(student)
    matcher = StateMatcher(student, teacher, None, RELATIONS)
    loss = cost(matcher, inputs)
    loss.backward()
    values = {layout.heads["value"].layer for layout in layouts(student)}
    assert values and all(student.get_submodule(layer).weight.grad.any() for layer in values)
    assert float(loss.detach()) > 0
    matcher.watch(True)
    teacher(**inputs)
    # A layer that is shared runs, and counts, as often as the configuration says.
    assert len(matcher._seen[1].calls["value"]) == 4
    shape = next(iter(inputs.values())).shape[:1]
    assert {matcher._seen[1].states(role, 4).shape[:1] for role in ("query", "key", "value")} == {shape}
    matcher.remove()
    alike = StateMatcher(teacher, small_model(name, **deeper), HiddenDistillation(), RELATIONS)
    assert float(cost(alike, inputs).detach()) == pytest.approx(0.0, abs=1e-6)


def test_relations_are_those_of_queries_keys_and_values_of_the_layers_named():
    student, teacher = small_model("bert", **STEADY), small_model("bert", num_hidden_layers=4, hidden_size=64, **STEADY)
    inputs = inputs_of(student)
    matcher = StateMatcher(student, teacher, None, AttentionDistillation(weight=3.0, layers={2: 3}))
    loss = float(cost(matcher, inputs).detach())

    def parts(model, layer):
        states = model(**inputs, output_hidden_states=True).hidden_states[layer - 1]
        attention = model.bert.encoder.layer[layer - 1].attention.self
        return [getattr(attention, role)(states) for role in ("query", "key", "value")]

    pairs = zip(parts(student, 2), parts(teacher, 3), strict=True)
    expected = sum(relation_loss(ours, theirs, 4, inputs["attention_mask"]) for ours, theirs in pairs)
    assert loss == pytest.approx(3.0 * float(expected.detach()) / 3, rel=1e-5)


def test_fused_projections_are_taken_apart():
    model = small_model("modernbert")
    matcher = StateMatcher(model, small_model("modernbert"), None, RELATIONS)
    fused = []
    model.model.layers[1].attn.Wqkv.register_forward_hook(lambda *call: fused.append(call[2]))
    matcher.watch(True)
    model(**inputs_of(model))
    for i, role in enumerate(("query", "key", "value")):
        assert torch.equal(matcher._seen[0].states(role, 2), fused[0][..., 32 * i : 32 * (i + 1)])


def test_maps_set_the_plain_attention_and_put_back_what_was():
    student, teacher = small_model("bert", **STEADY).train(), small_model("bert", num_hidden_layers=4, **STEADY)
    for model in (student, teacher):
        for layer in model.bert.encoder.layer:
            layer.attention.self.query.weight.data *= 0.2  # no probability so small that it is cut off
    before = [model.config._attn_implementation for model in (student, teacher)]
    matcher = StateMatcher(student, teacher, None, MAPS)
    assert [model.config._attn_implementation for model in (student, teacher)] == ["eager", "eager"]
    inputs = inputs_of(student)
    loss = cost(matcher, inputs)
    maps = [model(**inputs, output_attentions=True).attentions for model in (student, teacher)]
    expected = 0.0
    for ours, theirs in ((maps[0][0], maps[1][1]), (maps[0][1], maps[1][3])):
        for row, tokens in enumerate((14, 11, 8)):
            s, t = (m[row, :, :tokens, :tokens].double() for m in (ours, theirs))
            expected += float((t * (t / s).log()).sum(-1).mean().detach()) / 2 / 3
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-4)
    matcher.remove()
    assert [model.config._attn_implementation for model in (student, teacher)] == before == ["sdpa", "sdpa"]


def test_what_does_not_compare_is_said_at_once():
    student = small_model("bert", attention_probs_dropout_prob=0.1).config
    teacher = small_model("bert", num_attention_heads=2).config
    found = state_problems(student, teacher, HiddenDistillation(layers=[5]), MAPS)
    assert found == [
        ("hidden", "the student has no layer 5: its layers are 0 to 2"),
        (
            "attention",
            "the student has 4 attention heads and the teacher 2, so their maps do not compare: take relations",
        ),
        (
            "attention",
            "the student's attention_probs_dropout_prob punches holes into its attention maps: set it to 0 in the "
            "model's config, or take relations",
        ),
    ]
    assert state_problems(student, teacher, HiddenDistillation(), RELATIONS) == []
    teacher.model_type = "strange"
    [(name, said)] = state_problems(student, teacher, HiddenDistillation(), RELATIONS)
    assert name == "attention" and said.startswith(
        "where queries, keys and values lie is not known for models of type 'strange': take maps; known are albert, bert"
    )
    with pytest.raises(PruningError, match="^hidden: the student has no layer 5"):
        StateMatcher(small_model("bert"), small_model("bert"), HiddenDistillation(layers=[5]), None)


def test_a_model_that_cannot_show_its_maps():
    models = [small_model("bert", **STEADY) for _ in range(2)]
    models[1].set_attn_implementation = lambda wanted: None  # as of those whose code chooses when it is built
    with pytest.raises(PruningError, match="BertForSequenceClassification cannot change its attention"):
        StateMatcher(*models, None, MAPS)
    assert models[0].config._attn_implementation == "sdpa"


def test_projections_are_learned_saved_and_taken_off(tmp_path):
    from transformers import AutoModelForSequenceClassification

    student, teacher = small_model("bert", **STEADY), small_model("bert", hidden_size=48, **STEADY)
    plain = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    random_state = torch.get_rng_state()
    matcher = StateMatcher(student, teacher, HiddenDistillation(layers=[0, 2]), None)
    assert torch.equal(torch.get_rng_state(), random_state)
    weights = {name: p for name, p in student.named_parameters() if name.startswith(PROJECTIONS)}
    assert {name: tuple(p.shape) for name, p in weights.items()} == {
        "hidden_projections.0.weight": (48, 32),
        "hidden_projections.2.weight": (48, 32),
    }
    inputs = inputs_of(student)
    student.train()
    cost(matcher, inputs).backward()
    # At first they learn alone, and leave the student where it is.
    assert (
        all(bool(p.grad.any()) for p in weights.values())
        and not student.bert.embeddings.word_embeddings.weight.grad.any()
    )
    for weight in weights.values():
        weight.data = 0.1 * weight.grad
    loss = cost(matcher, inputs)
    loss.backward()
    assert student.bert.embeddings.word_embeddings.weight.grad.any()
    states = [m(**inputs, output_hidden_states=True).hidden_states for m in (student.eval(), teacher)]
    mask = inputs["attention_mask"]
    expected = 0.0
    for layer, weight in zip((0, 2), weights.values(), strict=True):
        error = (10 * states[0][layer] @ weight.T - states[1][layer]).square().mean(-1) * mask
        expected += float((error.sum(1) / mask.sum(1)).mean().detach()) / 2
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)

    student.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert torch.equal(loaded(**inputs).logits, student(**inputs).logits)
    matcher.remove()
    assert student.state_dict().keys() == plain.keys() and not student._forward_hooks


def test_a_teacher_is_given_what_it_takes():
    inputs = {name: 0 for name in ("input_ids", "attention_mask", "token_type_ids", "labels")}
    assert list(accepted_inputs(small_model("bert"), inputs)) == ["input_ids", "attention_mask", "token_type_ids"]
    assert list(accepted_inputs(small_model("distilbert"), inputs)) == ["input_ids", "attention_mask"]

    class Wrapped(torch.nn.Module):
        def forward(self, **inputs):
            return inputs

    assert list(accepted_inputs(Wrapped(), inputs)) == ["input_ids", "attention_mask", "token_type_ids"]


@pytest.mark.parametrize("name", ["bert", "albert", "deberta", "modernbert", "vit"])
@pytest.mark.parametrize("what", ["hidden", "relations", "maps"])
def test_a_student_whose_features_were_reordered_is_compared_as_before(name, what):
    whole = {"attention_probs_dropout_prob": 0.0} if name in ("bert", "deberta") else {}
    student, teacher = (small_model(name, attn_implementation="eager", **whole) for _ in range(2))
    # Heads of eight features, of which a block of 16 rows holds two.
    rules = [
        Rule(structure=name, name=f"of{name}", permute="all", schedule=Schedule(to=0.5)) for name in ("16x8", "4x4")
    ]
    found = permute(student, rules)
    assert {"hidden"} < set(found.orders)
    specs = {"hidden": (HiddenDistillation(), None), "relations": (None, RELATIONS), "maps": (None, MAPS)}[what]
    matcher = StateMatcher(student, teacher, *specs, found)
    costs = [float(cost(matcher, inputs_of(student)).detach())]
    matcher.remove()
    matcher = StateMatcher(student, teacher, *specs)
    costs.append(float(cost(matcher, inputs_of(student)).detach()))
    assert costs[0] < 1e-5
    # Attention of this ALBERT sees one token alone, whatever the order.
    assert costs[1] > 1e-3 or (what != "hidden" and name == "albert")


def test_projected_states_need_no_order():
    student, wide = small_model("bert", **STEADY).train(), small_model("bert", hidden_size=64)
    found = permute(student, Rule(structure="4x4", permute="hidden", schedule=Schedule(to=0.5)))
    costs = []
    for permutation in (found, None):
        matcher = StateMatcher(student, wide, HiddenDistillation(), None, permutation)
        costs.append(float(cost(matcher, inputs_of(student)).detach()))
        matcher.remove()
    assert costs[0] == costs[1]
