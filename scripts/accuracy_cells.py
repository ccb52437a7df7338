"""The cells of docs/accuracy.md, which ``accuracy_table.py`` runs."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Cell:
    """One row of a table: a recipe of ``recipes/`` with overrides, once for each seed."""

    table: str
    name: str
    recipe: str
    sets: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (42,)
    limit: float | None = None  #: points below dense that we set out to stay within
    goal: float | None = None
    larger: bool = False  #: whether logits are those of ``--teacher``, and hidden states alone those of ``--model``


_SEEDS = (42, 43, 44)
#: The recipe that most tables change, and the one with more training on variants of the sentences.
PLAIN, AUGMENTED = "minilm_sst2_obert.yaml", "minilm_sst2_80sparse.yaml"
_SHORT = "train.num_train_epochs=null", "train.max_steps=1500"
_HALF = "prune.heads.schedule.to=0.5", "prune.neurons.schedule.to=0.5"
_FALLING = "criterion: taylor, schedule: {shape: cubic, to: 0.5, begin: 5%, end: 40%, every: 20}"
_HEADS = f"{{name: heads, structure: head, {_FALLING}}}"
_NEURONS = f"{{name: neurons, structure: 'neuron:4', {_FALLING}}}"


def _headline(name: str, limit: float, goal: float, *sets: str, recipe: str = PLAIN) -> Cell:
    return Cell("headline", name, recipe, sets, _SEEDS, limit, goal)


def _taught(structure: str, to: float, limit: float, goal: float, seeds: tuple[int, ...] = _SEEDS) -> Cell:
    """The plain recipe in other blocks, under a larger teacher."""
    sets = f"prune.encoder.structure={structure}", f"prune.encoder.schedule.to={to}"
    name = f"{to * 100:.0f} % {structure}"
    return Cell("a larger teacher", name, PLAIN, sets, seeds, limit, goal, larger=True)


def _begun(structure: str, to: float, first: float | None, steps: int | None, *bounds: float) -> Cell:
    """The plain recipe in other blocks, begun where reconstruction has pruned ``first``; from its own start where
    that is None.
    """
    sets = [f"prune.encoder.structure={structure}", f"prune.encoder.schedule.to={to}"]
    if first is not None:
        sets += [f"prune.encoder.schedule.from={first}", "prune.encoder.schedule.end=40%", "oneshot.samples=1024"]
    if steps is not None:
        sets += ["train.num_train_epochs=null", f"train.max_steps={steps}"]
    begun = f", begun at {first * 100:.0f} %" if first is not None else ""
    table = "pruned before it is trained" + (f", {steps} steps" if steps else "")
    return Cell(table, f"{to * 100:.0f} % {structure}{begun}", PLAIN, tuple(sets), (42,), *bounds)


def _longer(structure: str, to: float, first: float, *bounds: float) -> Cell:
    """``_begun``, trained for two epochs, in batches of 64 and by Taylor, which takes less time than oBERT."""
    begun = _begun(structure, to, first, None, *bounds)
    more = "train.num_train_epochs=2", "train.per_device_train_batch_size=64", "prune.encoder.criterion=taylor"
    return replace(begun, table="two epochs", name=f"{begun.name}, batches of 64", sets=(*begun.sets, *more))


def _augmented(structure: str, to: float, first: float, *bounds: float, seeds: tuple[int, ...] = _SEEDS) -> Cell:
    """``_longer`` with a variant of each sentence in the place of the second epoch, as the recipe has it."""
    rule = f"structure={structure}", f"schedule.to={to}", f"schedule.from={first}"
    name = f"{_longer(structure, to, first).name}, augmented"
    return Cell("two epochs", name, AUGMENTED, tuple(f"prune.encoder.{part}" for part in rule), seeds, *bounds)


def _twice(structure: str, to: float, first: float, *bounds: float) -> Cell:
    """``_augmented`` for twice as many steps."""
    once = _augmented(structure, to, first, *bounds)
    return replace(once, name=f"{once.name}, twice as long", sets=(*once.sets, "train.num_train_epochs=2"))


def _permuted(structure: str, to: float, permute: str | None) -> Cell:
    """One budget, with the features' own order and with one that suits the structure."""
    rule = f"structure='{structure}'", f"schedule.to={to}", *([f"permute={permute}"] if permute else [])
    sets = "train.num_train_epochs=null", "train.max_steps=300", *(f"prune.encoder.{part}" for part in rule)
    name = f"{to * 100:.0f} % {structure}{', permuted' if permute else ''}"
    return Cell("orders of features, 300 steps", name, PLAIN, sets)


def _compared(criterion: str, to: float) -> Cell:
    """Criteria under one budget, with all else as in the plain recipe."""
    rule = f"prune.encoder.criterion={criterion}", f"prune.encoder.schedule.to={to}"
    return Cell(f"criteria at {to * 100:.0f} % 1x4, 1,500 steps", criterion, PLAIN, (*_SHORT, *rule))


def _allocated(name: str, *rule: str) -> Cell:
    """Where the zeros are, under one budget, with all else as in the plain recipe."""
    return Cell("which layers, 1x4, 1,500 steps", name, PLAIN, (*_SHORT, *(f"prune.encoder.{part}" for part in rule)))


CELLS = (
    _headline("80 % 1x4", 2.0, 1.0),
    _headline("90 % 1x4", 4.0, 2.5, "prune.encoder.schedule.to=0.9"),
    _headline("95 % 1x4", 7.0, 5.0, "prune.encoder.schedule.to=0.95"),
    _headline("90 % element", 3.0, 1.5, "prune.encoder.schedule.to=0.9", "prune.encoder.structure=element"),
    _headline("one-shot 50 % 1x4", 3.0, 1.5, recipe="oneshot_bert_sst2.yaml"),
    _headline("heads and neurons, -50 %", 1.5, 0.7, *_HALF, recipe="oneshot_bert_sst2_structured.yaml"),
    *(_compared(criterion, 0.8) for criterion in ("magnitude", "movement", "obert")),
    *(
        _compared(criterion, 0.9)
        for criterion in ("magnitude", "movement", "soft_movement", "taylor", "wanda", "obert", "random")
    ),
    _allocated("85 % of each layer", "schedule.to=0.85"),
    _allocated(
        "6 times as fast, by latency",
        "scope=null",
        "schedule.from=null",
        "schedule.to=null",
        "allocate={by: latency, speedup: 6}",
    ),
    _allocated("80 % in all, by sensitivity", "scope=null", "allocate={by: sensitivity}"),
    Cell("more training", "80 % 1x4, two epochs", PLAIN, ("train.num_train_epochs=2",), _SEEDS),
    Cell("more training", "heads and neurons, -50 %, one epoch", PLAIN, (f"prune=[{_HEADS}, {_NEURONS}]",), _SEEDS),
    _longer("4x4", 0.8, 0.6, 0.7, 0.3),
    _longer("16x4", 0.8, 0.6, 1.2, 0.6),
    _augmented("1x4", 0.8, 0.6, 0.5, 0.0),
    _augmented("4x4", 0.8, 0.6, 0.7, 0.3),
    _augmented("16x4", 0.8, 0.6, 1.2, 0.6),
    _augmented("4x4", 0.9, 0.75, 1.8, 1.2),
    _augmented("16x4", 0.9, 0.75, 2.5, 1.8),
    _augmented("1x4", 0.95, 0.85, 3.0, 2.3, seeds=_SEEDS[:1]),
    _twice("1x4", 0.8, 0.6, 0.5, 0.0),
    _twice("16x4", 0.9, 0.75, 2.5, 1.8),
    _taught("4x4", 0.8, 0.7, 0.3),
    _taught("16x4", 0.8, 1.2, 0.6),
    _taught("4x4", 0.9, 1.8, 1.2),
    _taught("16x4", 0.9, 2.5, 1.8),
    _taught("1x4", 0.8, 0.5, 0.0),
    _taught("1x4", 0.95, 3.0, 2.3, _SEEDS[:1]),
    _begun("4x4", 0.8, 0.6, None, 0.7, 0.3),
    _begun("16x4", 0.8, 0.6, None, 1.2, 0.6),
    _begun("4x4", 0.9, 0.75, None, 1.8, 1.2),
    _begun("16x4", 0.9, 0.75, None, 2.5, 1.8),
    _begun("4x4", 0.8, None, 600),
    _begun("4x4", 0.8, 0.6, 600),
    *(
        _permuted(structure, to, permute)
        for structure, to in (("4x4", 0.8), ("16x4", 0.8), ("32x1", 0.8), ("2:4", 0.5))
        for permute in (None, "all")
    ),
)
