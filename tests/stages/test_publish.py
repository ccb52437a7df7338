"""When a run publishes, and what it leaves at home."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from optkit.progress import Reporter
from optkit.stages import publish


@pytest.fixture
def job(monkeypatch):
    """A job with just what the stage asks for; what is pushed is noted in ``sent``."""

    def make(within_max_drop: bool = True, repo_id: str | None = "org/tiny"):
        sent, said = [], []

        def push_with(reporter, run, repo, *, private):
            sent.append((run, repo, private))
            return {"url": f"https://hub/{repo}", "commit": "c0ffee", "files": {}}

        monkeypatch.setattr("optkit.hub.push.push_with", push_with)
        reporter = Reporter(quiet=True)
        monkeypatch.setattr(reporter, "say", said.append)
        run = SimpleNamespace(path=Path("run"), facts=lambda stage: {"within_max_drop": within_max_drop})
        recipe = SimpleNamespace(publish=SimpleNamespace(repo_id=repo_id, private=True))
        return SimpleNamespace(run=run, recipe=recipe, reporter=reporter, sent=sent, said=said)

    return make


def test_only_what_the_recipe_asks_for_is_published(job):
    assert publish.is_needed(job()) and not publish.is_needed(job(repo_id=None))
    assert publish.recipe_problems(job(repo_id=None)) == []
    stage, asked = SimpleNamespace(facts={}), job()
    publish.run(asked, stage)
    assert asked.sent == [(Path("run"), "org/tiny", True)] and asked.said == ["  https://hub/org/tiny"]
    assert stage.facts == {"url": "https://hub/org/tiny", "commit": "c0ffee"}


def test_a_model_that_lost_too_much_stays_here(job):
    stage, lost = SimpleNamespace(facts={}), job(within_max_drop=False)
    publish.run(lost, stage)
    assert lost.sent == [] and stage.facts == {"url": None, "commit": None}
    assert lost.said == ["  not published: the model lost more than evaluate.max_drop allows"]
