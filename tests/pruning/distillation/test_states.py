"""Losses on hidden states and attention against their definitions, written out in numpy; which layer copies which."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from optkit.errors import PruningError
from optkit.pruning.distillation.states import (
    AttentionDistillation,
    HiddenDistillation,
    attention_loss,
    hidden_loss,
    layer_pairs,
    relation_heads,
    relation_loss,
)

MASK = [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]]


def values(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def probabilities(seed: int, mask=None, heads: int = 2) -> np.ndarray:
    """Attention maps (3, heads, 5, 5), nothing on padding."""
    scores = np.exp(values(3, heads, 5, 5, seed=seed))
    scores = scores if mask is None else scores * np.array(mask)[:, None, None, :]
    return scores / scores.sum(-1, keepdims=True)


def over_tokens(per_token: np.ndarray, mask) -> float:
    """The mean over real tokens of each example, then over examples."""
    mask = np.ones(per_token.shape) if mask is None else np.array(mask)
    return float(np.mean([row[m == 1].mean() for row, m in zip(per_token, mask)]))


@pytest.mark.parametrize(
    ("layers", "student", "teacher", "pairs"),
    [
        ("auto", 3, 6, [(1, 2), (2, 4), (3, 6)]),
        ("auto", 4, 6, [(1, 1), (2, 3), (3, 4), (4, 6)]),
        ("auto", 2, 2, [(1, 1), (2, 2)]),
        ("last", 3, 12, [(3, 12)]),
        ("auto", 4, 2, [(1, 1), (2, 1), (3, 1), (4, 2)]),
        ([0, 3], 3, 12, [(0, 0), (3, 12)]),
        ({0: 0, 2: 5, 3: 1}, 3, 6, [(0, 0), (2, 5), (3, 1)]),
    ],
)
def test_which_layer_copies_which(layers, student, teacher, pairs):
    assert layer_pairs(layers, student, teacher, first=0) == pairs


@pytest.mark.parametrize(
    ("layers", "first", "said"),
    [
        ([4], 0, "the student has no layer 4: its layers are 0 to 3"),
        ({3: 7}, 0, "the teacher has no layer 7: its layers are 0 to 6"),
        ([0], 1, "the student has no layer 0: its layers are 1 to 3"),
        ({}, 0, "no layer is named"),
    ],
)
def test_layers_that_are_not_there(layers, first, said):
    with pytest.raises(PruningError, match=f"^{said}"):
        layer_pairs(layers, 3, 6, first=first)


@pytest.mark.parametrize("layers", ["first", 3])
def test_layers_of_another_type(layers):
    with pytest.raises(PruningError, match="layers are auto, last, a list or a mapping of layers, got"):
        layer_pairs(layers, 3, 6)


def test_weights_and_kinds_are_checked():
    with pytest.raises(ValueError, match="the weight of hidden must be above 0, got 0: leave hidden out instead"):
        HiddenDistillation(weight=0.0)
    with pytest.raises(ValueError, match="attention is of relations or maps, got 'heads'"):
        AttentionDistillation(of="heads")


@pytest.mark.parametrize("mask", [None, MASK])
@pytest.mark.parametrize("normalize", [False, True])
def test_hidden_states_cost_their_squared_error(mask, normalize):
    student, teacher = values(3, 5, 8), 3 * values(3, 5, 8, seed=1) + 1
    given = [torch.from_numpy(states) for states in (student, teacher)]
    if normalize:
        student, teacher = (
            (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) for x in (student, teacher)
        )
    expected = over_tokens(((student - teacher) ** 2).mean(-1), mask)
    loss = hidden_loss(*given, None if mask is None else torch.tensor(mask), normalize=normalize)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("mask", [None, MASK])
def test_attention_maps_cost_their_divergence(mask):
    student, teacher = probabilities(0, mask), probabilities(1, mask)
    with np.errstate(divide="ignore", invalid="ignore"):
        divergence = np.where(teacher > 0, teacher * np.log(teacher / student), 0).sum(-1).mean(1)
    loss = attention_loss(*map(torch.from_numpy, (student, teacher)), None if mask is None else torch.tensor(mask))
    assert float(loss) == pytest.approx(over_tokens(divergence, mask), rel=1e-5)


def test_a_probability_that_half_precision_rounds_to_zero_is_finite():
    teacher = torch.tensor([[[[0.5, 0.5], [1.0, 0.0]]]], dtype=torch.float16)
    student = torch.tensor([[[[1.0, 0.0], [0.5, 0.5]]]], dtype=torch.float16, requires_grad=True)
    loss = attention_loss(student, teacher)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(student.grad).all() and float(loss.detach()) > 1


@pytest.mark.parametrize("mask", [None, MASK])
def test_relations_cost_their_divergence(mask):
    student, teacher, heads = values(3, 5, 8), values(3, 5, 12, seed=1), 4

    def relations(states: np.ndarray) -> np.ndarray:
        width = states.shape[-1] // heads
        split = states.reshape(3, 5, heads, width)
        scores = np.exp(np.einsum("bihd,bjhd->bhij", split, split) / np.sqrt(width))
        scores = scores if mask is None else scores * np.array(mask)[:, None, None, :]
        return scores / scores.sum(-1, keepdims=True)

    ours, theirs = relations(student), relations(teacher)
    with np.errstate(divide="ignore", invalid="ignore"):
        divergence = np.where(theirs > 0, theirs * np.log(theirs / ours), 0).sum(-1).mean(1)
    given = None if mask is None else torch.tensor(mask)
    loss = relation_loss(torch.from_numpy(student), torch.from_numpy(teacher), heads, given)
    assert float(loss) == pytest.approx(over_tokens(divergence, mask), rel=1e-4)


def test_relations_are_blind_to_rotation_and_see_all_else():
    states = torch.from_numpy(values(2, 5, 8))
    rotation = torch.linalg.qr(torch.from_numpy(values(8, 8, seed=1)))[0]
    assert float(relation_loss(states @ rotation, states, 1)) == pytest.approx(0.0, abs=1e-6)
    assert float(relation_loss(states @ rotation, states, 4)) > 0.01


@pytest.mark.parametrize(
    ("student", "teacher", "heads", "used"), [(384, 1024, 16, 16), (256, 768, 12, 4), (32, 32, 2, 2)]
)
def test_relation_heads_divide_both_widths(student, teacher, heads, used):
    assert relation_heads(student, teacher, heads) == used and student % used == teacher % used == 0


@pytest.mark.parametrize("kind", ["hidden", "attention", "relation"])
def test_padding_counts_for_nothing_and_batches_add_up(kind):
    loss, make = {
        "hidden": (hidden_loss, lambda seed: values(3, 5, 8, seed=seed)),
        "attention": (attention_loss, probabilities),
        "relation": (lambda s, t, m: relation_loss(s, t, 2, m), lambda seed: values(3, 5, 8, seed=seed)),
    }[kind]
    mask = torch.tensor(MASK)
    student, teacher = (torch.from_numpy(make(seed)) for seed in (0, 1))
    real = (
        mask.bool()[:, None, :, None] & mask.bool()[:, None, None, :] if kind == "attention" else mask.bool()[..., None]
    )
    whole = float(loss(student, teacher, mask))
    assert float(loss(student.where(real, 9.0), teacher.where(real, 9.0), mask)) == pytest.approx(whole, rel=1e-5)
    apart = [float(loss(student[i : i + 1], teacher[i : i + 1], mask[i : i + 1])) for i in range(3)]
    assert np.mean(apart) == pytest.approx(whole, rel=1e-5)
