"""Durations and sizes in words, and who hears what."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from optkit import progress
from optkit.progress import Reporter, duration, size


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (185, "3 min 5 s"), (3599, "59 min 59 s")]
    + [(3600, "1 h 0 min"), (7830, "2 h 10 min")],
)
def test_duration(seconds, said):
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_549_999, "1.5 MB"), (90_900_000, "90.9 MB")]
    + [(2.5e9, "2.5 GB"), (3e12, "3000.0 GB")],
)
def test_size(count, said):
    assert size(count) == said


def plain(monkeypatch) -> tuple[Reporter, io.StringIO]:
    heard = io.StringIO()
    reporter = Reporter()
    reporter.console = Console(file=heard, soft_wrap=True, highlight=False, width=80)
    return reporter, heard


def test_plain_lines_come_with_facts_now_and_then_and_at_the_end(monkeypatch):
    clock = iter([0.0, 10.0, 20.0, 21.0, 30.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    reporter, heard = plain(monkeypatch)
    with reporter.task("training") as task:  # begins at 0
        task.advance(1, 101, {})  # at 10: nothing to say
        task.advance(51, 101, {"loss": 0.25})  # at 20
        task.advance(52, 101, {"loss": 0.24})  # at 21: too soon
        task.advance(101, 101, {"loss": 0.125, "lr": 1e-5})
    assert (
        heard.getvalue()
        == "  training: 51/101, 10 s left  loss 0.25\n  training: 101/101, 0 s left  loss 0.125  lr 1e-05\n"
    )


def test_without_news_a_plain_line_says_now_and_then_how_far_it_is(monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0.02)
    reporter, heard = plain(monkeypatch)

    def wait_for(said: str) -> None:
        for _ in range(4000):
            if said in heard.getvalue():
                return
            progress.time.sleep(0.005)
        pytest.fail(f"never said {said!r}: {heard.getvalue()!r}")

    with reporter.task("calibrating") as task:
        wait_for("  calibrating: 0 s so far\n")
        task.advance(3, 300)
        wait_for("  calibrating: 3/300\n")
        task.advance(4, 300)
        wait_for("  calibrating: 4/300, ")
        task.advance(1, 300)  # once more from the beginning
        wait_for("  calibrating: 1/300\n")
    ended = heard.getvalue()
    progress.time.sleep(0.06)
    assert heard.getvalue() == ended


def test_a_terminal_gets_a_bar(monkeypatch):
    heard = io.StringIO()
    reporter = Reporter()
    reporter.console = Console(file=heard, force_terminal=True, width=100)
    with reporter.task("training") as task:
        task.advance(3, 7, {"loss": 0.5})
    assert "training" in heard.getvalue() and "3/7" in heard.getvalue() and "loss 0.5" in heard.getvalue()


def test_brackets_are_no_markup(capsys, monkeypatch):
    said = "classes: [neg], [/pos], :heart:"
    Reporter().say(said)
    assert capsys.readouterr().err == said + "\n"
    heard = io.StringIO()
    reporter = Reporter()
    reporter.console = Console(file=heard, force_terminal=True, width=100)
    with reporter.task("scoring [/test]") as task:
        task.advance(3, 7)
    assert "scoring [/test]" in heard.getvalue()


def test_quiet_says_nothing(capsys):
    reporter = Reporter(quiet=True)
    reporter.say("hello")
    with reporter.task("training") as task:
        task.advance(1, 1, {"loss": 1.0})
    assert capsys.readouterr() == ("", "")
    Reporter().say("hello")
    assert capsys.readouterr() == ("", "hello\n")
