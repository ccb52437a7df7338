"""The model card: README.md with the Hub's metadata beside the exported model. Every figure is the report's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optkit.errors import OptkitError
from optkit.report import sections, tables
from optkit.report.conclusions import concluded
from optkit.report.precision import advice, needs_hint
from optkit.report.quantization import quantization
from optkit.report.render.blocks import Table
from optkit.report.render.charts.sparsity import sparsity_chart
from optkit.report.render.markdown import written
from optkit.report.snippets import snippets
from optkit.report.words import called, counted, served, sparse_layers
from optkit.tasks import TASKS

CARD, CHART = "README.md", "sparsity.svg"
#: Stands in a card for a repository that has no name yet.
NAMELESS = "ORG/NAME"
TEMPLATE = Path(__file__).with_name("card_template.md")
_MODELS = {
    "int8": "**this model**, OpenVINO",
    "openvino": "**this model**, OpenVINO",
    "int8 f32": "**this model**, OpenVINO with the f32 hint",
    "openvino f32": "**this model**, OpenVINO with the f32 hint",
    "int8 optkit": "**this model**, optkit's runtime",
    "optkit": "**this model**, optkit's runtime",
}
_BASELINES = {
    "start": "the model that pruning started from",
    "teacher": "the teacher that it was distilled from",
    "trained": "the same training without pruning",
}


def write_card(report: Mapping[str, Any], folder: Path, repo_id: str | None = None) -> None:
    """Writes README.md and, for a pruned model, the chart of its layers into ``folder``.

    Args:
        report: a run's report, as report.json holds it.
        folder: the exported model.
        repo_id: the repository that it goes to, where that is known.

    Raises:
        OptkitError: if the Hub's own checks of metadata refuse the card.
    """
    from optkit.pipeline.run_folder import write_atomic

    if layers := sparse_layers(report):
        write_atomic(folder / CHART, sparsity_chart(layers, f"{report['name']}: zeros in each layer"))
    else:
        (folder / CHART).unlink(missing_ok=True)
    write_atomic(folder / CARD, render(report, repo_id))


def render(report: Mapping[str, Any], repo_id: str | None = None) -> str:
    """The text of the card, see ``write_card``."""
    from huggingface_hub import ModelCard

    report = concluded(report)
    pruned, name = sparse_layers(report), repo_id or NAMELESS
    try:
        card = ModelCard.from_template(
            _metadata(report),
            template_str=TEMPLATE.read_text(encoding="utf-8"),
            title=report["name"],
            description=report["description"],
            summary=_summary(report),
            verdict=report["verdict"],
            accuracy=_accuracy(report),
            accuracy_notes=_accuracy_notes(report),
            sizes=_sizes(report),
            speed=_speed(report),
            quantization="\n\n".join(written(quantization(report["export"]) or [])),
            sparsity=tables.totals(counted(report)).markdown() if pruned else None,
            chart=CHART if pruned else None,
            model_id=name,
            snippets=snippets(report["task"], name, f32=needs_hint(report["evaluate"])),
            made=_made(report),
            recipe=report["resolved_recipe"].rstrip(),
            fence=_fence(report["resolved_recipe"]),
            limits=_limits(report),
            licence=_licence(report["origin"]),
        )
        # Reads the metadata back, as the Hub will: a model-index that cannot be parsed is refused here.
        return ModelCard(str(card)).content.rstrip() + "\n"
    except ValueError as error:
        raise OptkitError(f"{CARD}: the Hub would refuse the card's metadata: {error}") from error


def named(card: str, repo_id: str) -> str:
    """``card`` with the repository's name where it had none, whatever else was changed in it by hand."""
    return card.replace(NAMELESS, repo_id)


def _metadata(report: Mapping[str, Any]) -> Any:
    from huggingface_hub import EvalResult, ModelCardData

    origin, task, evaluated = report["origin"], report["task"], report["evaluate"]
    where = task["dataset"]
    results = [
        EvalResult(
            task_type=task["type"],
            dataset_type=where["type"],
            dataset_name=where.get("name") or where["files"].get(split, split),
            dataset_config=where.get("config"),
            dataset_revision=where.get("revision"),
            dataset_split=split,
            metric_type=metric,
            metric_name=metric,
            metric_value=round(value, 6),
        )
        for split, found in evaluated["splits"].items()
        for metric, value in found[served(report)].items()
    ]
    base, relation = origin["base"], "quantized" if report["quantized"] else "finetune"
    tags = ["openvino", "optkit", *(["int8"] if report["quantized"] else [])]
    return ModelCardData(
        model_name=report["name"],
        library_name=TASKS[task["type"]].library if task["type"] in TASKS else "optimum",
        pipeline_tag=task["type"],
        base_model=base[0] if len(base) == 1 else base or None,
        base_model_relation=relation if base else None,
        license=origin.get("license"),
        license_name=origin.get("license_name"),
        license_link=origin.get("license_link"),
        datasets=origin["datasets"] or None,
        metrics=list(dict.fromkeys(result.metric_type for result in results)) or None,
        tags=tags + (["pruned", "sparse"] if sparse_layers(report) else []),
        eval_results=results or None,
    )


def _summary(report: Mapping[str, Any]) -> str:
    origin, layers = report["origin"], sparse_layers(report)
    base = ", ".join(f"[{name}](https://huggingface.co/{name})" for name in origin["base"])
    source = "a local checkpoint" + (f" of {base}" if base else "") if origin["local"] else base
    kind = report["task"]["type"]
    said = f"{'An' if kind[0] in 'aeiou' else 'A'} {kind} model as an {'int8' if report['quantized'] else 'fp32'} "
    said += f"OpenVINO IR, made from {source or 'random weights'} with optkit {report['versions']['optkit']}."
    encoder = counted(report)["denominators"]["encoder_linear"]
    if layers and encoder:
        structures = ", ".join(dict.fromkeys(layer["structure"] for layer in layers if layer["structure"] != "dense"))
        said += (
            f" {encoder['sparsity']:.2%} of the encoder's linear weights are exactly zero (structure: {structures})."
        )
    return said


def _accuracy(report: Mapping[str, Any]) -> str:
    return tables.scores(report, lambda name: _MODELS.get(name) or called(report, name)).markdown()


def _accuracy_notes(report: Mapping[str, Any]) -> str:
    evaluated, said = report["evaluate"], [sections.scored(report)]
    if evaluated["baseline"] is not None:
        what = _BASELINES.get(evaluated["baseline"], "a checkpoint that the recipe names")
        if evaluated["baseline"] == "start" and not report["training"]["rules"]:
            what = "the model as it came"
        said.append(f"{called(report, 'dense').capitalize()} is {what}.")
    agreement = ", ".join(f"{found['agreement']:.2%} on {split}" for split, found in evaluated["splits"].items())
    said.append(f"The checkpoint and this model {evaluated.get('agrees', 'predict the same for')} {agreement}.")
    said += [f"{advised}."] if (advised := advice(evaluated)) else []
    return " ".join(said)


def _sizes(report: Mapping[str, Any]) -> str:
    # The runtime runs the same files as OpenVINO.
    rows = [row for row in tables.headline(report) if not row[0].endswith((", optkit", ", f32 hint"))]
    return Table(("model", "zeros in the encoder", "on disk"), [(row[0], row[2], row[3]) for row in rows]).markdown()


def _speed(report: Mapping[str, Any]) -> str:
    if not report["benchmark"]:
        return "Not measured."
    machine = report["machine"]
    where = f"On {machine['cpu']}, {machine['cores']} cores, {machine['system']}."
    return f"{tables.latency(report).markdown()}\n\n{sections.timed(report)}\n\n{where}"


def _made(report: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    said = " ".join([f"By one recipe, with seed {report['seed']}, and {versions}.", *sections.elsewhere(report)])
    if chosen := report.get("training", {}).get("chosen"):
        said += f" The checkpoint of step {chosen['step']:,} was chosen by its {chosen['metric']} on "
        said += f"{chosen['examples']:,} training examples that were held out for this alone."
    return said


def _limits(report: Mapping[str, Any]) -> list[str]:
    splits = " and ".join(f"{split} ({found['examples']:,})" for split, found in report["evaluate"]["splits"].items())
    said = [
        f"The figures are of one run with one seed, on {splits}; on other data nothing was measured.",
        "Biases of the base model remain; whether compression changed them was not measured.",
    ]
    if sparse_layers(report):
        said.append(
            "OpenVINO by itself makes use of zeros on CPUs with AMX only; optkit's runtime does on x86-64 under Linux."
        )
    if report["benchmark"]:
        said.append("Times are of the machine named above, and what else it was doing; measure on yours.")
    return said


def _licence(origin: Mapping[str, Any]) -> str:
    if not origin["base"] and not origin["local"]:
        return "The run began with random weights: no licence comes with a base model."
    if "license" not in origin:
        return (
            "The base model's licence is not known to the run that made this card. Look it up, and add it to the "
            "metadata above, before you share the model."
        )
    name = origin.get("license_name") or origin["license"]
    shown = f"[{name}]({origin['license_link']})" if "license_link" in origin else name
    return f"That of the base model: {shown}."


def _fence(text: str) -> str:
    """Backticks enough to stand around ``text``."""
    fence = "```"
    while fence in text:
        fence += "`"
    return fence
