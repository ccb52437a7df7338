"""Baked IRs in other packages: ``register`` lets their cores load them, and they compute what the portable IR does."""

from __future__ import annotations

import warnings
from pathlib import Path

import capabilities
import numpy as np
import pytest
from capabilities import need
from test_compiling import CONFIG, inputs, plain, programs

from optkit import runtime
from optkit.errors import OptkitError
from optkit.ir.io import import_openvino, read_model
from optkit.runtime import extension as library
from optkit.runtime import registration

TEXTS = ["the soup was fine", "of day 3 the river", "a song", "grim letter of day 7 was sour . the garden"]


@pytest.fixture
def registered(extension):
    runtime.register()
    yield
    runtime.unregister()


@pytest.fixture(scope="module")
def baked(extension, encoder_folder, tmp_path_factory) -> Path:
    return runtime.bake(encoder_folder, tmp_path_factory.mktemp("plain") / "baked").xml.parent


def package(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return capabilities.package(name)


def test_cores_old_and_new_load_a_baked_ir_until_it_is_undone(extension, baked, encoder_folder):
    core_class = import_openvino().Core
    original, old, idle = core_class.read_model, core_class(), core_class()
    runtime.register()
    wrapper = core_class.read_model
    runtime.register()
    assert core_class.read_model is wrapper is not original
    expected = plain(read_model(encoder_folder))(inputs(2, 9))[0]
    for core in (old, core_class()):
        for model in (baked / "openvino_model.xml", core.read_model(baked / "openvino_model.xml")):
            compiled = core.compile_model(model, "CPU", CONFIG)
            assert programs(compiled) >= 1
            np.testing.assert_allclose(compiled(inputs(2, 9))[0], expected, atol=0.05)
    runtime.unregister()
    runtime.unregister()
    assert core_class.read_model is original
    for core in (idle, core_class()):
        with pytest.raises(RuntimeError, match="Program"):
            core.read_model(baked / "openvino_model.xml")
    assert old.read_model(baked / "openvino_model.xml")


def test_who_wraps_the_methods_afterwards_keeps_that(extension, baked, monkeypatch):
    core_class, seen = import_openvino().Core, []
    original = core_class.read_model
    runtime.register()
    inner = core_class.read_model
    try:
        core_class.read_model = lambda self, *args: seen.append(args) or inner(self, *args)
        runtime.unregister()
        with pytest.raises(RuntimeError, match="Program"):
            core_class().read_model(baked / "openvino_model.xml")
        runtime.register()
        assert core_class().read_model(baked / "openvino_model.xml") and len(seen) == 2
    finally:
        core_class.read_model = inner
        runtime.unregister()
    assert core_class.read_model is original


def test_without_the_library_one_line_says_so_and_nothing_is_changed(monkeypatch, tmp_path):
    monkeypatch.setattr(library, "FOLDER", tmp_path)
    methods = [getattr(import_openvino().Core, name) for name in registration._METHODS]
    with pytest.raises(OptkitError, match="the sparse runtime was not built|is for Linux on x86-64"):
        runtime.register()
    assert [getattr(import_openvino().Core, name) for name in registration._METHODS] == methods


def test_optimum_intel_loads_it(registered, sentence_folders):
    need("optimum-intel")
    from optimum.intel import OVModelForSequenceClassification
    from transformers import AutoTokenizer

    portable, baked = sentence_folders["text-classification"]
    batch = AutoTokenizer.from_pretrained(portable)(TEXTS, padding=True, return_tensors="pt")
    models = [
        OVModelForSequenceClassification.from_pretrained(str(each), ov_config=CONFIG) for each in (portable, baked)
    ]
    expected, found = (model(**batch).logits.numpy() for model in models)
    assert programs(models[1].request) >= 1
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.ptp(expected) > 1e-2


@pytest.mark.parametrize("task", ["feature-extraction", "text-classification"])
def test_sentence_transformers_loads_it(registered, sentence_folders, task):
    library = package("sentence-transformers")

    def answers(folder):
        options = {"backend": "openvino", "device": "cpu", "model_kwargs": {"ov_config": CONFIG}}
        if task == "feature-extraction":
            model = library.SentenceTransformer(str(folder), **options)
            return model, model.encode(TEXTS)
        model = library.CrossEncoder(str(folder), **options)
        return model, model.predict([(TEXTS[0], text) for text in TEXTS])

    (_, expected), (model, found) = map(answers, sentence_folders[task])
    assert programs(model[0].model.request) >= 1
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(expected - expected[0]).max() > 1e-3


def test_openvino_genai_loads_it(registered, sentence_folders):
    genai = package("genai")
    capabilities.need("tokenizers")

    def embed(folder, **options):
        pipeline = genai.TextEmbeddingPipeline(folder, "CPU", normalize=True, **options, **CONFIG)
        return np.array(pipeline.embed_documents(TEXTS))

    portable, baked = sentence_folders["feature-extraction"]
    for pooling in ("MEAN", "CLS", "LAST_TOKEN"):
        options = {"pooling_type": getattr(genai.TextEmbeddingPipeline.PoolingType, pooling)}
        found, expected = embed(baked, **options), embed(portable, **options)
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert np.abs(expected - expected[0]).max() > 1e-2
    fixed = {"batch_size": len(TEXTS), "max_length": 16, "pad_to_max_length": True}
    np.testing.assert_allclose(embed(baked, **fixed), embed(portable, **fixed), atol=1e-5)

    def rank(folder):
        pipeline = genai.TextRerankPipeline(folder, "CPU", top_n=len(TEXTS), **CONFIG)
        return dict(pipeline.rerank(TEXTS[0], TEXTS))

    found, expected = (rank(folder) for folder in reversed(sentence_folders["text-classification"]))
    assert list(found) == list(expected)
    np.testing.assert_allclose(list(found.values()), list(expected.values()), atol=1e-5)
    assert np.ptp(list(expected.values())) > 1e-3


def test_what_openvino_genai_refuses_is_one_line(extension, tmp_path):
    from optkit.adapters.genai import add_extension

    package("genai")
    (tmp_path / "other.so").write_text("no library")
    with pytest.raises(OptkitError, match="other.so: openvino-genai refuses it: .*"):
        add_extension(tmp_path / "other.so")
