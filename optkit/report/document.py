"""The sections of a report, which report.md and report.html show."""

from __future__ import annotations

import math

from optkit.benchmark.result import BenchmarkResult
from optkit.counting.encoder import outside_encoder
from optkit.progress import thread_count
from optkit.report import optional_steps, result_tables
from optkit.report.conclusions import SHARES
from optkit.report.figures import CostTable, Sparsity
from optkit.report.labels import variant_label
from optkit.report.precision import advice
from optkit.report.provenance import other_stages
from optkit.report.quantization import quantization
from optkit.report.render import pictures
from optkit.report.render.blocks import Block, Code, Section
from optkit.report.schema import Report


def document(report: Report) -> list[Section]:
    """The sections in their order, without those that this run has nothing for."""
    evaluated = report.evaluate
    accuracy: list[Block] = [result_tables.scores(report), score_notes(report), agreement(report)]
    accuracy += [f"{said}."] if (said := advice(evaluated.precision, evaluated.metric)) else []
    parts = [Section("Accuracy", accuracy + [f"Note: {note}." for note in report.models])]
    if (benchmark := report.benchmark) and benchmark.shapes:
        times = [pictures.latency(report, benchmark), result_tables.latency(report, benchmark)]
        parts.append(Section("Latency", [*times, time_notes(report, benchmark)]))
        if report.frontier:
            frontier = [pictures.frontier(report, report.frontier, benchmark), result_tables.frontier(report)]
            parts.append(Section("Accuracy against speed", frontier))
    if report.costs:
        parts.append(Section("Cost", [cost_notes(report.costs), result_tables.costs(report)]))
    if said := quantization(report.export.quantization):
        parts.append(Section("Quantization", said))
    if report.compact and report.compact.compacted:
        parts.append(Section("Compaction", optional_steps.compaction(report, report.compact)))
    if report.sparse:
        parts.append(Section("Sparse folder", optional_steps.sparse_folder(report.sparse)))
    if report.allocation:
        chosen = report.allocation.items()
        parts.append(Section("Allocation", [optional_steps.allocation(report, name, found) for name, found in chosen]))
    zeros = report.checkpoint_sparsity
    tables = result_tables.totals(zeros), result_tables.layers(zeros)
    parts.append(
        Section("Sparsity", [tables[0], *_outside_encoder(zeros), *pictures.sparsity(report.sparse_layers), tables[1]])
    )
    if trained := _training(report):
        parts.append(Section("Training", trained))
    return [*parts, Section("Time", [result_tables.seconds(report)]), Section("Made with", _made_with(report))]


def _outside_encoder(found: Sparsity) -> list[str]:
    """The linear layers that the encoder's share of zeros leaves out."""
    if found.denominators.get("encoder_linear") is None:
        return []
    sizes = {layer.name: math.prod(layer.original_shape or layer.shape) for layer in found.layers}
    said = outside_encoder(sizes)
    return [f"{said}."] if said else []


def score_notes(report: Report) -> str:
    """How to read the scores."""
    compared = report.evaluate.baseline_scores is not None
    said = "Scores on a scale of 100, with the number of examples in brackets above them"
    said += "; `lost` is in points against the baseline." if compared else "."
    if any(metric in SHARES for split in report.intervals.values() for ends in split.values() for metric in ends):
        said += " Behind a score is its 95 % interval (Wilson's, which takes the examples as independent)."
        if compared:
            said += " All models answer the same examples, so differences are surer than two such intervals suggest."
    return said


def agreement(report: Report) -> str:
    """How far the checkpoint and the exported IR agree."""
    return f"Checkpoint and exported IR {report.evaluate.agrees} {agreement_shares(report)}."


def agreement_shares(report: Report) -> str:
    """How far they agree, on each split."""
    splits = report.evaluate.splits.items()
    return ", ".join(f"{split.agreement:.2%} on {name}" for name, split in splits if split.agreement is not None)


def time_notes(report: Report, benchmark: BenchmarkResult) -> str:
    """How the times were measured, and what was left out."""
    shapes = benchmark.shapes
    more = " or more" * (len(shapes) > 1)  # each shape has as many as there was time for
    notes = [f"Median milliseconds of {benchmark.rounds} rounds{more} by turns, {thread_count(benchmark.threads)}."]
    references = [found for shape in shapes if (found := shape.against)]
    if references:
        against = dict.fromkeys(variant_label(report, found) for found in references)
        sure = ", in brackets the 95 % interval" if any(shape.ratios for shape in shapes) else ""
        notes.append(f"Times as fast as {' or '.join(against)}{sure}.")
    if benchmark.precision is not None:
        notes.append(f"OpenVINO computed at its default precision on this CPU, {benchmark.precision}.")
    elif any(found.engine == "openvino" for found in references):  # of an earlier release
        notes.append("OpenVINO computed with the f32 hint.")
    if any(shape.noisy for shape in shapes):
        notes.append("Times marked noisy scatter too widely to be reliable.")
    if benchmark.runtime is not None:
        notes.append(f"optkit's plan: {benchmark.runtime}.")
    for each in benchmark.left_out:
        label = variant_label(report, each.variant) if each.variant is not None else each.backend
        notes.append(f"`{label}` was left out: {each.why}.")
    if report.gain and report.gain.why:
        notes.append(f"Why there is no gain, as far as this run knows: {'; '.join(report.gain.why)}.")
    load = benchmark.machine
    if load and load.load:
        steal = f", {load.steal:.1%} of its time taken by others" if load.steal else ""
        notes.append(f"The machine's load was {load.load[0]:.2f} when it began{steal}.")
    return " ".join(notes)


def cost_notes(costs: CostTable) -> str:
    """The prices, and what is assumed."""
    return (
        f"Dollars for a million inferences at {costs.inputs}, one engine on {thread_count(costs.threads)} "
        f"at a time; prices of {costs.date or 'an unknown date'}: "
        f"{costs.source or 'an unknown source'}. A machine with more cores is taken to run copies side by side, "
        "each as fast as the one that was measured: an estimate."
    )


def _training(report: Report) -> list[Block]:
    training, drawn = report.training, pictures.history(report)
    parts: list[Block] = [drawn] if drawn else []
    if training.steps:
        logged = [entry["loss"] for entry in report.history if isinstance(entry.get("loss"), (int, float))]
        loss = f", loss {logged[0]:.3f} at first and {logged[-1]:.3f} at last" if logged else ""
        parts.append(f"{training.steps:,} optimizer steps{loss}.")
    if chosen := training.chosen:
        score = f"{chosen.metric} {100 * chosen.score:.2f}"
        said = f"The model of step {chosen.step:,} is the best of those at the target sparsity: {score} on"
        parts.append(f"{said} {chosen.examples:,} training examples that were held out for this alone.")
    return parts


def _made_with(report: Report) -> list[Block]:
    machine = report.machine
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    said = f"{machine.cpu}, {machine.cores} cores, {machine.system}. Seed {report.seed}. {versions}."
    parts: list[Block] = [said, *other_stages(report)]
    if machine.instruction_sets:
        parts.append(f"Instruction sets: {', '.join(machine.instruction_sets)}.")
    parts.append(f"Recipe `{report.recipe_hash[:16]}`, written out in recipe.resolved.yaml.")
    if report.resolved_recipe:
        parts.append(Code("The recipe, as it was run", report.resolved_recipe))
    return parts
