"""`optkit doctor`: whether the sparse runtime works on this machine, and what it finds there."""

from __future__ import annotations

import json
from typing import Any

import typer

import optkit
from optkit.cli import lazy
from optkit.cli.console import plain_console
from optkit.cli.options import Debug, Json


def command(as_json: Json = False, debug: Debug = False) -> None:
    """Check whether the sparse runtime works on this machine. The exit code is 1 if it does not."""
    found = optkit.doctor()
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        _print(found)
    if found["problems"]:
        raise typer.Exit(1)


def _print(found: dict[str, Any]) -> None:
    table = lazy.Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(found):
        table.add_row(name, value)
    console = plain_console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, 140)  # a pipe or file has no width: do not break the library's path
    console.print(table)
    # As they are: a line with a command in it has to stay whole.
    for problem in found["problems"]:
        console.print(f"problem: {problem}", style="red", soft_wrap=True)
    if not found["problems"]:
        console.print("the sparse runtime works", style="green")


def _rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    cpu, kernels, library, versions = found["cpu"], found["kernels"], found["library"], found["versions"]
    used = kernels["used"] or "none"
    if kernels["wanted"]:
        used += f" (OPTKIT_ISA={kernels['wanted']})"
    notes = {isa: " (not on this CPU)" for isa in kernels["unsupported"]}
    notes |= {isa: " (for tests)" for isa in kernels["for_tests"]}
    compiled = [isa + notes.get(isa, "") for isa in kernels["compiled"]]
    suited = found["structure"]
    known = "" if suited is None or suited["measured"] else ", not measured yet"
    return [
        ("processor", cpu["name"]),
        ("instruction sets", " ".join(cpu["instruction_sets"]) or "none beyond the baseline"),
        ("cores usable", f"{cpu['cores']:g}"),
        ("kernels used", used),
        ("kernels compiled", ", ".join(compiled) or "none"),
        *([("structure to prune in", f"{suited['structure']}, for {suited['isa']}{known}")] if suited else []),
        ("library", library["path"] or "none"),
        ("built for OpenVINO", library["built_for"] or "unknown"),
        *((name, number or "not installed") for name, number in versions.items()),
    ]
