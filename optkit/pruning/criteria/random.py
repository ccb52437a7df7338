"""Importance is a fixed random number, uniform in [0, 1): the control (as in Liu et al. 2022,
https://arxiv.org/abs/2202.02643).

The numbers are made anew from seed and layer whenever they are asked for. So nothing is kept in a checkpoint, a resumed
run sees the same ones, and the random state of the training is left alone.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from optkit.pruning.config.criteria import Random
from optkit.pruning.criteria.base import Criterion, State


class RandomCriterion(Criterion):
    config: Random

    def score(self, weight: Tensor, state: State, index: int) -> Tensor:
        # numpy mixes the two numbers into one seed: seed 0's second layer is not seed 1's first.
        generator = np.random.default_rng((self.config.seed, index))
        return torch.from_numpy(generator.random(tuple(weight.shape), np.float32)).to(weight.device)
