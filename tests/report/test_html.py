"""report.html: one file that fetches nothing, whatever strangers wrote into it, with the figures of report.json."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from capabilities import need

from optkit.report import render_html
from optkit.report.conclusions import conclude
from optkit.report.prices import Instance, Prices
from optkit.report.reading import parse_facts, parse_report
from optkit.report.render.html import tiles
from optkit.report.render.markdown import render

PRICES = Prices("2026-01-01", "here", (Instance("m", 0.10, 2),))
EVIL = "\"><script>alert(1)</script><img src=x onerror=alert(1)>'{{ 7 * 7 }}"
VOID = {"meta", "link", "wbr", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """What is in a page: its tags with attributes, its text, its tables; refuses tags that are not closed in order."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.open, self.text, self.tables, self.styles = [], [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            self.styles.append(data)
        elif "svg" not in self.open:
            self.text.append(data)
            if self.open and self.open[-1] in ("td", "th"):
                self.tables[-1][-1][-1] += data


@pytest.fixture
def whole(report):
    """A report with everything that has a section of its own."""
    row = report["benchmark"]["rows"][0]
    row["milliseconds"] |= {"int8 optkit": 1.25}
    row |= {"against": "dense torch", "ratios": {"int8 openvino": [3.25, 3.1, 3.4], "int8 optkit": [6.5, 6.25, 6.75]}}
    row |= {"quartiles": {name: [0.9 * time, 1.1 * time] for name, time in row["milliseconds"].items()}}
    report["evaluate"]["splits"]["validation"]["int8 optkit"] = {"accuracy": 0.886}
    report["evaluate"]["max_drop"] = 2.0
    report["training"] |= {"scores": [{"step": 5, "score": 0.8}, {"step": 10, "score": 0.9}]}
    report["export"] = {"quantization": {"method": "int8", "fp32": ["classifier"]}}
    return report


def test_the_page_fetches_nothing(whole):
    text = render_html(whole)
    page = Page(text)
    assert not {"script", "iframe", "object", "embed", "img", "audio", "video", "base", "form"} & {
        t for t, _ in page.tags
    }
    for tag, attributes in page.tags:
        assert not any(
            name.startswith("on") or name in ("src", "srcset", "xlink:href", "action") for name in attributes
        )
        assert attributes.get("href", "data:,") == "data:,", tag
    assert not re.search(r"url\(|@import|expression\(|https?:", "".join(page.styles))
    [policy] = [a["content"] for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'") and "script" not in policy and "http" not in policy


def test_charts_are_whole_and_told_in_words(whole):
    charts = re.findall(r"<svg.*?</svg>", render_html(whole), re.DOTALL)
    assert len(charts) == 8  # latency, frontier, sparsity and training, each for a desk and for a phone
    for chart in charts:
        root = ElementTree.fromstring(chart)
        assert root.get("role") == "img" and [len(each.text) > 3 for each in root[:2]] == [True, True]
        assert [each.tag.rpartition("}")[2] for each in root[:2]] == ["title", "desc"]


def test_it_reads_in_light_and_dark_on_a_phone_and_on_paper(whole):
    text = render_html(whole)
    for rule in ("prefers-color-scheme: dark", "max-width: 640px", "@media print", "size: A4", "overflow-x: auto"):
        assert rule in text
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in text


def test_figures_are_those_of_report_json_and_of_report_md(whole):
    found = json.loads(conclude(parse_facts(whole), PRICES).model_dump_json())
    page, markdown = Page(render_html(found)), render(found)
    text = " ".join(" ".join(page.text).split())
    assert found["verdict"] in text and found["verdict"] in markdown
    # Every table of report.md is one of the page, cell by cell.
    tables = [
        [line.strip("| ").split(" | ") for line in block.splitlines() if not re.fullmatch(r"[|:-]+", line)]
        for block in markdown.split("\n\n")
        if block.startswith("| ")
    ]
    cells = [[[cell.strip() for cell in row] for row in table] for table in page.tables]
    blank = [[[cell for cell in row if cell] for row in table] for table in cells]
    assert [[[cell.strip(" |") for cell in row if cell.strip(" |")] for row in table] for table in tables] == blank
    # And the figures in them are those of report.json.
    [latency] = [table for table in cells if "quartiles" in table[0]]
    [measured] = found["benchmark"]["shapes"]
    assert [row[2] for row in latency[1:]] == [f"{row['milliseconds']:.2f}" for row in measured["rows"]]
    assert latency[3][4] == "6.50 (6.25 to 6.75)"
    [costs] = [table for table in cells if "dollars a million" in table[0]]
    paid = [cost["dollars"] for cost in found["costs"]["costs"]]
    assert [float(row[3]) for row in costs[1:]] == pytest.approx(paid, abs=5e-3)
    [scores] = [table for table in cells if "lost, validation" in table[0]]
    low, high = found["intervals"]["validation"]["pruned/int8/openvino"]["accuracy"]
    assert ["int8 IR", f"88.50 ({100 * low:.2f} to {100 * high:.2f})", "1.50"] == scores[3][:3]


def test_the_tiles(whole):
    assert [tile[:2] for tile in tiles(parse_report(whole))] == [
        ("81.2 %", "zeros in the encoder"),
        ("\u22121.50", "points of accuracy"),
        ("6.50\u00d7", "as fast"),
        ("23.4 MB", "on disk"),
    ]
    assert tiles(parse_report(whole))[2].beside == "95 % interval 6.25 to 6.75; against dense, PyTorch; 1 x 64 tokens"
    priced = conclude(parse_facts(whole), PRICES)
    assert tiles(priced)[-1][:2] == ("$0.0347", "a million inferences")  # 0.10 dollars an hour, 800 inferences a second
    whole |= {"benchmark": None}
    assert [tile.what for tile in tiles(parse_report(whole))] == [
        "zeros in the encoder",
        "points of accuracy",
        "on disk",
    ]


def test_what_strangers_wrote_stays_text(whole):
    whole |= {"name": EVIL, "description": EVIL, "resolved_recipe": EVIL, "recipe_hash": EVIL}
    whole["sparsity"]["pruned"]["layers"] = [
        {"name": f"{EVIL}.{i}.weight", "shape": [4, 4], "structure": EVIL, "sparsity": 0.5, "size": 16}
        for i in range(2)
    ]
    whole["machine"] |= {"cpu": EVIL, "system": EVIL, "instruction_sets": [EVIL]}
    whole["versions"][EVIL] = EVIL
    whole["benchmark"] |= {"runtime": EVIL, "skipped": {EVIL: EVIL}}
    whole["evaluate"] |= {"metric": EVIL, "agrees": EVIL}
    for split in whole["evaluate"]["splits"].values():
        for scores in split.values():
            if isinstance(scores, dict):
                scores[EVIL] = scores["accuracy"]
    whole["evaluate"]["splits"][EVIL] = whole["evaluate"]["splits"].pop("test")
    whole["export"]["quantization"]["fp32"] = [EVIL]
    text = render_html(whole)
    assert "<script" not in text and "<img" not in text and "49" not in re.findall(r"<title>.*?</title>", text)[0]
    assert html.escape(EVIL, quote=False).replace("'", "&#39;").replace('"', "&#34;") in text
    page = Page(text)
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    for chart in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        tags = {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(chart).iter()}
        assert tags <= {"svg", "title", "desc", "text", "rect", "line", "circle", "polyline"}


def test_the_colour_of_the_verdict_is_its_outcome(whole):
    assert '<p class="verdict good">' in render_html(whole)
    whole["benchmark"]["rows"][0] |= {"noisy": ["int8 optkit"]}
    whole["benchmark"]["rows"][0]["ratios"]["int8 optkit"] = [1.0, 0.9, 1.1]
    assert '<p class="verdict flat">' in render_html(whole)
    assert "Why there is no gain, as far as this run knows: the machine was too noisy" in render_html(whole)
    whole["evaluate"] |= {"within_max_drop": False, "max_drop": 1.0}
    assert '<p class="verdict bad">' in render_html(whole) and "TOO MUCH: max_drop allows 1" in render_html(whole)


@pytest.mark.slow
def test_a_browser_shows_it_without_asking_for_anything(whole, tmp_path):
    need("chromium")
    file, script = tmp_path / "report.html", Path(__file__).parents[2] / "scripts" / "screenshot_report"
    file.write_text(render_html(whole), encoding="utf-8")
    command = [sys.executable, script, file, "--only", "phone-dark", "--only", "print"]
    subprocess.run(command, check=True, timeout=180)
    assert {each.suffix for each in tmp_path.glob("report-*")} >= {".png", ".pdf"}
    file.write_text(file.read_text().replace("<main>", '<main><img src="missing.png"><p style="width: 999px">wide</p>'))
    failed = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert failed.returncode and "report.html at 390 pixels" in failed.stderr and "pixels wide" in failed.stderr
