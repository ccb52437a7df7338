"""Command lines with odd words: paths of `--set`, values of options, too few or too many arguments."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from odd_recipes import RIGHT
from odd_values import odd, pick, to_yaml

_NUMBERS = (
    "0",
    "-1",
    "1.5",
    "nan",
    "inf",
    "1e9",
    "",
    " ",
    "²",
    "٣",
    "9" * 30,
    "x",
    "1,",
    ",1",
    "1,,8",
    "1;8",
    "0x10",
    "1_0",
)
_WORDS = (
    "",
    " ",
    "x",
    "é",
    "-",
    "--",
    "..",
    "/",
    "/dev/null",
    "a/b",
    "org/name",
    "a" * 5000,
    "a\nb",
    "*",
    "~",
    "none",
    "all",
)
_PATHS = (
    *(
        "",
        ".",
        "..",
        "a..b",
        "prune",
        "prune.0",
        "prune.9.schedule.to",
        "prune.-1.to",
        "prune.²",
        "prune.0.0.0",
        "prune.x.to",
    ),
    *(
        "task.dataset.files.train.x",
        "seed.0",
        "model.name.x",
        "train.learning_rate.0",
        "optkit",
        "extends",
        "name",
        "é.ü",
    ),
    *("prune.0.criterion.name", "prune.0.criterion.momentum", "distill.hidden.layers", "benchmark.batch.0", "a" * 3000),
    *(
        "prune.encoder.schedule.to",
        "prune.0.targets.0",
        "prune.0.targets.1",
        "evaluate.splits.0",
        " seed ",
        "seed ",
        ".",
    ),
)


def _set(rng: np.random.Generator) -> str:
    path = pick(rng, [*_PATHS, *RIGHT])
    value = to_yaml(pick(rng, RIGHT[path]) if path in RIGHT and rng.random() < 0.5 else odd(rng))
    return pick(
        rng,
        (f"{path}={value}", f"{path}={value}", f"{path}={value}", f"{path} = {value}", path, f"{path}=", f"={value}"),
    )


def words(rng: np.random.Generator, folder: Path, places: dict[str, str], recipe: Path) -> list[object]:
    """A command line; nothing on it trains, measures for long, or asks the Hub."""
    number, word = (lambda: pick(rng, _NUMBERS)), (lambda: pick(rng, _WORDS))
    checkpoint, ir, data = places["CHECKPOINT"], places["IR"], places["FILE_train"]

    def bench(*more: object) -> list[object]:
        """Short, and on one backend; of an option that is given again, the last counts."""
        return ["bench", checkpoint, "--duration", "0.001", "--no-loads", "--backends", "torch", *more]

    lines = (
        *(
            (
                lambda: [
                    "validate",
                    "--plan",
                    recipe,
                    *(w for _ in range(int(rng.integers(1, 4))) for w in ("--set", _set(rng))),
                ],
            )
            * 6
        ),
        *((lambda: ["validate", recipe, "--json", "--set", _set(rng)],) * 2),
        lambda: ["validate", word()],
        lambda: [
            "sweep",
            recipe,
            "--grid",
            f"{pick(rng, _PATHS)}={to_yaml(odd(rng))}",
            "--grid",
            f"nothing.at.all=[{number()}]",
        ],
        lambda: [
            "sweep",
            recipe,
            "--grid",
            pick(
                rng,
                (
                    "seed",
                    "seed=",
                    "=[1]",
                    "seed=1",
                    "seed=[]",
                    "seed=[[1]]",
                    "seed=[1,1]",
                    "seed={a: 1}",
                    "seed=[a]",
                    "seed=[{a: 1}]",
                    "model.name=[x, y]",
                ),
            ),
        ],
        lambda: ["sweep", recipe, "--grid", "seed=[-1]", "--jobs", number(), "--output", word()],
        lambda: ["run", recipe, "--stop-after", word()],
        lambda: [
            "run",
            recipe,
            "--stop-after",
            "plan",
            "--output",
            pick(rng, (data, "/dev/null", "/nowhere/x", "a" * 300, str(recipe), "x/../y")),
        ],
        lambda: ["run", recipe, "--stop-after", "plan", "--reuse", word()],
        lambda: ["run", recipe, "--push", word(), "--stop-after", "plan", "--quiet", "--output", "out"],
        lambda: bench(
            f"--{pick(rng, ('batch', 'seq', 'threads', 'streams'))}",
            number(),
            "--mode",
            pick(rng, ("latency", "throughput")),
        ),
        lambda: bench("--duration", pick(rng, ("0", "-1", "nan", "inf", "x", ""))),
        lambda: bench("--backends", pick(rng, ("", "x", ",", "torch,", "torch,torch", "TORCH", "optkit", " torch"))),
        lambda: bench("--against", word()),
        lambda: bench("--texts", pick(rng, (word(), data, str(recipe), checkpoint))),
        lambda: bench("--plot", pick(rng, ("/nowhere/x.svg", ".", "/dev/full", "", "a" * 300))),
        lambda: ["bench", word(), "--duration", "0.001", "--no-loads"],
        lambda: ["inspect", word(), *pick(rng, ([], ["--json"], ["--runtime"]))],
        lambda: ["inspect", ir, "--runtime", "--plan", word()],
        lambda: [
            "bake",
            pick(rng, (ir, checkpoint, word())),
            "--output",
            pick(rng, ("baked", data, ir, "/dev/null", "/nowhere/x", "", "a" * 300)),
            *pick(rng, (["--isa", word()], ["--plan", word()], ["--batch", number()], ["--seq", number()], [])),
        ],
        lambda: [
            "quantize",
            checkpoint,
            "--data",
            pick(rng, (data, word(), str(recipe), checkpoint)),
            *pick(
                rng,
                (
                    ["--text", word()],
                    ["--text", "sentence", "--text", word()],
                    ["--weight-range", word()],
                    ["--samples", number()],
                    ["--max-length", number()],
                    ["--task", word()],
                    ["--seed", number()],
                    ["--output", pick(rng, (data, "/nowhere/x/y", "/dev/null", "", "a" * 300))],
                    ["--revision", word()],
                ),
            ),
        ],
        lambda: ["quantize", word(), "--data", data],
        lambda: [
            "cost",
            word(),
            *pick(rng, (["--prices", "prices.yaml"], ["--prices", word()], ["--batch", number()], ["--prices", data])),
        ],
        lambda: [
            "pareto",
            pick(rng, (word(), str(folder), checkpoint)),
            *pick(rng, ([], ["--max-drop", number()], ["--plot", word()])),
        ],
        lambda: ["compare", word(), pick(rng, (word(), checkpoint))],
        lambda: [
            "push",
            pick(rng, (word(), checkpoint, str(folder))),
            "--repo",
            pick(rng, (word(), "org/name")),
            "--dry-run",
        ],
        lambda: [
            pick(rng, ("list", "schema", "validat", "", "--version", "--x", "doctor")),
            *pick(rng, ([], ["--json"], ["x"], ["--x"])),
        ],
    )
    return pick(rng, lines)()
