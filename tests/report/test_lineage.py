"""What a base model says of itself, and what is left out because it says nothing."""

from __future__ import annotations

import json

import pytest

from optkit.recipe import load_recipe
from optkit.report.lineage import dataset, origin

RECIPE = """\
optkit: 1
model: {name: MODEL}
task: {type: text-classification, dataset: DATASET, text: sentence}
quantize: {}
"""
HUB = "{name: glue, config: sst2}"


@pytest.fixture
def recipe(tmp_path):
    def load(model="org/base", of=HUB):
        file = tmp_path / "r.yaml"
        file.write_text(RECIPE.replace("MODEL", str(model)).replace("DATASET", of))
        return load_recipe(file)

    return load


@pytest.fixture
def local(tmp_path):
    def make(card: str | None = None, **config):
        folder = tmp_path / "model"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))
        if card is not None:
            (folder / "README.md").write_text(card)
        return folder

    return make


def test_out_of_reach_only_the_name_is_known(recipe):
    assert origin(recipe()) == {"base": ["org/base"], "local": False, "datasets": ["glue"]}


def test_a_card_on_the_hub_is_read_and_its_links_made_whole(recipe, tmp_path, monkeypatch):
    card = tmp_path / "README.md"
    card.write_text("---\nlicense: other\nlicense_name: odd\nlicense_link: ./LICENSE\nbase_model: org/first\n---\n")
    asked = []

    def fetch(name, file, revision):
        asked.append((name, file, revision))
        return str(card)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fetch)
    found = origin(recipe())
    link = "https://huggingface.co/org/base/blob/main/LICENSE"
    assert found["base"] == ["org/base"] and asked == [("org/base", "README.md", "main")]
    assert (found["license"], found["license_name"], found["license_link"]) == ("other", "odd", link)


def test_a_folder_says_what_its_card_says(recipe, local):
    folder = local("---\nlicense: apache-2.0\nbase_model: org/base\n---\n# A model\n")
    assert origin(recipe(folder)) == {
        "base": ["org/base"],
        "local": True,
        "datasets": ["glue"],
        "license": "apache-2.0",
    }


@pytest.mark.parametrize(
    "card",
    [
        None,
        "# no metadata\n",
        "---\n- a list\n---\n",
        "---\nlicense: [a, b]\nbase_model: /home/x\n---\n",
        "---\na: [\n---\n",
    ],
)
def test_a_folder_without_a_usable_card_says_nothing(recipe, local, card):
    assert origin(recipe(local(card))) == {"base": [], "local": True, "datasets": ["glue"]}


def test_the_config_is_asked_where_the_card_is_silent(recipe, local):
    assert origin(recipe(local("# silent\n", license="mit")))["license"] == "mit"


def test_data_sets(recipe, tmp_path):
    assert dataset(recipe()) == {"type": "glue", "name": "glue sst2", "config": "sst2"}
    pinned = recipe(of="{name: org/data, revision: v2}")
    assert dataset(pinned) == {"type": "org/data", "name": "org/data", "revision": "v2"}
    for split in ("train", "validation"):
        (tmp_path / f"{split}.tsv").write_text("sentence\tlabel\n")
    files = recipe(of=f"{{files: {{train: {tmp_path}/train.tsv, validation: {tmp_path}/validation.tsv}}}}")
    assert dataset(files) == {"type": "files", "files": {"train": "train.tsv", "validation": "validation.tsv"}}
    assert origin(files)["datasets"] == []
    assert dataset(recipe(of="{generate: topics}")) == {"type": "generated", "name": "topics, generated"}
