"""How a server runs: options, environment variables and one YAML file, held against one schema."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from optkit.cpu import cpu_cores, physical_cores
from optkit.errors import UsageError, argument
from optkit.serving.encoder import RunnerOptions
from optkit.spelling import suggest

#: The key that requests have to carry is in the environment alone, and so is the name of the YAML file.
KEY, CONFIG = "OPTKIT_SERVE_API_KEY", "OPTKIT_SERVE_CONFIG"
#: Before the name of a setting in the environment.
PREFIX = KEY.removesuffix("API_KEY")
_Count = Annotated[int, Field(ge=1, le=1_000_000)]
_Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]


class Settings(BaseModel):
    """All settings of a server. Each is an option ``--max-body`` of ``optkit serve``, a variable
    ``OPTKIT_SERVE_MAX_BODY`` and a key ``max_body`` of the YAML file; an option wins over a variable, and that over the
    file.

    Attributes:
        models: folder of each model by the name that it is served under. From options and variables FOLDER or
            NAME=FOLDER; without a name it is that of the task.
        host, port: where the server listens; port 0 takes a free one.
        workers: processes, each with its own models.
        threads: of a worker; None for its share of the physical cores that this process may use.
        streams: batches that a model computes at the same time; None for one for each thread.
        plan: of the sparse runtime, ``static`` or ``measured``, see ``optkit.compile_model``.
        precision: OpenVINO's INFERENCE_PRECISION_HINT; None for its default on this CPU.
        max_length: tokens of an input; None for as many as the model takes.
        truncate: whether longer inputs are cut where a request does not say.
        max_batch, max_batch_tokens: inputs of a batch, and their tokens with padding.
        max_wait: seconds that an input waits for others to be computed with while nothing else is.
        max_body: bytes of a request.
        max_texts: inputs of a request.
        max_queue: inputs of a model that wait; further requests get 503.
        max_requests: requests that are handled at the same time; further ones get 503.
        timeout: seconds until a request that is not answered gets 504; its body has to arrive within 10 of them.
        drain: seconds that the server still takes connections after SIGTERM, while it tells clients to close theirs.
        log_format: ``text`` or ``json``, on stderr.
        access_log: whether each request is logged.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: dict[str, Path] = {}
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    threads: _Count | None = None
    streams: _Count | None = None
    plan: Literal["static", "measured"] = "static"
    precision: Literal["f32", "bf16"] | None = None
    max_length: Annotated[int, Field(ge=2, le=1_000_000)] | None = None
    truncate: bool = False
    max_batch: _Count = 32
    max_batch_tokens: _Count = 4096
    max_wait: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] = 0.0
    max_body: Annotated[int, Field(ge=64, le=1 << 30)] = 2_000_000
    max_texts: _Count = 128
    max_queue: _Count = 1024
    max_requests: _Count = 512
    timeout: _Seconds = 30.0
    drain: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] = 1.0
    log_format: Literal["text", "json"] = "text"
    access_log: bool = False

    @field_validator("models", mode="before")
    @classmethod
    def _listed(cls, models: Any) -> Any:
        """FOLDER or NAME=FOLDER, one or more of them, as a mapping; a folder without a name has a number for now."""
        if not isinstance(models, (list, tuple)):
            return models
        found: dict[str, Any] = {}
        for number, each in enumerate(models):
            name, equals, folder = str(each).partition("=")
            if not equals or "/" in name:
                name, folder = f"{_UNNAMED}{number}", str(each)
            if name in found:
                raise ValueError(f"two models have the name {name}: give each its own")
            found[name] = folder
        return found

    @field_validator("models")
    @classmethod
    def _nameable(cls, models: dict[str, Path]) -> dict[str, Path]:
        for name in models:
            if not name.startswith(_UNNAMED) and (
                not name or len(name) > 100 or not all(c.isascii() and (c.isalnum() or c in "._-") for c in name)
            ):
                raise ValueError(f"'{name}' is no name for a model: use letters, digits and . _ -")
        return models

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if self.max_texts > self.max_queue:
            raise ValueError(f"max_queue: {self.max_queue} is less than max_texts, {self.max_texts}: set it higher")
        if self.threads is not None and self.threads > cpu_cores():
            raise ValueError(f"threads: {self.threads}, and this process may use {cpu_cores()} CPUs")
        if self.streams is not None and self.streams > self.own_threads:
            raise ValueError(f"streams: {self.streams}, and each needs one of the {self.own_threads} threads")
        return self

    @property
    def own_threads(self) -> int:
        """Threads of a worker."""
        return self.threads or max(physical_cores() // self.workers, 1)

    def runner_options(self) -> RunnerOptions:
        """How each model is run."""
        return RunnerOptions(
            threads=self.own_threads,
            streams=self.streams or self.own_threads,
            plan=self.plan,
            precision=self.precision,
            max_length=self.max_length,
            max_batch=self.max_batch,
            max_batch_tokens=self.max_batch_tokens,
            max_wait=self.max_wait,
            max_queue=self.max_queue,
        )


#: Begins the name of a model that has none yet.
_UNNAMED = "\0"


def is_named(name: str) -> bool:
    """Whether a model was given this name, and is not to have that of its task."""
    return not name.startswith(_UNNAMED)


def load_settings(
    options: Mapping[str, Any], *, config: Path | None = None, environment: Mapping[str, str] = os.environ
) -> Settings:
    """The settings from options, environment and YAML file, in this order.

    Args:
        options: those that were given.
        config: the file; that of OPTKIT_SERVE_CONFIG if None.
        environment: of the process.

    Raises:
        UsageError: with every fault of one of the sources.
    """
    if config is None and environment.get(CONFIG):
        config = Path(environment[CONFIG])
    from_environment = _from_environment(environment)
    alone = not from_environment and not options
    from_file = _from_file(config, alone) if config is not None else {}
    try:
        return Settings(**(from_file | from_environment | dict(options)))
    except ValidationError as error:
        raise UsageError([_fault(each, options, from_environment, config) for each in error.errors()]) from None


def api_key(environment: Mapping[str, str] = os.environ) -> str | None:
    """The key that requests have to carry; None where none is set.

    Raises:
        UsageError: if it is empty or cannot stand in a header.
    """
    key = environment.get(KEY)
    if key is None:
        return None
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise UsageError(f"{KEY}: has to be printable ASCII without spaces, and not empty: set another, or unset it")
    return key


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    problems = []
    names = {PREFIX + name.upper(): name for name in Settings.model_fields}
    for variable, value in environment.items():
        if not variable.startswith(PREFIX) or variable in (KEY, CONFIG):
            continue
        if variable not in names:
            near = suggest(variable.removeprefix(PREFIX), [*Settings.model_fields, "api_key", "config"])
            problems.append(f"{variable}: no such setting{near or ', see optkit serve --help'}")
        else:
            found[names[variable]] = value.split(",") if names[variable] == "models" else value
    if problems:
        raise UsageError(problems)
    return found


def _from_file(path: Path, alone: bool) -> dict[str, Any]:
    """The keys of a YAML file, each known and with a value of its type; settings that contradict each other count where
    the file is ``alone``, with no other source that wins over it.
    """
    from optkit.recipe.faults import Fault, Source, StaticError
    from optkit.recipe.tree import read_tree

    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror or "unreadable").lower() if isinstance(error, OSError) else "not UTF-8 text"
        raise UsageError(f"{path}: {reason}: give the path of a YAML file with settings") from None
    faults: list[Fault] = []
    root = read_tree(Source(str(path), text, path.parent), faults)
    if root is not None and not faults:
        if root.value is None:
            return {}
        if not isinstance(root.value, dict):
            raise UsageError(f"{path}: not a mapping of settings, such as `port: 8080`")
        for key, entry in root.value.items():
            if key not in Settings.model_fields:
                near = suggest(key, Settings.model_fields) or f", one of {', '.join(Settings.model_fields)}"
                faults.append(Fault(entry.key, key, f"unknown key{near}"))
        values: dict[str, Any] = root.plain()
        try:
            if not faults:
                Settings(**values)
        except ValidationError as error:
            for each in error.errors():
                if not each["loc"] and not alone:
                    continue
                place = root.value.get(str(each["loc"][0])) if each["loc"] else None
                mark = place.node.mark if place and not isinstance(place.node.value, dict) else root.mark
                faults.append(Fault(mark, ".".join(map(str, each["loc"])), message(each), excerpt=place is not None))
        if not faults:
            return _anchored(values, path.parent)
    raise StaticError(faults)


def _anchored(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """With folders of models relative to the file that names them."""
    if "models" in values:
        models = Settings(models=values["models"]).models
        values["models"] = {name: folder / path.expanduser() for name, path in models.items()}
    return values


def _fault(error: Any, options: Mapping[str, Any], variables: Mapping[str, Any], config: Path | None) -> str:
    name = str(error["loc"][0]) if error["loc"] else ""
    if name in options:
        place = argument(name) if name != "models" else ""
    elif name in variables:
        place = PREFIX + name.upper()
    else:
        place = f"{config}: {name}" if name and config is not None else name
    return f"{place}: {message(error)}" if place else message(error)


def message(error: Any) -> str:
    """What a fault of pydantic says, with the value that was given."""
    text = str(error["msg"]).removeprefix("Value error, ")
    given = error.get("input")
    shown = f", got {given!r}" if isinstance(given, (str, int, float)) and error["type"] != "value_error" else ""
    return f"{text[0].lower()}{text[1:]}{shown}"
