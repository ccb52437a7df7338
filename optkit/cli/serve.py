"""`optkit serve`: exported models over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import optkit
from optkit.cli.options import Debug


def command(
    folders: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME=]FOLDER...",
            help="Folders of exported models. Each is served under the name of its task unless it is given one.",
            show_default=False,
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A YAML file with settings: the names of these options.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.  [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one.  [default: 8080]")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes, each with its own models.  [default: 1]")] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads of a worker. Default: its share of the physical cores.")
    ] = None,
    streams: Annotated[
        int | None, typer.Option(help="Batches that a model computes at a time. Default: one for each thread.")
    ] = None,
    plan: Annotated[
        Literal["static", "measured"] | None,
        typer.Option(help="How kernels of the sparse runtime are chosen.  [default: static]"),
    ] = None,
    precision: Annotated[
        Literal["f32", "bf16"] | None, typer.Option(help="OpenVINO's inference precision. Default: as it chooses.")
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(help="Tokens of an input. Default: as many as the model takes.")
    ] = None,
    truncate: Annotated[
        bool | None, typer.Option("--truncate/--no-truncate", help="Cut longer inputs where a request does not say.")
    ] = None,
    max_batch: Annotated[int | None, typer.Option(help="Inputs of a batch.  [default: 32]")] = None,
    max_batch_tokens: Annotated[
        int | None, typer.Option(help="Tokens of a batch, with padding.  [default: 4096]")
    ] = None,
    max_wait: Annotated[
        float | None, typer.Option(help="Seconds that an input waits for others at low load.  [default: 0]")
    ] = None,
    max_body: Annotated[int | None, typer.Option(help="Bytes of a request.  [default: 2000000]")] = None,
    max_texts: Annotated[int | None, typer.Option(help="Inputs of a request.  [default: 128]")] = None,
    max_queue: Annotated[
        int | None, typer.Option(help="Inputs of a model that wait; others get 503.  [default: 1024]")
    ] = None,
    max_requests: Annotated[
        int | None, typer.Option(help="Requests at the same time; others get 503.  [default: 512]")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds until a request is answered with 504.  [default: 30]")
    ] = None,
    drain: Annotated[
        float | None, typer.Option(help="Seconds that connections are still taken after SIGTERM.  [default: 1]")
    ] = None,
    log_format: Annotated[
        Literal["text", "json"] | None, typer.Option(help="Form of the log on stderr.  [default: text]")
    ] = None,
    access_log: Annotated[bool | None, typer.Option("--access-log/--no-access-log", help="Log every request.")] = None,
    debug: Debug = False,
) -> None:
    """Serve exported models over HTTP. Each option is also a variable, such as OPTKIT_SERVE_PORT; an API key is read
    from OPTKIT_SERVE_API_KEY.
    """
    given: dict[str, Any] = dict(locals())
    settings = {n: v for n, v in given.items() if v is not None and n not in ("folders", "config", "debug")}
    optkit.serve(folders or (), config=config, **settings)
