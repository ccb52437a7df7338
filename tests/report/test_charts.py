"""Charts: well-formed, to scale, with every name and figure, in words as well, whatever the names hold."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest

from optkit.report.figures import Layer
from optkit.report.render.charts.frontier import Mark, frontier_chart, mark_dominated
from optkit.report.render.charts.history import history_chart
from optkit.report.render.charts.sparsity import sparsity_chart
from optkit.report.render.charts.style import NARROW, WIDE, elide, ticks

SVG = "{http://www.w3.org/2000/svg}"
EVIL = '<script>alert(1)</script> & "quoted" \x00\x1b'


def parsed(svg: str) -> ElementTree.Element:
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img" and root[0].tag == f"{SVG}title" and root[1].tag == f"{SVG}desc"
    assert root[0].text and root[1].text and "script" not in {element.tag.rpartition("}")[2] for element in root.iter()}
    return root


def texts(root) -> list[str]:
    return [text.text for text in root.iter(f"{SVG}text")]


def bars(root, kind) -> list[float]:
    return [float(bar.get("width")) for bar in root.iter(f"{SVG}rect") if bar.get("class") == kind]


def layer(name, share, structure="1x4"):
    return Layer(name=name, structure=structure, sparsity=share)


def test_bars_are_to_scale_and_named():
    shares = {"m.encoder.0.up.weight": 0.8, "m.encoder.0.<odd>.weight": 0.0, "m.encoder.1.up.weight": 1.0}
    root = parsed(sparsity_chart([layer(name, share) for name, share in shares.items()], "a & b"))
    full, filled = bars(root, "track"), bars(root, "bar")
    assert [filled[i] / full[i] for i in range(3)] == pytest.approx([0.8, 0.0, 1.0], abs=1e-3)
    assert texts(root)[0] == "a & b" == root[0].text
    assert {"m.encoder.0", "m.encoder.1", "up", "<odd>", "80.0% 1x4", "0.0% 1x4", "100.0% 1x4"} <= set(texts(root))
    assert "0.0% in m.encoder.0.<odd> to 100.0% in m.encoder.1.up" in root[1].text


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_as_many_layers_as_bert_has_stand_beside_each_other_and_none_is_cut(width):
    kinds = ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense", "up", "to")
    layers = [layer(f"bert.encoder.layer.{i}.{kind}.weight", 0.8) for i in range(12) for kind in kinds]
    root = parsed(sparsity_chart([*layers, layer("classifier.weight", 0.0, "dense")], "many", width=width))
    assert len(bars(root, "bar")) == 73 and texts(root).count("attention.self.value") == 12
    height = float(root.get("height"))
    columns = {bar.get("x") for bar in root.iter(f"{SVG}rect") if bar.get("class") == "track"}
    assert len(columns) == (2 if width == WIDE else 1) and (height < 850 if width == WIDE else height > 1200)
    for bar in root.iter(f"{SVG}rect"):
        if bar.get("class") == "track":
            assert float(bar.get("x")) + float(bar.get("width")) < width and float(bar.get("y")) < height - 20


def history(steps=range(10, 101, 10)):
    return [{"step": step, "loss": 2.0 - step / 100, "sparsity": 0.8 * step / 100} for step in steps]


def test_two_panels_share_the_steps_and_end_in_their_labels():
    root = parsed(history_chart(history(), title="t"))
    zeros, loss = ([tuple(map(float, p.split(","))) for p in line.get("points").split()] for line in lines(root))
    assert [x for x, _ in zeros] == [x for x, _ in loss] and len(zeros) == 10
    assert {"zeros 80.0", "loss 1.000"} <= set(texts(root))
    # Zeros rise evenly, the loss falls: up is less y.
    rises = [a[1] - b[1] for a, b in zip(zeros, zeros[1:])]
    assert rises == pytest.approx([rises[0]] * 9, abs=0.11) and rises[0] > 0 and loss[0][1] < loss[-1][1]
    assert zeros[-1][1] < loss[0][1]  # the first panel is above the second


def lines(root):
    return [line for line in root.iter(f"{SVG}polyline")]


def test_scores_get_a_panel_and_the_chosen_step_a_mark():
    scores = [{"step": 80, "score": 0.8}, {"step": 100, "score": 0.9}]
    root = parsed(history_chart(history(), scores, title="t", metric="f1", chosen=80))
    assert (
        len(lines(root)) == 3
        and "f1 90.00" in texts(root)
        and "optimizer steps; the model of step 80 was kept" in texts(root)
    )
    assert len(list(root.iter(f"{SVG}circle"))) == 2


def test_what_was_not_logged_is_not_drawn():
    assert history_chart([], title="t") is None and history_chart(history([10]), title="t") is None
    broken = [
        {"step": 1, "loss": math.nan},
        {"step": 2, "loss": 1.0},
        {"step": 3, "loss": 0.5},
        {"loss": 3},
        {"step": "x"},
    ]
    root = parsed(history_chart(broken, title="t"))
    assert len(lines(root)) == 1 and len(lines(root)[0].get("points").split()) == 2


def test_what_another_beats_is_grey_and_off_the_line():
    marks = mark_dominated([Mark("a", 0.5, 2.0), Mark("b", 1.0, 5.0), Mark("c", 1.5, 4.0), Mark("d", 1.0, 5.0)])
    assert {mark.name: mark.dominated for mark in marks} == {"a": False, "b": False, "c": True, "d": False}
    assert [mark.ratio for mark in marks] == [5.0, 5.0, 4.0, 2.0]
    root = parsed(frontier_chart(marks, title="t", axis="times", lost="points", limit=2.0))
    assert [dot.get("class") for dot in root.iter(f"{SVG}circle")].count("dot beaten") == 1
    assert len(lines(root)[0].get("points").split()) == 3 and "max_drop 2" in texts(root)
    assert "b loses 1.00 points at 5.00 times the speed" in root[1].text and "Beaten: c." in root[1].text


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_names_of_points_keep_clear_of_each_other(width):
    marks = mark_dominated([Mark(f"model {i}", 1.0 + i / 1000, 3.0 + i / 100) for i in range(5)])
    root = parsed(frontier_chart(marks, title="t", axis="times", lost="points", width=width))
    names = [t for t in root.iter(f"{SVG}text") if (t.text or "").startswith("model")]
    ends = [(float(t.get("x")) - (len(t.text) * 7 if t.get("text-anchor") else 0), float(t.get("y"))) for t in names]
    assert len(ends) == 5
    for i, (x, y) in enumerate(ends):
        assert 40 <= x <= width - 7 * 7
        assert all(abs(y - other) >= 12 or abs(x - beside) >= 7 * 7 for beside, other in ends[:i])


def test_names_of_strangers_stay_text():
    for svg in (
        sparsity_chart([layer(EVIL, 0.5, EVIL)], EVIL),
        frontier_chart([Mark(EVIL, 1.0, 2.0)], title=EVIL, axis=EVIL, lost=EVIL),
        history_chart(history(), [{"step": s, "score": 0.5} for s in (1, 2)], title=EVIL, metric=EVIL),
    ):
        parsed(svg)
        assert "<script" not in svg and "\x00" not in svg


def test_a_file_brings_its_style_for_light_and_dark_and_a_page_has_one_for_all():
    alone, inline = (sparsity_chart([layer("a", 0.5)], "t", inline=each) for each in (False, True))
    assert "prefers-color-scheme: dark" in alone and "<style" not in inline and 'class="ground"' not in inline
    assert not re.search(r"url\(|@import|href", alone + inline)


def test_ticks_are_round_and_hold_the_range():
    assert ticks(0, 7.3, 6) == [0, 2, 4, 6, 8] and ticks(-0.3, 1.2, 4) == [-0.5, 0, 0.5, 1, 1.5]
    for low, high in ((0, 1e-9), (-5, 5), (0, 123456), (0.2, 0.21)):
        found = ticks(low, high, 5)
        assert found[0] <= low and found[-1] >= high and 2 <= len(found) <= 8


def test_the_middle_of_long_names_goes():
    assert elide("short", 100, 7) == "short" and elide("bert.encoder.layer.0.query", 70, 7) == "bert…query"
