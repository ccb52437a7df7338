"""`optkit push`: what a run exported, with its model card, to the Hub in one commit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

import optkit
from optkit.cli.options import Debug, Json
from optkit.progress import size


def command(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.", show_default=False)],
    repo: Annotated[
        str, typer.Option("--repo", metavar="ORG/NAME", help="The repository on the Hub.", show_default=False)
    ],
    private: Annotated[bool, typer.Option("--private", help="Make the repository private if it is created.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List what would be published; do not contact the Hub.")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Publish the exported model of a run on the Hugging Face Hub. The model and its card go in one commit."""
    result = optkit.push(run, repo, private=private, dry_run=dry_run, quiet=False)
    if as_json:
        print(json.dumps(result, indent=2))
        return
    if dry_run:
        for name, count in result["files"].items():
            print(f"{size(count):>10}  {name}")
        print(f"card: {result['card']}")
        print(
            f"{len(result['files'])} files, {size(result['bytes'])}, would go to {repo} in one commit; nothing was sent"
        )
        return
    content = f"{len(result['files'])} files, {size(result['bytes'])}" if result["changed"] else "nothing new"
    print(f"{result['url']}: {content}, commit {result['commit'][:12]}")
