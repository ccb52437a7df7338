"""Plans on disk: found again, and neither trusted nor needed."""

from __future__ import annotations

import dataclasses

import pytest
from layers_made import site

from optkit.runtime import Plan
from optkit.runtime.planning import cache
from optkit.runtime.planning.machine import Machine
from optkit.runtime.rewriting.sites import LinearSite

MACHINE = Machine("a CPU", 2, "avx2", False, "2026", "0.1", "abc")


def kept(plan: Plan) -> list[LinearSite]:
    return [site(layer.matmul, layer.shape) for layer in plan.layers]


def test_a_plan_is_kept_and_found_again(plan, folder):
    assert cache.read("name", kept(plan)) is None
    cache.write("name", plan)
    assert [path.name for path in folder.iterdir()] == ["name.json"]
    assert cache.read("name", kept(plan)) == plan


@pytest.mark.parametrize("damage", [b"", b"{}", b"\xff\xfe", b'{"format": 1', b"[" * 100_000])
def test_a_damaged_file_counts_as_none_and_is_written_anew(plan, folder, damage):
    cache.write("name", plan)
    (folder / "name.json").write_bytes(damage)
    assert cache.read("name", kept(plan)) is None
    cache.write("name", plan)
    assert cache.read("name", kept(plan)) == plan


def test_a_plan_of_other_layers_counts_as_none(plan, folder):
    cache.write("name", plan)
    assert cache.read("name", kept(plan)[:1]) is None
    assert cache.read("name", [site("z", layer.shape) for layer in plan.layers]) is None


def test_a_folder_that_cannot_be_written_is_no_error(plan, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("OPTKIT_CACHE", str(tmp_path / "file"))
    cache.write("name", plan)
    assert cache.read("name", kept(plan)) is None


def test_where_plans_are_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.setenv("OPTKIT_CACHE", "/own")
    assert str(cache.folder()) == "/own/plans"
    monkeypatch.delenv("OPTKIT_CACHE")
    assert str(cache.folder()) == "/xdg/optkit/plans"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.folder() == tmp_path / ".cache" / "optkit" / "plans"


def test_a_plan_is_for_one_machine_one_version_one_configuration_and_one_model():
    layers, config = [site()], {"NUM_STREAMS": 1}
    keys = [cache.key(MACHINE, layers, config, shape=(1, 128))]
    for field in dataclasses.fields(Machine):
        other = {"cpu": "b", "cores": 3, "amx": True}.get(field.name, "other")
        keys.append(cache.key(dataclasses.replace(MACHINE, **{field.name: other}), layers, config, shape=(1, 128)))
    keys += [
        cache.key(MACHINE, layers, config | {"NUM_STREAMS": 2}, shape=(1, 128)),
        cache.key(MACHINE, layers, config, shape=(1, 64)),
        cache.key(MACHINE, [site(density=0.2)], config, shape=(1, 128)),
        cache.key(MACHINE, [site("b")], config, shape=(1, 128)),
        cache.key(MACHINE, [site(rows=4)], config, shape=(1, 128)),
    ]
    assert len(set(keys)) == len(keys)
    assert cache.key(MACHINE, [site()], dict(config), shape=(1, 128)) == keys[0]
