from __future__ import annotations

import datasets
import numpy as np
import pytest
import torch

from optkit.errors import DataError, PlanError
from optkit.models import Head
from optkit.recipe.task import TaskSpec
from optkit.tasks import get_task

AUTO = "AutoModelForQuestionAnswering"
V1, V2 = Head(AUTO), Head(AUTO, unanswerable=True)
NONE = {"text": [], "answer_start": []}


def task(**values):
    given = {"text": ["question", "context"], "label": "answers", "dataset": {"files": {"train": "a.json"}}} | values
    return get_task(TaskSpec(type="question-answering", **given))


def answers(context, *texts):
    return {"text": list(texts), "answer_start": [context.index(text) for text in texts]}


def rows(*examples):
    """Of (question, context, answers)."""
    named = zip(("question", "context", "answers"), zip(*examples, strict=True), strict=True)
    return datasets.Dataset.from_dict({name: list(values) for name, values in named})


SOUP = "the soup of day 7 was fine ."
GOOD = ("what was fine", SOUP, answers(SOUP, "soup"))
SILENT = ("who was grim", SOUP, NONE)


def test_whether_there_are_questions_without_an_answer():
    assert task().head({"train": rows(GOOD), "validation": rows(GOOD)}) == V1
    assert task().head({"train": rows(GOOD), "validation": rows(GOOD, SILENT)}) == V2
    task().check({"train": rows(GOOD, SILENT)})


def test_answers_as_a_list_of_each():
    data = rows(("q", SOUP, [{"text": "soup", "answer_start": 4}, {"text": "the soup", "answer_start": 0}]))
    assert task().references(data, V1) == [["soup", "the soup"]]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (
            {"text": ["soup"], "answer_start": [5]},
            "answer 'soup' is not at character 5 of column 'context', which holds",
        ),
        ({"text": ["."], "answer_start": [-1]}, "answer '.' is not at character -1 of column 'context'"),
        ({"text": ["soup"], "answer_start": [99]}, "answer 'soup' is not at character 99 of column 'context', which"),
        ({"text": ["soup", "day"], "answer_start": [4]}, "column 'answers' holds {'text': ['soup', 'day'], 'answer_st"),
        (
            {"text": [""], "answer_start": [0]},
            "column 'answers' holds {'text': [''], 'answer_start': [0]}: answers are",
        ),
        (
            None,
            "column 'answers' holds None: answers are {text: [...], answer_start: [...]}, empty lists for a question",
        ),
    ],
)
def test_wrong_answers_are_one_line(value, said):
    with pytest.raises(DataError) as raised:
        task().check({"train": rows(GOOD, ("q", SOUP, value))})
    assert len(raised.value.problems) == 1 and raised.value.problems[0].startswith(f"split 'train', row 2: {said}")


def test_a_missing_context():
    data = datasets.Dataset.from_dict({"question": ["a", "b"], "context": [SOUP, None], "answers": [NONE, NONE]})
    with pytest.raises(DataError) as raised:
        task().check({"train": data})
    assert raised.value.problems == ["split 'train', row 2: column 'context' holds no text: remove the row"]


def words(tokenizer, encoded, i):
    return tokenizer.convert_ids_to_tokens(encoded[i]["input_ids"])


def test_an_answer_on_tokens(tokenizer):
    encoded = task().encode(rows(GOOD, SILENT, ("q", SOUP, answers(SOUP, "day 7", "soup"))), tokenizer, V2)
    tokens = words(tokenizer, encoded, 0)
    assert encoded[0]["_null"] == 0 == tokens.index("[CLS]")
    assert encoded[0]["start_positions"] == encoded[0]["end_positions"] == tokens.index("soup")
    assert (encoded[1]["start_positions"], encoded[1]["end_positions"]) == (0, 0)
    # The first answer is the one to learn.
    tokens = words(tokenizer, encoded, 2)
    assert (encoded[2]["start_positions"], encoded[2]["end_positions"]) == (tokens.index("day"), tokens.index("7"))
    assert encoded["_example"][:] == [0, 1, 2] and encoded["_context"][:] == [SOUP] * 3
    first = encoded[0]["_first"]
    characters = [SOUP[a:b] for a, b in zip(encoded[0]["_starts"], encoded[0]["_ends"], strict=True)]
    assert words(tokenizer, encoded, 0)[first:-1] == characters
    batch = task().collator(tokenizer)([encoded[0], encoded[2]])
    assert set(batch) == {"input_ids", "token_type_ids", "attention_mask", "start_positions", "end_positions"}
    without = task().encode(rows(GOOD), tokenizer, None)
    assert without["input_ids"][0] == encoded[0]["input_ids"] and "start_positions" not in without.column_names


LONG = " ".join(f"soup {i}" for i in range(10, 30))  # 40 words of two tokens or so


def test_long_texts_are_read_in_windows_that_share_the_stride(tokenizer):
    sharing = task(max_length=24, stride=6)
    data = rows(GOOD, ("fine", LONG, answers(LONG, "27 soup 28")))
    encoded = sharing.encode(data, tokenizer, V1)
    windows = [i for i, example in enumerate(encoded["_example"]) if example == 1]
    assert len(windows) > 2 and encoded["_context"][:] == [SOUP, LONG, *[None] * (len(windows) - 1)]
    assert all(len(ids) <= 24 for ids in encoded["input_ids"])
    spans = [list(zip(encoded[i]["_starts"], encoded[i]["_ends"], strict=True)) for i in windows]
    assert all(a[-6:] == b[:6] for a, b in zip(spans, spans[1:]))
    assert [*dict.fromkeys(span for window in spans for span in window)][-1][1] == len(LONG)
    # Learned where the whole answer is in the window, and as no answer elsewhere.
    begun, ended = LONG.index("27 soup 28"), LONG.index("27 soup 28") + len("27 soup 28")
    for i, window in zip(windows, spans, strict=True):
        inside = window[0][0] <= begun and ended <= window[-1][1]
        assert (encoded[i]["start_positions"] > 0) == inside == (encoded[i]["end_positions"] > 0)
        if inside:
            first, last = (encoded[i][name] - encoded[i]["_first"] for name in ("start_positions", "end_positions"))
            assert (window[first][0], window[last][1]) == (begun, ended)
    assert any(encoded[i]["start_positions"] for i in windows)


def test_a_question_takes_half_of_the_window_at_most(tokenizer):
    encoded = task(max_length=24, stride=6).encode(rows((LONG, LONG, answers(LONG, "soup"))), tokenizer, V1)
    assert 20 - len(tokenizer("soup 10")["input_ids"]) < encoded[0]["_first"] * 2 <= 24
    assert max(len(ids) for ids in encoded["input_ids"]) == 24 and len(encoded) > 1


def scored(encoded, *found, null=None):
    """Outputs that are 0 but for (window, first, last, score) among the tokens of its context, and at CLS."""
    outputs = np.zeros((len(encoded), 64, 2), np.float32)
    for window, first, last, score in found:
        place = encoded[window]["_first"]
        outputs[window, place + first, 0] = outputs[window, place + last, 1] = score / 2
    for window, score in (null or {}).items():
        outputs[window, encoded[window]["_null"], :] = score / 2
    return outputs


def test_the_best_answer_of_all_windows_counts(tokenizer):
    sharing = task(max_length=24, stride=6)
    encoded = sharing.encode(rows(GOOD, ("fine", LONG, NONE), GOOD), tokenizer, V1)
    last = len(encoded) - 2
    outputs = scored(encoded, (0, 1, 1, 4), (1, 0, 1, 5), (last, 2, 3, 6), (last + 1, 0, 2, 1))
    spans = encoded[last]["_starts"][2], encoded[last]["_ends"][3]
    assert sharing.decode(outputs, encoded, V1) == ["soup", LONG[slice(*spans)], "the soup of"]


def test_no_answer_where_the_null_score_is_higher_by_the_threshold(tokenizer):
    data = rows(GOOD, ("fine", LONG, NONE))
    sharing, eager = (task(max_length=24, stride=6, null_threshold=t) for t in (0.0, -2.0))
    encoded = sharing.encode(data, tokenizer, V2)
    nulls = dict.fromkeys(range(len(encoded)), 7) | {1: 3.5}
    outputs = scored(encoded, (0, 1, 1, 4), (2, 0, 0, 4), null=nulls)
    # A window without an answer says so: the lowest of an example counts.
    answer = LONG[encoded[2]["_starts"][0] : encoded[2]["_ends"][0]]
    assert sharing.decode(outputs, encoded, V2) == ["", answer]
    assert eager.decode(outputs, encoded, V2) == ["", ""]
    # Where every question has an answer nothing says that there is none.
    assert sharing.decode(outputs, encoded, V1) == ["soup", answer]


def test_an_answer_ends_after_it_begins_and_is_not_too_long(tokenizer):
    encoded = task().encode(rows(GOOD), tokenizer, V1)
    outputs = scored(encoded, (0, 5, 1, 8))
    # The best beginning lies behind the best end: of answers that score alike the first of those that begin there counts.
    assert task().decode(outputs, encoded, V1) == ["was"]
    outputs = scored(encoded, (0, 0, 3, 8))
    assert task().decode(outputs, encoded, V1) == ["the soup of day"]
    assert task(max_answer_length=3).decode(outputs, encoded, V1) == ["the"]


def test_scores_and_agreement():
    found, references = ["Soup.", "", "day"], [["the soup"], [], ["day 7", "7"]]
    scores = task(metric=["answer_f1", "exact_match"]).score(found, references, V2)
    assert scores == pytest.approx({"answer_f1": (1 + 1 + 2 / 3) / 3, "exact_match": 2 / 3})
    assert task().agreement(["a", "", "b"], ["a", "", "c"]) == pytest.approx(2 / 3)


def test_what_is_kept_of_a_batch():
    found = type("Found", (), {"start_logits": torch.zeros(2, 5), "end_logits": torch.ones(2, 5)})
    kept = task().outputs(found, {})
    assert kept.shape == (2, 5, 2) and kept[0, 0].tolist() == [0, 1]
    assert np.array_equal(task().postprocess((np.zeros((2, 5)), np.ones((2, 5)))), kept)


def test_a_tokenizer_without_offsets_is_refused():
    class Slow:
        is_fast = False

    with pytest.raises(PlanError, match="asks which characters a token is of, which Slow cannot say, being no fast"):
        task().encode(rows(GOOD), Slow(), V1)
