from __future__ import annotations

import json
from pathlib import Path

import capabilities
import numpy as np
import pytest
from capabilities import need

from optkit.adapters import companions
from optkit.adapters import sentence_transformers as adapter
from optkit.adapters.sentence_transformers import FILES, MODULES, POOLING, Embedding, read, write
from optkit.errors import PlanError

NEW = {"width": 32, "max_length": 20, "source": None, "revision": "main"}


def change(folder, file, **values):
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, Embedding(), **NEW)
    return tmp_path


@pytest.mark.parametrize("how", [Embedding(), Embedding("cls", False), Embedding("lasttoken"), Embedding("max", False)])
def test_what_is_written_reads_back(tmp_path, how):
    assert read(str(tmp_path)) is None
    write(tmp_path, how, **NEW)
    assert read(str(tmp_path)) == how


def test_a_models_own_files_are_kept_to_the_byte(folder, tmp_path):
    change(folder, "config_sentence_transformers.json", default_prompt_name="query", prompts={"query": "query: "})
    (folder / POOLING).write_text('{"embedding_dimension":   32, "pooling_mode": "cls"}')
    (tmp_path / "copy").mkdir()
    write(tmp_path / "copy", Embedding(), **NEW | {"source": str(folder)})
    assert read(str(tmp_path / "copy")) == Embedding("cls", True, "query: ")
    (tmp_path / "again").mkdir()
    companions.copy_companions(tmp_path / "copy", tmp_path / "again")
    for file in FILES:
        assert (tmp_path / "again" / file).read_bytes() == (folder / file).read_bytes()


@pytest.mark.parametrize(
    ("file", "values", "message"),
    [
        (POOLING, {"pooling_mode_max_tokens": True}, "pools by mean and max: only mean, cls, lasttoken, max, "),
        (POOLING, {"pooling_mode": "attention"}, "pools by attention: only"),
        ("config_sentence_transformers.json", {"model_type": "SparseEncoder"}, "is a SparseEncoder"),
        ("config_sentence_transformers.json", {"default_prompt_name": "q"}, "has no prompt 'q'"),
    ],
)
def test_what_is_not_built_is_refused_in_a_line(folder, file, values, message):
    change(folder, file, **values)
    with pytest.raises(PlanError) as raised:
        read(str(folder), key="distill.teacher")
    assert str(raised.value).startswith(f"distill.teacher: {folder} ") and message in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[{}]", "modules.json is no list of modules"),
        ("5", "modules.json is no list of modules"),
        ("{", "modules.json cannot be read"),
        (
            '[{"path": "", "type": "sentence_transformers.models.Transformer"}, {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}, {"path": "2_Dense", "type": "sentence_transformers.models.Dense"}]',
            "is made of Transformer, Pooling, Dense: only",
        ),
        (
            '[{"path": "0_Transformer", "type": "sentence_transformers.models.Transformer"}, {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]',
            "keeps its modules in '0_Transformer' and '1_Pooling'",
        ),
    ],
)
def test_other_modules_are_refused_in_a_line(folder, text, message):
    (folder / MODULES).write_text(text)
    with pytest.raises(PlanError) as raised:
        read(str(folder))
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_a_folder_without_its_folders_is_told(folder):
    (folder / POOLING).unlink()
    with pytest.raises(PlanError, match="has no 1_Pooling/config.json: copy the whole model, folders included"):
        read(str(folder))


def test_sentence_transformers_reads_what_is_written(tiny_checkpoint, tmp_path):
    package = capabilities.package("sentence-transformers")
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = AutoModel.from_pretrained(tiny_checkpoint), AutoTokenizer.from_pretrained(tiny_checkpoint)
    texts = ["the soup of day 3 was fine .", "poor", ""]
    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    from optkit.tasks.feature_extraction.embeddings import EmbeddingObjective

    for how in (Embedding(), Embedding("cls", False), Embedding("max")):
        folder = tmp_path / how.pooling
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        write(folder, how, **NEW)
        loaded = package.SentenceTransformer(str(folder), device="cpu")
        assert loaded.max_seq_length == 20
        ours = EmbeddingObjective(how, 1).outputs(model(**inputs), inputs)[:, 0]
        np.testing.assert_allclose(loaded.encode(texts), ours.detach().numpy(), atol=1e-6)


def test_from_the_hub_the_pooling_comes_along(folder, hub, hub_commands):
    """Whatever else lies in folders stays there."""
    from hub_server import Repository

    change(folder, POOLING, pooling_mode="cls")
    files = {file: (folder / file).read_bytes() for file in FILES}
    files |= {"config.json": b"{}", "model.safetensors": b"weights", "onnx/config.json": b"{}", "onnx/model.onnx": b""}
    hub.repositories["org/encoder"] = Repository(False)
    hub.repositories["org/encoder"].commit(files)
    code = """
from optkit.adapters import hub, sentence_transformers
found = hub.model_folder("org/encoder", key="model.name")
print(sorted(str(path.relative_to(found)) for path in found.rglob("*") if path.is_file()))
print(sentence_transformers.read("org/encoder"))
"""
    done = hub_commands(code=code)
    assert done.code == 0, done.err
    names, said = done.out.splitlines()
    assert names == str(sorted([*FILES, "config.json", "model.safetensors"])) and said == "cls and normalised"


def test_the_package_is_not_needed():
    assert "import sentence_transformers" not in Path(adapter.__file__).read_text(encoding="utf-8")


def with_length(folder, **values):
    (folder / "sentence_bert_config.json").write_text(json.dumps(values))


def test_lower_case_and_length_are_read(folder):
    plain = {"transformer_task": "feature-extraction", "module_output_name": "token_embeddings"}
    plain |= {"modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}}
    for values, lower, length in (
        ({"max_seq_length": 24, "do_lower_case": True}, True, 24),
        (plain, False, None),
        ({"tokenizer_args": {"model_max_length": 12}, "model_args": {"add_pooling_layer": False}}, False, 12),
    ):
        with_length(folder, **values)
        found = read(str(folder))
        assert (found.lower, found.max_length) == (lower, length)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"transformer_task": "fill-mask"}, "sets transformer_task, which is not built"),
        ({"processing_kwargs": {"text": {"padding": "max_length"}}}, "sets processing_kwargs, which is not built"),
        ({"tokenizer_args": {"padding_side": "left"}}, "sets processor_kwargs.padding_side, which is not built"),
        ({"max_seq_length": "long"}, "has a max_seq_length of 'long': correct the file"),
    ],
)
def test_settings_of_the_encoder_that_are_not_built_are_refused(folder, values, message):
    with_length(folder, **values)
    with pytest.raises(PlanError) as raised:
        read(str(folder))
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_modules_with_code_of_their_own_are_refused(folder):
    (folder / MODULES).write_text('[{"path": "", "type": "custom_st.Transformer"}]')
    with pytest.raises(PlanError, match="is made of custom_st.Transformer: only Transformer and Pooling"):
        read(str(folder))


def test_another_length_is_written_beside_what_the_model_says(folder, tmp_path):
    with_length(folder, max_seq_length=64, do_lower_case=True)
    (tmp_path / "shorter").mkdir()
    write(tmp_path / "shorter", Embedding(), **NEW | {"source": str(folder)})
    written = json.loads((tmp_path / "shorter" / "sentence_bert_config.json").read_text())
    assert written == {"max_seq_length": 20, "do_lower_case": True}


@pytest.mark.parametrize("pooling", adapter.POOLINGS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_each_pooling_is_that_of_sentence_transformers(pooling, side):
    need("sentence-transformers")
    import torch
    from sentence_transformers.sentence_transformer.modules import pooling as package

    from optkit.tasks.feature_extraction.embeddings import pool

    tokens = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]])
    mask = mask.flip(1) if side == "left" else mask
    expected = package.Pooling(4, pooling_mode=pooling)({"token_embeddings": tokens, "attention_mask": mask})
    torch.testing.assert_close(pool(tokens, mask, pooling), expected["sentence_embedding"])
