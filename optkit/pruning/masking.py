"""The stateful part of pruning: masks on the weights of a model, updated over training and folded at its end.

Each pruned weight gets a parametrization that zeroes what its mask removes, so the mask is part of the forward pass and
neither weight decay nor an optimizer's momentum can bring a weight back. A state dict taken at any time holds the
masked weight under its own name, and mask and accumulated score beside it: it loads as a plain dense model, and, loaded
into a model with the same rules attached, continues where it stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from optkit.errors import PruningError
from optkit.pruning.config import Frozen, Rule, Structure
from optkit.pruning.criteria import Criterion, build
from optkit.pruning.schedules import Steps, resolve
from optkit.pruning.selection import select, target_count
from optkit.pruning.structures import alive, expand, pool
from optkit.pruning.targets import resolve_rules


class WeightMask(nn.Module):
    """Parametrization of one weight (out, in): keeps it where ``mask`` is True, is 0.0 elsewhere."""

    mask: Tensor
    score: Tensor | None

    def __init__(self, weight: Tensor, *, scored: bool, regrow: bool):
        super().__init__()
        self.register_buffer("mask", torch.ones_like(weight, dtype=torch.bool))
        self.register_buffer("score", torch.zeros_like(weight, dtype=torch.float32) if scored else None)
        self.register_buffer("zero", torch.zeros((), dtype=weight.dtype, device=weight.device), persistent=False)
        self.regrow = regrow
        self._effective_gradient: Tensor | None = None

    def forward(self, weight: Tensor) -> Tensor:
        # where, not weight * mask: the product leaves -0.0 behind, and NaN where a masked weight overflowed.
        masked = torch.where(self.mask, weight, self.zero)
        if self.regrow and self.score is not None and masked.requires_grad:
            masked.register_hook(self._collect)
        return masked

    def _collect(self, gradient: Tensor) -> None:
        collected = self._effective_gradient
        self._effective_gradient = gradient.detach().clone() if collected is None else collected.add_(gradient)

    def take_gradient(self) -> Tensor | None:
        """What the hook collected since the last call (out, in), None where nothing may regrow."""
        collected, self._effective_gradient = self._effective_gradient, None
        return collected


def _effective_gradients(masks: Sequence[WeightMask], raw: Sequence[Tensor]) -> list[Tensor]:
    """Gradients of the masked weights (out, in), unscaled and clipped as ``raw``, those that reached the parameters.

    Without regrowth only living weights matter, and there both gradients are the same. With it, what the hooks
    collected differs from ``raw`` by one factor (loss scale, clipping), the same for all weights, read off where both
    are known; so it holds for a weight that is wholly masked, too.
    """
    collected = [mask.take_gradient() for mask in masks]
    energy, overlap = 0.0, 0.0
    for mask, gradient, clipped in zip(masks, collected, raw, strict=True):
        if gradient is not None:
            known = torch.where(mask.mask, gradient, mask.zero).float()
            energy, overlap = energy + (known * known).sum(), overlap + (known * clipped).sum()
    if not torch.is_tensor(energy):
        return list(raw)
    factor = torch.where(energy > 0, overlap / energy, 1.0)
    return [r if g is None else g * factor.to(g.device, g.dtype) for g, r in zip(collected, raw, strict=True)]


def _save_masked(module: nn.Module, state: dict, prefix: str, local_metadata: dict) -> None:
    inner = f"{prefix}parametrizations.weight."
    raw, mask = state.pop(f"{inner}original"), state.pop(f"{inner}0.mask")
    score = state.pop(f"{inner}0.score", None)
    state[f"{prefix}weight"] = torch.where(mask, raw, torch.zeros((), dtype=raw.dtype, device=raw.device))
    state[f"{prefix}weight_mask"] = mask
    if score is not None:
        state[f"{prefix}weight_score"] = score
    if module.parametrizations.weight[0].regrow:
        state[f"{prefix}weight_raw"] = raw


def _load_masked(module: nn.Module, state: dict, prefix: str, *_: object) -> None:
    inner = f"{prefix}parametrizations.weight."
    weight, raw = state.pop(f"{prefix}weight", None), state.pop(f"{prefix}weight_raw", None)
    names = {"original": raw if raw is not None else weight}
    names |= {f"0.{name}": state.pop(f"{prefix}weight_{name}", None) for name in ("mask", "score")}
    state.update({inner + name: value for name, value in names.items() if value is not None})


@dataclass
class _BoundRule:
    """A rule on the layers it matched."""

    rule: Rule
    criterion: Criterion
    layers: dict[str, nn.Linear]
    steps: Steps | None = None

    def masks(self) -> list[WeightMask]:
        return [layer.parametrizations.weight[0] for layer in self.layers.values()]

    def raw_weights(self) -> list[nn.Parameter]:
        return [layer.parametrizations.weight.original for layer in self.layers.values()]

    def living(self) -> list[Tensor]:
        return [alive(mask.mask, self.rule.structure) for mask in self.masks()]

    @torch.no_grad()
    def prune(self, target: float) -> None:
        structure = self.rule.structure
        scores = []
        for index, (raw, mask) in enumerate(zip(self.raw_weights(), self.masks(), strict=True)):
            score = self.criterion.score(raw.detach(), mask.score, index)
            # What a finer rule removed inside a living block counts for nothing; its raw weight is not in checkpoints.
            scores.append(pool(score if self.rule.regrow else score.where(mask.mask, 0.0), structure))
        living = [torch.ones_like(a) for a in self.living()] if self.rule.regrow else self.living()
        for mask, keep in zip(self.masks(), select(scores, living, target, self.rule.scope), strict=True):
            weights = expand(keep, structure)
            # Without regrowth the old mask stays in force: a finer rule may have pruned inside a living block.
            mask.mask.copy_(weights if self.rule.regrow else mask.mask & weights)


@dataclass(frozen=True)
class RuleState:
    """How far a rule is: ``pruned`` of ``groups`` groups are zero, the share ``target`` is asked for at the end."""

    name: str
    structure: Structure
    groups: int
    pruned: int
    target: float
    begin: int
    end: int

    @property
    def sparsity(self) -> float:
        return self.pruned / self.groups


def place(rule: Rule, total_steps: int, steps_per_epoch: float) -> Steps | None:
    """The schedule of ``rule`` in a training of ``total_steps`` optimizer steps, None for a rule without one.

    Raises:
        PruningError: if it does not end within the training, or prunes before a criterion that watches training has
            seen a step of it.
    """
    if rule.schedule is None:
        return None
    steps = resolve(rule.schedule, total_steps, steps_per_epoch)
    if build(rule.criterion).stateful and steps.target(0) > 0:
        raise PruningError(
            f"rule '{rule.name}': {rule.criterion.name} has seen no step when the schedule prunes at step 0: "
            "begin later"
        )
    return steps


class Pruner:
    """Masks on a model, driven by optimizer steps. ``PruningCallback`` drives one under the Trainer; a loop may too::

        pruner = Pruner(model, rules)
        pruner.start(total_steps, steps_per_epoch)
        pruner.update(0)
        for step, batch in enumerate(batches, start=1):
            model(**batch).loss.backward()
            pruner.observe()
            optimizer.step(); optimizer.zero_grad()
            pruner.update(step)
        pruner.fold()

    Args:
        model: changed in place: the weights of matched layers get a parametrization.
        rules: applied in order; a later rule sees what remains.

    Raises:
        PruningError: if a pattern matches nothing, blocks do not divide a weight, or two rules clash.
    """

    def __init__(self, model: nn.Module, rules: Sequence[Rule]):
        matched, problems = resolve_rules(model, rules)
        if problems:
            raise PruningError("\n".join(text for _, text in problems))
        self.model = model
        self._hooks: list = []
        self._rules = [_BoundRule(rule, build(rule.criterion), layers) for rule, layers in zip(rules, matched)]
        for bound in self._rules:
            for layer in bound.layers.values():
                if not parametrize.is_parametrized(layer, "weight"):
                    self._attach(layer, bound)
        for bound in self._rules:
            if isinstance(bound.rule.criterion, Frozen):
                for mask, weight in zip(bound.masks(), bound.raw_weights()):
                    mask.mask &= expand(alive(weight.detach() != 0, bound.rule.structure), bound.rule.structure)
        self._by_mask = {id(mask): bound for bound in self._rules for mask in bound.masks()}

    def _attach(self, layer: nn.Linear, bound: _BoundRule) -> None:
        mask = WeightMask(layer.weight.detach(), scored=bound.criterion.stateful, regrow=bound.rule.regrow)
        # unsafe skips a trial forward that would only check shape and dtype, which torch.where keeps.
        parametrize.register_parametrization(layer, "weight", mask, unsafe=True)
        self._hooks.append(layer.register_state_dict_post_hook(_save_masked))
        self._hooks.append(layer.register_load_state_dict_pre_hook(_load_masked))

    def start(self, total_steps: int, steps_per_epoch: float) -> None:
        """Places the schedules in a training of ``total_steps`` optimizer steps.

        Raises:
            PruningError: as ``place``.
        """
        for bound in self._rules:
            bound.steps = place(bound.rule, total_steps, steps_per_epoch)

    @torch.no_grad()
    def observe(self, *, skip_nonfinite: bool = False) -> None:
        """Lets criteria see the gradients of an optimizer step, just before it.

        Args:
            skip_nonfinite: pass over weights whose gradient holds inf or NaN, as a loss scaler skips such steps.
        """
        watched = [
            (bound.criterion, mask, raw)
            for bound in self._rules
            if bound.criterion.stateful
            for mask, raw in zip(bound.masks(), bound.raw_weights(), strict=True)
            if self._by_mask[id(mask)] is bound and raw.grad is not None
        ]
        gradients = _effective_gradients([mask for _, mask, _ in watched], [raw.grad for *_, raw in watched])
        for (criterion, mask, raw), gradient in zip(watched, gradients, strict=True):
            if not (skip_nonfinite and not bool(torch.isfinite(gradient.sum()))):
                criterion.observe(mask.score, raw, gradient)

    def update(self, step: int) -> bool:
        """Recomputes masks if a schedule changes once ``step`` optimizer steps are done; says whether one did."""
        changed = False
        for bound in self._rules:
            if bound.steps is not None and bound.steps.changes_at(step):
                bound.prune(bound.steps.target(step))
                changed = True
        return changed

    def target(self, step: int) -> float:
        """Sparsity asked for once ``step`` optimizer steps are done, over the weights that ``sparsity`` counts.

        Of several rules on a weight the highest target counts; a frozen weight's target is what it has.
        """
        wanted: dict[int, tuple[float, int]] = {}
        for bound in self._rules:
            for mask in (m.mask for m in bound.masks()):
                target = bound.steps.target(step) if bound.steps else 1.0 - int(mask.sum()) / mask.numel()
                wanted[id(mask)] = max(wanted.get(id(mask), (0.0, 0)), (target, mask.numel()))
        return sum(target * size for target, size in wanted.values()) / sum(size for _, size in wanted.values())

    def at_target(self, step: int) -> bool:
        """Whether every schedule has ended once ``step`` optimizer steps are done."""
        return all(bound.steps is None or step >= bound.steps.end for bound in self._rules)

    def sparsity(self) -> float:
        """Share of masked weights among all weights that any rule matches."""
        masks = {id(m): m.mask for bound in self._rules for m in bound.masks()}.values()
        return 1.0 - sum(int(m.sum()) for m in masks) / sum(m.numel() for m in masks)

    def states(self) -> list[RuleState]:
        """How far each rule is, in the order given."""
        states = []
        for bound in self._rules:
            living = bound.living()
            groups, pruned = sum(a.numel() for a in living), sum(int((~a).sum()) for a in living)
            steps = bound.steps
            target, begin, end = (steps.schedule.to, steps.begin, steps.end) if steps else (pruned / groups, 0, 0)
            states.append(RuleState(bound.rule.name, bound.rule.structure, groups, pruned, target, begin, end))
        return states

    def check_reached(self) -> None:
        """Raises PruningError unless every rule pruned exactly the groups that its target asks for.

        A rule may end above its target only where another rule or zeros that were there before took more.
        """
        for bound, state in zip(self._rules, self.states(), strict=True):
            if bound.rule.schedule is None:
                continue
            if bound.steps is None:
                raise PruningError(f"rule '{state.name}' was never started: train first")
            sizes = [a.numel() for a in bound.living()] if bound.rule.scope == "local" else [state.groups]
            wanted = sum(target_count(state.target, size) for size in sizes)
            shared = any(bound is not other and set(bound.layers) & set(other.layers) for other in self._rules)
            if state.pruned < wanted or (state.pruned > wanted and not shared):
                raise PruningError(
                    f"rule '{state.name}' ended with {state.pruned} of {state.groups} groups pruned, and {wanted} were "
                    f"asked for: train to step {state.end}, where its schedule ends"
                )

    @torch.no_grad()
    def fold(self) -> list[RuleState]:
        """Makes the model plain again: masks become exact zeros (0.0) in ordinary weights.

        Raises:
            PruningError: if a target was not reached; the model is then left as it is.
        """
        self.check_reached()
        states = self.states()
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        for layer in {id(layer): layer for bound in self._rules for layer in bound.layers.values()}.values():
            mask = layer.parametrizations.weight[0].mask
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
            if bool(layer.weight[~mask].count_nonzero()):
                raise PruningError("folding left a pruned weight that is not zero")
        return states
