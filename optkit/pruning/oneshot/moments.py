"""Means and second moments of what a layer sees, and saw in the dense model. They are kept for one stage at a time.

Memory: two matrices (in, in) of float32.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Moments:
    """Weighted moments of inputs x (tokens, in) of the pruned model, and with inputs y (tokens, in) of the dense one.

    Attributes:
        tokens: the sum of their weights.
        mean, dense_mean: of x and of y, (in,).
    """

    mean: Tensor
    dense_mean: Tensor

    def __init__(self) -> None:
        self.tokens = 0.0

    def add(self, inputs: Tensor, dense: Tensor, weights: Tensor) -> None:
        """Takes the tokens of a batch, each counting as much as its entry in ``weights`` (tokens,)."""
        if not len(inputs):
            return
        x, y = inputs.float(), dense.float()
        if not self.tokens:
            # Moments about a point near the mean: some channels lie far from 0, and rounding would swamp their spread.
            self._shift = x.mean(0), y.mean(0)
            self._xx, self._xy = (x.new_zeros(x.shape[1], x.shape[1]) for _ in range(2))
            self._x, self._y = torch.zeros_like(x[0]), torch.zeros_like(x[0])
        x, y = x - self._shift[0], y - self._shift[1]
        weighted = x * weights[:, None]
        self.tokens += float(weights.sum())
        self._xx.addmm_(weighted.t(), x)
        self._xy.addmm_(weighted.t(), y)
        self._x += weighted.sum(0)
        self._y += weights @ y

    def finish(self) -> Moments:
        """Turns sums into means; called once, after the last token."""
        x, y = self._x / self.tokens, self._y / self.tokens
        self._xx.div_(self.tokens).addr_(x, x, alpha=-1.0)
        self._xy.div_(self.tokens).addr_(x, y, alpha=-1.0)
        self.mean, self.dense_mean = x + self._shift[0], y + self._shift[1]
        return self

    def covariance(self, *, central: bool) -> Tensor:
        """Of x with x, (in, in); about 0 unless ``central``, for a layer whose bias cannot make up for a mean."""
        return self._xx if central else torch.addr(self._xx, self.mean, self.mean)

    def cross(self, *, central: bool) -> Tensor:
        """Of x (rows) with y (columns), (in, in); about 0 unless ``central``."""
        return self._xy if central else torch.addr(self._xy, self.mean, self.dense_mean)
