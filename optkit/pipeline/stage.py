"""What a stage of a run is, and what the plan tells the stages when it asks for their problems."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from optkit.pipeline.context import RunContext
    from optkit.pipeline.run_folder import StageOutput
    from optkit.pruning.targets import Site


@dataclass(frozen=True)
class ResolvedModel:
    """What a recipe's plan found out about its model and data.

    Attributes:
        model: the student on the meta device, without weights.
        sites: what each rule of the recipe matches.
        examples: number of training examples.
        steps: optimizer steps of the training.
        per_epoch: optimizer steps of an epoch.
    """

    model: PreTrainedModel
    sites: Sequence[Sequence[Site]]
    examples: int
    steps: int
    per_epoch: int


def _always(context: RunContext) -> bool:
    return True


def _no_problems(context: RunContext, resolved: ResolvedModel) -> list[str]:
    return []


def _no_examples(context: RunContext) -> int:
    return 0


def _nothing_to_plan(context: RunContext, resolved: ResolvedModel) -> dict[str, Any]:
    return {}


def _no_recipe_problems(context: RunContext) -> list[str]:
    return []


@dataclass(frozen=True)
class Stage:
    """One step of a run. Each module of ``optkit.stages`` defines one as its ``STAGE``.

    Attributes:
        name: for the manifest and ``--stop-after``.
        key: returns a digest of everything that the result depends on; an equal key means that the stage is done.
        run: does the work: files go to ``output.folder``, plain data for the manifest to ``output.facts``.
        folder: the folder of the run that the stage writes; None for a stage with facts alone, or with files directly
            in the run folder.
        checkpoints: the folder of the run that holds the checkpoints of its training; None for one that does not train.
        is_needed: returns whether the recipe asks for the stage.
        outputs: returns the paths in the run folder without which the stage has to run again; ``folder`` by default.
        recipe_problems: returns what of the recipe alone cannot work, a line each; called before any data are loaded.
        count_unlabelled: returns how many texts without labels the stage will add to the training split; raises
            UsageError if they cannot be used.
        problems: returns what cannot work with the model and the data, a line each.
        trial_problems: returns what only a trial shows, a line each; called when there is no other problem.
        plan: returns what the stage will do, as attributes of ``optkit.planning.summary.Plan``; called when there is no
            problem.
    """

    name: str
    key: Callable[[RunContext], str]
    run: Callable[[RunContext, StageOutput], None]
    folder: str | None = None
    checkpoints: str | None = None
    is_needed: Callable[[RunContext], bool] = _always
    outputs: Callable[[RunContext], Sequence[str]] | None = None
    recipe_problems: Callable[[RunContext], Sequence[str]] = _no_recipe_problems
    count_unlabelled: Callable[[RunContext], int] = _no_examples
    problems: Callable[[RunContext, ResolvedModel], Sequence[str]] = _no_problems
    trial_problems: Callable[[RunContext, ResolvedModel], Sequence[str]] = _no_problems
    plan: Callable[[RunContext, ResolvedModel], Mapping[str, Any]] = _nothing_to_plan

    def output_paths(self, context: RunContext) -> Sequence[str]:
        """Paths in the run folder without which the stage has to run again."""
        if self.outputs is not None:
            return self.outputs(context)
        return [self.folder] if self.folder else []
