"""Recipes of every task, changed in one to a few places: values of other types, keys that moved, parts that conflict."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from architectures import SIZES
from odd_values import Plain, beside, block_yaml, odd, pick

CONFIG = {"model_type": "bert", **SIZES, "max_position_embeddings": 64}
_TRAINED = {"train": "wordpiece", "vocab_size": 200}
_TRAIN = {"num_train_epochs": 1, "learning_rate": 1e-3, "per_device_train_batch_size": 8}

#: For each part of a recipe values that are right in some recipe; together they conflict in many.
RIGHT: dict[str, tuple[Any, ...]] = {
    "prune.0.structure": (
        *("element", "1x4", "4x1", "32x1", "1x64", "4x4", "64x64", "3x5", "2:4", "1:4", "4:8", "4:2", "0x4", "1x"),
        *("row", "column", "head", "neuron", "neuron:4", "neuron:7", "neuron:0", "head:2", "1:1000", "99999x99999"),
    ),
    "prune.0.criterion": (
        *("magnitude", "movement", "soft_movement", "taylor", "wanda", "obert", "random", "frozen", "reconstruction"),
        *("fisher", {"name": "movement", "saliency": 0}, {"name": "soft_movement", "head_start": 20, "threshold": 0.5}),
        *(
            {"name": "obert", "block": 16, "damping": 1e-3},
            {"name": "taylor", "momentum": 0.9},
            {"name": "random", "seed": 1},
        ),
        *({"name": "obert", "block": 7}, {"name": "obert", "block": 10**6}, {"name": "fisher", "damping": 0.0}),
    ),
    "prune.0.scope": ("global", "local"),
    "prune.0.targets": (
        *("encoder_linear", "*", "*.attention.*", "re:.*dense", "re:(", "nothing", ["*query", "*key"], "classifier"),
        *("bert.encoder.layer.0.attention.self.query", "*embeddings*", "re:.*\\.(query|key)", []),
    ),
    "prune.0.exclude": ("*", "*output*", [], "re:.*", "encoder_linear"),
    "prune.0.schedule": (
        *({"to": 0.8}, {"to": 0.5, "shape": "linear"}, {"to": 0.5, "shape": "stepwise", "jumps": 4}, {"to": 0.999999}),
        *({"to": 0.5, "shape": "constant"}, {"to": 0.5, "shape": "exponential", "from": 0.1}, {"to": 0.0}, {}, None),
        *({"to": 0.5, "begin": 0, "end": 10**9}, {"to": 0.5, "begin": "1ep", "end": "1ep"}, {"to": 0.5, "end": "100%"}),
        *({"to": 0.5, "begin": 5, "end": 5, "every": 1000}, {"to": 0.5, "begin": "99%", "end": "100%", "every": "50%"}),
        *(
            {"to": 0.5, "shape": "stepwise", "jumps": 10**6},
            {"to": 0.5, "begin": 0.5, "end": 3},
            {"from": 0.5, "to": 0.5},
        ),
        {"to": 0.5, "begin": "1e-9%", "end": "1e-8ep", "every": "1e-7ep"},
    ),
    "prune.0.regrow": (True, False),
    "prune.0.normalize": (True, False),
    "prune.0.floor": (0, 0.5, "10%", 0.99),
    "prune.0.ceiling": (1, 0.5, "10%", 0.001),
    "prune.0.allocate": (
        *({"by": "sensitivity"}, {"by": "latency", "speedup": 2}, {"by": "latency", "speedup": 1e9}, {"by": "latency"}),
        *({"by": "sensitivity", "samples": 10**9, "grid": [0.5]}, {"by": "sensitivity", "grid": [0.5, 0.4, 0.5]}),
        *(
            {"by": "latency", "speedup": 2, "costs": "missing.json"},
            {"by": "latency", "speedup": 2, "batch": 1, "seq": 8},
        ),
    ),
    "prune.0.name": ("a", "rule1", "encoder"),
    "oneshot": ({}, {"samples": 4}, {"samples": 10**9, "batch_size": 1}, None),
    "train": ({}, _TRAIN, {"num_train_epochs": 0}, {"max_steps": 1}, {"max_steps": -1, "num_train_epochs": 0.01}),
    "train.lr_rewind": ("jumps", "2ep", "1ep", 5, "5%", "0%", 10**9),
    "train.lr_floor": (0, 0.5, "10%"),
    "train.hold_out": ("5%", 1, 0.5, 10**9, 0.999999, "0.0001%"),
    "train.average_last": ("10%", 1, "1ep", "100%", 0, 10**9, 0.5),
    "train.freeze": ("*embeddings", "*", ["*layer.0*"], "nothing", "re:[", "*classifier*"),
    "quantize": (
        {},
        None,
        {"method": "int8_weights"},
        {"weight_range": "full"},
        {"method": "int8_weights", "max_drop": 1},
    ),
    "quantize.smooth_quant": (0.5, False, None, 1, "auto"),
    "quantize.bias_correction": (True, "accurate", False, None),
    "quantize.ignored": ("*", "*query", "re:(", []),
    "quantize.calibration": ({"samples": 1}, {"samples": 10**9}, {}),
    "quantize.max_drop": (0, 100, 0.5),
    "quantize.control": ({"samples": 1}, {}),
    "quantize.sensitivity": (True, False),
    "quantize.finetune": ({}, {"steps": 1}, {"batch_size": 10**9}, {"learning_rate": 1e9}),
    "export.formats": ("openvino", ["openvino", "onnx"], ["openvino", "sparse"], "onnx", ["openvino", "openvino"]),
    "export.shapes": ("dynamic", {"batch": 1, "seq": 16}, {"batch": 8, "seq": 8}, {"batch": 10**6, "seq": 10**6}, {}),
    "export.tokenizer": (True, False),
    "export.compact": (True, False, "auto"),
    "evaluate.splits": ("validation", ["validation", "train"], "test", ["validation", "validation"], "train"),
    "evaluate.baseline": ("auto", "none", "CHECKPOINT", "start", "teacher", "trained", "org/name", "./missing"),
    "evaluate.max_drop": (0, 5, 100),
    "benchmark": ({}, None, {"batch": 1, "seq": 16}, {"batch": [1, 8], "seq": [8, 16, 10**6]}),
    "benchmark.backends": ("torch", ["torch", "openvino", "optkit"], ["optkit"], "openvino", ["torch", "torch"]),
    "benchmark.prices": ("prices.yaml", "missing.yaml", "FILE_train"),
    "distill": (
        *({"teacher": "CHECKPOINT"}, {"teacher": "CHECKPOINT", "hidden": 1.0}, {"teacher": "./missing"}, None),
        *({"teacher": "CHECKPOINT", "attention": 1, "weight": "50%"}, {"teacher": "VIT"}, {"teacher": "EMBEDDER"}),
        *(
            {"teacher": "CHECKPOINT", "data": {"augment": 2}},
            {"teacher": "CHECKPOINT", "data": {"files": "FILE_train"}},
        ),
        {"teacher": "CHECKPOINT", "data": {"files": "FILE_text", "text": ["a", "b"]}},
        *({"teacher": ["CHECKPOINT", {"name": "CHECKPOINT", "weight": 2}]}, {"teacher": ["CHECKPOINT", "./missing"]}),
        {"teacher": [{"name": "CHECKPOINT", "weight": 0}, "CHECKPOINT"], "hidden": 1.0, "pooled": {"of": "states"}},
        *({"teacher": "VIT", "pooled": 1.0}, {"teacher": "EMBEDDER", "pooled": {"layers": "auto"}}, {"teacher": []}),
    ),
    "distill.pooled": (1.0, {"of": "states", "layers": "auto"}, {"layers": [0, 99]}, {"layers": {"1": 2}}, 0),
    "distill.teacher": (["CHECKPOINT"], [{"name": "CHECKPOINT", "weight": 0}], {"name": "CHECKPOINT"}, 3, None),
    "distill.hidden": (
        *(1.0, {"layers": "last"}, {"layers": [1, 2]}, {"layers": {"1": 2, "2": 2}}, {"layers": [0, 99]}),
        *({"layers": {"a": 1}}, {"layers": [], "normalize": True}, {"layers": {"0": 0}}),
    ),
    "distill.attention": (1.0, {"of": "maps"}, {"layers": [1]}, {"layers": "auto", "of": "relations"}),
    "distill.temperature": (1, 1e-9, 1e9),
    "distill.weight": (0, 1, "50%"),
    "model": (
        *(
            {"name": "CHECKPOINT"},
            {"config": CONFIG, "tokenizer": _TRAINED},
            {"config": CONFIG, "tokenizer": "CHECKPOINT"},
        ),
        *({"name": "VIT"}, {"name": "EMBEDDER"}, {"name": "./missing"}, {"name": "org/name"}, {"name": "FILE_train"}),
        *({"config": {"model_type": "vit", "image_size": 16, "patch_size": 8}}, {"config": {"model_type": "t5"}}),
        *(
            {"config": {"model_type": "gpt2"}, "tokenizer": _TRAINED},
            {"config": {"model_type": "clip"}, "tokenizer": _TRAINED},
        ),
        {"config": {"model_type": "distilbert", "dim": 32, "n_heads": 2, "hidden_dim": 64}, "tokenizer": _TRAINED},
        {
            "config": {"model_type": "roberta", **CONFIG, "vocab_size": 200} | {"model_type": "roberta"},
            "tokenizer": _TRAINED,
        },
    ),
    "model.overrides": ({"hidden_dropout_prob": 0.0}, {"hidden_size": 33}, {"num_labels": 3}, {"num_hidden_layers": 0}),
    "model.tokenizer": ("CHECKPOINT", _TRAINED, None, "./missing", "VIT", {"train": "wordpiece", "vocab_size": 64}),
    "model.trust_remote_code": (True, False),
    "task.type": (
        *("text-classification", "token-classification", "question-answering", "feature-extraction"),
        *("text-ranking", "zero-shot-classification", "image-classification", "fill-mask", "summarization"),
    ),
    "task.text": ("sentence", "text", ["sentence", "sentence"], ["a", "b"], "label", "tokens", ["question", "context"]),
    "task.label": ("label", "sentence", [], ["label", "label"], "tags", "score", "answers", "absent", ["a", "b"]),
    "task.problem": ("auto", "single_label_classification", "multi_label_classification", "regression"),
    "task.metric": (
        "accuracy",
        ["accuracy", "f1"],
        "pearson",
        "spearman",
        "entity_f1",
        "answer_f1",
        "cosine",
        "mrr_at_10",
        [],
    ),
    "task.max_length": (2, 3, 16, 64, 65, 10**6),
    "task.pooling": ("mean", "cls", "lasttoken", "max", None),
    "task.template": ("About {}.", "about", "{} {}", "{x}", ""),
    "task.stride": (0, 1, 7, 16, 10**6),
    "task.max_answer_length": (1, 10**6),
    "task.null_threshold": (0.0, -1e9, 1e9),
    "task.image": ("image", "picture"),
    "task.dataset": (
        *(
            {"generate": name}
            for name in (
                "topics",
                "similar",
                "passages",
                "complaints",
                "rivals",
                "stars",
                "entities",
                "answers",
                "shapes",
            )
        ),
        *(
            {"files": {"train": f"FILE_{name}", "validation": f"FILE_{name}"}}
            for name in ("pairs", "tags", "answers", "text")
        ),
        *(
            {"files": {"train": "IMAGES", "validation": "IMAGES"}},
            {"files": {"train": "FILE_train"}},
            {"name": "org/data"},
        ),
        *(
            {"generate": "topics", "train": 1},
            {"generate": "topics", "train": 2, "validation": 1, "test": 1},
            {"files": {}},
        ),
    ),
    "publish": ({"repo_id": "org/name"}, {"repo_id": "x"}, {"private": True}),
    "seed": (0, 2**32 - 1, 2**32),
    "name": ("a", "a b", "../x", "x" * 101),
    "optkit": (1, 0, 2, "1"),
    "extends": ("base.yaml", "missing.yaml", ".", "case.yaml"),
}


def bases() -> list[dict[str, Any]]:
    """A recipe of each task that a plan can be made of, on tiny data."""
    text = {"type": "text-classification", "dataset": _files("train"), "text": "sentence", "max_length": 16}
    classes = {"optkit": 1, "model": {"name": "CHECKPOINT"}, "task": text}
    rule = {"name": "encoder", "criterion": "magnitude", "structure": "1x4", "schedule": {"to": 0.5}}
    fresh = {"config": CONFIG, "tokenizer": _TRAINED}
    trained = {"train": _TRAIN, "prune": [rule], "quantize": {}}

    def of(task: dict[str, Any], model: dict[str, Any] = fresh) -> dict[str, Any]:
        short = {} if task["type"] == "image-classification" else {"max_length": 24}
        return {"optkit": 1, "model": model, "task": task | short} | trained

    return [
        classes | trained | {"benchmark": {"batch": [1], "seq": [16]}},
        classes | trained | {"distill": {"teacher": "CHECKPOINT", "hidden": {"weight": 1.0}, "attention": 0.5}},
        classes | {"prune": [rule | {"allocate": {"by": "sensitivity"}}], "oneshot": {"samples": 8}},
        classes
        | {"quantize": {"calibration": {"samples": 8}, "max_drop": 1}, "export": {"formats": ["openvino", "onnx"]}},
        classes
        | trained
        | {
            "prune": [{"name": "heads", "structure": "head", "schedule": {"to": 0.5}}, rule],
            "export": {"compact": True},
        },
        of(
            {
                "type": "text-classification",
                "dataset": {"generate": "topics", "train": 40, "validation": 8},
                "text": "text",
            }
        ),
        of(
            {
                "type": "text-classification",
                "dataset": _files("pairs"),
                "text": ["a", "b"],
                "label": "score",
                "metric": "pearson",
            }
        ),
        of({"type": "text-classification", "dataset": _files("sets"), "text": "sentence"}),
        of({"type": "token-classification", "dataset": _files("tags"), "text": "tokens", "label": "tags"}),
        of(
            {
                "type": "question-answering",
                "dataset": _files("answers"),
                "text": ["question", "context"],
                "label": "answers",
            }
        ),
        of(
            {
                "type": "feature-extraction",
                "dataset": _files("pairs"),
                "text": ["a", "b"],
                "label": "score",
                "pooling": "mean",
            }
        ),
        of(
            {"type": "feature-extraction", "dataset": _files("pairs"), "text": ["a", "b"], "label": "score"},
            {"name": "EMBEDDER"},
        ),
        of({"type": "fill-mask", "dataset": _files("pairs"), "text": "a"}),
        of(
            {"type": "image-classification", "dataset": {"files": {"train": "IMAGES", "validation": "IMAGES"}}},
            {"name": "VIT"},
        ),
    ]


def _files(name: str) -> dict[str, Any]:
    return {"files": {"train": f"FILE_{name}", "validation": f"FILE_{name}"}}


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything in ``value``, mappings and lists included."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _leaves(inner, (*path, key))


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def put(recipe: Any, path: str, value: Any) -> None:
    """Writes ``value`` at a dotted ``path``, and what is missing on the way to it."""
    *above, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    for key in above:
        if isinstance(recipe, list):
            if not isinstance(key, int) or key >= len(recipe):
                return
            recipe = recipe[key]
            continue
        if not isinstance(recipe, dict):
            return
        if not isinstance(recipe.get(key), (dict, list)):
            recipe[key] = [{}] if key == "prune" else {}
        recipe = recipe[key]
    if isinstance(recipe, dict):
        recipe[last] = value


def _odd_leaf(rng: np.random.Generator, recipe: dict[str, Any]) -> None:
    *above, last = pick(rng, _leaves(recipe))
    _at(recipe, tuple(above))[last] = odd(rng)


def _beside_leaf(rng: np.random.Generator, recipe: dict[str, Any]) -> None:
    *above, last = pick(rng, _leaves(recipe))
    inside = _at(recipe, tuple(above))
    inside[last] = beside(rng, inside[last])


def _odd_known(rng: np.random.Generator, recipe: dict[str, Any]) -> None:
    """An odd value at a key that the recipe may have."""
    put(recipe, pick(rng, RIGHT), odd(rng))


def _other_right(rng: np.random.Generator, recipe: dict[str, Any]) -> None:
    path = pick(rng, RIGHT)
    put(recipe, path, copy.deepcopy(pick(rng, RIGHT[path])))


def _conflict(rng: np.random.Generator, recipe: dict[str, Any]) -> None:
    """Several parts at once, each of them right in some recipe."""
    for _ in range(int(rng.integers(2, 6))):
        _other_right(rng, recipe)


def _rule(rng: np.random.Generator, recipe: dict[str, Any]) -> None:
    """A rule of any structure, criterion, scope and schedule."""
    for key in ("structure", "criterion", "scope", "schedule"):
        put(recipe, f"prune.0.{key}", copy.deepcopy(pick(rng, RIGHT[f"prune.0.{key}"])))
    if rng.random() < 0.3:
        recipe["train"] = {}


def _drop(rng: np.random.Generator, recipe: dict[str, Any]) -> None:
    *above, last = pick(rng, _leaves(recipe))
    del _at(recipe, tuple(above))[last]


def _rename(rng: np.random.Generator, recipe: dict[str, Any]) -> None:
    paths = [path for path in _leaves(recipe) if isinstance(path[-1], str)]
    *above, last = pick(rng, paths)
    inside = _at(recipe, tuple(above))
    inside[
        pick(
            rng,
            (
                last + "s",
                last.upper(),
                last[1:],
                Plain("1"),
                Plain("null"),
                Plain("~"),
                "",
                "é",
                last.replace("_", "-"),
            ),
        )
    ] = inside.pop(last)


def _move(rng: np.random.Generator, recipe: dict[str, Any]) -> None:
    """A key with its value in another part of the recipe."""
    paths = list(_leaves(recipe))
    source = pick(rng, [path for path in paths if isinstance(path[-1], str)])
    targets = [path for path in paths if isinstance(_at(recipe, path), dict) and path[: len(source)] != source]
    value = _at(recipe, source)
    if targets:
        _at(recipe, pick(rng, targets))[source[-1]] = copy.deepcopy(value)


def _swap(rng: np.random.Generator, recipe: dict[str, Any]) -> None:
    paths = [path for path in _leaves(recipe) if not isinstance(_at(recipe, path), (dict, list))]
    first, second = pick(rng, paths), pick(rng, paths)
    one, other = _at(recipe, first), _at(recipe, second)
    _at(recipe, first[:-1])[first[-1]], _at(recipe, second[:-1])[second[-1]] = other, one


def _training_argument(rng: np.random.Generator, recipe: dict[str, Any]) -> None:
    from optkit.recipe.training_arguments import OURS, arguments

    train = recipe.setdefault("train", {})
    if isinstance(train, dict):
        for _ in range(int(rng.integers(1, 4))):
            name = pick(rng, [*arguments(), *OURS, *_STEPS, *_STEPS])
            known = arguments().get(name)
            of_type = [value for kind in known.types for value in _OF_TYPE[kind]] if known else []
            train[name] = pick(rng, [*known.choices, *of_type]) if of_type and rng.random() < 0.75 else odd(rng)


#: What decides how many steps there are, and when something happens.
_STEPS = (
    *("per_device_train_batch_size", "gradient_accumulation_steps", "max_steps", "num_train_epochs", "warmup_steps"),
    *("eval_steps", "save_steps", "logging_steps", "eval_strategy", "save_strategy", "logging_strategy", "report_to"),
    *("lr_scheduler_type", "lr_scheduler_kwargs", "optim", "optim_args", "dataloader_num_workers", "save_total_limit"),
)
_OF_TYPE: dict[str, tuple[Any, ...]] = {
    "string": ("none", "no", "steps", "epoch", "", "all", "adamw_torch", "cosine", "x", "5%"),
    "boolean": (True, False),
    "integer": (0, 1, -1, 2, 7, 10**9),
    "number": (0.0, 1e-9, -1.0, 0.5, 1, 2.5, 1e9),
    "null": (None,),
    "object": ({}, {"a": 1}, {"num_cycles": 2}, {"use_reentrant": False}),
    "array": ([], ["none"], ["tensorboard"], [1], [None], ["a", "b"]),
}


def _architecture(rng: np.random.Generator, recipe: dict[str, Any]) -> None:
    """A configuration with an odd value, or of another architecture."""
    config = dict(CONFIG)
    config[pick(rng, [*CONFIG, *_SETTINGS])] = odd(rng) if rng.random() < 0.6 else beside(rng, 8)
    recipe["model"] = {"config": config, "tokenizer": dict(_TRAINED)}


def _setting(rng: np.random.Generator, recipe: dict[str, Any]) -> None:
    """One number of a configuration, of the right type."""
    config = dict(CONFIG)
    config[pick(rng, CONFIG | {"vocab_size": 1, "type_vocab_size": 2})] = pick(
        rng, (0, 1, -1, 3, 7, 30, 10**5, 2**31, 2**62)
    )
    config["model_type"] = pick(rng, _ARCHITECTURES)
    recipe["model"] = {"config": config, "tokenizer": dict(_TRAINED)}


_ARCHITECTURES = (
    *("bert", "bert", "bert", "roberta", "electra", "albert", "mpnet", "deberta-v2", "convbert", "modernbert"),
    *(
        "distilbert",
        "xlnet",
        "funnel",
        "longformer",
        "big_bird",
        "fnet",
        "gpt2",
        "llama",
        "t5",
        "bart",
        "clip",
        "whisper",
    ),
    *("mobilebert", "squeezebert", "roformer", "nystromformer", "camembert", "ernie", "layoutlm", "vit", "wav2vec2"),
)

_SETTINGS = (
    *("vocab_size", "hidden_act", "hidden_dropout_prob", "attention_probs_dropout_prob", "type_vocab_size"),
    *("layer_norm_eps", "initializer_range", "pad_token_id", "classifier_dropout", "id2label", "problem_type"),
    *("is_decoder", "add_cross_attention", "num_labels", "use_cache", "chunk_size_feed_forward", "architectures"),
    *("torch_dtype", "tie_word_embeddings", "output_attentions", "return_dict", "quantization_config", "pruned_heads"),
)

Change = Callable[[np.random.Generator, dict[str, Any]], None]
#: Those that most often leave a recipe well-formed, so that the plan has to find what is wrong.
DEEP: tuple[Change, ...] = (
    *(
        _other_right,
        _other_right,
        _conflict,
        _rule,
        _rule,
        _training_argument,
        _training_argument,
        _setting,
        _swap,
        _drop,
    ),
)
CHANGES: tuple[Change, ...] = (
    *(_odd_leaf, _odd_leaf, _beside_leaf, _odd_known, _odd_known, _other_right, _other_right, _conflict, _conflict),
    *(_rule, _rule, _drop, _rename, _move, _swap, _training_argument, _training_argument, _architecture),
)


def mutated(rng: np.random.Generator, places: dict[str, str]) -> bytes:
    """The text of a recipe, most often YAML, that differs from a right one in one to three changes.

    Args:
        places: what stands for CHECKPOINT, FILE_train and the like.
    """
    recipe = copy.deepcopy(pick(rng, bases()))
    changes = DEEP if rng.random() < 0.6 else CHANGES
    for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
        try:
            pick(rng, changes)(rng, recipe)
        except (KeyError, IndexError, TypeError, ValueError):
            continue  # an earlier change took away what this one looks for
    text = to_text(recipe, places)
    return _damaged(rng, text) if rng.random() < 0.1 else text.encode("utf-8", "surrogatepass")


def to_text(recipe: dict[str, Any], places: dict[str, str]) -> str:
    """``recipe`` as YAML, with the ``places`` of this machine."""
    text = block_yaml(recipe)
    for name, place in places.items():
        text = text.replace(f'"{name}"', f'"{place}"')
    return text


def _damaged(rng: np.random.Generator, text: str) -> bytes:
    """The text as editors and copies may leave it."""
    place = int(rng.integers(len(text)))
    lines = text.splitlines(keepends=True)
    line = int(rng.integers(len(lines)))
    ways = (
        lambda: text[:place].encode(),
        lambda: text[:place].encode() + bytes(rng.integers(0, 256, 3, dtype=np.uint8)) + text[place:].encode(),
        lambda: "".join([*lines[:line], lines[line], *lines[line:]]).encode(),
        lambda: "".join([*lines[:line], "\t" + lines[line], *lines[line + 1 :]]).encode(),
        lambda: text.encode("utf-16"),
        lambda: b"\xef\xbb\xbf" + text.encode(),
        lambda: ("# é\n" + text).encode("latin-1"),
        lambda: text.replace("\n", "\r\n").encode(),
        lambda: text.replace("\n", "\r").encode(),
        lambda: b"",
        lambda: b"- a\n- b\n",
        lambda: b"optkit: 1\n" + b"a: " + b"[" * 3000,
        lambda: b"optkit: 1\n" + b"a: " + b"{a: " * 3000 + b"1" + b"}" * 3000,
        lambda: b"a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n" + text.encode(),
        lambda: text.encode() + b"---\n" + text.encode(),
        lambda: (text + "extends: " + "../" * 50 + "etc/passwd\n").encode(),
        lambda: (text + "extends: case.yaml\n").encode(),
        lambda: (text + "extends: [a, b]\n").encode(),
        lambda: text[:place].encode() + b"\x00" + text[place:].encode(),
        lambda: b"%YAML 9.9\n---\n" + text.encode(),
    )
    return pick(rng, ways)()


def write(rng: np.random.Generator, folder: Path, places: dict[str, str]) -> Path:
    path = folder / "case.yaml"
    path.write_bytes(mutated(rng, places))
    return path
