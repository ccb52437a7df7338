"""Which tokens of a text are hidden from a masked language model, by what, and what it makes of them.

Devlin et al. 2019, BERT, https://arxiv.org/abs/1810.04805.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from optkit.pruning.distillation.mixin import distillation_loss

#: Share of a text's tokens that is hidden; of those, the share behind the mask token and behind any other token. The
#: rest stays in sight, so that a model cannot rely on what it sees.
HIDDEN = 0.15
MASKED, REPLACED = 0.8, 0.1
#: The label of a token that is not to be found, as torch's losses know it.
UNLABELLED = -100


def hide(
    ids: Sequence[int],
    places: Sequence[int],
    rng: np.random.Generator,
    *,
    mask: int,
    vocabulary: int,
    masked: float = MASKED,
) -> tuple[np.ndarray, np.ndarray]:
    """Token ids (seq,) with some hidden, and labels (seq,): what they were, -100 where nothing is hidden.

    Args:
        ids: of a text.
        places: where something may be hidden, at least one place; 15 % of them are chosen, and never none.
        mask: id of the mask token.
        vocabulary: how many tokens there are.
        masked: share behind the mask token; of the rest half is replaced by any token, half stays in sight.
    """
    hidden, labels = np.array(ids, np.int64), np.full(len(ids), UNLABELLED, np.int64)
    chosen = rng.choice(np.asarray(places), max(1, round(HIDDEN * len(places))), replace=False)
    labels[chosen] = hidden[chosen]
    draws, others = rng.random(len(chosen)), rng.integers(0, vocabulary, len(chosen))
    by = np.where(draws < masked + (1 - masked) * REPLACED / (1 - MASKED), others, hidden[chosen])
    hidden[chosen] = np.where(draws < masked, mask, by)
    return hidden, labels


class Masking:
    """A collator that hides tokens before ``collate`` makes a batch.

    In training what is hidden is a function of the seed, the epoch and the text's row, which ``begin`` sets for all
    workers of a data loader; else of the row alone, and always behind the mask token.

    Args:
        processor: the tokenizer.
        collate: makes a batch of examples with ``labels`` for each token.
        row, places: columns of the examples: their number, and where something may be hidden.
        training: see above.
    """

    def __init__(self, processor: Any, collate: Callable[..., Any], *, row: str, places: str, training: bool):
        self.mask, self.vocabulary, self.collate = processor.mask_token_id, len(processor), collate
        self.row, self.places, self.training = row, places, training
        # In memory that forked workers share, since they live longer than an epoch where they are persistent.
        self._begun = torch.zeros(2, dtype=torch.int64).share_memory_()

    def begin(self, seed: int, epoch: int) -> None:
        """Goes on to the masks of an epoch."""
        self._begun[0], self._begun[1] = seed, epoch

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> Any:
        return self.collate([self._hidden(example) for example in examples])

    def _hidden(self, example: Mapping[str, Any]) -> dict[str, Any]:
        drawn_by = [*self._begun.tolist(), example[self.row]] if self.training else [example[self.row]]
        rng, how = np.random.default_rng(drawn_by), {"mask": self.mask, "vocabulary": self.vocabulary}
        masked = MASKED if self.training else 1.0
        ids, labels = hide(example["input_ids"], example[self.places], rng, masked=masked, **how)
        return {**example, "input_ids": ids.tolist(), "labels": labels.tolist()}


class MaskedObjective:
    """Logits (batch, seq, vocabulary) of a masked language model where something is hidden, and nowhere else: a whole
    vocabulary for every token would be most of a training's memory. See ``adapters.trainer.Objective``.
    """

    def outputs(self, found: Any, batch: Mapping[str, Any]) -> Tensor:
        """Of each text (batch, 3 + most): how many hidden tokens are found, how many there are, the sum of their log
        probabilities, and the likeliest token in place of each, in order.
        """
        logits, labels = found.logits, batch["labels"].to(found.logits.device)
        hidden = labels != UNLABELLED
        seen, right = logits[hidden].float(), labels[hidden]
        best, likely = seen.argmax(-1), torch.log_softmax(seen, -1).gather(1, right[:, None])[:, 0]
        each = torch.stack([(best == right).float(), torch.ones_like(likely), likely], dim=1)
        rows, places = hidden.nonzero()[:, 0], hidden.cumsum(1)[hidden] - 1
        tokens = each.new_zeros(len(labels), int(hidden.sum(1).max()))
        tokens[rows, places] = best.float()
        return torch.cat([each.new_zeros(len(labels), 3).index_add_(0, rows, each), tokens], dim=1)

    def loss(self, found: Any, batch: Mapping[str, Any]) -> Tensor:
        """Cross entropy, a mean over all hidden tokens of the batch."""
        hidden = batch["labels"] != UNLABELLED
        return cross_entropy(found.logits[hidden].float(), batch["labels"][hidden])

    def distance(self, ours: Any, theirs: Any, batch: Mapping[str, Any], temperature: float) -> Tensor:
        """T^2 * KL(teacher || student), a mean over all hidden tokens of the batch."""
        hidden = batch["labels"] != UNLABELLED
        student, teacher = (outputs["logits"][hidden].float() for outputs in (ours, theirs))
        return distillation_loss(student, teacher, temperature)
