"""An application of Ray Serve: ``import_path: optkit.serving.ray:app`` in a file for ``serve run`` or ``serve deploy``.

Every replica is the application of ``optkit serve`` with all its interfaces and limits. Batches are those of
``ModelRunner`` and not of ``@serve.batch``: that one collects requests by their number, waits for its timeout at low
load, and knows neither lengths nor OpenVINO's streams, so that short texts are padded to long ones and streams stand
idle. Needs the extras ``optkit[ray,serve]``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from ray import serve

from optkit.errors import UsageError
from optkit.serving import logs
from optkit.serving.application import build
from optkit.serving.settings import Settings, api_key, load_settings, message
from optkit.spelling import suggest

if TYPE_CHECKING:
    from fastapi import FastAPI

#: The deployment's name, for ``deployments`` of the file.
NAME = "optkit"
#: Requests that a replica handles at the same time: enough for its batches, and the others wait where any replica may
#: take them. Ray's default of 5 would leave batches empty.
ONGOING = 128
#: Settings of a process that listens, which Ray does here, and where to say the same to it.
_OF_RAY = {
    "host": "http_options",
    "port": "http_options",
    "workers": "num_replicas or autoscaling_config",
    "drain": "graceful_shutdown_timeout_s",
}


def app(args: Mapping[str, Any]) -> serve.Application:
    """A deployment ``optkit`` with the models of ``args``; a replica asks Ray for as many CPUs as it has threads.

    Args:
        args: settings of ``optkit serve`` as its YAML file has them, ``models`` among them; the folders have to be on
            every machine under the same path. ``threads`` are those of a replica, 1 where it is not given. The API key
            is OPTKIT_SERVE_API_KEY of the replicas (``runtime_env``).

    Raises:
        UsageError: with every fault of ``args``; folders are read by the replicas.
    """
    given = {"threads": 1} | dict(args)
    _check(given)
    deployment = serve.deployment(
        name=NAME,
        ray_actor_options={"num_cpus": given["threads"]},
        max_ongoing_requests=ONGOING,
        max_queued_requests=given.get("max_requests", Settings.model_fields["max_requests"].default),
    )
    found: serve.Application = deployment(serve.ingress(lambda: replica(given))()).bind()
    return found


def replica(args: Mapping[str, Any]) -> FastAPI:
    """What a replica runs, with its models loaded; for the arguments see ``app``.

    Raises:
        UsageError: for wrong settings of its environment, or a folder without a model that can be served.
        OptkitError: if no model can be loaded.
    """
    # Threads of the tokenizer would take the cores of the streams.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    settings = load_settings(args)
    logs.configure(settings.log_format, access=settings.access_log)
    return build(settings, api_key())


def _check(args: Mapping[str, Any]) -> None:
    """Raises UsageError for what no machine could run; how many cores a replica has is known there alone."""
    problems = []
    for name in args:
        if name in _OF_RAY:
            problems.append(f"args.{name}: Ray Serve listens here: set {_OF_RAY[name]} of its file")
        elif name not in Settings.model_fields:
            near = suggest(name, Settings.model_fields) or ", see docs/serving.md"
            problems.append(f"args.{name}: no such setting{near}")
    if not args.get("models"):
        problems.append("args.models: no model: give the folder of an exported model, such as runs/NAME/openvino")
    threads = args["threads"]
    if type(threads) is not int or threads < 1:
        problems.append(f"args.threads: a whole number from 1 up, got {threads!r}")
    if not problems:
        try:
            Settings(**{name: value for name, value in args.items() if name not in ("threads", "streams")})
        except ValidationError as error:
            problems += [f"args.{'.'.join(map(str, each['loc'])) or NAME}: {message(each)}" for each in error.errors()]
    if problems:
        raise UsageError(problems)
