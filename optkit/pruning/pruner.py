"""Masks on a model, driven by optimizer steps: attach, observe, update, fold."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.hooks import RemovableHandle

from optkit.errors import PruningError
from optkit.pruning import parallel
from optkit.pruning.binding import BoundRule, RuleState, place
from optkit.pruning.config import Frozen, Rule
from optkit.pruning.former_zeros import FormerZeros, former_zeros, groups_pruned, notes, problem
from optkit.pruning.masking import WeightMask, attach, detach, lay_out, mask_of, raw_of
from optkit.pruning.observation import Observer
from optkit.pruning.obstacles import require_loaded
from optkit.pruning.schedules import Steps
from optkit.pruning.targets import resolve_rules

_log = logging.getLogger(__name__)


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

    In several processes of torch.distributed each has a Pruner of its own and makes these calls at the same steps, with
    gradients that DDP has averaged. Masks are then the same in all, which every change of them checks.

    Zeros that the model brings with it stay zero, unless a rule says ``regrow``; ``notes`` tells of them.

    Args:
        model: changed in place: the weights of matched layers get a parametrization.
        rules: a Rule or several, applied in order; a later rule sees what remains.

    Raises:
        PruningError: if a pattern matches nothing, blocks do not divide a weight, two rules clash, a weight cannot be
            masked (see ``optkit.pruning.obstacles``), or more than a rule's target is zero already; later from most
            calls, once the masks were folded.
    """

    def __init__(self, model: nn.Module, rules: Rule | Sequence[Rule]):
        rules = [rules] if isinstance(rules, Rule) else list(rules)
        matched, problems = resolve_rules(model, rules)
        if problems:
            raise PruningError("; ".join(text for _, text in problems))
        require_loaded({name: layer for sites in matched for site in sites for name, layer in site.layers.items()})
        lay_out(model)
        self.model = model
        self._hooks: list[RemovableHandle] = []
        self._begun = self._done = 0
        self._folded = False
        self._rules = [BoundRule(rule, sites) for rule, sites in zip(rules, matched)]
        self._observer = Observer()
        self._updated = False  # whether a step was reported since the start
        #: What is to be said of zeros that the model brought with it, a line each.
        self.notes: list[str] = []
        for bound, former in zip(self._rules, self._meet_zeros(), strict=True):
            for name, layer in bound.layers.items():
                self._attach(layer, bound)
                self._hold(layer, bound, former.zeros.get(name))
            bound.keep_groups()
            if isinstance(bound.rule.criterion, Frozen):
                bound.freeze()
        self._observer.watch_padding(model)

    @property
    def bound(self) -> list[BoundRule]:
        """The rules on what they matched, in the order given."""
        return list(self._rules)

    def _meet_zeros(self) -> list[FormerZeros]:
        """The zeros that each rule meets."""
        found = [former_zeros(bound.layers) for bound in self._rules]
        both = list(zip(self._rules, found, strict=True))
        below = [line for bound, former in both if (line := problem(bound, former, self._rules))]
        if below:
            raise PruningError("; ".join(below))
        for bound, former in both:
            if bound.rule.schedule is not None and not bound.rule.regrow:
                bound.least = [groups_pruned(site, former) for site in bound.sites]
        self.notes = [line for bound, former in both for line in notes(bound.rule, former)]
        for line in self.notes:
            _log.info(line)
        return found

    def _hold(self, layer: nn.Linear, bound: BoundRule, zeros: Tensor | None) -> None:
        if bound.rule.schedule is None or bound.rule.regrow:
            return
        if zeros is not None:
            mask_of(layer).hold(zeros)
        elif bound.regrows:  # so that a checkpoint says that there were none
            mask_of(layer).hold(torch.zeros_like(mask_of(layer).mask))

    def _attach(self, layer: nn.Linear, bound: BoundRule) -> None:
        if not parametrize.is_parametrized(layer, "weight"):
            self._hooks += attach(layer, regrow=bound.regrows)[1]
        mask, criterion = mask_of(layer), bound.criterion
        if mask.has_state(name := bound.rule.criterion.name):
            return
        mask.keep_state(name, criterion.state(raw_of(layer).detach()))
        if bound.regrows and "gradients" in criterion.watches:
            mask.collect_gradients()
        self._observer.watch(bound, layer)

    def start(
        self,
        total_steps: int,
        steps_per_epoch: float,
        *,
        done: int = 0,
        placed: Sequence[Steps | None] | None = None,
    ) -> None:
        """Places the schedules in a training of ``total_steps`` optimizer steps.

        Args:
            done: how many of them are done, where a training goes on.
            placed: where they were placed when it began, one for each rule, None for those to be placed now.

        Raises:
            PruningError: as ``place``; if a criterion goes by gradients of a weight that is not trained.
        """
        self._require_masks()
        for bound, before in zip(self._rules, placed or [None] * len(self._rules), strict=True):
            bound.steps = before or place(bound.rule, total_steps, steps_per_epoch)
            self._check_trained(bound)
        self._check_processes()
        self._observer.steps, self._updated = 0, False
        self._begun = self._done = done
        if done:
            self._observer.go_on()

    @torch.no_grad()
    def observe(self, *, skip_nonfinite: bool = False) -> None:
        """Lets criteria see the gradients of an optimizer step, just before it.

        Args:
            skip_nonfinite: pass over a step in which a gradient holds inf or NaN, as a loss scaler does.
        """
        self._require_masks()
        watching = [bound for bound in self._rules if bound.criterion.watches]
        if all(bound.steps is not None and self._done >= bound.steps.end for bound in watching):
            self._observer.forget_gradients()
            return  # no mask will change any more
        self._observer.observe(self._rules, skip_nonfinite=skip_nonfinite)

    def update(self, step: int) -> bool:
        """Recomputes masks if a schedule changes once ``step`` optimizer steps are done; says whether one did.

        Raises:
            PruningError: if a criterion that goes by gradients or inputs never got any of a weight; where a training
                goes on, if a schedule has ended and its target was not reached; in every process, if masks then differ
                between processes.
        """
        self._require_masks()
        if not self._updated:
            self._check_not_late(step)
            self._updated = True
        changed = False
        for bound in self._rules:
            if bound.steps is not None and bound.steps.changes_at(step):
                target = bound.steps.target(step)
                if target > 0 and step > self._begun:  # a training that goes on has what it saw in its states
                    self.check_seen(bound)
                bound.prune(target)
                changed = True
        if changed:
            self._check_processes()
        self._done = step
        return changed

    def check_seen(self, bound: BoundRule) -> None:
        """Raises PruningError if a rule goes by gradients or inputs, and one of its weights got none so far."""
        self._observer.check_seen(bound)

    def _check_trained(self, bound: BoundRule) -> None:
        frozen = next((name for name, layer in bound.layers.items() if not raw_of(layer).requires_grad), None)
        if frozen is not None and bound.rule.schedule is not None and bound.criterion.by_gradients:
            raise PruningError(
                f"rule '{bound.rule.name}': {frozen}.weight is not trained (requires_grad is False), and "
                f"{bound.rule.criterion.name} goes by its gradients: exclude it, train it, or take magnitude"
            )

    def _check_not_late(self, step: int) -> None:
        for bound, state in zip(self._rules, self.states(), strict=True):
            if bound.steps is not None and step > bound.steps.end and not self._has_reached(bound, state.pruned):
                raise PruningError(
                    f"rule '{bound.rule.name}': the training goes on at step {step} short of the target, and the "
                    f"schedule ends at step {bound.steps.end}: train as long as before, or end the schedule later"
                )

    def _require_masks(self) -> None:
        if self._folded:
            raise PruningError("the masks were folded, and the model is plain: build another Pruner to prune further")

    def _check_processes(self) -> None:
        if parallel.processes() > 1:
            named = {(b.rule.name, name): mask_of(layer).mask for b in self._rules for name, layer in b.layers.items()}
            parallel.check_equal(named)

    def target(self, step: int) -> float:
        """Sparsity asked for once ``step`` optimizer steps are done, over the weights that ``sparsity`` counts.

        Of several rules on a weight the highest target counts; a frozen weight's target is what it has.
        """
        wanted: dict[int, tuple[float, int]] = {}
        for bound in self._rules:
            shares = bound.shares(bound.steps.target(step)) if bound.steps else [0.0] * len(bound.sites)
            for site, share in zip(bound.sites, shares, strict=True):
                for mask in site.masks():
                    target = share * bound.rule.structure.max_sparsity if bound.steps else _sparsity(mask)
                    wanted[id(mask)] = max(wanted.get(id(mask), (0.0, 0)), (target, mask.mask.numel()))
        weights = sum(size for _, size in wanted.values())
        return sum(target * size for target, size in wanted.values()) / weights if weights else 0.0

    def at_target(self, step: int) -> bool:
        """Whether every schedule has ended once ``step`` optimizer steps are done."""
        return all(bound.steps is None or step >= bound.steps.end for bound in self._rules)

    def sparsity(self) -> float:
        """Share of masked weights among all weights that any rule matches."""
        self._require_masks()
        masks = {id(mask): mask.mask for bound in self._rules for site in bound.sites for mask in site.masks()}.values()
        return 1.0 - sum(int(m.sum()) for m in masks) / sum(m.numel() for m in masks) if masks else 0.0

    def states(self) -> list[RuleState]:
        """How far each rule is, in the order given."""
        self._require_masks()
        states = []
        for bound in self._rules:
            alive = bound.alive()
            groups, pruned = sum(a.numel() for a in alive), sum(int((~a).sum()) for a in alive)
            steps = bound.steps
            target, begin, end = (bound.target, steps.begin, steps.end) if steps else (pruned / groups, 0, 0)
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
            if not self._has_reached(bound, state.pruned):
                wanted = bound.target_groups(bound.rule.schedule.to)
                raise PruningError(
                    f"rule '{state.name}' ended with {state.pruned} of {state.groups} groups pruned, and {wanted} were "
                    f"asked for: train to step {state.end}, where its schedule ends"
                )

    def _has_reached(self, bound: BoundRule, pruned: int) -> bool:
        wanted = bound.target_groups(bound.rule.schedule.to)
        shared = any(bound is not other and set(bound.layers) & set(other.layers) for other in self._rules)
        return pruned == wanted or (pruned > wanted and shared)

    @torch.no_grad()
    def fold(self) -> list[RuleState]:
        """Makes the model plain again: masks become exact zeros (0.0) in ordinary weights.

        Raises:
            PruningError: if a target was not reached; the model is then left as it is.
        """
        self.check_reached()
        states = self.states()
        self.remove()
        return states

    @torch.no_grad()
    def remove(self) -> None:
        """As ``fold``, wherever the schedules are: whatever the masks prune is zero."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._observer.remove()
        for layer in {id(layer): layer for bound in self._rules for layer in bound.layers.values()}.values():
            mask = detach(layer)
            if bool(layer.weight[~mask].count_nonzero()):
                raise PruningError("folding left a pruned weight that is not zero")
        self._folded = True


def _sparsity(mask: WeightMask) -> float:
    return 1.0 - int(mask.mask.sum()) / mask.mask.numel()
