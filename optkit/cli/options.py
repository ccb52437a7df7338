"""Arguments and options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe file.", show_default=False)]
Set = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Change one value of the recipe, such as prune.0.schedule.to=0.9; repeatable.",
        default_factory=list,
        show_default=False,
    ),
]
RunFolders = Annotated[
    list[Path],
    typer.Argument(metavar="DIR...", help="Finished runs, or folders of them.", show_default=False),
]
TimesBatch = Annotated[
    int | None,
    typer.Option("--batch", help="Batch size to compare at. Default: the first that was measured."),
]
TimesSeq = Annotated[
    int | None,
    typer.Option("--seq", help="Sequence length to compare at, in tokens. Default: the first that was measured."),
]
Plot = Annotated[Path | None, typer.Option("--plot", metavar="FILE", help="Write a chart as SVG.")]
Json = Annotated[bool, typer.Option("--json", help="Print only JSON on stdout.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
