"""What optkit offers by name, as a list that one can read: `optkit list` prints it, `suggest` corrects a mistyped name.

Nothing here imports torch. Parameters come from the dataclasses in pruning/config, so they are written once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches


@dataclass(frozen=True)
class Entry:
    """One thing that a recipe can name.

    Args:
        kind: criterion, structure, schedule, allocation, distillation, task, metric, backend, format or
            dataset.
        name: as a recipe writes it.
        summary: one sentence.
        parameters: name to default, as text.
        paper: authors, year, title and link; empty where there is none.
    """

    kind: str
    name: str
    summary: str
    parameters: dict[str, str] = dataclasses.field(default_factory=dict)
    paper: str = ""


_ZHU_GUPTA = "Zhu & Gupta 2017, To prune, or not to prune, https://arxiv.org/abs/1710.01878"
_FRANKLE = "Frankle & Carbin 2019, The Lottery Ticket Hypothesis, https://arxiv.org/abs/1803.03635"
_HAN = "Han et al. 2015, Learning both Weights and Connections, https://arxiv.org/abs/1506.02626"
_SPDY = "Frantar & Alistarh 2022, SPDY, https://arxiv.org/abs/2201.13096"
_ZIPLM = "Kurtic et al. 2023, ZipLM, https://arxiv.org/abs/2302.04089"
_JUMPING = {"from": "0.0", "to": "0.8", "begin": "5%", "end": "70%"}
_GROWING = {**_JUMPING, "every": "20"}

_FIXED = (
    Entry("structure", "element", "Single weights: the highest accuracy, and the hardest to make fast."),
    Entry("structure", "RxC", "Blocks of R outputs x C inputs (1x4, 4x1, 32x1 ...); 1x4 is the grain of int8 kernels."),
    Entry("schedule", "cubic", "Removes fast at first and slowly at last.", _GROWING, _ZHU_GUPTA),
    Entry("schedule", "linear", "Removes the same share at every change of the masks.", _GROWING),
    Entry("schedule", "exponential", "Removes the same share of what is left at every change.", _GROWING, _FRANKLE),
    Entry("schedule", "stepwise", "A few equal jumps, the last at `end`.", {**_JUMPING, "jumps": "4"}, _HAN),
    Entry("schedule", "constant", "The whole target from `begin` on.", {"to": "0.8", "begin": "5%"}),
    Entry(
        "allocation",
        "sensitivity",
        "A sparsity for each layer, by what its outputs lose when it is pruned alone; `to` of all of them.",
        {"samples": "128", "grid": "40% to 99%"},
        _SPDY,
    ),
    Entry(
        "allocation",
        "latency",
        "The same, by what a layer's time gains as well: the least loss that reaches a speedup.",
        {"speedup": "required", "batch": "1", "seq": "128", "costs": "measured"},
        _ZIPLM,
    ),
    Entry(
        "distillation",
        "logits",
        "The teacher's softened answers: its logits, asked once.",
        {"temperature": "2.0", "weight": "0.9"},
        "Hinton et al. 2015, Distilling the Knowledge in a Neural Network, https://arxiv.org/abs/1503.02531",
    ),
    Entry(
        "distillation",
        "hidden",
        "The teacher's hidden states, by layers; a learned projection where widths differ.",
        {"weight": "1.0", "layers": "auto", "normalize": "False"},
        "Jiao et al. 2020, TinyBERT, https://arxiv.org/abs/1909.10351",
    ),
    Entry(
        "distillation",
        "attention",
        "What tokens see in each other: relations of queries, keys and values, or the attention maps.",
        {"weight": "1.0", "layers": "last", "of": "relations"},
        "Wang et al. 2021, MiniLMv2, https://arxiv.org/abs/2012.15828",
    ),
    Entry(
        "distillation",
        "data",
        "Texts without labels that the teacher alone judges, from files, from the Hub, or made from the examples.",
        {"augment": "0"},
        "Jiao et al. 2020, TinyBERT, https://arxiv.org/abs/1909.10351",
    ),
    Entry("task", "text-classification", "One label, several or a score, for a sentence or a pair of sentences."),
    Entry("task", "token-classification", "A label for each word of a sentence, such as the names in it."),
    Entry("task", "question-answering", "The part of a text that answers a question, or that there is none."),
    Entry("task", "feature-extraction", "Embeddings of texts, by scores of pairs or by a teacher alone."),
    Entry("task", "image-classification", "One label for an image."),
    Entry("task", "fill-mask", "Words that are hidden from the model, 15 % of a text: learned from texts alone."),
    Entry("metric", "accuracy", "Share of predictions that are right; of several labels all have to be."),
    Entry(
        "metric",
        "f1",
        "Harmonic mean of precision and recall; the mean over more than two classes, or over several labels.",
    ),
    Entry("metric", "matthews_correlation", "Correlation of prediction and label, fair to classes of unequal size."),
    Entry("metric", "pearson", "Linear correlation of predicted and given scores."),
    Entry("metric", "spearman", "Correlation of the ranks of predicted and given scores."),
    Entry("metric", "cosine", "Mean cosine of embeddings with those of the dense model, where there are no scores."),
    Entry("metric", "entity_f1", "F1 of whole entities, type and both ends right, as seqeval counts."),
    Entry("metric", "entity_precision", "Share of the predicted entities that are right."),
    Entry("metric", "entity_recall", "Share of the entities that were found."),
    Entry("metric", "token_accuracy", "Share of words whose label is right."),
    Entry("metric", "answer_f1", "Mean F1 of the words of answers, normalised as in SQuAD's own evaluation."),
    Entry("metric", "exact_match", "Share of answers that are right to the word, normalised in the same way."),
    Entry("metric", "masked_accuracy", "Share of the hidden tokens that are found."),
    Entry("metric", "masked_likelihood", "Geometric mean of the hidden tokens' probabilities: 1 / perplexity."),
    Entry("backend", "torch", "The pruned checkpoint in PyTorch, fp32."),
    Entry("backend", "openvino", "The exported IR in OpenVINO."),
    Entry("backend", "optkit", "The exported IR with optkit's sparse kernels inside OpenVINO."),
    Entry("dataset", "shapes", "Seeded small images, each of one drawn shape among noise."),
    Entry("format", "openvino", "The OpenVINO IR that is evaluated and measured, tagged."),
    Entry("format", "onnx", "ONNX with the same tags, int8 by QuantizeLinear and DequantizeLinear."),
    Entry("format", "sparse", "Checkpoint and int8 IR without the zeros of their matrices, to store and to send."),
    Entry("dataset", "topics", "Seeded sentences on made-up topics, for trying optkit without a download."),
    Entry("dataset", "similar", "Seeded pairs of sentences with a score of how much they share."),
    Entry("dataset", "complaints", "The sentences of topics, with what they run down: one topic or two of five."),
    Entry("dataset", "rivals", "Pairs of such sentences, with which of the two praises more."),
    Entry("dataset", "stars", "Such sentences, with the share of praise in them as a score."),
    Entry("dataset", "entities", "Seeded sentences with names of people, places and organisations, tagged in IOB2."),
    Entry("dataset", "answers", "Seeded notes on people, with questions, some of which they do not answer."),
)

#: What is asked of a sequence classifier, in transformers' words, and the metrics that measure it, the usual one first.
PROBLEMS = {
    "single_label_classification": ("accuracy", "f1", "matthews_correlation"),
    "multi_label_classification": ("f1", "accuracy"),
    "regression": ("pearson", "spearman"),
}
#: The metrics of each task, the usual one first.
TASK_METRICS = {
    "text-classification": tuple(dict.fromkeys(name for own in PROBLEMS.values() for name in own)),
    "image-classification": PROBLEMS["single_label_classification"],
    "token-classification": ("entity_f1", "entity_precision", "entity_recall", "token_accuracy"),
    "question-answering": ("answer_f1", "exact_match"),
    "fill-mask": ("masked_accuracy", "masked_likelihood"),
    "feature-extraction": ("spearman", "pearson", "cosine"),
}
#: Those of embeddings without a label; the others need one.
UNLABELLED_METRICS = ("cosine",)


def entries(kind: str | None = None) -> list[Entry]:
    """Everything a recipe can name, in the order of kinds above; of one ``kind`` if given."""
    # Imported here: the registry lies below pruning/, and only this list looks up to it.
    from optkit.pruning.config import CRITERIA

    criteria = [
        Entry(
            "criterion",
            name,
            cls.__doc__.split("\n\n")[0].replace("\n    ", " "),
            {field.name: f"{field.default}" for field in dataclasses.fields(cls)},
            cls.paper,
        )
        for name, cls in CRITERIA.items()
    ]
    return [entry for entry in (*criteria, *_FIXED) if kind in (None, entry.kind)]


def names(kind: str) -> tuple[str, ...]:
    """The names of one kind, as a recipe writes them."""
    return tuple(entry.name for entry in entries(kind))


def suggest(word: str, choices: Iterable[str]) -> str:
    """``", did you mean 'schedule'?"`` for the choice nearest to a mistyped ``word``; empty when none is near."""
    near = get_close_matches(word.lower(), list(choices), n=1, cutoff=0.6)
    return f", did you mean '{near[0]}'?" if near else ""
