"""Where a model comes from: the recipe's ``model``, its teacher, or a plain checkpoint folder."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optkit.adapters import library_errors
from optkit.adapters.hub import model_folder
from optkit.checkpoints.plain import plain_folder
from optkit.errors import PlanError

if TYPE_CHECKING:
    from optkit.recipe.schema import ModelSpec


@dataclass(frozen=True)
class Source:
    """A ModelSpec's fields, or those of a plain folder, and the recipe's key for its name."""

    name: str | None
    revision: str = "main"
    config: dict[str, Any] | None = None
    overrides: dict[str, Any] = field(default_factory=dict)
    tokenizer: Any = None
    trust_remote_code: bool = False
    key: str = "model.name"

    @classmethod
    def of(cls, model: ModelSpec | Source | str | Path) -> Source:
        if isinstance(model, (Source, str, Path)):
            return model if isinstance(model, Source) else cls(str(model))
        return cls(
            model.name, model.revision, model.config, dict(model.overrides), model.tokenizer, model.trust_remote_code
        )

    def folder(self, weights: bool = True) -> Path:
        """The checkpoint, its weights under plain names."""
        found = model_folder(self.name, self.revision, key=self.key, weights=weights, code=self.trust_remote_code)
        return plain_folder(found) if weights else found


def refusing(source: Source) -> AbstractContextManager[None]:
    """Turns what an architecture raises on values that it can't work with into one line."""
    return library_errors("model.config" if source.name is None else source.name, PlanError)
