from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from optkit.adapters.sentence_transformers import Embedding
from optkit.tasks.feature_extraction.embeddings import SCALE, EmbeddingObjective, cosent_loss, embedding_distance, pool

RIGHT = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]])


@pytest.fixture
def tokens():
    return torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("flip", [False, True], ids=["padded on the right", "padded on the left"])
def test_pooling_sees_real_tokens_alone(tokens, flip):
    mask, given = (RIGHT.flip(1), tokens.flip(1)) if flip else (RIGHT, tokens)
    expected = {
        "mean": [tokens[0, :3].mean(0), tokens[1, 0]],
        "max": [tokens[0, :3].amax(0), tokens[1, 0]],
        "cls": [tokens[0, 2 if flip else 0], tokens[1, 0]],
        "lasttoken": [tokens[0, 0 if flip else 2], tokens[1, 0]],
    }
    for how, rows in expected.items():
        found = pool(given, mask, how)
        torch.testing.assert_close(found[:2], torch.stack(rows), rtol=0, atol=1e-6)
        assert torch.equal(found[2], torch.zeros(5)), how


def test_cosent_adds_up_every_pair_in_the_wrong_order():
    similarities, scores = [0.9, 0.1, 0.5, 0.2], [1.0, 3.0, 2.0, math.nan]
    total = 1.0
    for i in range(3):
        for j in range(3):
            if scores[i] > scores[j]:
                total += math.exp(20 * (similarities[j] - similarities[i]))
    found = cosent_loss(torch.tensor(similarities), torch.tensor(scores))
    assert float(found) == pytest.approx(math.log(total), rel=1e-6)


@pytest.mark.parametrize("scores", [[2.0, 2.0], [math.nan, 1.0], [math.nan, math.nan]])
def test_without_two_scores_there_is_nothing_to_learn(scores):
    similarities = torch.tensor([0.3, 0.8], requires_grad=True)
    loss = cosent_loss(similarities, torch.tensor(scores))
    loss.backward()
    assert loss.item() == 0.0
    assert similarities.grad.tolist() == [0.0, 0.0]


def test_the_distance_of_unit_embeddings_is_by_their_cosine():
    ours, theirs = (torch.nn.functional.normalize(torch.randn(6, 2, 8), dim=-1) for _ in range(2))
    cosines = (ours * theirs).sum(-1)
    torch.testing.assert_close(embedding_distance(ours, theirs), SCALE * (1 - cosines).mean())
    torch.testing.assert_close(embedding_distance(7 * ours, 7 * theirs), embedding_distance(ours, theirs))


def test_an_objective_gives_each_example_its_own_texts(tokens):
    batch = {"attention_mask": torch.ones(6, 4), "labels": torch.tensor([0.0, 1.0, 2.0])}
    found = SimpleNamespace(last_hidden_state=torch.cat([tokens, tokens.flip(0)]))
    objective = EmbeddingObjective(Embedding(normalize=False), 2)
    embeddings = objective.outputs(found, batch)
    assert embeddings.shape == (3, 2, 5)
    torch.testing.assert_close(embeddings[0], torch.stack([tokens[0].mean(0), tokens[2].mean(0)]))
    cosines = torch.cosine_similarity(embeddings[:, 0], embeddings[:, 1])
    torch.testing.assert_close(objective.loss(found, batch), cosent_loss(cosines, batch["labels"]))
    assert objective.distance(found, {"logits": embeddings.reshape(3, -1)}, batch, 2.0).item() == 0.0
    assert objective.loss(found, {"attention_mask": batch["attention_mask"]}).item() == 0.0
    unit = EmbeddingObjective(Embedding("cls"), 2).outputs(found, batch)
    torch.testing.assert_close(unit.norm(dim=-1), torch.ones(3, 2))
