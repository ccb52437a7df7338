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
        kind: criterion, structure, schedule, allocation, distillation, task, metric, backend or dataset.
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
    Entry("task", "text-classification", "One label for a sentence or a pair of sentences."),
    Entry("metric", "accuracy", "Share of predictions that are right."),
    Entry("metric", "f1", "Harmonic mean of precision and recall; macro average when there are more than two classes."),
    Entry("metric", "matthews_correlation", "Correlation of prediction and label, fair to classes of unequal size."),
    Entry("backend", "torch", "The pruned checkpoint in PyTorch, fp32."),
    Entry("backend", "openvino", "The exported IR in OpenVINO."),
    Entry("backend", "optkit", "The exported IR with optkit's sparse kernels inside OpenVINO."),
    Entry("dataset", "topics", "Seeded sentences on made-up topics, for trying optkit without a download."),
)


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
