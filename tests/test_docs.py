"""The documentation: it builds as a site without a warning, and what its pages claim is held against the sources."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from typer.main import get_command

from optkit.cli.app import app
from optkit.recipe import load_recipe

ROOT = Path(__file__).parents[1]


def build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)


def test_the_site_builds_without_a_warning(tmp_path):
    done = build(ROOT, tmp_path / "site")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "recipes" / "quickstart.yaml").is_file()
    assert 'href="recipe/"' in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")


def test_links_and_anchors_that_lead_nowhere_and_pages_outside_the_navigation_are_errors(tmp_path):
    for name in ("docs", "examples", "model_cards", "recipes"):
        shutil.copytree(ROOT / name, tmp_path / name)
    (tmp_path / "scripts").mkdir()
    for path in [*ROOT.glob("*.md"), ROOT / "mkdocs.yml", ROOT / "scripts" / "docs_site.py"]:
        shutil.copy(path, tmp_path / path.relative_to(ROOT))
    (tmp_path / "docs" / "stray.md").write_text(
        "[a](../recipes/none.yaml) [b](recipe.md#none) [c](none/) ![d](none.svg)\n"
    )

    done = build(tmp_path, tmp_path / "site")

    assert done.returncode == 1
    for complaint in ("stray.md", "'recipes/none.yaml'", "'recipe.md#none'", "'none/'", "'none.svg'"):
        assert complaint in done.stderr
    assert done.stderr.count("WARNING") == 5


#: How a variable of the environment is read: in Python, C++, shell and pyproject.toml.
READ = re.compile(
    r"""environ(?:\.get|\.pop|\.setdefault)?[\[(]\s*["']([A-Z][A-Z0-9_]+)["']"""
    r"""|["']([A-Z][A-Z0-9_]+)["']\s+(?:not\s+)?in\s+os\.environ"""
    r"""|getenv\("([A-Z][A-Z0-9_]+)"\)"""
    r"""|\$\{([A-Z][A-Z0-9_]+):-"""
    r"""|\bif\.env\.([A-Z][A-Z0-9_]+)"""
    r"""|["'](OPTKIT_[A-Z0-9_]+)["']"""
)


def variables_read(*places: str) -> set[str]:
    """Names of environment variables in the sources, of files and folders of the repository."""
    files = [
        file for place in places for file in ([ROOT / place] if (ROOT / place).is_file() else (ROOT / place).rglob("*"))
    ]
    texts = [
        file.read_text(encoding="utf-8")
        for file in files
        if file.suffix in ("", ".py", ".cpp", ".h", ".toml") and file.is_file()
    ]
    return {name for text in texts for found in READ.findall(text) for name in found if name}


def test_the_page_of_environment_variables_is_complete():
    page = (ROOT / "docs" / "environment.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    listed = {name for row in rows for name in re.findall(r"`([A-Z][A-Z0-9_]+)`", row)}
    package = variables_read("optkit", "pyproject.toml")
    own = {name for name in variables_read("scripts", ".ci", "tests") if name.startswith("OPTKIT_")}

    assert package | own <= listed, "missing in docs/environment.md"
    assert {name for name in listed if name.startswith("OPTKIT_")} <= package | own, "no longer read by anything"


def test_the_readme_fits_a_hundred_lines_and_its_recipe_is_valid(tmp_path):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 100
    (recipe,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "recipe.yaml").write_text(recipe, encoding="utf-8")
    assert load_recipe(tmp_path / "recipe.yaml").model.name == "bert-base-uncased"


def test_every_command_is_on_its_page():
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `optkit (\w+)", page, re.MULTILINE)) == set(get_command(app).commands)
