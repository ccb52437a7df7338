"""What stages make of tasks whose outputs are not one row of logits an example."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

import optkit
from optkit.adapters import passes
from optkit.data.generators.entities import TAGS
from optkit.errors import PlanError
from optkit.models import load_model
from optkit.models.wordpiece import train_wordpiece
from optkit.pipeline.context import RunContext
from optkit.pipeline.validate import make_plan
from optkit.progress import Reporter
from optkit.recipe import load_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
SMALL = [
    *(f"model.config.{name}={size}" for name, size in {"hidden_size": 32, "intermediate_size": 64}.items()),
    *("model.config.num_attention_heads=2", "task.dataset.train=160", "task.dataset.validation=20"),
    *("evaluate.baseline=none", "evaluate.max_drop=null", "quantize=null", "benchmark=null"),
]


@pytest.mark.parametrize("name", ["tiny_ner_80sparse", "tiny_qa_80sparse"])
def test_a_model_has_the_score_that_it_was_chosen_for(name, tmp_path):
    # Batches by length, so that answers in any other order than that of the examples would be scored as wrong ones.
    sets = [*SMALL, "train.hold_out=48", "train.num_train_epochs=4", "train.train_sampling_strategy=group_by_length"]
    path = RECIPES / f"{name}.yaml"
    optkit.run(path, sets, output=tmp_path / "run", stop_after="train")
    stages = json.loads((tmp_path / "run" / "manifest.json").read_text(encoding="utf-8"))["stages"]
    context = RunContext(load_recipe(path, sets), None, Reporter(quiet=True))
    model = load_model(tmp_path / "run" / "pruned", context.data.head, seed=0)
    outputs = passes.predict(model, context.data.hold_out, context.task, context.data.tokenizer)
    references = context.task.references(context.data.hold_out_rows, context.data.head)
    scores = context.task.score(
        context.task.decode(outputs, context.data.hold_out, context.data.head), references, context.data.head
    )
    chosen = stages["train"]["facts"]["chosen"]
    assert chosen["score"] == pytest.approx(scores[chosen["metric"]], abs=1e-9) and chosen["score"] > 0
    # A long text is several examples, which the plan counts as the training does.
    steps = math.ceil(len(context.data.encode("train")) / 16) * 4
    assert stages["plan"]["facts"]["steps"] == stages["train"]["facts"]["steps"] == steps
    assert steps > math.ceil(112 / 16) * 4 or name == "tiny_ner_80sparse"


@pytest.fixture(scope="module")
def stranger(tmp_path_factory) -> Path:
    """A model that tags names, with a tokenizer that it learned from other words."""
    from transformers import BertConfig, BertForTokenClassification

    folder = tmp_path_factory.mktemp("stranger")
    tokenizer = train_wordpiece(["quite other words"], vocab_size=64, max_length=64)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    config.id2label = dict(enumerate(TAGS))
    BertForTokenClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_what_a_teacher_beside_the_student_cannot_do(stranger, tmp_path):
    (tmp_path / "texts.txt").write_text("a text\n", encoding="utf-8")
    sets = [*SMALL, f"distill={{teacher: {stranger}, data: {{files: {tmp_path / 'texts.txt'}}}}}"]
    with pytest.raises(PlanError) as raised:
        make_plan(load_recipe(RECIPES / "tiny_ner_80sparse.yaml", sets))
    first, second = raised.value.problems
    assert first == "distill.data: token-classification is taught on examples with answers alone: remove it"
    assert second.startswith(f"distill.teacher: {stranger} has another tokenizer than the student, so their tokens do")
    assert "distil logits alone" not in second

    sets = [*SMALL, f"distill={{teacher: {stranger}, pooled: 1.0}}"]
    with pytest.raises(PlanError) as raised:
        make_plan(load_recipe(RECIPES / "tiny_ner_80sparse.yaml", sets))
    said = "distill.pooled: states of sentences are not kept for token-classification: remove it"
    assert raised.value.problems[0] == said

    sets = [*SMALL, f"distill={{teacher: [{stranger}, {stranger}]}}"]
    with pytest.raises(PlanError) as raised:
        make_plan(load_recipe(RECIPES / "tiny_ner_80sparse.yaml", sets))
    assert raised.value.problems == [
        "distill.teacher: for token-classification a teacher runs beside the student, so there can be one alone: name "
        "one"
    ]


def test_metrics_that_the_labels_do_not_fit_are_planned_for(tmp_path):
    rows = [{"tokens": ["a", "b"], "ner_tags": ["NOUN", "VERB"]}] * 4
    (tmp_path / "a.json").write_text(json.dumps(rows), encoding="utf-8")
    files = ", ".join(f"{split}: {tmp_path / 'a.json'}" for split in ("train", "validation"))
    sets = [text for text in SMALL if "dataset" not in text] + [f"task.dataset={{files: {{{files}}}}}"]
    with pytest.raises(PlanError) as raised:
        make_plan(load_recipe(RECIPES / "tiny_ner_80sparse.yaml", sets))
    assert len(raised.value.problems) == 1 and "entity_f1 needs tags such as B-PER" in raised.value.problems[0]
