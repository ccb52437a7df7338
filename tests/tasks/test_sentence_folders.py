"""Start models that are folders of sentence-transformers: what their files say of texts holds from the data to the
result, which gives in that package the score that the report says.
"""

import json
import warnings

import capabilities
import pytest
from scipy.stats import spearmanr
from split_scores import split_scores
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

import optkit
from optkit.adapters import sentence_transformers
from optkit.adapters.sentence_transformers import Embedding
from optkit.errors import PlanError
from optkit.models import load_teacher, load_tokenizer
from optkit.models.head import Head
from optkit.pipeline.validate import make_plan
from optkit.recipe import TeacherSpec, load_recipe
from optkit.recipe.schema import ModelSpec
from optkit.recipe.task import TaskSpec
from optkit.tasks import get_task

WORDS = "soup song table garden river letter fine lovely great poor awful grim query: the was of".split()
LENGTH = 9


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model whose vocabulary has lower case alone, with a prompt, cut at 9 tokens."""
    import torch

    vocabulary = {token: i for i, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    ends = [("[CLS]", 2), ("[SEP]", 3)]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    processor = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **names)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = BertModel(BertConfig(vocab_size=len(vocabulary), max_position_embeddings=64, **sizes))
    path = tmp_path_factory.mktemp("sentences")
    model.save_pretrained(path)
    processor.save_pretrained(path)
    sentence_transformers.write(path, Embedding(), width=16, max_length=LENGTH, source=None, revision="main")
    change(path, "sentence_bert_config.json", do_lower_case=True)
    change(path, "config_sentence_transformers.json", prompts={"q": "Query: "}, default_prompt_name="q")
    return path


def change(folder, file, **values):
    (folder / file).write_text(json.dumps(json.loads((folder / file).read_text()) | values))


def pairs(count):
    words = [word.title() for word in WORDS[:12]]
    texts = [" ".join(["The", *(words[(i * k) % 12] for k in range(1, 3 + i % 11))]) for i in range(1, count + 2)]
    return [{"sentence1": a, "sentence2": b, "score": i % 5 / 4} for i, (a, b) in enumerate(zip(texts, texts[1:]))]


def recipe(tmp_path, folder, **task):
    files = {}
    for split, count in (("train", 24), ("validation", 20)):
        files[split] = str(tmp_path / f"{split}.jsonl")
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs(count)))
    task = {"type": "feature-extraction", "text": ["sentence1", "sentence2"], "label": "score"} | task
    values = {"optkit": 1, "model": {"name": str(folder)}, "task": task | {"dataset": {"files": files}}}
    values |= {"prune": [{"schedule": {"to": 0.3}}], "evaluate": {"baseline": "none"}}
    path = tmp_path / "sentences.json.yaml"
    path.write_text(json.dumps(values))
    return path


@pytest.mark.parametrize("task", [{"max_length": 64}, {"max_length": 7}])
def test_the_result_scores_in_sentence_transformers_as_the_report_says(folder, tmp_path, task):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        package = capabilities.package("sentence-transformers")
    report = optkit.run(recipe(tmp_path, folder, **task), output=tmp_path / "run")
    scores = split_scores(report)
    rows = pairs(20)
    for where, name, options in (("pruned", "pruned", {}), ("openvino", "openvino", {"backend": "openvino"})):
        model = package.SentenceTransformer(str(tmp_path / "run" / where), device="cpu", **options)
        assert model.max_seq_length == min(LENGTH, task["max_length"])
        first, second = (model.encode([row[column] for row in rows]) for column in ("sentence1", "sentence2"))
        cosines = (first * second).sum(1)  # of vectors of length 1
        expected = spearmanr(cosines, [row["score"] for row in rows]).statistic
        assert scores[name]["spearman"] == pytest.approx(expected, abs=1e-4)


def test_ids_are_those_of_sentence_transformers(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        package = capabilities.package("sentence-transformers")
    theirs = package.SentenceTransformer(str(folder), device="cpu")
    text = "The Soup Was Fine"
    expected = theirs.preprocess(["Query: " + text])["input_ids"][0].tolist()
    assert 1 not in expected  # nothing is unknown in lower case
    spec = TaskSpec(type="feature-extraction", dataset={"files": {"train": "a.tsv"}}, text=["text"], label=[])
    task = get_task(spec, ModelSpec(name=str(folder)))
    import datasets

    rows = datasets.Dataset.from_dict({"text": [text]})
    assert task.encode(rows, task.load_processor(task.model), None)["input_ids"][0] == expected
    # Whoever else reads texts for it: calibration and benchmarks of a folder, and a teacher.
    assert load_tokenizer(folder)("Query: " + text)["input_ids"] == expected
    _, processor, _ = load_teacher(TeacherSpec(name=str(folder)), Head("AutoModel"))
    assert processor("Query: " + text)["input_ids"] == expected and processor.model_max_length == LENGTH


def test_a_baseline_that_embeds_otherwise_is_told_in_the_plan(folder, tmp_path):
    import shutil

    other = tmp_path / "other"
    shutil.copytree(folder, other)
    change(other, "1_Pooling/config.json", pooling_mode_mean_tokens=False, pooling_mode_cls_token=True)
    path = recipe(tmp_path, folder)
    path.write_text(path.read_text().replace('"baseline": "none"', f'"baseline": "{other}"'))
    with pytest.raises(PlanError) as raised:
        make_plan(load_recipe(path))
    assert f"evaluate.baseline: {other} embeds by cls and normalised and a prompt, the student by mean" in str(
        raised.value
    )
