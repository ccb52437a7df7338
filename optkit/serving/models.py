"""The models of a server by name: loaded, replaced without a pause, each failing alone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from optkit.errors import OptkitError, UsageError
from optkit.serving.encoder import RunnerOptions
from optkit.serving.errors import Invalid, NotFound, Unavailable
from optkit.serving.folder import ModelFolder, read_folder
from optkit.serving.runner import ModelRunner, Statistics
from optkit.serving.settings import is_named

log = logging.getLogger("optkit.serving")


@dataclass
class _Served:
    path: Path
    folder: ModelFolder
    runner: ModelRunner | None = None
    reloading: asyncio.Lock = field(default_factory=asyncio.Lock)


class Models:
    """Named models, each with its runner.

    Args:
        folders: by name, see ``Settings.models``; at least one.
        options: how each is run.
        statistics: makes what hears of the work of the model of a name.

    Raises:
        UsageError: if a folder holds no model that can be served, or two models have one name.
        OptkitError: if none of the models can be loaded.
    """

    def __init__(
        self,
        folders: Mapping[str, Path],
        options: RunnerOptions,
        statistics: Callable[[str], Statistics] = lambda name: Statistics(),
    ):
        self._options, self._statistics = options, statistics
        self._served: dict[str, _Served] = {}
        found: dict[str, ModelFolder] = {}
        for given, path in folders.items():
            folder = read_folder(path)
            name = given if is_named(given) else folder.task
            if name in found:
                raise UsageError(f"{path}: another model is served as {name}: give one of them a name, NAME={path}")
            found[name] = folder
            self._served[name] = _Served(Path(path), folder)
        failures = []
        for name, folder in found.items():
            try:
                self._served[name].runner = self._load(name, folder)
            except OptkitError as error:
                # The others are served; this one answers 503 until it is loaded again.
                failures.append(error)
                log.error("model %s cannot be loaded: %s", name, error)
        if len(failures) == len(found):
            raise failures[0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._served)

    @property
    def ready(self) -> bool:
        """Whether every model can answer."""
        return all(served.runner is not None for served in self._served.values())

    def is_ready(self, name: str) -> bool:
        """Whether the model ``name`` can answer.

        Raises:
            NotFound: if there is none.
        """
        return self._entry(name).runner is not None

    def get(self, name: str) -> ModelRunner:
        """The model ``name``.

        Raises:
            NotFound: if there is none.
            Unavailable: if it could not be loaded.
        """
        runner = self._entry(name).runner
        if runner is None:
            raise Unavailable("the model is not loaded", retry_after=10)
        return runner

    def only(self, suits: Callable[[ModelFolder], bool]) -> str | None:
        """The name of the one model that ``suits``; None where none does.

        Raises:
            Invalid: if there are several.
        """
        names = [name for name, served in self._served.items() if suits(served.folder)]
        if len(names) > 1:
            raise Invalid("several models are served here: name one in the path, as in /models/NAME/predict")
        return names[0] if names else None

    def folder(self, name: str) -> ModelFolder:
        """What the folder of the model ``name`` says.

        Raises:
            NotFound: if there is none.
        """
        return self._entry(name).folder

    async def reload(self, name: str) -> None:
        """Loads a folder again and puts the model in the place of the former, which answers what it has taken in.

        Raises:
            NotFound: if there is no such model.
            OptkitError: if it cannot be loaded; the former goes on.
        """
        served = self._entry(name)
        async with served.reloading:

            def load() -> ModelRunner:
                folder = read_folder(served.path)
                if folder.task != served.folder.task:
                    was = f"{served.folder.task} is served under the name {name}"
                    raise UsageError(f"{served.path}: now a model for {folder.task}, and {was}")
                return self._load(name, folder)

            runner = await asyncio.to_thread(load)
            former, served.runner, served.folder = served.runner, runner, runner.encoder.folder
            log.info("model %s was loaded again", name)
            if former is not None:
                await former.close()

    async def reload_all(self) -> None:
        """Loads every folder again; what fails is logged, and the former model goes on."""
        for name in self._served:
            try:
                await self.reload(name)
            except OptkitError as error:
                log.error("model %s cannot be loaded again: %s", name, error)

    async def close(self) -> None:
        """Returns when everything that was taken in is answered."""
        await asyncio.gather(*(served.runner.close() for served in self._served.values() if served.runner))

    def _entry(self, name: str) -> _Served:
        if name not in self._served:
            raise NotFound("there is no such model")
        return self._served[name]

    def _load(self, name: str, folder: ModelFolder) -> ModelRunner:
        runner = ModelRunner(folder, self._options, self._statistics(name))
        log.info("model %s is loaded: %s, %d tokens at most", name, folder.task, runner.encoder.longest)
        return runner
