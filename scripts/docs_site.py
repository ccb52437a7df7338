"""Hooks of mkdocs.yml: files outside docs/ that its pages link to become part of the site.

Pages are written for a reader of the repository, where README.md links to ``docs/recipe.md`` and that to
``../recipes/quickstart.yaml``. On the site all of them lie beside each other, with README.md as its first page.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
#: Files of the repository that are on the site, by patterns, and what they are called there where it is another name.
OUTSIDE = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "recipes/*.yaml",
    "examples/*.py",
    "examples/*.yaml",
    "examples/*/*",
    "model_cards/*",
)
RENAMED = {"README.md": "index.md"}
_TARGET = re.compile(r"""(\]\(|\b(?:src|href)=")(\.\./|docs/)?([^)"\s]*)""")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Adds the files outside docs/."""
    for pattern in OUTSIDE:
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, RENAMED.get(name, name), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Takes ``../`` and ``docs/`` off the targets of links."""
    return _TARGET.sub(_on_the_site, markdown)


def _on_the_site(found: re.Match[str]) -> str:
    opening, folder, target = found.groups()
    path, hash_, anchor = target.partition("#")
    return opening + (RENAMED.get(path, path) if folder != "docs/" else path) + hash_ + anchor
