"""The model card: the Hub's metadata, and figures that are the report's."""

from __future__ import annotations

import pytest
from huggingface_hub import ModelCard

from optkit.errors import OptkitError
from optkit.report.reading import parse_report
from optkit.report.render.card import named, render, write_card


def metadata(report) -> dict:
    return ModelCard(render(report)).data.to_dict()


def test_metadata(report):
    found = metadata(report)
    results = found.pop("model-index")
    assert found == {
        "library_name": "optimum",
        "pipeline_tag": "text-classification",
        "base_model": "org/base",
        "base_model_relation": "quantized",
        "license": "mit",
        "datasets": ["glue"],
        "metrics": ["accuracy"],
        "tags": ["openvino", "optkit", "int8", "pruned", "sparse"],
    }
    where = {"type": "glue", "name": "glue sst2", "config": "sst2"}
    task = {"type": "text-classification"}
    assert results == [
        {
            "name": "small",
            "results": [
                {
                    "task": task,
                    "dataset": where | {"split": split},
                    "metrics": [{"type": "accuracy", "name": "accuracy", "value": value}],
                }
                for split, value in (("validation", 0.885), ("test", 0.89))
            ],
        }
    ]


def test_metadata_of_what_is_not_quantized_or_not_known(report):
    report |= {"quantized": False, "origin": {"base": [], "local": True, "datasets": []}}
    for split in report["evaluate"]["splits"].values():
        split["openvino"] = split.pop("int8")
    report["task"]["dataset"] = {"type": "files", "files": {"validation": "dev.tsv", "test": "test.tsv"}}
    found = metadata(report)
    assert not {"license", "base_model", "base_model_relation", "datasets"} & set(found) and "int8" not in found["tags"]
    assert [result["dataset"]["name"] for result in found["model-index"][0]["results"]] == ["dev.tsv", "test.tsv"]
    text = render(report)
    assert "as an fp32 OpenVINO IR, made from a local checkpoint with" in text
    assert "is not known to the run that made this card. Look it up" in text
    report["origin"]["base"] = ["org/base"]
    assert metadata(report)["base_model_relation"] == "finetune"
    assert "made from a local checkpoint of [org/base](https://huggingface.co/org/base)" in render(report)


def test_the_text_says_what_was_measured_and_where(report):
    text = render(report)
    for line in (
        "| model | accuracy, validation (1,000) | lost, validation | accuracy, test (100) | lost, test |",
        "| dense | 90.00 (87.98 to 91.71) | - | 91.00 (83.77 to 95.19) | - |",
        "| **this model**, OpenVINO | 88.50 (86.37 to 90.33) | 1.50 | 89.00 (81.37 to 93.75) | 2.00 |",
        "| int8 IR | - | 23.4 MB |",
        "|  | int8, OpenVINO | 2.50 | 3.25 |",
        "On A CPU, 2 cores, Linux.",
        "| Linear weights of the encoder | 1,664 | 2,048 | 81.25% |",
        "![Zeros in each layer](sparsity.svg)",
        "That of the base model: mit.",
        "# Resolved recipe.",
    ):
        assert line in text.splitlines()
    assert f"(structure: 1x4).\n\n{parse_report(report).verdict}\n\n## Accuracy" in text
    assert "suggest. Dense is the model that pruning started from." in text
    assert "81.25% of the encoder's linear weights are exactly zero (structure: 1x4)." in text
    assert text.endswith("\n") and "\n\n\n" not in text and "{{" not in text and "None" not in text


def test_what_was_not_measured_is_not_said(report):
    report["benchmark"] = None
    for layer in report["sparsity"]["pruned"]["layers"]:
        layer["structure"] = "dense"
    report["evaluate"] |= {"baseline": None, "drop": None}
    for split in report["evaluate"]["splits"].values():
        del split["dense"]
    text = render(report)
    assert "## Speed\n\nNot measured.\n" in text and " ms" not in text and "CPU, 2 cores" not in text
    assert (
        "sparsity.svg" not in text
        and "exactly zero" not in text
        and "there is no baseline to compare accuracy with" in text
    )


def test_another_checkpoint_as_baseline_is_not_named_by_its_path(report):
    report["evaluate"]["baseline"] = "/home/somebody/model"
    assert "Dense is a checkpoint that the recipe names." in render(report) and "somebody" not in render(report)


def test_a_licence_with_a_name_and_a_link(report):
    report["origin"] |= {
        "license": "other",
        "license_name": "odd",
        "license_link": "https://huggingface.co/o/b/blob/main/L",
    }
    assert "That of the base model: [odd](https://huggingface.co/o/b/blob/main/L)." in render(report)
    assert metadata(report)["license_name"] == "odd"
    report["origin"] = {"base": [], "local": False, "datasets": []}
    assert "The run began with random weights: no licence comes with a base model." in render(report)


def test_a_name_takes_the_place_of_the_nameless_one_and_nothing_else(report):
    text = render(report)
    assert named(text, "org/tiny") == render(report, "org/tiny") and text.count("ORG/NAME") == 4
    assert named(text.replace("## Limits", "## Limits, by hand"), "org/tiny").count("by hand") == 1


def test_what_int8_left_out_and_formats_beside_are_told(report):
    report["export"] = {"quantization": {"method": "int8", "fp32": ["classifier"]}}
    report["evaluate"]["splits"]["test"]["int8 onnx"] = {"accuracy": 0.875}
    text = render(report)
    assert "## Quantization\n\nint8 weights and activations; in fp32: `classifier`.\n\n## Sparsity" in text
    assert "| int8 ONNX | - | - | 87.50 (79.60 to 92.62) | 3.50 |" in text.splitlines()


def test_backticks_in_a_recipe_do_not_end_its_block(report):
    report["resolved_recipe"] = "description: |\n  ```\n  code\n"
    assert "````yaml\ndescription: |\n  ```\n  code\n````\n" in render(report)


def test_what_the_hub_would_refuse_is_one_line(report, monkeypatch):
    def refuse(*_, **__):
        raise ValueError("no such licence")

    monkeypatch.setattr(ModelCard, "from_template", refuse)
    with pytest.raises(OptkitError, match=r"README.md: the Hub would refuse the card's metadata"):
        render(report)


def test_the_chart_is_there_only_for_a_pruned_model(report, tmp_path):
    write_card(report, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"README.md", "sparsity.svg"}
    assert "<title>small: zeros in each layer</title>" in (tmp_path / "sparsity.svg").read_text()
    report["sparsity"]["pruned"]["layers"][0]["structure"] = "dense"
    write_card(report, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"README.md"}


@pytest.mark.parametrize(
    ("task", "pair", "holds"),
    [
        ("text-classification", True, 'answer({"text": "A sentence.", "text_pair": "Another one."})'),
        (
            "question-answering",
            False,
            'model(**processor("Whose sentence is it?", "It is a sentence of your own.", return',
        ),
        ("feature-extraction", False, 'SentenceTransformer("ORG/NAME", backend="openvino")'),
        (
            "text-ranking",
            True,
            'CrossEncoder("ORG/NAME", backend="openvino")\nprint(model.predict([("What is it?", "It is a passage',
        ),
        ("image-classification", False, 'pipeline("image-classification", model=model, image_processor=processor)'),
    ],
)
def test_snippets_of_other_tasks_are_python(report, task, pair, holds):
    import re

    report["task"] |= {"type": task, "pair": pair}
    text = render(report)
    assert holds in text
    for snippet in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        compile(snippet, "snippet", "exec")
