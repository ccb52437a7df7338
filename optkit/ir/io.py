"""Reading and writing OpenVINO IRs, with OpenVINO's telemetry off and one clear line for a file that is no IR."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from optkit.errors import OptkitError, UsageError, why_not

if TYPE_CHECKING:
    import openvino

MODEL_FILE = "openvino_model.xml"


def import_openvino() -> ModuleType:
    """The ``openvino`` package, imported so that nothing phones home.

    OpenVINO and NNCF send usage data unless ``~/intel/openvino_telemetry`` says 0, and write a client id there. Both do
    without the sender when its package cannot be imported, so it is blocked for this process, and no file is written.
    A user who turned telemetry on (``opt_in_out --opt_in`` writes 1 there) keeps it.
    """
    if not _telemetry_wanted():
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import openvino

    return openvino


def _telemetry_wanted() -> bool:
    try:
        return (Path.home() / "intel" / "openvino_telemetry").read_text().strip() == "1"
    except (OSError, RuntimeError, UnicodeDecodeError):
        return False


def find_xml(path: Path) -> Path | None:
    """The IR's xml when ``path`` is an xml file or a folder that holds ``openvino_model.xml``, else None."""
    path = Path(path)
    if path.is_dir():
        path = path / MODEL_FILE
    return path if path.is_file() and path.suffix == ".xml" else None


def read_model(path: Path) -> openvino.Model:
    """Reads the IR at ``path`` (an xml, or a folder with ``openvino_model.xml``); weights stay mapped to the file.

    Raises:
        UsageError: if there is no IR.
        OptkitError: if OpenVINO cannot read it.
    """
    xml = find_xml(path)
    if xml is None:
        why = why_not(path, "no OpenVINO IR here")
        raise UsageError(f"{path}: {why}: give an .xml file, or a folder that holds {MODEL_FILE}")
    weights = xml.with_suffix(".bin")
    if not weights.is_file():
        raise OptkitError(f"{xml}: its weights {weights.name} are missing: copy them beside it, or export again")
    try:
        return import_openvino().Core().read_model(xml)
    except RuntimeError as error:
        raise OptkitError(f"{xml}: OpenVINO cannot read it ({last_line(error)}): export it again") from error


def last_line(error: BaseException) -> str:
    """The part of an OpenVINO error that names the cause: lines before it are positions in OpenVINO's source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def save_model(model: openvino.Model, folder: Path) -> Path:
    """Writes ``openvino_model.xml`` and ``.bin`` into ``folder`` without changing a weight's type, and returns the xml.

    Raises:
        OptkitError: if the file system refuses, as when the disk is full.
    """
    xml = Path(folder) / MODEL_FILE
    try:
        import_openvino().save_model(model, xml, compress_to_fp16=False)
    except RuntimeError as error:
        raise OptkitError(f"{xml}: cannot be written ({last_line(error)}): is the disk full?") from error
    return xml
