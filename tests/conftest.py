"""What several folders of tests share: tiny data and checkpoints, exactly known zeros, IRs made node by node.

Nothing asks the Hub, and nothing is kept in the home folder.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import runpy
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

# Read by the Hub's libraries when they are imported, so set before any of them is.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="optkit-tests-")
os.environ["OPTKIT_CACHE"] = os.environ["HF_HOME"]
atexit.register(shutil.rmtree, os.environ["HF_HOME"], ignore_errors=True)

# What is started in the background of a shell ignores interrupts, and so do its children, those that tests interrupt too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import numpy as np  # noqa: E402
import pytest  # noqa: E402
from filelock import FileLock  # noqa: E402

if str(Path(__file__).parent) not in sys.path:
    sys.path.append(str(Path(__file__).parent))  # for tests that import architectures


def pytest_configure():
    from capabilities import required

    required()  # an unknown name ends the session here


def _freeze() -> None:
    """Takes all that lives now out of what garbage collections walk: the modules of torch, transformers and NNCF stay
    to the end, and walking them took a third of the tests' time.
    """
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items):
    for item in items:
        if "finished_run" in item.fixturenames:
            item.add_marker(pytest.mark.slow)
    # Files with slow tests begin, so that no worker is left alone with one of them at the end.
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish():
    _freeze()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item, nextitem):
    if nextitem is None or nextitem.path != item.path:
        _freeze()  # with what the file's tests imported


def pruned(rng: np.random.Generator, shape: tuple[int, int], block: tuple[int, int], share: float) -> np.ndarray:
    """A float32 weight (out, in) without zeros but for exactly round(share x blocks) blocks of ``block``."""
    rows, cols = shape[0] // block[0], shape[1] // block[1]
    keep = np.ones(rows * cols, dtype=bool)
    keep[rng.permutation(rows * cols)[: round(share * rows * cols)]] = False
    weight = rng.normal(size=shape).astype(np.float32)
    weight[weight == 0] = 1
    return weight * np.kron(keep.reshape(rows, cols), np.ones(block, dtype=bool))


def held_below_the_cpu() -> bool:
    """Whether ONEDNN_MAX_CPU_ISA holds OpenVINO below AVX-512 on a CPU that has it."""
    from optkit.cpu import cpu_flags

    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper()
    return (limit == "AVX" or limit.startswith(("SSE", "AVX2"))) and "avx512f" in cpu_flags()


if held_below_the_cpu():
    sys.path.insert(0, str(Path(__file__).parent / "held_below"))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (sys.path[0], os.environ.get("PYTHONPATH"))))
    runpy.run_module("sitecustomize")


@pytest.fixture(scope="session", autouse=held_below_the_cpu())
def openvino_without_its_crash():
    """Skips what OpenVINO 2026.4.1 crashes on when it is held below the CPU: its LayerNorm (MVN) takes AVX-512, and
    needs widths that are multiples of 16.
    """
    import openvino

    def compile_model(self, *args, **options):
        compiled = whole(self, *args, **options)
        for node in compiled.get_runtime_model().get_ops():
            shape = node.get_output_partial_shape(0) if node.get_output_size() else []
            if node.get_rt_info()["layerType"].value == "MVN" and shape[len(shape) - 1].get_length() % 16:
                pytest.skip("OpenVINO held below AVX-512 on a CPU that has it crashes in MVN of such widths")  # noqa: TID251
        return compiled

    whole, openvino.Core.compile_model = openvino.Core.compile_model, compile_model
    yield
    openvino.Core.compile_model = whole


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory):
    """``shared_folder(name, fill)``: a folder that ``fill(folder)`` makes, once for all workers: leave it as it is."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # a worker's own is a folder in the session's
    root /= "shared"

    def get(name: str, fill: Callable[[Path], None]) -> Path:
        folder, whole = root / name, root / f"{name}.whole"
        root.mkdir(exist_ok=True)
        with FileLock(root / f"{name}.lock"):
            if not whole.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                fill(folder)
                whole.touch()
        return folder

    return get


@pytest.fixture(scope="session")
def prune():
    return pruned


@pytest.fixture(scope="session")
def save_checkpoint():
    """Saves a tiny model of a transformers class, its encoder's linear weights pruned, and returns their zeros."""

    def save(folder: Path, model_class: str, config: dict, block: tuple[int, int], share: float) -> dict[str, int]:
        import torch
        import transformers

        from optkit.pruning.config import Rule
        from optkit.pruning.targets import resolve_targets

        architecture = getattr(transformers, model_class)
        torch.manual_seed(0)
        model = architecture(architecture.config_class(**config))
        rng = np.random.default_rng(0)
        zeros = {}
        for name, layer in resolve_targets(model, Rule()).items() if share else ():
            weight = pruned(rng, tuple(layer.weight.shape), block, share) * 0.1
            layer.weight.data = torch.from_numpy(weight.astype(np.float32))
            zeros[f"{name}.weight"] = int((weight == 0).sum())
        model.save_pretrained(folder)
        return zeros

    return save


@pytest.fixture(scope="session")
def save_ir():
    """Saves an IR of independent MatMuls, one for each weight (out, in) by module name; int8 ones get a scale."""

    def save(folder: Path, weights: dict[str, np.ndarray], tags=None) -> Path:
        from optkit.ir.io import import_openvino, save_model
        from optkit.ir.tags import write_tags

        openvino = import_openvino()
        ops = openvino.opset13
        inputs, outputs = [], []
        for module, weight in weights.items():
            node = ops.constant(weight)
            if weight.dtype == np.int8:
                node = ops.multiply(ops.convert(node, "f32"), ops.constant(np.full((len(weight), 1), 0.5, np.float32)))
            inputs.append(ops.parameter([-1, weight.shape[1]], np.float32))
            outputs.append(ops.matmul(inputs[-1], node, False, True, name=f"__module.{module}/aten::linear/MatMul"))
        model = openvino.Model(outputs, inputs, "linear")
        if tags is not None:
            write_tags(model, tags)
        folder.mkdir(parents=True, exist_ok=True)
        save_model(model, folder)
        return folder

    return save


def encoder_model(*, density: float = 0.1, quantized: bool = True, seed: int = 0):
    """A little classifier as an OpenVINO model: embeddings, a feed-forward layer pruned in 1x4 blocks, a mean, a head.

    Inputs input_ids and attention_mask (batch, length), output logits (batch, 2). int8 as NNCF makes it, in half the
    range of weights, where OpenVINO's own kernels are exact on every CPU; ``quantized=False`` is float32 throughout.
    """
    from optkit.ir.io import import_openvino

    openvino, rng, width = import_openvino(), np.random.default_rng(seed), 64
    ops = openvino.opset13

    def fake_quantize(value, low, high):
        ends = [ops.constant(np.float32(end)) for end in (low, high, low, high)]
        return ops.fake_quantize(value, *ends, levels=256) if quantized else value

    def linear(value, name, shape):
        keep = np.kron(rng.random((shape[0], shape[1] // 4)) < density, np.ones((1, 4), bool))
        integers = (rng.integers(-63, 64, shape) * keep).astype(np.int8)
        scale = np.full((shape[0], 1), 0.1 / np.sqrt(shape[1]), np.float32)
        weight = ops.constant(integers * scale)
        if quantized:
            weight = ops.multiply(ops.convert(ops.constant(integers), "f32"), ops.constant(scale))
        product = ops.matmul(value, weight, False, True, name=f"__module.encoder.layer.0.{name}/aten::linear/MatMul")
        return ops.add(product, ops.constant(rng.normal(size=(1, 1, shape[0])).astype(np.float32)))

    ids, mask = (ops.parameter([-1, -1], np.int64, name=name) for name in ("input_ids", "attention_mask"))
    table = ops.constant(rng.normal(size=(200, width)).astype(np.float32))
    tokens = ops.multiply(ops.gather(table, ids, np.int64(0)), ops.unsqueeze(ops.convert(mask, "f32"), np.int64(2)))
    hidden = ops.gelu(linear(fake_quantize(tokens, -4, 4), "up", (256, width)), "erf")
    tokens = ops.add(linear(fake_quantize(hidden, -0.2, 8), "down", (width, 256)), tokens)
    pooled = ops.reduce_mean(tokens, np.int64(1), False)
    logits = ops.matmul(pooled, ops.constant(rng.normal(size=(2, width)).astype(np.float32)), False, True, name="head")
    for node, name in ((ids, "input_ids"), (mask, "attention_mask"), (logits, "logits")):
        node.output(0).get_tensor().set_names({name})
    return openvino.Model([logits], [ids, mask], "encoder")


@pytest.fixture(scope="session")
def make_encoder():
    return encoder_model


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory, tiny_checkpoint) -> Path:
    """``encoder_model`` as an IR, with config and tokenizer beside it: leave it as it is."""
    from optkit.ir.io import save_model

    folder = tmp_path_factory.mktemp("encoder")
    save_model(encoder_model(), folder)
    for file in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(tiny_checkpoint / file, folder / file)
    return folder


@pytest.fixture(scope="session")
def tiny_files(tmp_path_factory) -> dict[str, Path]:
    """Tab-separated files of three splits, columns sentence and label (0 or 1): 96, 32 and 16 easy sentences."""
    folder = tmp_path_factory.mktemp("files")
    good, bad = ("fine", "lovely", "great", "sweet"), ("poor", "awful", "grim", "sour")
    things = ("soup", "song", "table", "garden", "river", "letter")
    rng = np.random.default_rng(0)
    files = {}
    for split, count in {"train": 96, "validation": 32, "test": 16}.items():
        rows = ["sentence\tlabel"]
        for i in range(count):
            word = (bad, good)[i % 2][rng.integers(4)]
            rows.append(f"the {things[rng.integers(6)]} of day {i} was {word} .\t{i % 2}")
        files[split] = folder / f"{split}.tsv"
        files[split].write_text("\n".join(rows) + "\n", encoding="utf-8")
    return files


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory, tiny_files) -> Path:
    """A BERT for two classes with random weights (2 layers, hidden 32) and a tokenizer trained on ``tiny_files``."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    from optkit.models.wordpiece import train_wordpiece

    folder = tmp_path_factory.mktemp("tiny_checkpoint")
    texts = [line.split("\t")[0] for line in tiny_files["train"].read_text(encoding="utf-8").splitlines()[1:]]
    tokenizer = train_wordpiece(texts, vocab_size=200, max_length=64)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def wide_teacher(tmp_path_factory, tiny_checkpoint) -> Path:
    """A BERT wider and deeper than ``tiny_checkpoint`` (3 layers, hidden 48), with its tokenizer and its two classes."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    folder = shutil.copytree(tiny_checkpoint, tmp_path_factory.mktemp("wide") / "teacher")
    config = BertConfig.from_pretrained(folder, hidden_size=48, num_hidden_layers=3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        BertForSequenceClassification(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def shape_files(tmp_path_factory) -> dict[str, Path]:
    """Folders of three splits with generated images, a folder for each of five classes: 60, 20 and 10 files."""
    from optkit.data.generators.shapes import NAMES, SHAPES

    folder = tmp_path_factory.mktemp("shapes")
    for split, count in {"train": 60, "validation": 20, "test": 10}.items():
        found = SHAPES(split, count, 0)
        for i, (image, label) in enumerate(zip(found["image"], found["label"], strict=True)):
            file = folder / split / NAMES[label] / f"{i}.ppm"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(image["bytes"])
    return {split.name: split for split in folder.iterdir()}


@pytest.fixture(scope="session")
def tiny_vit(tmp_path_factory) -> Path:
    """A ViT for the five classes of ``shape_files`` with random weights (2 layers, hidden 32, 24 x 24 pixels)."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification

    from optkit.data.generators.shapes import NAMES
    from optkit.models import load_image_processor
    from optkit.recipe.schema import ModelSpec

    folder = tmp_path_factory.mktemp("tiny_vit")
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    sizes |= {"image_size": 24, "patch_size": 8}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        ViTForImageClassification(ViTConfig(**sizes, id2label=dict(enumerate(sorted(NAMES))))).save_pretrained(folder)
    load_image_processor(ModelSpec(config={"model_type": "vit", **sizes})).save_pretrained(folder)
    return folder


class Outcome(NamedTuple):
    """What one command ended with."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def optkit_cli(tmp_path_factory):
    """Runs `optkit ARGUMENTS` in this process; what C++ libraries print by themselves is caught, too."""
    folder = tmp_path_factory.mktemp("printed")

    def call(*arguments: object) -> Outcome:
        from optkit.cli.app import main

        code, saved = 0, [os.dup(1), os.dup(2)]
        with open(folder / "out", "w+") as out, open(folder / "err", "w+") as err:
            try:
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                    main([str(argument) for argument in arguments])
            except SystemExit as end:
                code = end.code or 0
            finally:
                out.flush(), err.flush()
                for number, descriptor in enumerate(saved, 1):
                    os.dup2(descriptor, number)
                    os.close(descriptor)
            return Outcome(code, *((folder / name).read_text(encoding="utf-8") for name in ("out", "err")))

    return call


GENERATED = """\
optkit: 1
name: tiny
description: Topics for a tiny BERT.
seed: 3
model:
  config: {model_type: bert, hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 64, max_position_embeddings: 64}
  tokenizer: {train: wordpiece, vocab_size: 300}
task:
  type: text-classification
  dataset: {generate: topics, train: 120, validation: 40}
  text: text
  metric: [accuracy, f1]
  max_length: 32
train: {num_train_epochs: 2, learning_rate: 1e-3, per_device_train_batch_size: 16, train_sampling_strategy: group_by_length}
prune:
  - {name: encoder, criterion: {name: movement, saliency: 0}, structure: 1x4, schedule: {shape: cubic, to: 0.8, begin: 0%, end: 70%, every: 2}}
quantize: {calibration: {samples: 20}}
benchmark: {batch: [1], seq: [16], backends: [torch, openvino, optkit]}
"""

FROM_FILES = """\
optkit: 1
name: files
seed: 7
model: {name: CHECKPOINT}
task:
  type: text-classification
  dataset: {files: {train: TRAIN, validation: VALIDATION}}
  text: sentence
  max_length: 32
train: {num_train_epochs: 2, learning_rate: 1e-3, per_device_train_batch_size: 16, save_steps: 3, logging_steps: 1}
prune:
  - {name: encoder, criterion: magnitude, schedule: {to: 0.5, begin: 0, end: 8, every: 2}}
quantize: {}
"""


@pytest.fixture(scope="session")
def generated_recipe(shared_folder) -> Path:
    """A recipe that needs no files: random weights, generated topics, movement in 1x4 blocks, a dense baseline."""
    folder = shared_folder("generated", lambda folder: (folder / "tiny.yaml").write_text(GENERATED, encoding="utf-8"))
    return folder / "tiny.yaml"


@pytest.fixture(scope="session")
def files_recipe(tmp_path_factory, tiny_checkpoint, tiny_files) -> Path:
    """A recipe of 12 steps on ``tiny_files`` that starts from ``tiny_checkpoint`` and saves every 3 steps."""
    path = tmp_path_factory.mktemp("from_files") / "files.yaml"
    places = {"CHECKPOINT": tiny_checkpoint, "TRAIN": tiny_files["train"], "VALIDATION": tiny_files["validation"]}
    text = FROM_FILES
    for word, place in places.items():
        text = text.replace(word, str(place))
    path.write_text(text, encoding="utf-8")
    return path


class Finished(NamedTuple):
    """A whole run, done once: leave it as it is, or work on a copy."""

    folder: Path
    report: dict
    printed: Outcome

    def copy(self, to: Path) -> Path:
        return shutil.copytree(self.folder, to / "run")


@pytest.fixture(scope="session")
def finished_run(shared_folder, generated_recipe, optkit_cli) -> Finished:
    """``generated_recipe`` done from end to end with --json."""

    def fill(folder: Path) -> None:
        printed = optkit_cli("run", generated_recipe, "--output", folder / "run", "--json")
        assert printed.code == 0, printed.err
        (folder / "printed.json").write_text(json.dumps(printed), encoding="utf-8")

    folder = shared_folder("finished", fill)
    printed = Outcome(*json.loads((folder / "printed.json").read_text(encoding="utf-8")))
    return Finished(folder / "run", json.loads(printed.out), printed)


@pytest.fixture(scope="session")
def _hub_commands(tmp_path_factory):
    from hub_server import Commands, Hub

    hub = Hub()
    commands = Commands(hub, tmp_path_factory.mktemp("hub_home"))
    yield hub, commands
    commands.close()
    hub.close()


@pytest.fixture
def hub(_hub_commands):
    """An empty Hub on this machine, see hub_server."""
    _hub_commands[0].reset()
    return _hub_commands[0]


@pytest.fixture
def hub_commands(_hub_commands):
    """Runs `optkit ARGUMENTS`, or code, in a process that asks ``hub``."""
    return _hub_commands[1]
