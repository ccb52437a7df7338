"""Hidden states and attention of a student held against its teacher's, batch by batch: what is stateful about it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from optkit.errors import PruningError
from optkit.pruning.distillation.projections import Projections, attach_projections
from optkit.pruning.distillation.states import (
    AttentionDistillation,
    HiddenDistillation,
    attention_loss,
    hidden_loss,
    layer_pairs,
    relation_heads,
    relation_loss,
)
from optkit.pruning.layouts import LAYOUTS, layouts
from optkit.pruning.permutation.permute import Permutation
from optkit.pruning.permutation.spaces import HIDDEN, space_name

#: The student's submodule that holds the learned projections while it is trained.
PROJECTIONS = "hidden_projections"
_ROLES = ("query", "key", "value")
_DROPOUT = ("attention_probs_dropout_prob", "attention_dropout")


def state_problems(
    student: PreTrainedConfig,
    teacher: PreTrainedConfig,
    hidden: HiddenDistillation | None,
    attention: AttentionDistillation | None,
) -> list[tuple[str, str]]:
    """Why these two models cannot be held against each other, as (``hidden`` or ``attention``, one line)."""
    problems = []
    depths = student.num_hidden_layers, teacher.num_hidden_layers
    for name, spec, first in (("hidden", hidden, 0), ("attention", attention, 1)):
        try:
            spec and layer_pairs(spec.layers, *depths, first=first)
        except PruningError as error:
            problems.append((name, str(error)))
    if attention is not None and attention.of == "maps":
        heads = student.num_attention_heads, teacher.num_attention_heads
        if heads[0] != heads[1]:
            text = (
                f"the student has {heads[0]} attention heads and the teacher {heads[1]}, so their maps do not compare"
            )
            problems.append(("attention", f"{text}: take relations"))
        dropout = next((name for name in _DROPOUT if getattr(student, name, 0.0)), None)
        if dropout is not None:
            text = f"the student's {dropout} punches holes into its attention maps"
            problems.append(("attention", f"{text}: set it to 0 in the model's config, or take relations"))
    if attention is not None and attention.of == "relations":
        strange = next((c.model_type for c in (student, teacher) if c.model_type not in LAYOUTS), None)
        if strange is not None:
            text = f"where queries, keys and values lie is not known for models of type '{strange}': take maps"
            problems.append(("attention", f"{text}; known are {', '.join(LAYOUTS)}"))
    return problems


class StateMatcher:
    """Attached to a student and its teacher, it knows their states of each batch and what these cost in the loss.

    Where widths differ, a learned linear projection takes the student's states to the teacher's width. The projections
    are a submodule ``hidden_projections`` of the student: so the optimizer trains them, checkpoints hold them beside
    the model's own weights, and data-parallel training averages their gradients. ``remove`` takes them off.

    Args:
        student, teacher: models for the same token ids. Both may change until ``remove``.
        hidden, attention: what to compare; at least one.
        permutation: how the student's features were reordered, so that each is compared with what it was compared with
            before; None if they were not.

    Raises:
        PruningError: if the models cannot be held against each other.
    """

    def __init__(
        self,
        student: PreTrainedModel,
        teacher: PreTrainedModel,
        hidden: HiddenDistillation | None,
        attention: AttentionDistillation | None,
        permutation: Permutation | None = None,
    ):
        problems = state_problems(student.config, teacher.config, hidden, attention)
        if problems:
            raise PruningError("\n".join(f"{name}: {text}" for name, text in problems))
        self.student, self.teacher = student, teacher
        self.hidden, self.attention, self._permutation = hidden, attention, permutation
        depths = student.config.num_hidden_layers, teacher.config.num_hidden_layers
        self._hidden_pairs = layer_pairs(hidden.layers, *depths, first=0) if hidden else []
        self._attention_pairs = layer_pairs(attention.layers, *depths) if attention else []
        self._undo: list[Any] = []
        self._seen: tuple[_Seen, ...] = ()
        try:
            self._attach()
        except PruningError:
            self.remove()
            raise

    def _attach(self) -> None:
        if self.hidden is not None:
            self._project()
            self._order = self._hidden_order()
        if self.attention is not None and self.attention.of == "maps":
            for model in (self.student, self.teacher):
                self._undo.append(partial(_set_attention, model, _set_attention(model, "eager")))
            self._heads_back = self._head_orders()
        elif self.attention is not None:
            self._seen = (_Seen(self.student, self._permutation), _Seen(self.teacher))
            widths = (seen.width for seen in self._seen)
            self._heads = relation_heads(*widths, self.teacher.config.num_attention_heads)

    def _project(self) -> None:
        ours, theirs = self.student.config.hidden_size, self.teacher.config.hidden_size
        if ours == theirs:
            return
        layers = [layer for layer, _ in self._hidden_pairs]
        self._undo += attach_projections(self.student, PROJECTIONS, layers, theirs, _project_states)

    def _hidden_order(self) -> Tensor | None:
        """Which of the teacher's features each of the student's is compared with; None for that in the same place."""
        # Where widths differ, the learned projection knows no order to begin with.
        same = self.student.config.hidden_size == self.teacher.config.hidden_size
        return self._permutation.orders.get(HIDDEN) if self._permutation is not None and same else None

    def _head_orders(self) -> dict[int, Tensor]:
        """By the number of the student's layer, what puts its heads back where they were; of those that moved."""
        if self._permutation is None:
            return {}
        found, depth = layouts(self.student), self.student.config.num_hidden_layers
        back = {}
        for i in range(depth):
            layout = found[i * len(found) // depth]  # of shared layers the one that runs there
            order = self._permutation.orders.get(space_name(layout, "query"))
            if order is not None and layout.heads is not None:
                size = layout.heads["query"].size
                back[i + 1] = torch.argsort(order[::size] // size)
        return back

    @property
    def requests(self) -> dict[str, bool]:
        """What both models have to be called with."""
        options = {"output_hidden_states": self.hidden is not None}
        options["output_attentions"] = self.attention is not None and self.attention.of == "maps"
        return {name: True for name, wanted in options.items() if wanted}

    def watch(self, on: bool) -> None:
        """Keeps what passes through the attention layers from now on, or no longer."""
        for seen in self._seen:
            seen.start() if on else seen.stop()

    def loss(self, ours: Any, theirs: Any, mask: Tensor | None) -> Tensor:
        """What the outputs of both models on one batch cost, by the weights given; a scalar.

        Args:
            ours, theirs: outputs of student and teacher, called with ``requests``.
            mask: (batch, seq), 1 for real tokens; None when all are.
        """
        terms = []
        if self.hidden is not None:
            for i, j in self._hidden_pairs:
                target = theirs.hidden_states[j]
                target = target if self._order is None else target[..., self._order.to(target.device)]
                states = ours.hidden_states[i], target
                scale = self.hidden.weight / len(self._hidden_pairs)
                terms.append(scale * hidden_loss(*states, mask, normalize=self.hidden.normalize))
        for i, j in self._attention_pairs:
            scale = self.attention.weight / len(self._attention_pairs)
            if self.attention.of == "maps":
                back, maps = self._heads_back.get(i), ours.attentions[i - 1]
                maps = maps if back is None else maps[:, back.to(maps.device)]
                terms.append(scale * attention_loss(maps, theirs.attentions[j - 1], mask))
            else:
                for role in _ROLES:
                    states = self._seen[0].states(role, i), self._seen[1].states(role, j)
                    terms.append(scale / len(_ROLES) * relation_loss(*states, self._heads, mask))
        return torch.stack(terms).sum()

    def remove(self) -> None:
        """Leaves both models as they were before."""
        for seen in self._seen:
            seen.remove()
        for undo in self._undo:
            undo()
        self._undo.clear()


class _Seen:
    """Queries, keys and values of each layer in one forward pass.

    A layer that is shared runs several times, and counts as often.
    """

    def __init__(self, model: nn.Module, permutation: Permutation | None = None):
        self.on = False
        #: By role, what went into its layers and what came out, in the order they ran in.
        self.calls: dict[str, list[tuple[Tensor, Tensor]]] = {role: [] for role in _ROLES}
        self._hooks = []
        for layout in layouts(model):
            if layout.heads is None:
                raise PruningError(f"attention: {layout.prefix} has no attention heads left to compare")
            self.width = layout.heads.count * layout.heads["query"].size
            for role in _ROLES:
                member = layout.heads[role]
                rows = slice(member.offset, member.offset + self.width)
                layer = model.get_submodule(member.layer)
                features = space_name(layout, "value" if role == "value" else "query")
                back = None if permutation is None else permutation.inverse(features)
                self._hooks.append(layer.register_forward_hook(partial(self._keep, role, rows, back)))

    def _keep(
        self, role: str, rows: slice, back: Tensor | None, layer: nn.Module, inputs: tuple, output: Tensor
    ) -> None:
        if self.on:
            states = output[..., rows]
            states = states if back is None else states[..., back.to(states.device)]
            self.calls[role].append((inputs[0], states))

    def states(self, role: str, number: int) -> Tensor:
        """The queries, keys or values (batch, seq, width) of the layer that ran as ``number``, from 1."""
        # Relative positions may go through the projections of queries and keys as well, never through that of values.
        states = self.calls["value"][number - 1][0]
        return next(output for inputs, output in self.calls[role] if inputs is states)

    def start(self) -> None:
        self.stop()
        self.on = True

    def stop(self) -> None:
        self.on = False
        for calls in self.calls.values():
            calls.clear()

    def remove(self) -> None:
        for hook in self._hooks:
            hook.remove()


def _project_states(outputs: Any, named: Mapping[str, Any], projections: Projections) -> None:
    """Puts projected states in the place of the student's."""
    states: list[Tensor] = list(outputs.hidden_states)
    for layer, project in projections.items():
        states[layer] = project(states[layer])
    outputs["hidden_states"] = tuple(states)


def _set_attention(model: PreTrainedModel, wanted: str) -> str:
    """Sets the attention implementation and returns the one before.

    Raises:
        PruningError: if the model cannot change it.
    """
    before = model.config._attn_implementation
    if before != wanted:
        model.set_attn_implementation(wanted)
    if model.config._attn_implementation != wanted:
        raise PruningError(
            f"attention: {type(model).__name__} cannot change its attention implementation after it was loaded: load "
            "it with attn_implementation='eager', or take relations"
        )
    return before


def accepted_inputs(model: nn.Module, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Those of ``inputs`` that ``model`` takes, labels apart: a teacher of another family may know fewer."""
    known = inspect.signature(type(model).forward).parameters
    every = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in known.values()) and "input_ids" not in known
    return {name: value for name, value in inputs.items() if name != "labels" and (every or name in known)}
