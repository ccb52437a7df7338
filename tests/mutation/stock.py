"""What the mutated inputs began as: tiny models and data files of every task, all of them right."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

_SENTENCES = [
    f"the {thing} of day {i} was {('grim', 'fine')[i % 2]} ." for i, thing in enumerate(["soup", "song", "table"] * 8)
]


def _answer(i: int) -> dict[str, Any]:
    context = _SENTENCES[i]
    found = {"text": ["day"], "answer_start": [context.index("day")]} if i % 3 else {"text": [], "answer_start": []}
    return {"question": "when was it ?", "context": context, "answers": found}


#: Rows of each data file, by its name.
ROWS: dict[str, list[dict[str, Any]]] = {
    "train": [{"sentence": text, "label": i % 2} for i, text in enumerate(_SENTENCES)],
    "pairs": [
        {"a": a, "b": b, "score": round((i % 7) / 6, 2)} for i, (a, b) in enumerate(zip(_SENTENCES, _SENTENCES[::-1]))
    ],
    "tags": [{"tokens": t.split(), "tags": ["O", "B-THING", *["O"] * (len(t.split()) - 2)]} for t in _SENTENCES],
    "answers": [_answer(i) for i in range(len(_SENTENCES))],
    "sets": [{"sentence": text, "label": [["red"], ["red", "blue"], []][i % 3]} for i, text in enumerate(_SENTENCES)],
}


def write_rows(rows: list[dict[str, Any]], path: Path) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_stock(folder: Path, checkpoint: Path, vit: Path, images: Path) -> dict[str, str]:
    """Writes data files and a model of embeddings into ``folder``; returns what stands for what in a recipe."""
    from optkit.adapters.sentence_transformers import Embedding, write

    places = {f"FILE_{name}": str(write_rows(rows, folder / f"{name}.jsonl")) for name, rows in ROWS.items()}
    (folder / "text.txt").write_text("\n".join(_SENTENCES), encoding="utf-8")
    embedder = shutil.copytree(checkpoint, folder / "embedder")
    write(embedder, Embedding(), width=32, max_length=16, source=None, revision="main")
    return places | {
        "FILE_text": str(folder / "text.txt"),
        "CHECKPOINT": str(checkpoint),
        "EMBEDDER": str(embedder),
        "VIT": str(vit),
        "IMAGES": str(images),
    }


def write_adapter(checkpoint: Path, folder: Path) -> Path:
    """A LoRA adapter of ``checkpoint``."""
    import peft
    from transformers import AutoModelForSequenceClassification

    base = AutoModelForSequenceClassification.from_pretrained(checkpoint)
    lora = peft.LoraConfig(task_type="SEQ_CLS", target_modules=["query"], r=2, init_lora_weights=False)
    peft.get_peft_model(base, lora).save_pretrained(folder)
    return folder
