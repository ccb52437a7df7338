"""The `optkit` command: its verbs, and the one place where errors become a line on stderr and an exit code."""

from __future__ import annotations

import errno
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from optkit import ranks
from optkit.cli import (
    bake,
    bench,
    compare,
    cost,
    doctor,
    inspect,
    pareto,
    pull,
    push,
    quantize,
    run,
    schema,
    serve,
    sweep,
    validate,
)
from optkit.cli import compile as compile_
from optkit.cli import list as list_
from optkit.deprecation import FormerSpelling
from optkit.errors import Interrupted, OptkitError, UsageError, in_a_line, on_the_command_line
from optkit.machine import installed

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: it answers without importing rich
    suggest_commands=False,  # click does it
)
_VERBS = {
    "run": run,
    "validate": validate,
    "quantize": quantize,
    "inspect": inspect,
    "bake": bake,
    "compile": compile_,
    "bench": bench,
    "compare": compare,
    "sweep": sweep,
    "pareto": pareto,
    "cost": cost,
    "push": push,
    "pull": pull,
    "serve": serve,
    "doctor": doctor,
    "list": list_,
    "schema": schema,
}
for name, verb in _VERBS.items():
    app.command(name)(verb.command)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"optkit {installed('optkit')}")
        raise typer.Exit


@app.callback()
def _optkit(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Prune a Hugging Face model while it is fine-tuned, quantize it to int8, and export it to OpenVINO."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one verb and exits: 0 done, 1 the job failed, 2 recipe or arguments are wrong, 130 interrupted.

    Every verb takes ``--debug``; it is looked for here, so that it also works for errors before the verb begins. Of
    several processes that a launcher started the first alone prints, and only ``run`` has work for the others.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    code = 1
    ranks.hush()
    try:
        if ranks.rank() > 0:
            ranks.mute(errors="--debug" not in arguments)
        code = _run(arguments) if ranks.rank() == 0 or arguments[:1] == ["run"] else 0
    finally:
        code = ranks.leave(code)
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    try:
        with on_the_command_line(), warnings.catch_warnings():
            _show_warnings_in_a_line()
            app(arguments, prog_name="optkit")
    except SystemExit as end:
        if end.code == Interrupted.exit_code:  # typer prints an empty line
            print("interrupted", file=sys.stderr)
        return int(end.code or 0)
    except BrokenPipeError:
        # The reader of our output has gone (`optkit list | head`); Python must not complain again when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            error = UsageError(f"{error.filename}: too long for the path of a file: give another")
        if "--debug" in arguments:
            raise error
        return report(error)
    return 0


def _show_warnings_in_a_line() -> None:
    """Has a former spelling reported without the line of our code that noticed it."""
    show = warnings.showwarning

    def in_a_line_alone(message: Warning | str, category: type[Warning], *place: Any, **options: Any) -> None:
        if issubclass(category, FormerSpelling):
            print(f"warning: {message}", file=sys.stderr)
        else:
            show(message, category, *place, **options)

    warnings.showwarning = in_a_line_alone


def report(error: BaseException) -> int:
    """Prints one error to stderr and returns the exit code."""
    print(in_a_line(error), file=sys.stderr)
    return error.exit_code if isinstance(error, OptkitError) else 1
