"""Pooling as sentence-transformers and optkit's training do it; probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from optkit.adapters.sentence_transformers import POOLINGS
from optkit.serving import outputs


@pytest.mark.parametrize("how", POOLINGS)
def test_pooling_is_that_of_the_training(how):
    import torch

    from optkit.tasks.feature_extraction.embeddings import pool

    rng = np.random.default_rng(0)
    tokens = rng.normal(size=(4, 6, 8)).astype(np.float32)
    mask = np.array([[1] * 6, [1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 1, 1], [1, 0, 0, 0, 0, 0]])
    expected = pool(torch.from_numpy(tokens), torch.from_numpy(mask), how).numpy()
    np.testing.assert_allclose(outputs.pool(tokens, mask, how), expected, atol=1e-6)


def test_scores_do_not_overflow():
    logits = np.array([[1e4, -1e4, 0.0]], np.float32)
    with np.errstate(all="raise", under="ignore"):
        assert outputs.scores(logits, None).tolist() == [[1.0, 0.0, 0.0]]
        assert outputs.scores(logits, "multi_label_classification").tolist() == [[1.0, 0.0, 0.5]]
        assert outputs.scores(logits, "regression").tolist() == [[1e4, -1e4, 0.0]]
        assert outputs.scores(logits[:, :1], None).tolist() == [[1.0]]


def entities(tags, words):
    labels = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    logits = np.array([[20.0 * (label == tag) for label in labels] for tag in tags])
    offsets = [(10 * i, 10 * i + 5) for i in range(len(tags))]
    found = outputs.entities(logits, offsets, words, labels)
    return [(each["entity_group"], each["start"], each["end"]) for each in found]


def test_words_are_grouped_to_entities():
    # The first token of a word decides, special tokens are no words.
    words = [None, 0, 1, 1, 2, 3, None]
    assert entities(["I-PER", "B-PER", "I-PER", "O", "O", "B-PER", "B-LOC"], words) == [
        ("PER", 10, 35),
        ("PER", 50, 55),
    ]
    assert entities(["B-PER", "B-PER", "I-LOC"], [0, 1, 2]) == [("PER", 0, 5), ("PER", 10, 15), ("LOC", 20, 25)]
    assert entities(["O", "O"], [0, 1]) == []
    assert entities(["O", "I-PER", "I-PER"], [0, 1, 2]) == [("PER", 10, 25)]
