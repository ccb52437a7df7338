"""Code for a model card: how a model of each task is loaded and called, ready to be copied."""

from __future__ import annotations

from collections.abc import Sequence

from optkit.report.stage_facts import Task
from optkit.tasks import TASKS, Call

#: For a task that this version does not know.
_TEXT = Call(None, ('"A sentence of your own."',))


def snippets(task: Task, name: str, *, f32: bool = False) -> dict[str, str]:
    """Python for ``optimum`` (optimum-intel), ``optkit`` (our runtime) and ``openvino`` (nothing but OpenVINO).

    Args:
        task: as a report has it.
        name: a Hub id.
        f32: whether plain OpenVINO is told to compute in f32.
    """
    config = '{"INFERENCE_PRECISION_HINT": "f32"}'

    known, kind = TASKS.get(task.type), task.type
    image = known is not None and known.reads == "images"
    call = ((task.pair and known.pair_call) or known.call) if known is not None else _TEXT
    processor, part = ("AutoImageProcessor", "image_processor") if image else ("AutoTokenizer", "tokenizer")
    inputs, piped = _inputs(call, None if image else task.shape), call.pipeline and (image or not task.shape)
    # Without torchvision AutoImageProcessor at the top of transformers stands for nothing.
    place = "transformers.models.auto.image_processing_auto" if image else "transformers"
    names = alone = f"from {place} import {processor}"
    if piped:
        names = f"from transformers import pipeline\n{alone}" if image else f"{alone}, pipeline"
    head = ["from PIL import Image"] if image else []
    if piped:
        use = [f'answer = pipeline("{kind}", model=model, {part}=processor)', f"print(answer({call.pipeline}))"]
    else:
        use = [f'print(model(**processor({inputs}, return_tensors="pt")))']
    optimum = [
        f"from optimum.intel import {task.ov_class}",
        *head,
        names,
        "",
        f'name = "{name}"',
        f"model = {task.ov_class}.from_pretrained(name{f', ov_config={config}' if f32 else ''})",
        f"processor = {processor}.from_pretrained(name)",
        *use,
    ]
    if known is not None and known.library == "sentence-transformers":
        given = f', model_kwargs={{"ov_config": {config}}}' if f32 else ""
        kind, asks = ("CrossEncoder", f"predict([({', '.join(call.inputs)})])")
        if not known.head:
            kind, asks = ("SentenceTransformer", f"encode([{call.inputs[0]}])")
        optimum = [
            f"from sentence_transformers import {kind}",
            "",
            f'model = {kind}("{name}", backend="openvino"{given})',
            f"print(model.{asks})",
        ]
    optkit = [
        "import optkit.runtime",
        "from huggingface_hub import snapshot_download",
        *head,
        names,
        "",
        f'folder = snapshot_download("{name}")',
        f'model = optkit.runtime.load(folder, ov_class="{task.ov_class}")',
        f"processor = {processor}.from_pretrained(folder)",
        *use,
    ]
    openvino = [
        "import openvino as ov",
        "from huggingface_hub import snapshot_download",
        *head,
        alone,
        "",
        f'folder = snapshot_download("{name}")',
        f'compiled = ov.Core().compile_model(f"{{folder}}/openvino_model.xml", "CPU"{f", {config}" if f32 else ""})',
        f"processor = {processor}.from_pretrained(folder)",
        f'inputs = processor({inputs}, return_tensors="np")',
        "print(compiled({port.any_name: inputs[port.any_name] for port in compiled.inputs})[0])",
    ]
    return {"optimum": "\n".join(optimum), "optkit": "\n".join(optkit), "openvino": "\n".join(openvino)}


def _inputs(call: Call, shape: Sequence[int] | None) -> str:
    """The arguments of a tokenizer: filled up to what a model takes that knows one shape alone."""
    if shape is None:
        return ", ".join(call.inputs)
    batch, seq = shape
    texts = ", ".join(call.inputs if batch == 1 else (f"[{text}] * {batch}" for text in call.inputs))
    return f'{texts}, padding="max_length", truncation=True, max_length={seq}'
