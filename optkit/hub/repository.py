"""Names of repositories on the Hub."""

from __future__ import annotations

from optkit.errors import UsageError
from optkit.recipe.schema import is_repository


def check_repository(repo_id: str) -> None:
    """Raises UsageError if ``repo_id`` is not of the form ORG/NAME."""
    if not is_repository(repo_id):
        allowed = "letters, digits, '-', '_' and '.'"
        raise UsageError(f"'{repo_id}' is not a repository name: write ORG/NAME, with {allowed}")
