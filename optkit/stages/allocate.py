"""A sparsity for each layer, where a rule leaves the choice to what the layers lose and cost.

What is chosen is kept in ``allocation/``: a run that goes on takes it from there and measures nothing again, so that a
training never changes its targets midway, however the machine's clock has changed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from optkit.errors import OptkitError, PlanError, PruningError
from optkit.json_files import read_json
from optkit.pipeline.run_folder import digest

if TYPE_CHECKING:
    from optkit.pipeline.context import Job
    from optkit.pipeline.run_folder import Stage
    from optkit.pruning.allocation.choosing import Curve
    from optkit.pruning.config import Rule
    from optkit.pruning.targets import Site
    from optkit.recipe.allocate import AllocateSpec

NAME, FOLDER = "allocate", "allocation"
#: What a run keeps: the choice, and the times it was made by, which serve as ``costs`` of other recipes.
CHOICE, COSTS = "allocation.json", "costs.json"
FORMAT = 1


def needed(job: Job) -> bool:
    return any(rule.allocate for rule in job.recipe.prune)


def key(job: Job) -> str:
    from optkit.stages import dense  # which trains, and training depends on this

    measured = {"benchmark": shape(job)} if by_latency(job) is not None else {}
    trained = {"dense": dense.key(job)} if dense.needed(job) else {}
    return job.key("seed", "model", "prune", "quantize", data=job.data_identity, **measured, **trained)


def by_latency(job: Job) -> int | None:
    """The number of the rule that is allocated by latency, None if there is none."""
    chosen = [i for i, rule in enumerate(job.recipe.prune) if rule.allocate and rule.allocate.by == "latency"]
    return chosen[0] if chosen else None


def shape(job: Job) -> tuple[int, int]:
    """(batch, sequence length) to be fast at: what the rule says, else the first that is benchmarked, else 1 x 128."""
    spec, measured = job.recipe.prune[by_latency(job)].allocate, job.recipe.benchmark
    batch = spec.batch or (measured.batch[0] if measured else 1)
    return batch, job.task.sequence(job.tokenizer, spec.seq or job.lengths[0])


def problems(job: Job, matched: Sequence[Sequence[Site]]) -> list[str]:
    """Why an allocation by latency cannot work, a line each.

    Args:
        matched: the sites of each rule.
    """
    from optkit.allocation.layer_times import check_runtime, read_table

    index = by_latency(job)
    if index is None:
        return []
    spec, where = job.recipe.prune[index].allocate, f"prune.{index}.allocate: by latency"
    found = [
        f"prune.{i}.allocate: there is one speedup, and prune.{index} asks for it already: give it to one rule"
        for i, rule in enumerate(job.recipe.prune)
        if i != index and rule.allocate and rule.allocate.by == "latency"
    ]
    if spec.seq is not None and job.longest is not None and spec.seq > job.longest:
        found.append(f"prune.{index}.allocate.seq: {spec.seq} is more than the {job.longest} tokens the model takes")
    own = {name for site in matched[index] for name in site.layers}
    for i, sites in enumerate(matched):
        shared = next((name for site in sites for name in site.layers if i != index and name in own), None)
        if shared is not None:
            found.append(f"{where} needs layers of its own, and prune.{i} has {shared} as well: separate their targets")
    try:
        if spec.costs is None:
            check_runtime()
        else:
            table = read_table(job, spec.costs, job.rules[index])
            for shapes in {tuple(tuple(x.weight.shape) for x in site.layers.values()) for site in matched[index]}:
                table.of(shapes, [0.0])
    except PruningError as error:
        found.append(f"prune.{index}.allocate: {error}")
    return found


def rules(job: Job) -> list[Rule]:
    """The recipe's rules, with the shares that were chosen for them."""
    found = _read(job) if needed(job) else {}
    return [
        _with_shares(rule, found[rule.name]) if spec.allocate else rule
        for rule, spec in zip(job.rules, job.recipe.prune, strict=True)
    ]


def identity(job: Job) -> dict[str, str]:
    """What later stages' keys depend on: nothing where nothing is allocated."""
    return {"allocation": digest(_read(job))} if needed(job) else {}


def _read(job: Job) -> dict[str, Any]:
    path = job.path(FOLDER) / CHOICE
    try:
        data = read_json(path)
        right = data["format"] == FORMAT and {rule.name for rule in job.recipe.prune if rule.allocate} <= set(
            data["rules"]
        )
    except (OSError, ValueError, KeyError, TypeError):
        right = False
    if not right:
        raise OptkitError(f"{path}: not what allocation writes: remove the folder and run the same command again")
    return data["rules"]


def _with_shares(rule: Rule, found: dict[str, Any]) -> Rule:
    shares, schedule = tuple((layer["name"], layer["sparsity"]) for layer in found["layers"]), rule.schedule
    if found["by"] == "latency":
        # The schedule says only how far on the way to their shares the layers are, and it cannot end at 1.
        schedule = replace(schedule, to=min(found["sparsity"], 1 - 1e-9))
    return replace(rule, shares=shares, schedule=schedule, floor=0.0, ceiling=1.0)


def run(job: Job, stage: Stage) -> None:
    """Adds ``rules`` to the stage's facts: by name, what was chosen.

    Raises:
        PlanError: if a speedup or a sparsity cannot be reached.
    """
    from optkit.allocation import latency
    from optkit.report.paragraphs import allocated

    last, chosen, done = by_latency(job), list(job.rules), {}
    order = [i for i, rule in enumerate(job.recipe.prune) if rule.allocate and i != last]
    for index in [*order, *([] if last is None else [last])]:
        spec = job.recipe.prune[index].allocate
        # By sensitivity a rule sees what those before it leave; one by latency has layers of its own.
        reach = range(index) if index != last else range(len(chosen))
        others = [chosen[i] for i in reach if i not in (index, last)]
        try:
            choose = latency.choose if index == last else _by_sensitivity
            found = choose(job, stage, spec, chosen[index], others)
        except PruningError as error:
            raise PlanError(f"prune.{index}.allocate: {error}") from None
        chosen[index] = _with_shares(chosen[index], found)
        done[chosen[index].name] = found
        job.reporter.say(f"  {chosen[index].name}: {allocated(found)}")
    (stage.folder / CHOICE).write_text(json.dumps({"format": FORMAT, "rules": done}, indent=2) + "\n", encoding="utf-8")
    stage.facts["rules"] = done


def _by_sensitivity(job: Job, stage: Stage, spec: AllocateSpec, rule: Rule, others: Sequence[Rule]) -> dict[str, Any]:
    from optkit.pruning.allocation.choosing import by_sensitivity, grid
    from optkit.pruning.selection import target_count

    curves = measured_curves(job, spec, rule, others, grid(rule.structure, rule.schedule.to, spec.grid))
    count = target_count(rule.schedule.to / rule.structure.max_sparsity, sum(curve.groups for curve in curves))
    counts = by_sensitivity([bounded(curve, rule) for curve in curves], count)
    return facts(spec, rule, curves, counts)


def measured_curves(
    job: Job, spec: AllocateSpec, rule: Rule, others: Sequence[Rule], points: Sequence[float]
) -> list[Curve]:
    """What each layer that ``rule`` matches loses at each of ``points``, with ``others`` applied to the model."""
    from optkit.pruning.allocation import sensitivity

    device = _device(job)
    model = reference(job)
    sensitivity.prune_now(model, others)
    model.to(device)
    moved = [{name: tensor.to(device) for name, tensor in batch.items()} for batch in job.batches(spec.samples)]
    with job.reporter.task(f"sensitivity of {rule.name}") as bar:
        return sensitivity.measure(
            model, rule, moved, points, lambda done, total: bar.advance(done, total, {"measured": done})
        )


def reference(job: Job) -> Any:
    """The dense model that layers are measured on: the trained baseline where there is one, else the start model."""
    from optkit.models import load_model
    from optkit.stages import dense

    if not dense.needed(job):
        return job.start_model()
    return load_model(job.path(dense.FOLDER), job.head, seed=job.recipe.seed)


def _device(job: Job) -> Any:
    from optkit.adapters.arguments import training_arguments

    encoded = job.encoded("train")
    args = training_arguments(job.recipe.train, job.path("checkpoints"), seed=job.recipe.seed, examples=len(encoded))
    return args.device


def bounded(curve: Curve, rule: Rule) -> Curve:
    """``curve`` within the rule's floor and ceiling, with as many choices as there shall be."""
    most = rule.structure.max_sparsity
    least = max(int(np.ceil(rule.floor / most * curve.groups - 1e-9)), curve.counts[0])
    highest = int(np.floor(min(rule.ceiling / most, 1.0) * curve.groups + 1e-9))
    return curve.between(least, max(min(highest, curve.counts[-1]), least)).refined()


def facts(spec: AllocateSpec, rule: Rule, curves: Sequence[Curve], counts: Sequence[int]) -> dict[str, Any]:
    """A choice of how many groups of each layer to prune, as the allocation keeps it."""
    most = rule.structure.max_sparsity
    layers = [
        {
            "name": curve.name,
            "groups": curve.groups,
            "pruned": count,
            "sparsity": count / curve.groups * most,
            "loss": curve.loss(count),
        }
        for curve, count in zip(curves, counts, strict=True)
    ]
    return {
        "by": spec.by,
        "sparsity": sum(counts) / sum(curve.groups for curve in curves) * most,
        "loss": sum(layer["loss"] for layer in layers),
        "layers": layers,
    }
