"""What the stages of one run share: the recipe, the run folder, the data, and whom to tell."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from optkit.errors import OptkitError
from optkit.models import load_model
from optkit.pipeline.run_data import RunData
from optkit.pipeline.run_folder import digest
from optkit.pruning.permutation.permute import Permutation
from optkit.ranks import Team
from optkit.recipe.resolved import identity
from optkit.tasks import get_task

if TYPE_CHECKING:
    from torch import Tensor

    from optkit.pipeline.run_folder import RunDir
    from optkit.pipeline.stage import Stage
    from optkit.progress import Reporter
    from optkit.recipe import Recipe

#: Where the stage ``permute`` writes the orders that it found.
PERMUTATION_FOLDER, PERMUTATION_FILE = "permutation", "orders.safetensors"


class RunContext:
    """One recipe at work.

    Args:
        recipe: what to do.
        run: the run folder; None when nothing is written, as for a plan.
        reporter: shows progress.
        team: the processes of this launch.
        stages: all stages in their order, whether the recipe asks for them or not.
        exports: whether the run goes on to the export, and does not stop before it.
    """

    def __init__(
        self,
        recipe: Recipe,
        run: RunDir | None,
        reporter: Reporter,
        team: Team | None = None,
        *,
        stages: Sequence[Stage] = (),
        exports: bool = True,
    ):
        self.recipe, self.run, self.reporter, self.team = recipe, run, reporter, team or Team()
        self.stages, self.exports = stages, exports
        self.task = get_task(recipe.task, recipe.model)
        self.data = RunData(recipe, self.task, reporter)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """The recipe as plain data, local paths replaced by hashes: what keys are made of."""
        return identity(self.recipe)

    def key(self, *parts: str, **more: Any) -> str:
        """Digest of these parts of the recipe, and of whatever else a stage depends on."""
        return digest({part: self.identity.get(part) for part in parts} | more)

    @property
    def data_identity(self) -> dict[str, Any]:
        """What decides which examples the model sees."""
        task = {name: value for name, value in self.identity["task"].items() if name != "metric"}
        return task | {key: value for key, value in self.identity["train"].items() if key == "hold_out"}

    def start_model(self) -> Any:
        """What training starts from; the same weights at each call."""
        spec, seed = self.recipe.model, self.recipe.seed
        return load_model(spec, self.data.head, seed=seed, tokenizer=self.data.tokenizer)

    def permutation(self) -> Permutation | None:
        """How the features of the model were reordered before it is pruned; None where they are as they were."""
        if not any(rule.permute for rule in self.recipe.prune):
            return None
        return Permutation(self.tensors(PERMUTATION_FOLDER, PERMUTATION_FILE))

    def student(self) -> Any:
        """What is pruned: the start model, its features reordered where the recipe says so."""
        model, permutation = self.start_model(), self.permutation()
        if permutation is not None:
            permutation.apply(model)
        return model

    def tensors(self, folder: str, name: str) -> dict[str, Tensor]:
        """The tensors, by name, that a stage kept in the file ``name`` of its ``folder``.

        Raises:
            OptkitError: if the file is missing or damaged.
        """
        file = self.path(folder) / name
        try:
            return load_file(file)
        except (OSError, SafetensorError) as error:
            raise OptkitError(
                f"{file}: damaged or missing ({error}): remove the folder {file.parent} and run again"
            ) from error

    def path(self, name: str) -> Path:
        """A folder of this run."""
        return self.run.path / name
