"""Model folders, damaged as copies, edits and other tools leave them: checkpoints, embedders, adapters, IRs."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from odd_values import Plain, beside, odd, pick

Change = Callable[[np.random.Generator, Path], None]


def _plain(value: Any) -> Any:
    """What JSON can say of an odd value."""
    return str(value) if isinstance(value, Plain) else value


def damage_bytes(rng: np.random.Generator, file: Path) -> None:
    """The file cut short, emptied, filled, or with other bytes in it."""
    held = file.read_bytes()
    place = int(rng.integers(len(held))) if held else 0
    noise = bytes(rng.integers(0, 256, 16, dtype=np.uint8))
    ways = (
        *(b"", held[:place], held[: len(held) // 2], held[:-1], held + b"x", held * 2, b"\x00" * len(held), noise * 8),
        *(held[:place] + noise + held[place:], held[:place] + noise + held[place + 16 :], b"\xff\xfe" + held, held[1:]),
        *(
            b"<html>404: not found</html>",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
            b" \n",
        ),
    )
    file.write_bytes(pick(rng, ways))


def _leaf(rng: np.random.Generator, value: Any) -> tuple[Any, Any]:
    """A mapping or list somewhere inside ``value``, and one of its keys."""
    while True:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = pick(rng, keys)
        inner = value[key]
        if not isinstance(inner, (dict, list)) or not inner or rng.random() < 0.4:
            return value, key
        value = inner


def damage_json(rng: np.random.Generator, file: Path, more: tuple[str, ...] = ()) -> None:
    """One value of a JSON file replaced, removed or added; or the file as a whole something else."""
    value = json.loads(file.read_text(encoding="utf-8"))
    how = rng.random()
    if how < 0.15:
        whole = (
            *(
                "[]",
                "{}",
                "null",
                "1",
                '"text"',
                "",
                "{",
                "[" * 100_000,
                '{"a": ' * 50_000,
                "NaN",
                "{'a': 1}",
                "[null]",
            ),
            *(
                '[{"a": 1}]',
                "// x\n{}",
                '{"a": 1,}',
                '{"a": 1} {"a": 1}',
                "\ufeff{}",
                '{"x": 1e999}',
                '{"x": -Infinity}',
            ),
            *("9" * 5000, '{"x": ' + "9" * 5000 + "}"),
        )
        file.write_text(pick(rng, whole), encoding="utf-8")
        return
    if how < 0.2:
        file.write_bytes(json.dumps(value).encode(pick(rng, ("utf-16", "utf-32", "utf-8-sig"))))
        return
    for _ in range(int(rng.choice([1, 1, 2]))):
        if not value:
            break
        inside, key = _leaf(rng, value)
        way = rng.random()
        if way < 0.5:
            inside[key] = _plain(odd(rng))
        elif way < 0.75:
            inside[key] = beside(rng, inside[key])
        elif way < 0.9:
            del inside[key]
        elif isinstance(value, dict) and more:
            value[pick(rng, more)] = _plain(odd(rng))
        if isinstance(value, dict) and more and rng.random() < 0.2:
            value[pick(rng, more)] = _plain(odd(rng))
    text = json.dumps(value)
    file.write_bytes(text.encode("utf-8", "surrogatepass"))


_CONFIG = (
    *("model_type", "architectures", "num_labels", "id2label", "label2id", "problem_type", "dtype", "torch_dtype"),
    *("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act", "vocab_size"),
    *("pad_token_id", "max_position_embeddings", "type_vocab_size", "pruned_heads", "quantization_config", "auto_map"),
    *("tie_word_embeddings", "is_decoder", "is_encoder_decoder", "output_attentions", "transformers_version"),
    *("optkit_compact", "position_embedding_type", "layer_norm_eps", "image_size", "num_channels", "text_config"),
)


def _config(rng: np.random.Generator, folder: Path) -> None:
    damage_json(rng, folder / "config.json", _CONFIG)


def _one_setting(rng: np.random.Generator, folder: Path) -> None:
    """One value of config.json, so that most of the way to the model is still open."""
    file = folder / "config.json"
    values = json.loads(file.read_text(encoding="utf-8"))
    key = pick(rng, [*values, *values, *_CONFIG])
    values[key] = _plain(odd(rng)) if rng.random() < 0.4 or key not in values else beside(rng, values[key])
    file.write_bytes(json.dumps(values).encode("utf-8", "surrogatepass"))


def _any_json(rng: np.random.Generator, folder: Path) -> None:
    files = sorted(file for file in folder.rglob("*.json") if file.is_file())
    damage_json(rng, pick(rng, files))


def _any_bytes(rng: np.random.Generator, folder: Path) -> None:
    damage_bytes(rng, pick(rng, sorted(file for file in folder.rglob("*") if file.is_file())))


def _remove(rng: np.random.Generator, folder: Path) -> None:
    pick(rng, sorted(file for file in folder.rglob("*") if file.is_file())).unlink()


def _not_a_file(rng: np.random.Generator, folder: Path) -> None:
    """A folder, a loop of links, a dead link, or a pipe where a file should be."""
    file = pick(rng, sorted(file for file in folder.rglob("*") if file.is_file()))
    file.unlink()
    ways = (
        file.mkdir,
        lambda: file.symlink_to(file.name),
        lambda: file.symlink_to("missing"),
        lambda: file.symlink_to("/dev/null"),
        lambda: file.symlink_to("."),
    )
    pick(rng, ways)()


def _tokenizer(rng: np.random.Generator, folder: Path) -> None:
    files = [folder / name for name in ("tokenizer.json", "tokenizer_config.json")]
    damage_json(rng, pick(rng, [file for file in files if file.is_file()] or [folder / "config.json"]), _TOKENIZER)


_TOKENIZER = (
    *("tokenizer_class", "model_max_length", "pad_token", "unk_token", "cls_token", "sep_token", "mask_token"),
    *("added_tokens_decoder", "extra_special_tokens", "additional_special_tokens", "padding_side", "do_lower_case"),
    *("model_input_names", "chat_template", "truncation_side", "auto_map", "special_tokens_map_file", "clean_up"),
    *("truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder", "model"),
)


def _other_vocabulary(rng: np.random.Generator, folder: Path) -> None:
    """Tokens that the model has no room for, or fewer than it has."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        return _config(rng, folder)
    values = json.loads(file.read_text(encoding="utf-8"))
    vocabulary = values["model"]["vocab"]
    if rng.random() < 0.5:
        vocabulary |= {f"token{i}": 1000 + i * int(rng.integers(1, 10**6)) for i in range(5)}
    else:
        for token in list(vocabulary)[:: int(rng.integers(1, 4))]:
            del vocabulary[token]
    file.write_text(json.dumps(values), encoding="utf-8")


def _header(rng: np.random.Generator, folder: Path) -> None:
    """The header of a safetensors file: names, types, shapes and offsets, or its length."""
    file = pick(rng, sorted(folder.glob("*.safetensors")) or [None])
    if file is None:
        return _any_bytes(rng, folder)
    held = file.read_bytes()
    (length,) = struct.unpack("<Q", held[:8])
    header, data = json.loads(held[8 : 8 + length]), held[8 + length :]
    names = [name for name in header if name != "__metadata__"]
    name = pick(rng, names)
    ways = {
        "drop": lambda: header.pop(name),
        "rename": lambda: header.update({"model." + name: header.pop(name)}),
        "all renamed": lambda: [header.update({"module." + each: header.pop(each)}) for each in names],
        "type": lambda: header[name].update(
            dtype=pick(rng, ("F64", "F16", "BF16", "I8", "U8", "I64", "BOOL", "F8_E4M3", "XX", None))
        ),
        "shape": lambda: header[name].update(
            shape=pick(
                rng,
                ([], [0], [-1], [2**62, 2**62], ["a"], None, header[name]["shape"][::-1], [1, *header[name]["shape"]]),
            )
        ),
        "offsets": lambda: header[name].update(
            data_offsets=pick(rng, ([0, 0], [10, 5], [0, 2**63], [-1, 4], None, []))
        ),
        "extra": lambda: header.update({"extra.0.weight": header[name]}),
        "metadata": lambda: header.update(__metadata__=_plain(odd(rng))),
        "odd": lambda: header.update({name: _plain(odd(rng))}),
        "odd name": lambda: header.update(
            {pick(rng, ("", "..", "a" * 5000, "\u0000", "bert.encoder.layer.99.x.weight")): header.pop(name)}
        ),
    }
    way = pick(rng, ways)
    ways[way]()
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    size = len(text)
    if rng.random() < 0.1:
        size = pick(rng, (0, 1, 2**63, size + 10**6, size - 1))
    file.write_bytes(struct.pack("<Q", size) + text + data)


def _weights(rng: np.random.Generator, folder: Path) -> None:
    """Weights of other types, shapes and names, NaN among them, in a file that is whole."""
    import torch
    from safetensors.torch import load_file, save_file

    files = sorted(folder.glob("*.safetensors"))
    if not files:
        return _any_bytes(rng, folder)
    held = load_file(files[0])
    name = pick(rng, held)
    weight = held[name]
    ways = {
        "nan": lambda: weight.view(-1)[0].fill_(float("nan")),
        "inf": lambda: weight.fill_(float("inf")),
        "zero": lambda: [each.zero_() for each in held.values()],
        "int": lambda: held.update({name: weight.to(torch.int8)}),
        "bool": lambda: held.update({name: weight.to(torch.bool)}),
        "half": lambda: held.update({each: held[each].half() for each in held}),
        "bf16": lambda: held.update({name: weight.to(torch.bfloat16)}),
        "f8": lambda: held.update({name: weight.to(torch.float8_e4m3fn)}),
        "complex": lambda: held.update({name: weight.to(torch.complex64)}),
        "f64": lambda: held.update({name: weight.double()}),
        "empty": lambda: held.update({name: weight[:0].contiguous()}),
        "scalar": lambda: held.update({name: weight.sum()}),
        "flat": lambda: held.update({name: weight.flatten().contiguous()}),
        "deep": lambda: held.update({name: weight[None, None].contiguous()}),
        "other": lambda: held.update({name: torch.zeros(3, 5)}),
        "gone": lambda: held.pop(name),
        "all gone": lambda: held.clear(),
        "half gone": lambda: [held.pop(each) for each in list(held)[::2]],
        "extra": lambda: held.update({"bert.encoder.layer.7.attention.self.query.weight": torch.zeros(4, 4)}),
        "prefix": lambda: [held.update({"x." + each: held.pop(each)}) for each in list(held)],
        "bare": lambda: [held.update({each.removeprefix("bert."): held.pop(each)}) for each in list(held)],
    }
    ways[pick(rng, ways)]()
    save_file(held, files[0], metadata={"format": "pt"} if rng.random() < 0.8 else None)


def _index(rng: np.random.Generator, folder: Path) -> None:
    """Shards, and an index of them that points elsewhere."""
    file = folder / "model.safetensors"
    if not file.is_file():
        return _any_json(rng, folder)
    shard = folder / "model-00001-of-00001.safetensors"
    file.rename(shard)
    from safetensors import safe_open

    with safe_open(shard, framework="numpy") as opened:
        names = list(opened.keys())
    target = pick(
        rng,
        (
            *(
                shard.name,
                "missing.safetensors",
                "../model.safetensors",
                "/etc/passwd",
                "",
                None,
                1,
                [],
                {},
                ".",
                "a/b",
            ),
            *(
                "x" * 300 + ".safetensors",
                "config.json",
                "\u0000.safetensors",
                "é.safetensors",
                "..",
                "model.safetensors",
            ),
        ),
    )
    index: Any = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(names, shard.name)}
    index["weight_map"][pick(rng, names)] = target
    if rng.random() < 0.3:
        index[pick(rng, ("weight_map", "metadata"))] = _plain(odd(rng))
    if rng.random() < 0.1:
        del index["weight_map"]
    if rng.random() < 0.2:
        index["weight_map"] = dict.fromkeys(names[::2], shard.name)
    (folder / "model.safetensors.index.json").write_bytes(json.dumps(index).encode("utf-8", "surrogatepass"))


def _pickle(rng: np.random.Generator, folder: Path) -> None:
    """PyTorch's old file in place of safetensors: code in it, other things than tensors, or cut short."""
    import pickle

    import torch

    for file in folder.glob("*.safetensors"):
        file.unlink()
    file = folder / "pytorch_model.bin"
    things = (
        *({}, [], None, {"a": 1}, {"a": [torch.zeros(2)]}, {1: torch.zeros(2)}, {"a": torch.zeros(2)}, torch.zeros(2)),
        *(os.path, np.zeros(3), {"state_dict": {"a": torch.zeros(2)}}, "text", {"a": torch.zeros(2).to_sparse()}),
        {"a": torch.quantize_per_tensor(torch.zeros(2), 0.1, 0, torch.qint8)},
    )
    thing = things[int(rng.integers(len(things)))]
    how = rng.random()
    try:
        if how < 0.7:
            torch.save(thing, file)
        elif how < 0.85:
            file.write_bytes(pickle.dumps(print))
        else:
            file.write_bytes(pickle.dumps(thing))
    except (TypeError, pickle.PicklingError):
        file.write_bytes(b"\x80\x02}q\x00.")
    if rng.random() < 0.3:
        damage_bytes(rng, file)


CHECKPOINT: tuple[Change, ...] = (
    *(
        _config,
        _one_setting,
        _one_setting,
        _one_setting,
        _any_json,
        _any_bytes,
        _remove,
        _not_a_file,
        _tokenizer,
        _tokenizer,
    ),
    *(_other_vocabulary, _header, _header, _weights, _weights, _weights, _index, _index, _pickle),
)


def _tags(rng: np.random.Generator, folder: Path) -> None:
    """An attribute of the xml, those of our tags among them."""
    import re

    file = folder / "openvino_model.xml"
    text = file.read_text(encoding="utf-8")
    values = list(re.finditer(r'([\w]+)="([^"]*)"', text))
    tagged = [m for m in values if m.start() > text.find("<rt_info>") >= 0]
    for _ in range(int(rng.choice([1, 1, 2]))):
        match = pick(rng, tagged if tagged and rng.random() < 0.6 else values)
        value = pick(
            rng,
            (
                str(odd(rng))[:100],
                "",
                "-1",
                "0",
                "nan",
                "1e9",
                "9" * 30,
                match[2] + "x",
                match[2][:-1],
                "é",
                "²",
                "1x",
                "0x0",
            ),
        )
        value = re.sub(r'[<>&"\x00-\x08\ud800-\udfff]', "", value)
        at = text.find(match[0])
        if at >= 0:
            text = text[:at] + f'{match[1]}="{value}"' + text[at + len(match[0]) :]
    file.write_text(text, encoding="utf-8")


def _elements(rng: np.random.Generator, folder: Path) -> None:
    """Lines of the xml dropped, doubled or moved."""
    file = folder / "openvino_model.xml"
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    i, j = sorted(int(n) for n in rng.integers(0, len(lines), 2))
    ways = (lines[:i] + lines[i + 1 :], lines[:i] + [lines[i]] + lines[i:], lines[:i] + lines[j:], lines[:i])
    file.write_text("".join(ways[int(rng.integers(len(ways)))]), encoding="utf-8")


IR: tuple[Change, ...] = (_tags, _tags, _tags, _tags, _elements, _any_bytes, _remove, _not_a_file, _config, _tokenizer)


def _adapter(rng: np.random.Generator, folder: Path) -> None:
    damage_json(
        rng, folder / "adapter_config.json", ("base_model_name_or_path", "task_type", "peft_type", "r", "revision")
    )


ADAPTER: tuple[Change, ...] = (_adapter, _adapter, _adapter, _any_bytes, _remove, _not_a_file, _header, _weights)


def _embedding(rng: np.random.Generator, folder: Path) -> None:
    names = ("modules.json", "1_Pooling/config.json", "sentence_bert_config.json", "config_sentence_transformers.json")
    damage_json(rng, folder / pick(rng, names), ("pooling_mode", "default_prompt_name", "prompts", "max_seq_length"))


EMBEDDER: tuple[Change, ...] = (_embedding, _embedding, _embedding, *CHECKPOINT)


def _processor(rng: np.random.Generator, folder: Path) -> None:
    more = (
        "size",
        "image_mean",
        "image_std",
        "do_resize",
        "image_processor_type",
        "crop_size",
        "resample",
        "rescale_factor",
    )
    damage_json(rng, folder / "preprocessor_config.json", more)


VISION: tuple[Change, ...] = (
    _processor,
    _processor,
    _processor,
    _config,
    _one_setting,
    _one_setting,
    _any_bytes,
    _weights,
)


def damage(rng: np.random.Generator, source: Path, folder: Path, changes: tuple[Change, ...]) -> str:
    """A copy of ``source`` at ``folder`` with one change, seldom two; returns what was done."""
    shutil.copytree(source, folder)
    done = []
    for _ in range(int(rng.choice([1, 1, 1, 2]))):
        change = pick(rng, changes)
        try:
            change(rng, folder)
            done.append(change.__name__.strip("_"))
        except Exception:  # the change before has left nothing that this one can read
            done.append(f"{change.__name__.strip('_')} (nothing left to change)")
    shown = [f"changes: {', '.join(done)}"]
    for file in sorted(folder.rglob("*")):
        before = source / file.relative_to(folder)
        if file.is_symlink() or file.is_dir() != before.is_dir():
            shown.append(
                f"{file.name}: {'folder' if file.is_dir() else os.readlink(file) if file.is_symlink() else 'file'}"
            )
        elif file.is_file() and before.is_file() and file.read_bytes() != before.read_bytes():
            shown.append(f"{file.name}: {file.read_bytes()[:1200]!r}")
    return "\n".join(shown)
