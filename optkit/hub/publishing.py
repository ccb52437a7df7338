"""`push` and `pull`: what a run exported, to the Hub with its card, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from optkit.errors import OptkitError, RecipeError
from optkit.json_files import read_json
from optkit.pipeline.run_folder import MANIFEST
from optkit.progress import Reporter
from optkit.recipe.schema import is_repository

#: The folders of a run that go out, and where they lie in the repository: OVModelFor* looks at its root.
FOLDERS = {"openvino": "", "onnx": "onnx/", "sparse": "sparse/"}


def push(
    run: str | Path, repo_id: str, *, private: bool = False, dry_run: bool = False, quiet: bool = True
) -> dict[str, Any]:
    """Publishes what ``run`` exported, with its model card, in one commit.

    The card is the run's own README.md, as it was written or as it was changed by hand since, with the repository's
    name put in.

    Args:
        run: a run folder, or a folder with openvino_model.xml and README.md.
        repo_id: ORG/NAME; your own name is one for ORG. Made if it is not there.
        private: make it private.
        dry_run: only say what would go out; asks the Hub nothing.
        quiet: print nothing.

    Returns:
        ``repo_id``, ``private``, ``published``, ``card`` (the file on this machine), ``files`` (bytes by name) and
        ``bytes``; once published ``url``, ``commit`` and ``changed``, false if the Hub held exactly this before.

    Raises:
        RecipeError: if ``repo_id`` is no name, or there is nothing to publish.
        OptkitError: if the Hub refuses, or cannot be reached. Then nothing is committed.
    """
    return push_with(Reporter(quiet), Path(run), repo_id, private=private, dry_run=dry_run)


def push_with(reporter: Reporter, run: Path, repo_id: str, *, private: bool, dry_run: bool = False) -> dict[str, Any]:
    """``push``, told to ``reporter``."""
    from optkit import __version__
    from optkit.adapters.hub_transfer import upload
    from optkit.report.render.card import CARD, named

    _check_name(repo_id)
    files = _files(run)
    card, name = files[CARD], _name(run)
    contents: dict[str, Path | bytes] = dict(files)
    contents[CARD] = named(card.read_text(encoding="utf-8"), repo_id).encode()
    sizes = {path: len(held) if isinstance(held, bytes) else held.stat().st_size for path, held in contents.items()}
    facts = {"repo_id": repo_id, "private": private, "published": False, "card": str(card), "files": sizes}
    facts["bytes"] = sum(sizes.values())
    if dry_run:
        return facts
    message = f"{name}, by optkit {__version__}"
    done = upload(repo_id, contents, private=private, message=message, reporter=reporter)
    return facts | {"published": True} | done


def pull(
    repo_id: str, output: str | Path | None = None, *, revision: str = "main", quiet: bool = True
) -> dict[str, Any]:
    """Fetches a model's repository into a folder. Nothing of it is run.

    Args:
        repo_id: ORG/NAME.
        output: an empty or new folder; NAME here by default.
        revision: branch, tag or commit.
        quiet: print nothing.

    Returns:
        ``repo_id``, ``revision``, ``commit``, ``output``, ``files`` (bytes by name) and ``bytes``.

    Raises:
        RecipeError: if there is no such model or revision, or ``output`` is not empty.
        OptkitError: if the Hub cannot be reached, or a file came damaged.
    """
    from optkit.adapters.hub_transfer import download

    _check_name(repo_id)
    folder = Path(output) if output is not None else Path(repo_id.split("/")[1])
    done = download(repo_id, folder, revision=revision, reporter=Reporter(quiet))
    facts = {"repo_id": repo_id, "revision": revision, "output": str(folder)}
    return facts | done | {"bytes": sum(done["files"].values())}


def _check_name(repo_id: str) -> None:
    if not is_repository(repo_id):
        raise RecipeError(f"'{repo_id}' names no repository: write ORG/NAME, with letters, digits, '-', '_' and '.'")


def _files(run: Path) -> dict[str, Path]:
    """What is to go out, by its path in the repository."""
    from optkit.report.render.card import CARD

    if not run.is_dir():
        raise RecipeError(f"{run}: no such folder: name one that `optkit run` made")
    if (run / MANIFEST).is_file() and not (run / "report.json").is_file():
        raise RecipeError(f"{run}: this run has not come to its report: let `optkit run` finish it")
    folders = {run / name: to for name, to in FOLDERS.items() if (run / name).is_dir()} or {run: ""}
    files = {}
    for folder, to in folders.items():
        for path in sorted(folder.rglob("*")):
            parts = path.relative_to(folder).parts
            if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
                raise RecipeError(f"{path}: is a link to a file elsewhere: copy the file there, or remove the link")
            if path.is_file() and not any(part.startswith(".") for part in parts):
                files[to + "/".join(parts)] = path
    if not any(Path(name).suffix in (".xml", ".onnx", ".safetensors") for name in files):
        raise RecipeError(f"{run}: holds no exported model: name a folder that `optkit run` made")
    if CARD not in files:
        raise RecipeError(f"{run}: its model has no card ({CARD}): `optkit run` writes one; or write it yourself")
    return files


def _name(run: Path) -> str:
    """What the run calls itself; the name of its folder where it does not say."""
    try:
        return str(read_json(run / "report.json")["name"])
    except FileNotFoundError:
        return run.resolve().name
    except (ValueError, KeyError, TypeError) as error:
        raise OptkitError(f"{run}/report.json: cannot be read: run `optkit run` again, which writes it") from error
