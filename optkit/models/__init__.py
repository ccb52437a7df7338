"""Loads what a recipe starts from and learns from: tokenizer or image processor, model, teacher."""

from __future__ import annotations

from optkit.models.checkpoint_head import KeptHead, adopt_labels, kept_head, reorder_head, stored_head
from optkit.models.head import Head
from optkit.models.image_processor import load_image_processor
from optkit.models.meta import meta_model
from optkit.models.positions import longest_input
from optkit.models.pretrained import load_model, load_teacher
from optkit.models.tokenizer import load_tokenizer

__all__ = [
    "Head",
    "KeptHead",
    "adopt_labels",
    "kept_head",
    "load_image_processor",
    "load_model",
    "load_teacher",
    "load_tokenizer",
    "longest_input",
    "meta_model",
    "reorder_head",
    "stored_head",
]
