"""What a recipe can name: `optkit list` prints it, and recipes are checked against it.

Nothing here imports torch. Criteria, tasks, metrics and data sets are listed where they are, the rest here.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from optkit import metrics
from optkit.data.generators import GENERATORS
from optkit.pruning.config import CRITERIA, STRUCTURES
from optkit.tasks import TASKS


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

_METHODS = (
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
        "The teacher's softened answers: its logits, asked once; of several teachers their weighted mean.",
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
        "pooled",
        "The teacher's states of whole sentences, whatever its tokenizer: how alike sentences are, or the states.",
        {"weight": "1.0", "layers": "last", "of": "relations"},
        "Tung & Mori 2019, Similarity-Preserving Knowledge Distillation, https://arxiv.org/abs/1907.09682",
    ),
    Entry(
        "distillation",
        "data",
        "Texts without labels that the teacher alone judges, from files, from the Hub, or made from the examples.",
        {"augment": "0"},
        "Jiao et al. 2020, TinyBERT, https://arxiv.org/abs/1909.10351",
    ),
)
_OUTPUTS = (
    Entry("backend", "torch", "The pruned checkpoint in PyTorch, fp32."),
    Entry("backend", "openvino", "The exported IR in OpenVINO."),
    Entry("backend", "optkit", "The exported IR with optkit's sparse kernels inside OpenVINO."),
    Entry("backend", "tvm", "The library of Apache TVM that `export.formats` names, fp32."),
    Entry("format", "openvino", "The OpenVINO IR that is evaluated and measured, tagged."),
    Entry("format", "onnx", "ONNX with the same tags, int8 by QuantizeLinear and DequantizeLinear."),
    Entry("format", "sparse", "Checkpoint and int8 IR without the zeros of their matrices, to store and to send."),
    Entry("format", "tvm", "A library of Apache TVM in fp32, its sparse layers as block-sparse products."),
)


def entries(kind: str | None = None) -> list[Entry]:
    """Everything a recipe can name, of one ``kind`` if given."""
    criteria = [
        Entry(
            "criterion",
            name,
            (cls.__doc__ or "").split("\n\n")[0].replace("\n    ", " "),
            {field.name: f"{field.default}" for field in dataclasses.fields(cls)},
            cls.paper,
        )
        for name, cls in CRITERIA.items()
    ]
    structures = [Entry("structure", name, summary) for name, summary in STRUCTURES.items()]
    tasks = [Entry("task", name, task.summary) for name, task in TASKS.items()]
    measures = [Entry("metric", name, summary) for name, summary in metrics.SUMMARIES.items()]
    datasets = [Entry("dataset", name, generator.summary) for name, generator in GENERATORS.items()]
    every = (*criteria, *structures, *_METHODS, *tasks, *measures, *_OUTPUTS, *datasets)
    return [entry for entry in every if kind in (None, entry.kind)]


def names(kind: str) -> tuple[str, ...]:
    """The names of one kind, as a recipe writes them."""
    return tuple(entry.name for entry in entries(kind))
