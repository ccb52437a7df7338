"""What services are often written like, for scripts/serve_bench.py: FastAPI around a library, each request by itself.

    BASELINE=optimum MODEL=runs/NAME/openvino uvicorn --app-dir scripts serve_baselines:app
    BASELINE=sentence-transformers MODEL=CHECKPOINT uvicorn --app-dir scripts serve_baselines:app

Handlers are plain functions, which FastAPI runs in threads; a lock guards the one request of optimum-intel's model.
"""

from __future__ import annotations

import os
import threading

import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel

app, lock = FastAPI(), threading.Lock()
MODEL, THREADS = os.environ["MODEL"], int(os.environ.get("THREADS", "1"))


class Request(BaseModel):
    inputs: str | list[str] | list[list[str]]


if os.environ["BASELINE"] == "optimum":
    from optimum.intel import OVModelForSequenceClassification
    from transformers import AutoTokenizer

    config = {"INFERENCE_NUM_THREADS": THREADS, "PERFORMANCE_HINT": "LATENCY"}
    model = OVModelForSequenceClassification.from_pretrained(MODEL, ov_config=config)
    tokenizer, labels = AutoTokenizer.from_pretrained(MODEL), model.config.id2label

    @app.post("/predict")
    def predict(request: Request) -> list:
        single = isinstance(request.inputs, str)
        texts = [request.inputs] if single else [each[0] for each in request.inputs]
        with lock:
            encoded = tokenizer(texts, padding=True, truncation=True, return_tensors="np")
            logits = model(**encoded).logits
        shares = np.exp(logits - logits.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        found = [
            [{"label": labels[int(i)], "score": float(row[i])} for i in np.argsort(-row)] for row in np.asarray(shares)
        ]
        return found[0] if single else found

else:
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(THREADS)
    model = SentenceTransformer(MODEL, device="cpu")

    @app.post("/embed")
    def embed(request: Request) -> list:
        texts = [request.inputs] if isinstance(request.inputs, str) else request.inputs
        return model.encode(texts, normalize_embeddings=True).tolist()
