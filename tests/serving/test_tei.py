"""The interface of Text Embeddings Inference: right answers to what its clients send, in its shapes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pytestmark = pytest.mark.slow

#: Padding in a batch changes the order of sums.
CLOSE = 1e-4


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_predict(client, classifier, alone, softmax):
    http, inputs = client(classifier), ["the soup was fine", ("the soup", "a song")]
    single = http.post("/predict", json={"inputs": inputs[0]}).json()
    batch = http.post("/predict", json={"inputs": [[inputs[0]], list(inputs[1])], "truncate": True}).json()
    pair = http.post("/predict", json={"inputs": list(inputs[1])}).json()
    raw = http.post("/predict", json={"inputs": inputs[0], "raw_scores": True}).json()
    assert batch == [single, pair]
    for (logits, _), found in zip(alone(classifier, inputs), batch):
        expected = dict(zip(("food", "music", "travel"), softmax(logits)))
        assert [each["label"] for each in found] == sorted(expected, key=lambda label: -expected[label])
        assert {each["label"]: each["score"] for each in found} == pytest.approx(expected, abs=CLOSE)
        assert all(set(each) == {"label", "score"} for each in found)
    logits = dict(zip(("food", "music", "travel"), alone(classifier, inputs[:1])[0][0]))
    assert {each["label"]: each["score"] for each in raw} == pytest.approx(logits, abs=CLOSE)


@pytest.mark.parametrize("normalize", [True, False])
def test_embed(client, embedder, alone, texts, normalize):
    inputs = texts[:8]
    found = client(embedder).post("/embed", json={"inputs": inputs, "normalize": normalize}).json()
    for (tokens, _), vector in zip(alone(embedder, inputs), found, strict=True):
        expected = tokens.mean(0)
        expected = expected / np.linalg.norm(expected) if normalize else expected
        np.testing.assert_allclose(vector, expected, atol=CLOSE)


def test_embed_takes_token_ids_and_fewer_dimensions(client, embedder):
    http = client(embedder)
    [whole] = http.post("/embed", json={"inputs": "the soup was fine"}).json()
    [cut] = http.post("/embed", json={"inputs": ["the soup was fine"], "dimensions": 8}).json()
    np.testing.assert_allclose(cut, np.array(whole[:8]) / np.linalg.norm(whole[:8]), atol=CLOSE)
    from tokenizers import Tokenizer

    ids = Tokenizer.from_file(str(embedder / "tokenizer.json")).encode("the soup was fine").ids
    for sent in (ids, [ids]):
        np.testing.assert_allclose(http.post("/embed", json={"inputs": sent}).json(), [whole], atol=CLOSE)


def test_rerank(client, reranker, alone):
    http, query, texts = client(reranker), "the soup", ["a fine day", "poor soup", "a grim song was great"]
    logits = np.array([output[0] for output, _ in alone(reranker, [(query, text) for text in texts])])
    best_first = list(np.argsort(-logits))
    found = http.post("/rerank", json={"query": query, "texts": texts, "return_text": True}).json()
    assert [each["index"] for each in found] == best_first
    assert [each["text"] for each in found] == [texts[i] for i in best_first]
    assert [each["score"] for each in found] == pytest.approx(sigmoid(logits)[best_first], abs=CLOSE)
    raw = http.post("/rerank", json={"query": query, "texts": texts, "raw_scores": True}).json()
    assert [each["score"] for each in raw] == pytest.approx(logits[best_first], abs=CLOSE)
    assert all(set(each) == {"index", "score"} for each in raw)


@pytest.mark.parametrize(
    ("problem", "expected"), [(None, sigmoid), ("regression", lambda x: x), ("multi_label_classification", sigmoid)]
)
def test_the_problem_says_what_a_score_is(client, changed, reranker, alone, problem, expected):
    folder = changed(reranker, problem_type=problem)
    [(logits, _)] = alone(reranker, ["the soup"])
    [found] = client(folder).post("/predict", json={"inputs": "the soup"}).json()
    assert found == {"label": "LABEL_0", "score": pytest.approx(expected(logits[0]), abs=CLOSE)}


def test_entities(client, tagger, alone, softmax):
    from transformers import AutoTokenizer

    text = "the soup song was unfine garden"
    [found] = client(tagger).post("/predict", json={"inputs": [[text]]}).json()
    [(logits, _)] = alone(tagger, [text])
    encoded = AutoTokenizer.from_pretrained(tagger)(text, return_offsets_mapping=True)
    words, expected = encoded.word_ids(), []
    for word in range(len(text.split())):
        token = words.index(word)
        shares, last = softmax(logits[token]), len(words) - 1 - words[::-1].index(word)
        start, end = encoded["offset_mapping"][token][0], encoded["offset_mapping"][last][1]
        best = int(shares.argmax())
        if best:
            joins = best == 2 and expected and expected[-1]["word_after"] == word
            if joins:
                expected[-1] |= {"end": end, "word_after": word + 1}
                expected[-1]["scores"].append(shares[best])
            else:
                expected.append({"start": start, "end": end, "word_after": word + 1, "scores": [shares[best]]})
    assert expected
    assert [(each["start"], each["end"]) for each in found] == [(each["start"], each["end"]) for each in expected]
    for each, right in zip(found, expected):
        assert each["entity_group"] == "PER" and each["word"] == text[right["start"] : right["end"]]
        assert each["score"] == pytest.approx(np.mean(right["scores"]), abs=CLOSE)


def test_info(client, classifier, embedder, reranker):
    http = client(classifier, max_texts=7)
    found = http.get("/info").json()
    assert found["model_id"] == "text-classification" and found["max_client_batch_size"] == 7
    names = {"0": "food", "1": "music", "2": "travel"}
    assert found["model_type"] == {"classifier": {"id2label": names, "label2id": {v: int(k) for k, v in names.items()}}}
    assert (found["max_input_length"], found["auto_truncate"], found["model_dtype"]) == (64, True, "f32")
    assert client(embedder).get("/info").json()["model_type"] == {"embedding": {"pooling": "mean"}}
    assert set(client(reranker).get("/info").json()["model_type"]) == {"reranker"}


def test_each_of_many_clients_gets_its_own_answer(client, classifier, alone, softmax, texts):
    http = client(classifier, max_batch=8)

    def ask(text):
        return http.post("/predict", json={"inputs": text}).json()

    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(ask, texts))
    [listed] = [http.post("/predict", json={"inputs": [[text] for text in texts]}).json()]
    for (logits, _), *answers in zip(alone(classifier, texts), found, listed, strict=True):
        for answer in answers:
            by_label = {each["label"]: each["score"] for each in answer}
            assert list(map(by_label.get, ("food", "music", "travel"))) == pytest.approx(softmax(logits), abs=CLOSE)


def test_several_models_are_asked_by_name(client, classifier, embedder, reranker):
    http = client({"topics": classifier, "search": embedder, "ranks": reranker})
    assert len(http.post("/embed", json={"inputs": "a"}).json()[0]) == 32
    assert len(http.post("/models/topics/predict", json={"inputs": "a"}).json()) == 3
    assert len(http.post("/models/ranks", json={"query": "a", "texts": ["b", "c"]}).json()) == 2
    assert http.get("/models/search/info").json()["model_id"] == "search"
    answer = http.post("/predict", json={"inputs": "a"})
    assert answer.status_code == 422 and "several models are served" in answer.json()["error"]
    assert http.post("/models/nope/predict", json={"inputs": "a"}).status_code == 404
    answer = http.post("/models/topics/embed", json={"inputs": "a"})
    assert (answer.status_code, answer.json()["error_type"]) == (424, "Backend")
    assert answer.json()["error"] == "model is not an embedding model"


def test_the_root_does_what_the_model_is_for(client, classifier, embedder, reranker):
    assert client(classifier).post("/", json={"inputs": "a", "parameters": {}}).json()[0]["label"]
    found = client(embedder).post("/", json={"inputs": ["a", "b"], "normalize": False}).json()
    assert np.shape(found) == (2, 32) and abs(np.linalg.norm(found[0]) - 1) > 0.1
    assert client(reranker).post("/", json={"query": "a", "texts": ["b"]}).json()[0]["index"] == 0
    answer = client(embedder).post("/", json={"inputs": 3})
    assert answer.status_code == 422 and answer.json()["error"].startswith("inputs: ")


def test_the_clients_of_the_hub(serving_url, embedder, alone, monkeypatch):
    from huggingface_hub import InferenceClient, constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # the server is on this machine
    with serving_url(embedder, "--truncate") as url:
        found = InferenceClient(model=url).feature_extraction(["the soup was fine", "poor"], normalize=False)
    for (tokens, _), vector in zip(alone(embedder, ["the soup was fine", "poor"]), found, strict=True):
        np.testing.assert_allclose(vector, tokens.mean(0), atol=CLOSE)
