"""`validate`: checks a recipe, and on request plans it with its model and data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optkit.pipeline.order import new_context, resolve_plan
from optkit.progress import Reporter
from optkit.recipe import Recipe, load_recipe

if TYPE_CHECKING:
    from optkit.planning.summary import Plan


@dataclass(frozen=True)
class Validation:
    """A valid recipe.

    Attributes:
        recipe: as it was read, with overrides.
        plan: of the job; None where it was not asked for.
    """

    recipe: Recipe
    plan: Plan | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        facts = {"valid": True, "name": self.recipe.name, "hash": self.recipe.hash()}
        return facts | ({"plan": self.plan.to_dict()} if self.plan else {})


def validate(recipe: str | Path, overrides: Sequence[str] = (), *, plan: bool = False) -> Validation:
    """Checks a recipe without running it, and without importing torch unless ``plan`` is set.

    Args:
        recipe: a recipe file.
        overrides: ``path.to.key=value`` texts, as ``--set`` takes them.
        plan: also load the model's config and the data, and check that the job can work with them.

    Raises:
        RecipeError: with every fault at once, if the recipe is wrong or cannot work with its model or data.
    """
    loaded = load_recipe(recipe, overrides)
    return Validation(loaded, make_plan(loaded) if plan else None)


def make_plan(recipe: Recipe) -> Plan:
    """What ``recipe`` will do with its model and data; nothing is trained or written.

    Raises:
        PlanError: every reason why the recipe cannot work, a line each.
    """
    return resolve_plan(new_context(recipe, None, Reporter(quiet=True)))
