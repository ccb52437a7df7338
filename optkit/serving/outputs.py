"""What a model computes, as what clients ask for: pooled vectors, probabilities, entities. NumPy alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def pool(tokens: np.ndarray, mask: np.ndarray, how: str) -> np.ndarray:
    """Vectors of texts (batch, width) from those of their tokens (batch, seq, width), float32.

    The ways are those of ``optkit.adapters.sentence_transformers.POOLINGS``.

    Args:
        mask: (batch, seq), 1 for real tokens, at least one in each row, on whichever side the padding is.
    """
    rows = np.arange(len(tokens))
    if how == "cls":
        return tokens[rows, mask.argmax(1)]
    if how == "lasttoken":
        return tokens[rows, mask.shape[1] - 1 - mask[:, ::-1].argmax(1)]
    if how == "max":
        return np.where(mask[..., None] > 0, tokens, -np.inf).max(1)
    weights = mask.astype(np.float32)
    if how == "weightedmean":
        weights = weights * np.cumsum(mask, axis=1)
    sums = np.einsum("bs,bsw->bw", weights, tokens)
    counts = weights.sum(1, keepdims=True)
    return sums / (np.sqrt(counts) if how == "mean_sqrt_len_tokens" else counts)


def normalize(vectors: np.ndarray) -> np.ndarray:
    """``vectors`` (batch, width) with length 1; one of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.maximum(lengths, 1e-12)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * logits))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    shares = np.exp(logits - logits.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)


def scores(logits: np.ndarray, problem: str | None) -> np.ndarray:
    """Scores of classes from logits (batch, classes), as pipelines of transformers have them.

    Args:
        problem: ``regression`` leaves them, ``multi_label_classification`` asks about each class; None stands for one
            class of several, or a single output that is a probability.
    """
    logits = logits.astype(np.float64)
    if problem == "regression":
        return logits
    if problem == "multi_label_classification" or logits.shape[-1] == 1:
        return sigmoid(logits)
    return softmax(logits)


def entities(
    logits: np.ndarray, offsets: Sequence[tuple[int, int]], words: Sequence[int | None], labels: Sequence[str]
) -> list[dict[str, object]]:
    """The entities of a text, as a pipeline of transformers with ``aggregation_strategy="first"`` groups them.

    Args:
        logits: (tokens, labels).
        offsets: where each token begins and ends in the text.
        words: the word that each token is of; None for special tokens.
        labels: names of the labels; ``O`` is no entity, and ``B-`` begins one.
    """
    found: list[dict[str, object]] = []
    shares, last, ends = softmax(logits.astype(np.float64)), None, -1
    scores_of: list[list[float]] = []
    for token, word in enumerate(words):
        if word is None:
            continue
        start, end = offsets[token]
        if word == last:
            ends = end
            if found and found[-1]["_word"] == word:
                found[-1]["end"] = end
            continue
        best, last = int(shares[token].argmax()), word
        label, score = labels[best], float(shares[token, best])
        tag, _, kind = label.rpartition("-")
        if label == "O":
            ends = -1
            continue
        joins = found and ends == found[-1]["end"] and found[-1]["entity_group"] == kind and tag != "B"
        if joins:
            found[-1] |= {"end": end, "_word": word}
            scores_of[-1].append(score)
        else:
            found.append({"entity_group": kind, "start": start, "end": end, "_word": word})
            scores_of.append([score])
        ends = end
    for entity, own in zip(found, scores_of):
        del entity["_word"]
        entity["score"] = sum(own) / len(own)
    return found
