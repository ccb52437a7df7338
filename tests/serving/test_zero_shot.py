"""Zero-shot classification: the Hub's request, transformers' scores, and the template that the folder keeps."""

from __future__ import annotations

import pytest

from optkit.serving.folder import read_folder
from optkit.tasks.zero_shot_classification.spec import with_template

pytestmark = pytest.mark.slow

LABELS, TEXT = ["soup", "song", "garden"], "the soup was lovely"


@pytest.fixture
def nli(changed, classifier):
    """A model with the outputs of natural language inference, trained with a template of its own."""
    names = {0: "contradiction", 1: "neutral", 2: "entailment"}
    labels = {"id2label": names, "label2id": {name: i for i, name in names.items()}}
    return changed(classifier, **with_template(labels, "the {} was fine"))


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("template", [None, "a day of {}"])
def test_scores_are_those_of_the_pipeline(client, nli, multi_label, template):
    from transformers import AutoTokenizer, pipeline

    from optkit.adapters import optimum

    model = optimum.load(nli, ov_config={"INFERENCE_PRECISION_HINT": "f32"})
    ask = pipeline("zero-shot-classification", model=model, tokenizer=AutoTokenizer.from_pretrained(nli))
    known = ask(TEXT, LABELS, hypothesis_template=template or "the {} was fine", multi_label=multi_label)
    given = {"candidate_labels": LABELS, "hypothesis_template": template, "multi_label": multi_label}
    found = client(nli).post("/", json={"inputs": TEXT, "parameters": given}).json()
    assert [each["label"] for each in found] == known["labels"]
    assert [each["score"] for each in found] == pytest.approx(known["scores"], abs=1e-4)


def test_bodies_and_models_that_do_not_fit(client, nli, classifier, embedder):
    http, good = client(nli), {"candidate_labels": LABELS}
    for parameters in (good | {"candidate_labels": []}, good | {"hypothesis_template": "no place"}):
        assert http.post("/", json={"inputs": TEXT, "parameters": parameters}).status_code == 422
    for folder, said in ((classifier, "none of its outputs is entailment"), (embedder, None)):
        response = client(folder).post("/", json={"inputs": TEXT, "parameters": good})
        # An embedder takes what it is asked for as texts to embed.
        assert (response.status_code == 424 and said in response.text) if said else response.status_code == 200


def test_a_damaged_template_is_the_default(changed, nli):
    assert read_folder(nli).template == "the {} was fine"
    for damaged in ("none", {"zero-shot-classification": {"hypothesis_template": "no place"}}):
        assert read_folder(changed(nli, task_specific_params=damaged)).template == "This example is {}."
