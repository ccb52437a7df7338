"""What is said of the machine, and when it is too busy to measure on."""

from __future__ import annotations

import pytest

from optkit import cpu, machine


@pytest.fixture
def stat(monkeypatch, tmp_path):
    """Writes /proc/stat: user time and steal, in ticks."""
    file = tmp_path / "stat"
    monkeypatch.setattr(cpu, "STAT", file)

    def write(user, steal):
        file.write_text(f"cpu  {user} 0 100 1000 0 0 0 {steal} 50 0\ncpu0 1 2 3\n")

    return write


def test_steal_is_the_share_of_ticks_since(stat, monkeypatch):
    monkeypatch.setattr(machine, "load_average", lambda: 0.333)
    stat(500, 10)
    monitor = machine.LoadMonitor()
    stat(590, 20)
    assert monitor.facts() == {"load": [0.33], "steal": 0.1}


def test_systems_that_do_not_tell(monkeypatch, tmp_path):
    monkeypatch.setattr(cpu, "STAT", tmp_path / "nothing")
    monkeypatch.setattr(machine, "load_average", lambda: None)
    assert machine.LoadMonitor().facts() == {"load": [], "steal": None}
    assert machine.load_warnings({"load": [], "steal": None}, 1) == []


@pytest.mark.parametrize(
    ("load", "steal", "threads", "said"),
    [
        (0.4, 0.0, 4, 0),
        (0.6, 0.0, 4, 1),  # all four are to be measured
        (1.4, 0.0, 3, 0),  # one is free for it
        (2.0, 0.05, 3, 2),
    ],
)
def test_a_busy_machine_is_named(monkeypatch, load, steal, threads, said):
    monkeypatch.setattr(machine, "cpu_cores", lambda: 4)
    found = machine.load_warnings({"load": [load], "steal": steal}, threads)
    assert len(found) == said
    if said == 2:
        assert found[0].startswith("the machine was busy at the start: load 2.00, and 3 of 4 CPUs")
        assert found[1] == "the host of this virtual machine took 5% of its CPU time for others"


def test_hyper_threads_of_a_core_count_once(monkeypatch, tmp_path):
    for number, (package, core) in enumerate([(0, 0), (0, 1), (0, 0), (0, 1), (1, 0)]):
        folder = tmp_path / f"cpu{number}" / "topology"
        folder.mkdir(parents=True)
        (folder / "physical_package_id").write_text(f"{package}\n")
        (folder / "core_id").write_text(f"{core}\n")
    monkeypatch.setattr(cpu, "TOPOLOGY", tmp_path)
    monkeypatch.setattr(cpu, "QUOTA", tmp_path / "none")
    monkeypatch.setattr(cpu.os, "sched_getaffinity", lambda _: {0, 1, 2, 3, 4}, raising=False)
    assert cpu.physical_cores() == 3
    monkeypatch.setattr(cpu.os, "sched_getaffinity", lambda _: {0, 2}, raising=False)
    assert cpu.physical_cores() == 1
    (tmp_path / "quota").write_text("150000 100000\n")
    monkeypatch.setattr(cpu, "QUOTA", tmp_path / "quota")
    monkeypatch.setattr(cpu.os, "sched_getaffinity", lambda _: {0, 1, 4}, raising=False)
    assert cpu.physical_cores() == 1
    monkeypatch.setattr(cpu, "TOPOLOGY", tmp_path / "nowhere")
    assert cpu.physical_cores() == 1


def test_describe_names_what_figures_depend_on():
    found = machine.describe()
    assert found["cpu"] and found["physical_cores"] >= 1 and found["cores"] >= found["physical_cores"]
    assert found["system"] and set(found["instruction_sets"]) <= set(machine.INSTRUCTION_SETS)
    assert {"python", "openvino", "torch"} <= set(machine.versions())
    assert list(machine.versions(("no_such_package", "torch"))) == ["python", "torch"]
