"""Finds the linear layers of an OpenVINO model, and rewrites it so that chosen ones run in the engine."""

from optkit.runtime.rewriting.placing import Placed
from optkit.runtime.rewriting.rewrite import Rewrite, rewrite
from optkit.runtime.rewriting.sites import LinearSite, sites

__all__ = ["LinearSite", "Placed", "Rewrite", "rewrite", "sites"]
