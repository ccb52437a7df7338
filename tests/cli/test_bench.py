"""`optkit bench` from end to end: every backend in both modes, on the same inputs, and errors in a line."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ET

import pytest

from optkit.benchmark import bench, exports
from optkit.benchmark.backends import (
    BACKENDS,
    backend_of,
    computes_in_fp32,
    excluded_by_default,
    missing,
    quantized_by_engine,
)
from optkit.cpu import cpu_cores
from optkit.variant import Variant

pytestmark = pytest.mark.slow

HERE = [backend for backend in BACKENDS if missing(backend) is None and excluded_by_default(backend) is None]
HERE = [backend for backend in HERE if backend != "tvm"]  # it takes what `optkit compile` made
THREADS = min(2, cpu_cores())


@pytest.fixture(scope="module")
def quick(optkit_cli):
    def call(*arguments, threads=1):
        return optkit_cli("bench", *arguments, "--duration", 0.05, "--threads", threads)

    return call


@pytest.fixture(scope="module", autouse=True)
def exported_once(tmp_path_factory):
    """Keeps what is exported of a checkpoint: the second benchmark of a run takes it from there."""
    kept = {}

    def export(model, folder, reporter, samples):
        if not model.exported:
            return model.source
        key = model.source.path, model.backend
        if key not in kept:
            kept[key] = exports.export(model, tmp_path_factory.mktemp("exported"), reporter, samples)
        return kept[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench, "export", export)
        yield


def by_backend(rows):
    """Rows, or facts of models, by the backend that ran them."""
    return {backend_of(Variant.parse(row["variant"])): row for row in rows}


def checked(done, mode):
    """The report, its figures held against its rounds."""
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert report["format"] == 3 and report["settings"]["mode"] == mode
    assert report["machine"]["cpu"] and report["versions"]["openvino"] and "steal" in report["machine"]
    for shape in report["shapes"]:
        (reference,) = (row for row in shape["rows"] if row["reference"])
        assert reference["ratio"] is None
        for row in shape["rows"]:
            assert len(row["rounds"]) >= 6 and min(row["rounds"]) > 0
            assert row["milliseconds"] > 0 and row["per_second"] > 0
            assert row["quartiles"][0] <= row["milliseconds"] <= row["quartiles"][1]
            if row is not reference:
                each = sorted(a / b for a, b in zip(reference["rounds"], row["rounds"], strict=True))
                middle = len(each) // 2
                assert row["ratio"][0] == pytest.approx((each[middle] + each[-1 - middle]) / 2)
                assert each[0] <= row["ratio"][1] <= row["ratio"][0] <= row["ratio"][2] <= each[-1]
    return report


def test_latency_on_every_backend(quick, finished_run, tmp_path):
    chart = tmp_path / "chart.svg"
    report = checked(quick(finished_run.folder, "--json", "--plot", chart, "--seq", 16), "latency")
    (shape,) = report["shapes"]
    assert (shape["batch"], shape["seq"]) == (1, 16)
    rows = by_backend(shape["rows"])
    assert list(rows) == HERE
    kinds = {row["name"].partition(", ")[0]: Variant.parse(row["variant"]).model for row in shape["rows"]}
    assert kinds == {"dense": "dense", "int8 IR": "pruned"}
    # The same inputs: what runs the same model computes the same, and integers are rounded alike.
    assert rows["torch"]["difference"] is None and rows["openvino-int8"]["difference"] is None
    for backend in {"onnxruntime", "openvino", "openvino-f32"} & rows.keys():
        allowed = 1e-4 if computes_in_fp32(Variant.parse(rows[backend]["variant"])) else 0.1
        assert rows[backend]["difference"] < allowed, backend
    for backend, row in rows.items():
        assert not quantized_by_engine(Variant.parse(row["variant"])) or 1e-4 < row["difference"] < 1, backend
    # What anybody would run is what others are held against: dense in OpenVINO, and int8 in OpenVINO.
    assert rows["openvino"]["reference"] and rows["openvino"]["over_plain"][0] > 0
    assert rows["openvino-int8"]["over_plain"] is None
    if "optkit" in rows:
        assert rows["optkit"]["difference"] < 0.1 and "at 1 x 16 tokens" in rows["optkit"]["plan"]
    assert list(by_backend(report["models"])) == HERE
    for model in report["models"]:
        load = model["load"]
        assert len(load["all"]) == 3 and sorted(load["all"])[1] == load["seconds"] > 0
        assert load["peak"] is None or load["peak"] >= load["imports"] > 1 << 20
    sizes = {backend: model["bytes"] for backend, model in by_backend(report["models"]).items()}
    assert sizes["torch"] == finished_run.report["bytes"]["dense"]
    assert sizes["openvino-int8"] == finished_run.report["bytes"]["openvino"]
    assert ET.parse(chart).getroot().find("{http://www.w3.org/2000/svg}desc").text.startswith("1 x 16 tokens: dense,")


def test_throughput_on_every_backend(quick, finished_run):
    asked = ("--mode", "throughput", "--streams", THREADS, "--seq", 16, "--against", "torch", "--no-loads", "--json")
    report = checked(quick(finished_run.folder, *asked, threads=THREADS), "throughput")
    assert report["settings"]["threads"] == THREADS
    (shape,) = report["shapes"]
    assert list(by_backend(shape["rows"])) == HERE and shape["rows"][0]["reference"]
    for row in shape["rows"]:
        assert (row["streams"], row["requests"]) == (THREADS, THREADS)
        assert row["per_second"] == pytest.approx(1000 / row["milliseconds"])
    assert all("load" not in model or model["load"] is None for model in report["models"])


def test_texts_are_fed_as_they_are(quick, finished_run, tmp_path):
    import torch

    threads = torch.get_num_threads()
    texts = tmp_path / "texts.txt"
    texts.write_text("the ball was lost\nrates\nthe team won the match and the crowd sang all night long\n" * 3)
    asked = ("--texts", texts, "--batch", 2, "--backends", "torch,openvino-int8", "--no-loads")
    report = checked(quick(finished_run.folder, *asked, "--json"), "latency")
    (shape,) = report["shapes"]
    assert shape["seq"] is None
    assert {key: shape["texts"][key] for key in ("texts", "timed", "batches")} == {"texts": 9, "timed": 9, "batches": 5}
    assert 0 < shape["texts"]["padding"] < 1 and shape["texts"]["shortest"] < shape["texts"]["longest"]
    for row in shape["rows"]:
        assert row["milliseconds"] <= row["p90"] <= row["p99"]
    done = quick(finished_run.folder, *asked)
    assert done.code == 0 and "reference" in done.out and "9 of 9 texts" in done.out
    assert "dense, torch" in done.out and "int8 IR, openvino-int8" in done.out
    # Engines take the threads that are asked for, and torch has its own back.
    assert torch.get_num_threads() == threads


def test_a_run_without_its_baseline_says_what_is_left_out(quick, finished_run, tmp_path):
    folder = finished_run.copy(tmp_path)
    shutil.rmtree(folder / "dense")
    report = json.loads((folder / "report.json").read_text())
    report["folders"]["dense"] = str(folder / "dense")
    (folder / "report.json").write_text(json.dumps(report))
    done = quick(folder, "--seq", 16, "--no-loads")
    assert done.code == 0
    (line,) = (line for line in done.out.splitlines() if line.startswith("left out: torch, "))
    assert f", openvino-f32: the dense baseline of {folder} is not at {folder / 'dense'} any more" in line
    named = quick(folder, "--backends", "torch")
    assert (named.code, named.out) == (2, "") and named.err.startswith("--backends: torch cannot run it: the dense")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere/at/all",), "model: no folder nowhere/at/all: give the folder of a model, an .onnx or .xml file"),
        (("RUN", "--backends", "torch,none"), "--backends: unknown backend 'none', one of torch, torch-compile"),
        (("RUN", "--batch", "1,x"), "--batch: '1,x' is not a list of numbers, such as 1,8"),
        (("RUN", "--seq", "1;2"), "--seq: '1;2' is not a list of numbers, such as 1,8"),
        (("RUN", "--seq", "4096"), "--seq 4096: the model takes up to 64 tokens"),
        (("RUN", "--texts", "nowhere.txt"), "--texts: nowhere.txt: No such file or directory"),
        (("RUN", "--plot", "no/such/folder/chart.svg"), "--plot: there is no folder no/such/folder"),
        (("RUN", "--plot", "."), "--plot: . is a folder: name a file in it"),
        (("RUN", "--against", "optkit", "--backends", "torch"), "--against optkit: it does not take part here"),
    ],
)
def test_an_error_is_one_line(quick, finished_run, arguments, said):
    done = quick(*(finished_run.folder if word == "RUN" else word for word in arguments))
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(said) and done.err.count("\n") == 1
