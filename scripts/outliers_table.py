#!/usr/bin/env python
"""What outliers of activations cost in int8, and what helps: small models of newer shapes, outliers put into them.

Trained transformers have a few channels behind their norms, and a few neurons of gated products, that are many times as
large as the others. Here they are made: gains of some channels of every norm, and rows of what is multiplied in some
feed-forward layers, are scaled. Printed are the errors of the outputs (root mean square, against the fp32 model) with
everything in int8, and with the worst layers alone. Weights are random, so the errors compare settings and say nothing
of a task's accuracy.

    python scripts/outliers_table.py
    python scripts/outliers_table.py --gain 100 --only qwen3
    python scripts/outliers_table.py --split
"""

from __future__ import annotations

import argparse
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

SIZES: dict[str, Any] = {
    "vocab_size": 200,
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 256,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "modernbert": (
        "ModernBertModel",
        {"local_attention": 16, "global_attn_every_n_layers": 2, "cls_token_id": 1, "sep_token_id": 2},
    ),
    "deberta": (
        "DebertaV2Model",
        {
            "relative_attention": True,
            "position_buckets": 16,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_biased_input": False,
            "type_vocab_size": 0,
        },
    ),
    "qwen3": ("Qwen3Model", {"num_key_value_heads": 2, "head_dim": 32}),
}
#: Modules whose output enters the second product of a feed-forward layer.
_MULTIPLIED = re.compile(r"\.(mlp\.Wi|mlp\.up_proj|intermediate\.dense)\.weight$")
_NORMS = re.compile(r"(norm|LayerNorm)\.weight$", re.IGNORECASE)
CHANNELS, NEURONS, SAMPLES = (3, 77, 101), (5, 64), 24
WORST = 3
#: The layer of each model that reads what was multiplied first.
SECOND = {
    "modernbert": "layers.0.mlp.Wo",
    "deberta": "encoder.layer.0.output.dense",
    "qwen3": "layers.0.mlp.down_proj",
}


def parse() -> argparse.Namespace:
    summary, _, details = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gain", type=float, default=40.0, help="of the outliers (default: %(default)g)")
    parser.add_argument("--only", choices=tuple(MODELS), help="one of the models")
    parser.add_argument("--split", action="store_true", help="several ranges for the inputs of one layer, simulated")
    return parser.parse_args()


def model(name: str, gain: float) -> Any:
    """A model with random weights and outliers, the same at each call."""
    import torch
    import transformers

    class_name, config = MODELS[name]
    made = getattr(transformers, class_name)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        found = made(made.config_class(**SIZES, **config)).eval()
        for parameter_name, parameter in found.named_parameters():
            if parameter.ndim == 2:
                parameter.normal_(0, parameter.shape[1] ** -0.5)
            if _NORMS.search(parameter_name) and parameter.shape == (SIZES["hidden_size"],):
                parameter[list(CHANNELS)] *= gain
            if _MULTIPLIED.search(parameter_name):
                parameter[list(NEURONS)] *= gain
    return found


def rows(name: str, gain: float) -> list[str]:
    """Lines of the table for one model."""
    from optkit.adapters import quiet
    from optkit.export import conversion
    from optkit.ir.io import read_model
    from optkit.quantization.config import Quantization
    from optkit.quantization.sensitivity import measure_sensitivity

    with tempfile.TemporaryDirectory() as work:
        checkpoint, ir = Path(work, "checkpoint"), Path(work, "ir")
        ir.mkdir()
        with quiet():
            model(name, gain).save_pretrained(checkpoint)
        conversion.convert(checkpoint, ir, task="feature-extraction")
        rng = np.random.default_rng(0)
        samples = [{"input_ids": rng.integers(3, 200, length).tolist()} for length in rng.integers(20, 60, SAMPLES)]
        lines = []

        def line(title: str, how: Quantization) -> list[str]:
            with quiet():
                table = measure_sensitivity(read_model(ir), samples, how)
            worst = ", ".join(f"`{layer.module}` {layer.error:.1%}" for layer in table.layers[:WORST])
            lines.append(f"| {name}, {gain:g} | {title} | {table.together:.1%} | {worst} |")
            return [layer.module for layer in table.layers]

        line("no SmoothQuant", Quantization(smooth_quant=None))
        worst = line("SmoothQuant 0.95, the default", Quantization())
        line("SmoothQuant 0.5", Quantization(smooth_quant=0.5))
        line(f"default, the worst {WORST} in `ignored`", Quantization(ignored=tuple(worst[:WORST])))
    return lines


def split_rows(name: str, gain: float) -> list[str]:
    """Lines on what further ranges would win: 8 bits for the inputs of one layer alone, everything else in fp32."""
    import torch

    found = model(name, gain)
    layer = found.get_submodule(SECOND[name])
    rng = np.random.default_rng(0)
    lengths = rng.integers(20, 60, SAMPLES)
    texts = [torch.from_numpy(rng.integers(3, 200, (1, length))) for length in lengths]
    seen: list[Any] = []
    ranges: list[Any] = [None]

    def hook(_: Any, inputs: tuple[Any, ...]) -> Any:
        if ranges[0] is None:
            seen.append(inputs[0].flatten(0, -2))
            return None
        low, high = ranges[0]
        step = (high - low) / 255
        return ((torch.round((inputs[0] - low) / step).clamp(0, 255) * step + low),)

    layer.register_forward_pre_hook(hook)
    with torch.no_grad():
        wanted = torch.cat([found(text).last_hidden_state[0] for text in texts])
        rows = torch.cat(seen)
        lows, highs = rows.amin(0).clamp(max=0), rows.amax(0).clamp(min=0)
        large = (highs - lows) > 8 * (highs - lows).median()
        errors = []
        for groups in ([torch.ones_like(large)], [large, ~large], list(torch.eye(len(large), dtype=torch.bool))):
            low, high = lows.clone(), highs.clone()
            for group in groups:
                if group.any():
                    low[group], high[group] = lows[group].min(), highs[group].max()
            ranges[0] = low, torch.maximum(high, low + 1e-9)
            got = torch.cat([found(text).last_hidden_state[0] for text in texts])
            errors.append(float((got - wanted).square().mean().sqrt() / wanted.square().mean().sqrt()))
    one, two, each = (f"{error:.1%}" for error in errors)
    return [f"| {name}, {gain:g} | `{SECOND[name]}` | {int(large.sum())} | {one} | {two} | {each} |"]


def main() -> int:
    options = parse()
    if options.split:
        print(
            "| model, gain | layer | large inputs | one range | two ranges | a range for each |\n|---|---|"
            + 4 * "---:|"
        )
        for name in MODELS if options.only is None else [options.only]:
            print(*split_rows(name, options.gain), flush=True)
        return 0
    print("| model, gain | int8 | all layers | the worst layers alone |", "|---|---|---:|---|", sep="\n")
    for name in MODELS if options.only is None else [options.only]:
        for gain in (1.0, options.gain):
            print(*rows(name, gain), sep="\n", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
