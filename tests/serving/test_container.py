"""The container file: what its stages hold. It is built by hand, and linted with hadolint."""

from __future__ import annotations

import re
from pathlib import Path

from packaging.requirements import Requirement

from optkit.serving.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
FILE = ROOT / "examples" / "container" / "Dockerfile"


def instructions(stage: int) -> list[str]:
    """The instructions of a stage, each in a line, without comments."""
    lines = [line for line in FILE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [line for line in re.split(r"^(?=FROM )", joined, flags=re.MULTILINE)[1:][stage].splitlines() if line]


def test_the_image_runs_without_rights_a_compiler_or_a_way_to_install():
    final = instructions(1)
    assert "slim" in final[0] and not any("apt-get" in line or "pip" in line for line in final)
    [user] = [line.split()[1] for line in final if line.startswith("USER ")]
    assert int(user) > 0 and any("useradd" in line and user in line for line in final)
    assert [line for line in final if line.startswith("COPY ")] == ["COPY --from=build /opt/optkit /opt/optkit"]
    build = instructions(0)
    assert "pip uninstall --yes pip" in build[-1]
    copied = [source for line in build if line.startswith("COPY ") for source in line.split()[1:-1]]
    assert len(copied) == 7 and all((ROOT / source).exists() for source in copied)


def test_it_installs_what_the_page_names():
    """In the versions that pyproject.toml asks for; YAML is for --config."""
    text = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    [installed] = [line for line in instructions(0) if line.startswith("RUN pip install")]
    found = {each.name: each for each in map(Requirement, re.findall(r"(?<= )'?([a-z][\w.-]*[=<>][^' ]+)", installed))}
    named = re.findall(r"^pip install ((?:openvino|tokenizers).*)$", text, re.MULTILINE)
    assert set(found) == {Requirement(each.strip("'")).name for line in named for each in line.split()} | {
        "pydantic",
        "ruamel.yaml",
    }
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for requirement in found.values():
        [line] = re.findall(rf'"{re.escape(requirement.name)}([=<>][^;"]*)', pyproject)[:1]
        assert set(requirement.specifier) <= set(Requirement(requirement.name + line).specifier)


def test_its_variables_are_settings_of_the_server():
    names = re.findall(rf"\b{PREFIX}([A-Z_]+)=", "\n".join(instructions(1)))
    assert names == ["HOST", "PORT"] and {name.lower() for name in names} <= set(Settings.model_fields)
