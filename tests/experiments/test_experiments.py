"""Runs side by side: the frontier, the cost and the differences, against numbers worked out by hand."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import pytest
from reports import write_run

from optkit.errors import OptkitError, UsageError
from optkit.experiments.compare import compare
from optkit.experiments.cost import costs, load_prices, load_rates
from optkit.experiments.pareto import chart, frontier
from optkit.experiments.runs import find_runs, load_run
from optkit.variant import DENSE, Variant

#: name: points lost, milliseconds of dense openvino, of int8 optkit
PRICES = "date: 2026-01-01\nsource: here\ninstances: {m: {hourly: 0.36, cores: 8}}\n"
RUNS = {"a": (0.5, 100.0, 50.0), "b": (1.0, 100.0, 20.0), "c": (1.5, 100.0, 25.0), "d": (4.0, 100.0, 10.0)}


@pytest.fixture
def runs(tmp_path):
    for name, (drop, dense, ours) in RUNS.items():
        write_run(tmp_path / name, drop, dense, ours)
    return tmp_path


def test_what_is_slower_and_loses_more_is_beaten(runs):
    found = frontier(find_runs([runs]))
    assert [(p.run.name, p.speedup.ratio, p.dominated) for p in found.points] == [
        *(("d", 10.0, False), ("b", 5.0, False), ("c", 4.0, True), ("a", 2.0, False))
    ]
    assert [found.within(drop) and found.within(drop).run.name for drop in (0.4, 0.5, 1.2, 1.6, 9)] == [
        *(None, "a", "b", "b", "d")
    ]
    # At another shape all are as fast as dense, and the one that loses least beats the others.
    for shape in ({"batch": 8, "seq": 32}, {"batch": 8}, {"seq": 32}):
        assert [p.run.name for p in frontier(find_runs([runs]), **shape).best] == ["a"]


def test_equal_runs_do_not_beat_each_other(tmp_path):
    twins = [write_run(tmp_path / name, 1.0) for name in "ab"]
    assert len(frontier(find_runs(twins)).best) == 2


def test_runs_that_do_not_compare(tmp_path, runs):
    other = write_run(tmp_path / "other" / "cpu", 1.0, cpu="Another CPU")
    with pytest.raises(OptkitError, match="their CPU is Another CPU and Some CPU: leave one out, or time both on one"):
        frontier(find_runs([runs, other]))
    file = write_run(tmp_path / "other" / "threads", 1.0) / "report.json"
    report = json.loads(file.read_text())
    report["benchmark"]["threads"] += 1
    file.write_text(json.dumps(report))
    with pytest.raises(OptkitError, match="their number of threads is .* leave one out, or time both on one"):
        frontier(find_runs([runs, file.parent]))
    bare = write_run(tmp_path / "other" / "bare", None)
    assert list(frontier(find_runs([runs, bare])).left_out.values()) == ["has no baseline to compare with"]
    with pytest.raises(OptkitError, match="no run can be placed"):
        frontier(find_runs([bare]))


def test_runs_that_cannot_be_placed_are_told_together(tmp_path, optkit_cli):
    for name in "abc":
        report = json.loads((write_run(tmp_path / name, 1.0) / "report.json").read_text())
        (tmp_path / name / "report.json").write_text(json.dumps(report | {"benchmark": None}))
    printed = optkit_cli("pareto", tmp_path)
    why = "(and 2 more) has no times of the dense and of the exported model at this shape"
    assert printed.code == 2 and printed.err.count("has no times") == 1 and f"{tmp_path / 'a'} {why}" in printed.err
    prices = tmp_path / "prices.yaml"
    prices.write_text(PRICES)
    printed = optkit_cli("cost", tmp_path / "a", "--prices", prices)
    assert (printed.code, printed.err) == (2, f"{tmp_path / 'a'}: has no times: add `benchmark` to the recipe\n")


def test_folders_that_hold_no_run(tmp_path):
    with pytest.raises(UsageError, match="no finished run here"):
        find_runs([tmp_path])
    with pytest.raises(UsageError, match="no report.json here"):
        load_run(tmp_path)
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(OptkitError, match="not a report that this optkit can read"):
        load_run(tmp_path)
    (tmp_path / "report.json").write_text('{"format": 99}')
    with pytest.raises(OptkitError, match="not a report|of another optkit"):
        load_run(tmp_path)


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("machine.cpu", None, "machine.cpu is no text"),
        ("evaluate", [], "evaluate is no mapping"),
        ("evaluate.drop", "2", "evaluate.drop is no number"),
        ("evaluate.splits", {"validation": 3}, "evaluate.splits.validation is no mapping"),
        ("evaluate.splits", {}, "evaluate.splits dictionary should have at least 1 item"),
        ("evaluate.splits.validation.int8", {"f1": 1}, "splits.validation.pruned/int8/openvino has no accuracy"),
        ("sparsity.openvino.denominators.encoder_linear", 0.8, "encoder_linear is no mapping"),
        ("sparsity.pruned.layers.0.sparsity", float("nan"), "sparsity.pruned.layers.0.sparsity is no number"),
        ("evaluate.drop", 10**400, "evaluate.drop is no number"),
        ("benchmark.threads", 0, "benchmark.settings.threads is below 1"),
        (
            "benchmark.rows.0.milliseconds",
            {"int8 optkit": 0},
            "benchmark.shapes.0.rows.0.milliseconds is not above 0",
        ),
        ("benchmark.rows.0.batch", True, "benchmark.shapes.0.batch is no whole number"),
        ("benchmark.rows.0.against", "dense tvm", "benchmark.shapes.0.rows.0.reference is neither true nor false"),
        ("benchmark.rows.0.against", "pruned torch", "benchmark.shapes.0.rows.0.reference is neither true nor false"),
        ("benchmark.rows.0.ratios", {"int8 optkit": [2.0, 1.0]}, "is no ratio with its interval"),
        ("benchmark.rows.0.ratios", {"int8 optkit": 2.0}, "benchmark.shapes.0.rows.1.ratio is no list"),
        ("benchmark.rows.0.ratios", 3, "benchmark.shapes.0.rows.0.ratio is no list"),
        ("benchmark.rows.0.noisy", "yes", "benchmark.shapes.0.rows.0.noisy is neither true nor false"),
        ("benchmark.rows", {"0": 3}, "benchmark.shapes is no list"),
        ("benchmark.skipped", ["optkit"], "benchmark.left_out.0 is no mapping"),
    ],
)
def test_a_report_that_was_edited_is_refused_by_the_value(tmp_path, place, value, said):
    file = write_run(tmp_path / "run", 1.0) / "report.json"
    report = json.loads(file.read_text())
    *above, last = place.split(".")
    inside = report
    for key in above:
        inside = inside[int(key) if key.isdigit() else key]
    inside[last] = value
    file.write_text(json.dumps(report))
    with pytest.raises(OptkitError) as raised:
        load_run(tmp_path / "run")
    assert str(raised.value).startswith(f"{file}: damaged or edited: ") and said in str(raised.value)


def test_files_in_other_encodings_are_told(tmp_path):
    (tmp_path / "prices.yaml").write_bytes("date: now\n".encode("utf-16"))
    with pytest.raises(UsageError, match="prices.yaml: byte 0 is not UTF-8: convert the file"):
        load_prices(tmp_path / "prices.yaml")
    runs = [load_run(write_run(tmp_path / name, 1.0)) for name in "ab"]
    (tmp_path / "b" / "recipe.resolved.yaml").write_bytes(b"seed: \xff\n")
    with pytest.raises(OptkitError, match="b/recipe.resolved.yaml: cannot be read: the run is incomplete"):
        compare(*runs)


def test_a_recipe_that_unfolds_without_end_is_refused(tmp_path):
    runs = [load_run(write_run(tmp_path / name, 1.0)) for name in "ab"]
    lines = ["a0: &a0 [x, x]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 20))]
    (tmp_path / "b" / "recipe.resolved.yaml").write_text("\n".join(lines))
    with pytest.raises(OptkitError, match="not a recipe that a run wrote: YAML anchors are not allowed"):
        compare(*runs)


@pytest.mark.parametrize("change", [("per_second", 0), ("per_second", 10**400), ("threads", 0)])
def test_times_that_nothing_has_are_refused(tmp_path, change):
    row = {"path": "m", "model": "dense", "backend": "torch", "per_second": 100.0, "reference": True}
    settings = {"threads": 2, "mode": "latency"}
    name, value = change
    (settings if name in settings else row)[name] = value
    report = {"settings": settings, "machine": {"cpu": "c"}, "shapes": [{"batch": 1, "seq": 8, "rows": [row]}]}
    (tmp_path / "bench.json").write_text(json.dumps(report))
    with pytest.raises(UsageError, match="neither a run folder nor a file of `optkit bench --json`"):
        load_rates(tmp_path / "bench.json")


def test_a_chart_that_cannot_be_written(runs, optkit_cli):
    printed = optkit_cli("pareto", runs, "--plot", runs)
    assert (printed.code, printed.err) == (
        1,
        f"--plot: {runs} cannot be written: Is a directory: choose another file\n",
    )


def test_the_chart_is_whole_and_names_every_run(runs):
    root = ET.fromstring(chart(frontier(find_runs([runs]))))
    space = "{http://www.w3.org/2000/svg}"
    circles = root.findall(f"{space}circle")
    assert [circle.get("class") for circle in circles].count("dot") == 3 and len(circles) == 4
    assert {text.text for text in root.findall(f"{space}text")} >= set(RUNS)
    assert "b loses 1.00 points at 5.00 times the speed" in root.find(f"{space}desc").text
    xs = [float(c.get("cx")) for c in circles]
    assert all(0 < x < 720 for x in xs)


def test_dollars_for_a_million(runs, tmp_path):
    file = tmp_path / "prices.yaml"
    file.write_text("date: 2026-01-01\nsource: here\ninstances:\n  m: {hourly: 0.36, cores: 8}\n")
    found = {cost.engine: cost for cost in costs(load_rates(runs / "b"), load_prices(file))}
    dense, ours = DENSE.on("openvino"), Variant("pruned", "int8", "optkit")
    # 8 cores run 4 copies of 2 threads: 4 * 10 inferences a second dense, 4 * 50 ours, at 0.0001 dollars a second.
    assert found[dense].dollars == pytest.approx(0.0001 * 1e6 / 40)
    assert found[ours].dollars == pytest.approx(0.0001 * 1e6 / 200)
    assert found[ours].saved == pytest.approx(0.8) and found[dense].saved is None


def test_a_machine_with_fewer_cores_than_were_measured_is_left_out(runs, tmp_path, optkit_cli):
    file = tmp_path / "prices.yaml"
    file.write_text(
        "date: 2026-01-01\nsource: here\ninstances: {s: {hourly: 0.1, cores: 1}, m: {hourly: 1, cores: 2}}\n"
    )
    assert {cost.instance for cost in costs(load_rates(runs / "b"), load_prices(file))} == {"m"}
    printed = optkit_cli("cost", runs / "b", "--prices", file)
    assert "left out: s, which has 1 cores, fewer than were measured on." in printed.out
    file.write_text("date: 2026-01-01\nsource: here\ninstances: {s: {hourly: 0.1, cores: 1}}\n")
    printed = optkit_cli("cost", runs / "b", "--prices", file)
    assert (printed.code, printed.err) == (
        2,
        f"{file}: no machine has the 2 cores that times were measured on: add one\n",
    )


def test_dollars_by_measured_throughput(tmp_path):
    file = tmp_path / "prices.yaml"
    file.write_text("date: 2026-01-01\nsource: here\ninstances:\n  m: {hourly: 0.36, cores: 2}\n")
    rows = [
        {"path": "runs/a", "model": model, "backend": backend, "per_second": speed, "reference": backend == "torch"}
        | {"milliseconds": 1000 / speed}
        for model, backend, speed in (("dense", "torch", 20.0), ("int8 IR", "optkit", 80.0))
    ]
    shapes = [{"batch": 1, "seq": 32, "rows": rows[:1]}, {"batch": 8, "seq": 128, "rows": rows}]
    report = {
        "format": 2,
        "settings": {"threads": 2, "mode": "throughput"},
        "machine": {"cpu": "Some CPU"},
        "shapes": shapes,
    }
    (tmp_path / "bench.json").write_text(json.dumps(report))
    rates = load_rates(tmp_path / "bench.json", batch=8, seq=128)
    assert (rates.how, rates.against, rates.cpu) == ("throughput, 8 x 128 tokens", "dense, torch", "Some CPU")
    found = {cost.engine: cost for cost in costs(rates, load_prices(file))}
    assert found["dense, torch"].dollars == pytest.approx(0.0001 * 1e6 / 20)
    assert found["int8 IR, optkit"].dollars == pytest.approx(0.0001 * 1e6 / 80)
    assert found["int8 IR, optkit"].saved == pytest.approx(0.75)
    with pytest.raises(OptkitError, match="bench.json: has no times of this shape"):
        load_rates(tmp_path / "bench.json", batch=2, seq=128)
    (tmp_path / "bench.json").write_text("[]")
    with pytest.raises(UsageError, match="neither a run folder nor a file of `optkit bench --json`"):
        load_rates(tmp_path / "bench.json")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("instances: {}", "expected `date`, `source` and `instances:"),
        ("instances: {m: {hourly: 0, cores: 2}}", "instances.m: expected dollars and cores above 0"),
        ("instances: {m: {hourly: .nan, cores: 2}}", "instances.m: expected dollars and cores above 0"),
        ("instances: {m: 3}", "instances.m: expected dollars and cores above 0"),
        ("instances: [", "not YAML"),
        ("instances: " + "[" * 5000, "not YAML: it is nested too deeply"),
        ("instances: {m: {hourly: 1" + "0" * 400 + ", cores: 2}}", "instances.m: expected dollars and cores above 0"),
        ("a: &a [x, x]\nb: &b [*a, *a]\ndate: [*b, *b]\ninstances: {m: {hourly: 1, cores: 2}}", "expected `date`"),
        ("date: 2026-13-45", "not YAML: month must be in 1..12"),
    ],
)
def test_a_list_that_holds_no_prices(tmp_path, text, said):
    file = tmp_path / "prices.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=said):
        load_prices(file)


def test_differences(tmp_path):
    recipe = "seed: 1\nprune:\n- {name: encoder, schedule: {to: SHARE}}\n"
    first = write_run(tmp_path / "first", 1.0, recipe=recipe.replace("SHARE", "0.8"))
    second = write_run(tmp_path / "second", 2.0, ours=25.0, sparsity=0.9, recipe=recipe.replace("SHARE", "0.9"))
    found = compare(load_run(first), load_run(second))
    assert [(d.what, d.first, d.second) for d in found.recipe] == [("prune.encoder.schedule.to", 0.8, 0.9)]
    assert [(d.what, d.first, d.second) for d in found.speed] == [("int8, optkit, 1 x 128 tokens", 50.0, 25.0)]
    assert [d.what for d in found.accuracy] == ["validation.int8 IR.accuracy"]
    assert [(d.first, d.second) for d in found.sparsity] == [(("1x4", 0.8), ("1x4", 0.9))]
    assert not found.machine
    same = compare(load_run(first), load_run(first))
    assert not any((same.recipe, same.accuracy, same.speed, same.sparsity, same.machine))


def test_brackets_in_names_and_recipes_are_no_markup(tmp_path, optkit_cli):
    for name, text in (("run[1]", "a [draft]"), ("run[/2]", "of [/b] :heart:")):
        write_run(tmp_path / name, 1.0, recipe=f"description: '{text}'\n")
    printed = optkit_cli("compare", tmp_path / "run[1]", tmp_path / "run[/2]")
    assert printed.code == 0 and all(text in printed.out for text in ("run[1]", "a [draft]", "of [/b] :heart:"))
    assert "run[1]" in optkit_cli("pareto", tmp_path).out


def test_times_of_two_cpus_are_not_set_side_by_side(tmp_path, optkit_cli):
    first = write_run(tmp_path / "first", 1.0)
    second = write_run(tmp_path / "second", 2.0, ours=25.0, cpu="Another CPU")
    found = compare(load_run(first), load_run(second))
    assert not found.speed and [d.what for d in found.machine] == ["machine.cpu"] and found.accuracy
    printed = optkit_cli("compare", first, second)
    said = "times do not compare: they were measured on Some CPU and on Another CPU: time both on one machine with"
    assert printed.code == 0 and said in " ".join(printed.out.split()) and "milliseconds" not in printed.out


def test_times_of_other_numbers_of_threads_are_not_set_side_by_side(tmp_path):
    first, second = write_run(tmp_path / "first", 1.0), write_run(tmp_path / "second", 2.0, ours=25.0)
    report = json.loads((second / "report.json").read_text())
    report["benchmark"]["threads"] += 1
    (second / "report.json").write_text(json.dumps(report))
    found, threads = compare(load_run(first), load_run(second)), report["benchmark"]["threads"]
    assert not found.speed and found.speed_left_out == (
        f"times do not compare: they were measured on Some CPU with {threads - 1} threads and on Some CPU with {threads} "
        "threads: time both on one machine with `optkit bench`"
    )


def test_the_verbs(runs, optkit_cli, tmp_path):
    chart = tmp_path / "chart.svg"
    printed = optkit_cli("pareto", runs, "--max-drop", "1.2", "--plot", chart)
    assert (
        printed.code == 0
        and f"fastest within 1.2 points: {runs / 'b' / 'recipe.resolved.yaml'}: 1.00 points lost, 5.00" in printed.out
    )
    assert "names its data files without their folders" in printed.out
    assert chart.read_text().startswith("<svg")
    printed = optkit_cli("pareto", runs, "--json", "--max-drop", "0.1")
    assert printed.code == 1 and json.loads(printed.out)["take"] is None
    assert f"no run is within 0.1 points: {runs / 'a'} loses least, 0.50" in printed.err
    (tmp_path / "prices.yaml").write_text(PRICES)
    printed = optkit_cli("cost", runs / "b", "--json", "--prices", tmp_path / "prices.yaml")
    assert {"engine", "instance", "dollars", "saved"} <= json.loads(printed.out)["costs"][0].keys()
    printed = optkit_cli("cost", runs / "b")
    assert (printed.code, printed.out) == (2, "") and printed.err.count("\n") == 1
    assert printed.err.startswith("--prices: give a YAML file with `date`, `source` and `instances: {NAME:")
    printed = optkit_cli("compare", runs / "a", runs / "b")
    assert printed.code == 0 and "int8, optkit, 1 x 128 tokens" in printed.out
    assert "Nothing differs" in optkit_cli("compare", runs / "a", runs / "a").out


def test_speedups_against_other_precisions_do_not_compare(tmp_path):
    for name, precision in (("first", None), ("f32", "f32"), ("bf16", "bf16")):
        report = json.loads((write_run(tmp_path / name, 1.0) / "report.json").read_text())
        report["format"] = 1 if precision is None else 2
        report["benchmark"] |= {"precision": precision} if precision else {}
        (tmp_path / name / "report.json").write_text(json.dumps(report))
    # The first release's reports are of f32.
    assert len(frontier(find_runs([tmp_path / "first", tmp_path / "f32"])).points) == 2
    with pytest.raises(
        OptkitError, match="baseline is dense, OpenVINO in bf16 and dense, OpenVINO in f32: leave one out"
    ):
        frontier(find_runs([tmp_path / "f32", tmp_path / "bf16"]))
    differ = compare(load_run(tmp_path / "first"), load_run(tmp_path / "bf16")).machine
    assert [(d.what, d.first, d.second) for d in differ] == [("OpenVINO", "computes in f32", "computes in bf16")]
    assert load_rates(tmp_path / "bf16").how == "one at a time, 1 x 128 tokens, OpenVINO in bf16"


def test_the_score_is_that_of_what_the_drop_is_of(tmp_path):
    report = json.loads((write_run(tmp_path / "a", 1.0) / "report.json").read_text())
    report["evaluate"]["splits"]["validation"]["int8 optkit"] = {"accuracy": 0.85}
    assert load_run(tmp_path / "a").score() == pytest.approx(89)
    report["evaluate"]["judged"] = "int8 optkit"
    (tmp_path / "a" / "report.json").write_text(json.dumps(report))
    assert load_run(tmp_path / "a").score() == pytest.approx(85)
