"""Mistyped names are corrected."""

from __future__ import annotations

from optkit.spelling import suggest


def test_suggestions():
    assert suggest("schedul", ["shape", "schedule"]) == ", did you mean 'schedule'?"
    assert suggest("Movment", ["movement", "magnitude"]) == ", did you mean 'movement'?"
    assert suggest("zzz", ["movement"]) == ""
