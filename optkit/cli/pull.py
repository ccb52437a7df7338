"""`optkit pull`: a model's repository from the Hub into a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

import optkit
from optkit.cli.options import Debug, Json
from optkit.progress import size


def command(
    repo: Annotated[str, typer.Argument(metavar="ORG/NAME", help="The repository on the Hub.", show_default=False)],
    output: Annotated[Path | None, typer.Option(help="Output folder, empty or new. Default: NAME.")] = None,
    revision: Annotated[str, typer.Option(help="Branch, tag or commit.")] = "main",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Download a model from the Hugging Face Hub. None of its code is executed."""
    result = optkit.pull(repo, output, revision=revision, quiet=False)
    if as_json:
        print(json.dumps(result, indent=2))
        return
    print(f"{result['output']}: {len(result['files'])} files, {size(result['bytes'])}, commit {result['commit'][:12]}")
