"""What a report says, part by part: report.md and report.html are two ways of showing this."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from optkit.counting.encoder import outside_encoder
from optkit.report import paragraphs, tables
from optkit.report.conclusions import SHARES
from optkit.report.precision import advice
from optkit.report.quantization import quantization
from optkit.report.render import drawings
from optkit.report.render.blocks import Block, Code, Section
from optkit.report.speed import engine, reference
from optkit.report.words import counted, thread_words


def sections(report: Mapping[str, Any]) -> list[Section]:
    """The parts in their order, without those that this run has nothing for.

    Args:
        report: with its conclusions, see ``optkit.report.conclusions``.
    """
    accuracy = [tables.scores(report), scored(report), agreement(report)]
    accuracy += [f"{said}."] if (said := advice(report["evaluate"])) else []
    parts = [Section("Accuracy", accuracy + noted(report))]
    if report["benchmark"] and report["benchmark"]["rows"]:
        parts.append(Section("Latency", [drawings.latency(report), tables.latency(report), timed(report)]))
    if report["frontier"]:
        parts.append(Section("Accuracy against speed", [drawings.frontier(report), tables.frontier(report)]))
    if report["costs"]:
        parts.append(Section("Cost", [priced(report), tables.costs(report)]))
    if (said := quantization(report.get("export") or {})) is not None:
        parts.append(Section("Quantization", said))
    if (report.get("compact") or {}).get("compacted"):
        parts.append(Section("Compaction", paragraphs.compaction(report)))
    if report.get("sparse"):
        parts.append(Section("Sparse folder", paragraphs.sparse_folder(report["sparse"])))
    if report.get("allocation"):
        said = [paragraphs.allocation(report, name) for name in report["allocation"]]
        parts.append(Section("Allocation", said))
    found = counted(report)
    parts.append(
        Section("Sparsity", [tables.totals(found), *_outside(found), *drawings.sparsity(report), tables.layers(found)])
    )
    if trained := _training(report):
        parts.append(Section("Training", trained))
    parts += [Section("Time", [tables.seconds(report)]), Section("Made with", _made_with(report))]
    return parts


def _outside(found: Mapping[str, Any]) -> list[str]:
    """What the encoder's share of zeros does not count."""
    if found["denominators"].get("encoder_linear") is None:
        return []
    sizes = {layer["name"]: math.prod(layer.get("original_shape") or layer["shape"]) for layer in found["layers"]}
    said = outside_encoder(sizes)
    return [f"{said}."] if said else []


def scored(report: Mapping[str, Any]) -> str:
    """How to read the scores."""
    compared = "dense" in next(iter(report["evaluate"]["splits"].values()))
    said = "Scores on a scale of 100, with the number of examples in brackets above them"
    said += "; `lost` is in points against the baseline." if compared else "."
    if any(metric in SHARES for found in report["intervals"].values() for each in found.values() for metric in each):
        said += " Behind a score is its 95 % interval (Wilson's, which takes the examples as independent)."
        if compared:
            said += " All models answer the same examples, so differences are surer than two such intervals suggest."
    return said


def agreement(report: Mapping[str, Any]) -> str:
    """How alike the checkpoint and the exported IR are."""
    evaluated = report["evaluate"]
    shares = ", ".join(f"{found['agreement']:.2%} on {split}" for split, found in evaluated["splits"].items())
    return f"Checkpoint and exported IR {evaluated.get('agrees', 'predict the same for')} {shares}."


def noted(report: Mapping[str, Any]) -> list[str]:
    """What the plan said of the models, a paragraph each."""
    return [f"Note: {note}." for note in report.get("models", ())]


def timed(report: Mapping[str, Any]) -> str:
    """How the times were measured, and what was not."""
    benchmark = report["benchmark"]
    threads = thread_words(benchmark["threads"])
    more = " or more" * (len(benchmark["rows"]) > 1)  # each shape has as many as there was time for
    notes = [f"Median milliseconds of {benchmark['rounds']} rounds{more} by turns, {threads}."]
    dense = bool(report["training"]["rules"])
    against = dict.fromkeys(engine(reference(row), dense=dense) for row in benchmark["rows"] if reference(row))
    if against:
        sure = ", in brackets the 95 % interval" if any(row.get("ratios") for row in benchmark["rows"]) else ""
        notes.append(f"Times as fast as {' or '.join(against)}{sure}.")
    if "precision" in benchmark:
        notes.append(f"OpenVINO computed at its default precision on this CPU, {benchmark['precision']}.")
    elif any((reference(row) or "").endswith("openvino") for row in benchmark["rows"]):  # of an earlier release
        notes.append("OpenVINO computed with the f32 hint.")
    if any(row.get("noisy") for row in benchmark["rows"]):
        notes.append("What is noisy scattered too widely to be sure of.")
    if "runtime" in benchmark:
        notes.append(f"optkit's plan: {benchmark['runtime']}.")
    notes += [f"`{name}` was left out: {why}." for name, why in benchmark["skipped"].items()]
    if (report["gain"] or {}).get("why"):
        notes.append(f"Why there is no gain, as far as this run knows: {'; '.join(report['gain']['why'])}.")
    machine = benchmark.get("machine") or {}
    if machine.get("load"):
        steal = f", {machine['steal']:.1%} of its time taken by others" if machine.get("steal") else ""
        notes.append(f"The machine's load was {machine['load'][0]:.2f} when it began{steal}.")
    return " ".join(notes)


def priced(report: Mapping[str, Any]) -> str:
    """At which prices, and what is assumed."""
    costs = report["costs"]
    return (
        f"Dollars for a million inferences at {costs['inputs']}, one engine on {thread_words(costs['threads'])} "
        f"at a time; prices of {costs['date'] or 'an unknown date'}: "
        f"{costs['source'] or 'an unknown source'}. A machine with more cores is taken to run copies side by side, "
        "each as fast as the one that was measured: an estimate."
    )


def _training(report: Mapping[str, Any]) -> list[Block]:
    training, drawn = report.get("training", {}), drawings.history(report)
    parts: list[Block] = [drawn] if drawn else []
    if training.get("steps"):
        logged = [entry for entry in report["history"] if isinstance(entry.get("loss"), (int, float))]
        loss = f", loss {logged[0]['loss']:.3f} at first and {logged[-1]['loss']:.3f} at last" if logged else ""
        parts.append(f"{training['steps']:,} optimizer steps{loss}.")
    if chosen := training.get("chosen"):
        score = f"{chosen['metric']} {100 * chosen['score']:.2f}"
        said = f"The model of step {chosen['step']:,} is the best of those at the target sparsity: {score} on"
        parts.append(f"{said} {chosen['examples']:,} training examples that were held out for this alone.")
    return parts


def elsewhere(report: Mapping[str, Any]) -> list[str]:
    """Which stages had another CPU or other versions than those that the report names first."""
    said = []
    for stage, found in report.get("measured", {}).items():
        cpu, versions = (found["machine"] or {}).get("cpu"), found["versions"] or {}
        differ = {name: own for name, own in versions.items() if report["versions"].get(name) != own}
        parts = [f"on {cpu}"] if cpu and cpu != report["machine"]["cpu"] else []
        parts += [f"with {', '.join(f'{name} {own}' for name, own in differ.items())}"] if differ else []
        said += [f"Stage `{stage}` ran {' '.join(parts)}."] if parts else []
    return said


def _made_with(report: Mapping[str, Any]) -> list[Block]:
    machine = report["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    said = f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}. Seed {report['seed']}. {versions}."
    parts: list[Block] = [said, *elsewhere(report)]
    if sets := machine.get("instruction_sets"):
        parts.append(f"Instruction sets: {', '.join(sets)}.")
    parts.append(f"Recipe `{report['recipe_hash'][:16]}`, written out in recipe.resolved.yaml.")
    if report.get("resolved_recipe"):
        parts.append(Code("The recipe, as it was run", report["resolved_recipe"]))
    return parts
