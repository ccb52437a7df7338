"""The documentation: it builds as a site without a warning, and what its pages claim is held against the sources."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

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
    (tmp_path / "docs" / "stray.md").write_text("[a](../recipes/none.yaml) [b](recipe.md#none) [c](none/) ![d](none.svg)\n")

    done = build(tmp_path, tmp_path / "site")

    assert done.returncode == 1
    for complaint in ("stray.md", "'recipes/none.yaml'", "'recipe.md#none'", "'none/'", "'none.svg'"):
        assert complaint in done.stderr
    assert done.stderr.count("WARNING") == 5
