"""Sentences held against a teacher's: hidden states averaged over tokens, which need no common tokenizer.

The teacher's are asked once and come with the data, so it does not run in training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import mse_loss, normalize
from transformers import PreTrainedConfig, PreTrainedModel

from optkit.errors import PruningError
from optkit.pruning.distillation.projections import Projections, attach_projections
from optkit.pruning.distillation.states import Layers, check_weight, layer_pairs

#: The student's submodule that holds the learned projections while it is trained, and what its outputs call their
#: results.
PROJECTIONS = "pooled_projections"
_OUTPUT = "pooled_states"


@dataclass(frozen=True)
class PooledDistillation:
    """The mean of an example's hidden states over its tokens, compared with a teacher's of any tokenizer.

    ``relations``: how much the examples of a batch are like each other (Tung & Mori 2019, similarity-preserving
    knowledge distillation, https://arxiv.org/abs/1907.09682), whatever widths the models have. Only what one process
    has in one forward pass is compared, so it wants batches of many examples, not accumulated ones.

    ``states``: the mean squared error to the teacher's, at a learned projection.

    Args:
        weight: of this term in the loss, above 0.
        layers: which of the student's layers copy which of the teacher's, see ``layer_pairs``; 0 is the embeddings.
        of: ``relations`` or ``states``.
    """

    weight: float = 1.0
    layers: Layers = "last"
    of: Literal["relations", "states"] = "relations"

    def __post_init__(self) -> None:
        check_weight("pooled", self.weight)
        if self.of not in ("relations", "states"):
            raise ValueError(f"pooled is of relations or states, got '{self.of}'")


def pool(states: Tensor, mask: Tensor | None) -> Tensor:
    """The mean (batch, width), float32, of hidden states (batch, seq, width) over the tokens that ``mask`` (batch, seq)
    calls real; over all where it is None.
    """
    states = states.float()
    if mask is None:
        return states.mean(1)
    mask = mask.to(states.device, states.dtype).unsqueeze(-1)
    return (states * mask).sum(1) / mask.sum(1).clamp_min(1.0)


def similarity_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """How differently the examples of a batch are like each other in two models, a scalar from 0 to 4.

    The products of all pairs of examples, the row of each example brought to length 1, are compared by the squared
    distance of rows, a mean over rows.

    Args:
        student, teacher: (batch, width), of any two widths.
    """
    ours, theirs = (normalize(states.float() @ states.float().t(), dim=1) for states in (student, teacher))
    return (ours - theirs).square().sum(1).mean()


def pooled_pairs(
    spec: PooledDistillation, student: PreTrainedConfig, teacher: PreTrainedConfig
) -> list[tuple[int, int]]:
    """(student layer, teacher layer) for each that is compared.

    Raises:
        PruningError: for a layer that is not there, or a model that is not one stack of layers.
    """
    for side, config in (("student", student), ("teacher", teacher)):
        if config.is_encoder_decoder or not hasattr(config, "num_hidden_layers"):
            raise PruningError(f"the {side} ({config.model_type}) has no single stack of hidden states to pool")
    return layer_pairs(spec.layers, student.num_hidden_layers, teacher.num_hidden_layers, first=0)


class PooledMatcher:
    """Attached to a student, it knows what its pooled states cost beside a teacher's that come with the batch.

    Projections are a submodule ``pooled_projections`` of the student, as those of hidden states are: the optimizer
    trains them, checkpoints hold them. ``remove`` takes them off.

    Args:
        student: changed until ``remove``.
        teacher: the config of the model whose states come with the batches.
        spec: what is compared.

    Raises:
        PruningError: as ``pooled_pairs``.
    """

    def __init__(self, student: PreTrainedModel, teacher: PreTrainedConfig, spec: PooledDistillation):
        self.spec, self.pairs, self._undo = spec, pooled_pairs(spec, student.config, teacher), []
        if spec.of == "states":
            layers = [i for i, _ in self.pairs]
            self._undo = attach_projections(student, PROJECTIONS, layers, teacher.hidden_size, _project_pooled)

    def loss(self, outputs: Any, teacher: Tensor, mask: Tensor | None) -> Tensor:
        """What the student's ``outputs``, called with ``output_hidden_states``, cost by the weight given; a scalar.

        Args:
            teacher: (batch, pairs * width), the teacher's pooled states of each pair, one after another.
            mask: (batch, seq), 1 for the student's real tokens; None when all are.
        """
        terms = []
        for (i, _), theirs in zip(self.pairs, teacher.chunk(len(self.pairs), dim=1), strict=True):
            if self.spec.of == "states":
                terms.append(mse_loss(outputs[_OUTPUT][str(i)].float(), theirs.float()))
            else:
                terms.append(similarity_loss(pool(outputs.hidden_states[i], mask), theirs))
        return self.spec.weight * torch.stack(terms).mean()

    def remove(self) -> None:
        """Leaves the student as it was before."""
        for undo in self._undo:
            undo()
        self._undo = []


def _project_pooled(outputs: Any, named: Mapping[str, Any], projections: Projections) -> None:
    mask = named.get("attention_mask")
    outputs[_OUTPUT] = {
        str(layer): project(pool(outputs.hidden_states[layer], mask)) for layer, project in projections.items()
    }
