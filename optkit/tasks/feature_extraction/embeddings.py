"""Embeddings of texts as tensors: pooling, and what their training minimises. Pure but for the class at the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from optkit.adapters.sentence_transformers import Embedding

#: By how much both losses below weigh a similarity, so that a share of one and of the other add up to a sum that means
#: something. It is CoSENT's, and a temperature of 0.05 in the words of contrastive learning.
SCALE = 20.0


def pool(tokens: Tensor, mask: Tensor, how: str) -> Tensor:
    """Vectors of texts (batch, width) from those of their tokens (batch, seq, width), in float32.

    A text without a token has a vector of zeros.

    Args:
        mask: (batch, seq), 1 for real tokens, on whichever side the padding is.
        how: ``mean`` or ``max`` of the real tokens, or the first (``cls``) or last (``lasttoken``) of them; their sum
            by the root of their number (``mean_sqrt_len_tokens``), or their mean weighted by their places, counted from
            1 at the first (``weightedmean``; Muennighoff 2022, https://arxiv.org/abs/2202.08904).
    """
    tokens, real = tokens.float(), mask.bool()[..., None]
    if how == "mean_sqrt_len_tokens":
        return tokens.masked_fill(~real, 0.0).sum(1) / real.sum(1).clamp_min(1).sqrt()
    if how == "weightedmean":
        before = mask.bool().int().argmax(1, keepdim=True)
        weights = (torch.arange(1, mask.shape[1] + 1, device=mask.device) - before)[..., None] * real
        return (tokens * weights).sum(1) / weights.sum(1).clamp_min(1)
    if how == "mean":
        return tokens.masked_fill(~real, 0.0).sum(1) / real.sum(1).clamp_min(1)
    if how == "max":
        return tokens.masked_fill(~real, -torch.inf).amax(1).masked_fill(~real.any(1), 0.0)
    places = torch.arange(mask.shape[1], device=mask.device)
    far = torch.where(mask.bool(), places, mask.shape[1] if how == "cls" else -1)
    chosen = (far.amin(1) if how == "cls" else far.amax(1)).clamp(0, mask.shape[1] - 1)
    found = tokens[torch.arange(len(tokens), device=mask.device), chosen]
    return found.masked_fill(~real.any(1), 0.0)


def cosent_loss(similarities: Tensor, scores: Tensor) -> Tensor:
    """log(1 + sum of exp(20 * (s_j - s_i)) over all pairs with score_i > score_j): a scalar.

    Su 2022, CoSENT, https://kexue.fm/archives/8847. Like Spearman's correlation it asks for the right order alone, so
    scores may have any range, where a regression of cosines on them needs one that cosines can have.

    Args:
        similarities, scores: (batch,); pairs whose score is NaN are left out.
    """
    known = ~scores.isnan()
    similarities, scores = SCALE * similarities[known].float(), scores[known]
    wrong = (similarities[None, :] - similarities[:, None])[scores[:, None] > scores[None, :]]
    return torch.cat([wrong.new_zeros(1), wrong]).logsumexp(0)


def embedding_distance(ours: Tensor, theirs: Tensor) -> Tensor:
    """20 * |ours - theirs|^2 / (2 |theirs|^2), a mean over all embeddings (..., width): a scalar.

    The squared error of Reimers & Gurevych 2020, https://arxiv.org/abs/2004.09813, whatever the teacher's scale. For
    embeddings of length 1 it is 20 * (1 - cosine).
    """
    ours, theirs = ours.float(), theirs.float()
    lengths = theirs.square().sum(-1).clamp_min(1e-12)
    return SCALE * ((ours - theirs).square().sum(-1) / (2 * lengths)).mean()


class EmbeddingObjective:
    """Embeddings of a batch of examples with several texts each, and their losses, see ``adapters.trainer.Objective``.

    In a batch the first texts of all examples come first, then the second ones.

    Args:
        embedding: how a text is embedded.
        texts: of an example.
    """

    def __init__(self, embedding: Embedding, texts: int):
        self.embedding, self.texts = embedding, texts

    def outputs(self, found: Any, batch: Mapping[str, Any]) -> Tensor:
        """Embeddings (examples, texts, width) of a model's output on ``batch``, or of cached ones as they lie there."""
        if isinstance(found, Mapping) and "logits" in found:
            return found["logits"].reshape(len(found["logits"]), self.texts, -1)
        pooled = pool(found.last_hidden_state, batch["attention_mask"], self.embedding.pooling)
        if self.embedding.normalize:
            pooled = normalize(pooled, dim=-1)
        return pooled.unflatten(0, (self.texts, -1)).transpose(0, 1)

    def loss(self, found: Any, batch: Mapping[str, Any]) -> Tensor:
        """``cosent_loss`` of the pairs; 0 where the batch has no scores."""
        embeddings = self.outputs(found, batch)
        if batch.get("labels") is None:
            return embeddings.sum() * 0.0
        return cosent_loss(cosine_similarity(embeddings[:, 0], embeddings[:, 1], dim=-1), batch["labels"])

    def distance(self, ours: Any, theirs: Any, batch: Mapping[str, Any], temperature: float) -> Tensor:
        """``embedding_distance`` of a student's outputs and a teacher's."""
        return embedding_distance(self.outputs(ours, batch), self.outputs(theirs, batch))
