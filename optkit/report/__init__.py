"""Reports, all from one gathering of facts."""

from __future__ import annotations

from optkit.report.render.html import render_html

__all__ = ["render_html"]
