from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from optkit.tasks.fill_mask.masking import MaskedObjective, Masking, hide

MASK, VOCABULARY = 4, 50
HOW = {"mask": MASK, "vocabulary": VOCABULARY}


@pytest.mark.parametrize(("length", "count"), [(1, 1), (3, 1), (9, 1), (10, 2), (20, 3), (100, 15)])
def test_so_many_are_hidden_and_never_none(length, count):
    ids, places = np.arange(10, 12 + length), np.arange(1, length + 1)
    hidden, labels = hide(ids, places, np.random.default_rng(0), **HOW)
    chosen = np.flatnonzero(labels != -100)
    assert len(chosen) == count and set(chosen) <= set(places)
    assert np.array_equal(labels[chosen], ids[chosen])
    still = np.delete(np.arange(len(ids)), chosen)
    assert np.array_equal(hidden[still], ids[still])


def test_shares_of_what_is_masked_replaced_and_left_in_sight():
    ids = np.full(100_000, 7)
    hidden, labels = hide(ids, np.arange(len(ids)), np.random.default_rng(0), **HOW)
    seen = hidden[labels != -100]
    assert len(seen) == 15_000
    assert (seen == MASK).mean() == pytest.approx(0.8 + 0.1 / VOCABULARY, abs=0.01)
    assert (seen == 7).mean() == pytest.approx(0.1 + 0.1 / VOCABULARY, abs=0.01)
    all_masked, labels = hide(ids, np.arange(len(ids)), np.random.default_rng(0), masked=1.0, **HOW)
    assert (all_masked[labels != -100] == MASK).all()


class Reader:
    mask_token_id = MASK

    def __len__(self):
        return VOCABULARY


def masking(training):
    return Masking(Reader(), list, row="row", places="places", training=training)


EXAMPLES = [{"input_ids": list(range(10, 40)), "places": list(range(30)), "row": row} for row in range(4)]


def test_masks_of_a_training_are_those_of_seed_epoch_and_row():
    found = {}
    for seed, epoch in ((1, 0), (1, 1), (2, 0)):
        collator = masking(training=True)
        collator.begin(seed, epoch)
        found[seed, epoch] = collator(EXAMPLES)
        # Not of what came before, nor of the batch.
        assert collator(EXAMPLES[::-1]) == found[seed, epoch][::-1]
        assert masking(training=False)(EXAMPLES) == masking(training=False)(EXAMPLES[:2]) + masking(False)(EXAMPLES[2:])
    assert len({str(each) for each in found.values()}) == 3
    assert len({str(each["labels"]) for each in found[1, 0]}) == 4
    evaluated = masking(training=False)
    before = evaluated(EXAMPLES)
    evaluated.begin(5, 5)
    assert evaluated(EXAMPLES) == before and all(set(each["input_ids"]) >= {MASK} for each in before)


def test_what_is_kept_of_a_vocabulary_and_the_losses():
    generator = torch.Generator().manual_seed(0)
    ours, theirs = (torch.randn(3, 4, 6, generator=generator) for _ in range(2))
    labels = torch.tensor([[-100, 2, -100, 5], [-100, -100, -100, 0], [1, 1, -100, -100]])
    batch, found = {"labels": labels}, SimpleNamespace(logits=ours)
    kept = MaskedObjective().outputs(found, batch)
    assert kept.shape == (3, 3 + 2)
    likely = torch.log_softmax(ours, -1)
    total = 0.0
    for row, own in enumerate(labels.tolist()):
        places = [i for i, label in enumerate(own) if label != -100]
        best = [int(ours[row, i].argmax()) for i in places]
        right = sum(found == own[i] for found, i in zip(best, places))
        likelihood = sum(float(likely[row, i, own[i]]) for i in places)
        assert kept[row].tolist() == pytest.approx([right, len(places), likelihood, *best, *[0] * (2 - len(places))])
        total -= likelihood
    objective = MaskedObjective()
    assert float(objective.loss(found, batch)) == pytest.approx(total / 5)
    soft = (torch.softmax(theirs / 2, -1) * (torch.log_softmax(theirs / 2, -1) - torch.log_softmax(ours / 2, -1))).sum(
        -1
    )
    distance = objective.distance({"logits": ours}, {"logits": theirs}, batch, 2.0)
    assert float(distance) == pytest.approx(4 * float(soft[labels != -100].mean()), rel=1e-5)
