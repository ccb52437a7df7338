"""What is known of each task without loading it: true of its folder, of transformers and of optimum-intel."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from capabilities import need

import optkit.tasks
from optkit.adapters import optimum
from optkit.recipe import TaskSpec
from optkit.tasks import PROBLEMS, TASKS

NAMES = list(TASKS)


def test_every_folder_is_listed_once():
    folders = {path.parent for path in Path(optkit.tasks.__file__).parent.glob("*/spec.py")}
    assert {task.folder for task in TASKS.values()} == folders and len(TASKS) == len(folders)


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_holds_the_task(name):
    task = TASKS[name].load()
    assert task.type is TASKS[name] and task.__module__ == f"optkit.tasks.{TASKS[name].folder.name}.task"


@pytest.mark.parametrize("name", NAMES)
def test_its_classes_are_there(name):
    need("optimum-intel")
    import optimum.intel
    import transformers
    from optimum.exporters.tasks import TasksManager

    task = TASKS[name]
    assert hasattr(transformers, task.auto_class) and hasattr(optimum.intel, task.ov_class)
    assert task.export_task in TasksManager.get_all_tasks()
    assert task.ov_class.removeprefix("OVModel") == (task.head or "ForFeatureExtraction")


@pytest.mark.parametrize("name", NAMES)
def test_the_adapter_knows_it_both_ways(name):
    task = TASKS[name]
    assert optimum.export_task(task.ov_class) == task.export_task
    kind = "vit" if task.reads == "images" else "bert"
    assert optimum.architecture_for(kind, task) == f"{kind.title().replace('Vit', 'ViT')}{task.head or 'Model'}"


@pytest.mark.parametrize("name", NAMES)
def test_its_keys_default_to_none_and_are_of_the_recipe(name):
    for key in TASKS[name].key_names:
        assert TaskSpec.model_fields[key].default is None
        assert f"{key}:" in TASKS[name].keys.__doc__


def test_problems_are_those_of_transformers():
    assert PROBLEMS == ("single_label_classification", "multi_label_classification", "regression")


def test_the_list_imports_no_task():
    code = (
        "import sys; from optkit import tasks, recipe, registry; registry.entries(); "
        "print({'torch', 'datasets', 'evaluate', 'transformers', 'optkit.tasks.base'} & sys.modules.keys())"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
