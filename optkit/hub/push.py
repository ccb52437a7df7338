"""`push`: publishes what a run exported, with its model card, on the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from optkit import __version__
from optkit.adapters.hub_upload import upload
from optkit.errors import OptkitError, UsageError, why_not
from optkit.hub.repository import check_repository
from optkit.json_files import read_json
from optkit.pipeline.run_folder import MANIFEST
from optkit.progress import Reporter
from optkit.report.reading import REPORT
from optkit.report.render.card import CARD, named

#: The folders of a run that are published, and their place in the repository: OVModelFor* looks at its root.
FOLDERS = {"openvino": "", "onnx": "onnx/", "sparse": "sparse/"}


def push(
    run: str | Path, repo_id: str, *, private: bool = False, dry_run: bool = False, quiet: bool = True
) -> dict[str, Any]:
    """Publishes what ``run`` exported, with its model card, in one commit.

    The card is the run's own README.md, including changes made by hand, with the repository's name filled in.

    Args:
        run: a run folder, or a folder with openvino_model.xml and README.md.
        repo_id: ORG/NAME, where ORG may be your user name. The repository is created if it does not exist.
        private: create it as a private repository.
        dry_run: only list what would be published; the Hub is not contacted.
        quiet: print nothing.

    Returns:
        ``repo_id``, ``private``, ``published``, ``card`` (the file on this machine), ``files`` (bytes by name) and
        ``bytes``; once published ``url``, ``commit`` and ``changed``, false if the Hub held exactly this before.

    Raises:
        UsageError: if ``repo_id`` is not a repository name, or there is nothing to publish.
        OptkitError: if the Hub refuses or cannot be reached; nothing is committed then.
    """
    return push_with(Reporter(quiet), Path(run), repo_id, private=private, dry_run=dry_run)


def push_with(reporter: Reporter, run: Path, repo_id: str, *, private: bool, dry_run: bool = False) -> dict[str, Any]:
    """``push`` with a reporter of the caller's."""
    check_repository(repo_id)
    files = _files(run)
    card, name = files[CARD], _name(run)
    contents: dict[str, Path | bytes] = dict(files)
    contents[CARD] = named(card.read_text(encoding="utf-8"), repo_id).encode()
    sizes = {
        path: len(content) if isinstance(content, bytes) else content.stat().st_size
        for path, content in contents.items()
    }
    facts = {"repo_id": repo_id, "private": private, "published": False, "card": str(card), "files": sizes}
    facts["bytes"] = sum(sizes.values())
    if dry_run:
        return facts
    message = f"{name}, by optkit {__version__}"
    result = upload(repo_id, contents, private=private, message=message, reporter=reporter)
    return facts | {"published": True} | result


def _files(run: Path) -> dict[str, Path]:
    """The files to publish, by their paths in the repository."""
    if not run.is_dir():
        why = why_not(run, "not a folder")
        raise UsageError(f"{run}: {why}: name a run folder, which `optkit run` makes")
    if (run / MANIFEST).is_file() and not (run / REPORT).is_file():
        raise UsageError(f"{run}: this run is not finished: run `optkit run` again to finish it")
    # What an earlier recipe of this run exported may still lie there; its report names what is the run's now.
    made = _report(run).get("folders", FOLDERS)
    folders = {run / name: to for name, to in FOLDERS.items() if name in made and (run / name).is_dir()} or {run: ""}
    files = {}
    for folder, to in folders.items():
        for path in sorted(folder.rglob("*")):
            parts = path.relative_to(folder).parts
            if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
                raise UsageError(f"{path}: links to a file outside the folder: copy the file there, or remove the link")
            if path.is_file() and not any(part.startswith(".") for part in parts):
                files[to + "/".join(parts)] = path
    if not any(Path(name).suffix in (".xml", ".onnx", ".safetensors") for name in files):
        raise UsageError(
            f"{run}: holds no exported model (.xml, .onnx or .safetensors): name a run folder, which `optkit run` makes"
        )
    if CARD not in files:
        raise UsageError(f"{run}: its model has no card ({CARD}): make one with `optkit run`, or write it yourself")
    return files


def _name(run: Path) -> str:
    """The run's own name, or that of its folder where there is no report."""
    return str(_report(run).get("name", run.resolve().name))


def _report(run: Path) -> dict[str, Any]:
    """What the run's report says; nothing where there is none."""
    try:
        found = read_json(run / REPORT)
    except FileNotFoundError:
        return {}
    except ValueError:
        found = None
    if not isinstance(found, dict) or "name" not in found or not isinstance(found.get("folders", {}), dict):
        raise OptkitError(f"{run}/{REPORT}: cannot be read: run `optkit run` again, which writes it")
    return found
