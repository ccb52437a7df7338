"""The model card: README.md with the Hub's metadata beside the exported model. Every figure is from the report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optkit.errors import OptkitError
from optkit.report import document, result_tables
from optkit.report.labels import display_name, served_variant
from optkit.report.precision import advice, needs_hint
from optkit.report.provenance import other_stages
from optkit.report.quantization import quantization
from optkit.report.reading import parse_report
from optkit.report.render.blocks import Table
from optkit.report.render.charts.sparsity import sparsity_chart
from optkit.report.render.markdown import blocks_markdown
from optkit.report.schema import Report
from optkit.report.snippets import snippets
from optkit.report.stage_facts import Origin
from optkit.tasks import TASKS
from optkit.variant import DENSE, Variant

CARD, CHART = "README.md", "sparsity.svg"
#: Placeholder in a card for the name of the repository.
NAMELESS = "ORG/NAME"
TEMPLATE = Path(__file__).with_name("card_template.md")
_BASELINES = {
    "start": "the model that pruning started from",
    "teacher": "the teacher that it was distilled from",
    "trained": "the same training without pruning",
}


def write_card(data: Mapping[str, Any] | Report, folder: Path, repo_id: str | None = None) -> None:
    """Writes README.md and, for a pruned model, the chart of its layers into ``folder``.

    Args:
        data: a run's report, or what report.json holds.
        folder: the exported model.
        repo_id: the repository that it goes to, where that is known.

    Raises:
        OptkitError: if the Hub's own checks of metadata refuse the card, or as ``parse_report``.
    """
    from optkit.pipeline.run_folder import write_atomic

    report = parse_report(data)
    if layers := report.sparse_layers:
        write_atomic(folder / CHART, sparsity_chart(layers, f"{report.name}: zeros in each layer"))
    else:
        (folder / CHART).unlink(missing_ok=True)
    write_atomic(folder / CARD, render(report, repo_id))


def render(data: Mapping[str, Any] | Report, repo_id: str | None = None) -> str:
    """The text of the card, see ``write_card``."""
    from huggingface_hub import ModelCard

    report, name = parse_report(data), repo_id or NAMELESS
    pruned = report.sparse_layers
    try:
        card = ModelCard.from_template(
            _metadata(report),
            template_str=TEMPLATE.read_text(encoding="utf-8"),
            title=report.name,
            description=report.description,
            summary=_summary(report),
            verdict=report.verdict,
            accuracy=result_tables.scores(report, lambda variant: _model_name(report, variant)).markdown(),
            accuracy_notes=_accuracy_notes(report),
            sizes=_sizes(report),
            speed=_speed(report),
            quantization="\n\n".join(blocks_markdown(quantization(report.export.quantization))),
            sparsity=result_tables.totals(report.checkpoint_sparsity).markdown() if pruned else None,
            chart=CHART if pruned else None,
            model_id=name,
            snippets=snippets(report.task, name, f32=needs_hint(report.evaluate)),
            made=_made(report),
            recipe=report.resolved_recipe.rstrip(),
            fence=_fence(report.resolved_recipe),
            limits=_limits(report),
            licence=_licence(report.origin),
        )
        # Parses the metadata as the Hub does, so that a wrong model-index is an error here.
        return ModelCard(str(card)).content.rstrip() + "\n"
    except ValueError as error:
        raise OptkitError(f"{CARD}: the Hub would refuse the card's metadata: {error}") from error


def named(card: str, repo_id: str) -> str:
    """``card`` with the placeholder replaced by the repository's name; other changes by hand are kept."""
    return card.replace(NAMELESS, repo_id)


def _metadata(report: Report) -> Any:
    from huggingface_hub import EvalResult, ModelCardData

    origin, task, served = report.origin, report.task, served_variant(report.evaluate)
    where = task.dataset
    results = [
        EvalResult(
            task_type=task.type,
            dataset_type=where.type,
            dataset_name=where.name or where.files.get(name, name),
            dataset_config=where.config,
            dataset_revision=where.revision,
            dataset_split=name,
            metric_type=metric,
            metric_name=metric,
            metric_value=round(value, 6),
        )
        for name, split in report.evaluate.splits.items()
        for metric, value in split.scores.get(served, {}).items()
    ]
    base, relation = origin.base, "quantized" if report.quantized else "finetune"
    tags = ["openvino", "optkit", *(["int8"] if report.quantized else [])]
    return ModelCardData(
        model_name=report.name,
        library_name=TASKS[task.type].library if task.type in TASKS else "optimum",
        pipeline_tag=task.type,
        base_model=base[0] if len(base) == 1 else base or None,
        base_model_relation=relation if base else None,
        license=origin.license,
        license_name=origin.license_name,
        license_link=origin.license_link,
        datasets=origin.datasets or None,
        metrics=list(dict.fromkeys(result.metric_type for result in results)) or None,
        tags=tags + (["pruned", "sparse"] if report.sparse_layers else []),
        eval_results=results or None,
    )


def _summary(report: Report) -> str:
    origin, kind = report.origin, report.task.type
    base = ", ".join(f"[{name}](https://huggingface.co/{name})" for name in origin.base)
    source = "a local checkpoint" + (f" of {base}" if base else "") if origin.local else base
    said = f"{'An' if kind[:1] in tuple('aeiou') else 'A'} {kind} model as an {_number_format(report)} "
    said += f"OpenVINO IR, made from {source or 'random weights'} with optkit {report.versions.get('optkit', '')}."
    encoder = report.checkpoint_sparsity.denominators.get("encoder_linear")
    if report.structures and encoder:
        said += (
            f" {encoder.sparsity:.2%} of the encoder's linear weights are exactly zero "
            f"(structure: {', '.join(report.structures)})."
        )
    return said


def _number_format(report: Report) -> str:
    served = served_variant(report.evaluate)
    return served.model_label if served.quantized else "fp32"


def _model_name(report: Report, variant: Variant) -> str:
    """The name of a scored model in the card, which lies beside the IR."""
    if not variant.exported or variant.engine == "onnxruntime":
        return display_name(report, variant)
    engine = "optkit's runtime" if variant.engine == "optkit" else variant.engine_label
    return f"**this model**, {engine}"


def _accuracy_notes(report: Report) -> str:
    evaluated, said = report.evaluate, [document.score_notes(report)]
    if evaluated.baseline is not None:
        what = _BASELINES.get(evaluated.baseline, "a checkpoint that the recipe names")
        if evaluated.baseline == "start" and not report.prunes:
            what = "the model as it came"
        said.append(f"{display_name(report, DENSE).capitalize()} is {what}.")
    said.append(f"The checkpoint and this model {evaluated.agrees} {document.agreement_shares(report)}.")
    said += [f"{advised}."] if (advised := advice(evaluated.precision, evaluated.metric)) else []
    return " ".join(said)


def _sizes(report: Report) -> str:
    # The runtime runs the same files as OpenVINO.
    files = [variant.engine != "optkit" and not variant.f32_hint for variant in result_tables.scored_variants(report)]
    rows = [row for row, own in zip(result_tables.headline(report), files, strict=True) if own]
    return Table(("model", "zeros in the encoder", "on disk"), [(row[0], row[2], row[3]) for row in rows]).markdown()


def _speed(report: Report) -> str:
    if not report.benchmark:
        return "Not measured."
    machine, benchmark = report.machine, report.benchmark
    where = f"On {machine.cpu}, {machine.cores} cores, {machine.system}."
    table = result_tables.latency(report, benchmark).markdown()
    return f"{table}\n\n{document.time_notes(report, benchmark)}\n\n{where}"


def _made(report: Report) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    said = " ".join([f"By one recipe, with seed {report.seed}, and {versions}.", *other_stages(report)])
    if chosen := report.training.chosen:
        said += f" The checkpoint of step {chosen.step:,} was chosen by its {chosen.metric} on "
        said += f"{chosen.examples:,} training examples that were held out for this alone."
    return said


def _limits(report: Report) -> list[str]:
    splits = " and ".join(f"{name} ({split.examples:,})" for name, split in report.evaluate.splits.items())
    said = [
        f"The figures are of one run with one seed, on {splits}; on other data nothing was measured.",
        "Biases of the base model remain; whether compression changed them was not measured.",
    ]
    if report.sparse_layers:
        said.append(
            "OpenVINO by itself makes use of zeros on CPUs with AMX only; optkit's runtime does on x86-64 under Linux."
        )
    if report.benchmark:
        said.append("Times are of the machine named above, and what else it was doing; measure on yours.")
    return said


def _licence(origin: Origin) -> str:
    if not origin.base and not origin.local:
        return "The run began with random weights: no licence comes with a base model."
    if origin.license is None:
        return (
            "The base model's licence is not known to the run that made this card. Look it up, and add it to the "
            "metadata above, before you share the model."
        )
    name = origin.license_name or origin.license
    linked = f"[{name}]({origin.license_link})" if origin.license_link else name
    return f"That of the base model: {linked}."


def _fence(text: str) -> str:
    """A fence of enough backticks for ``text``."""
    fence = "```"
    while fence in text:
        fence += "`"
    return fence
