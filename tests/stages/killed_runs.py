"""Runs recipes in child processes that die where they are told, and prints how each ended as JSON.

Not a test: tests/stages/test_train.py starts it. It imports everything once and forks for each run, and it stays without
threads of its own, so a fork costs nothing and loses nothing.

Its argument is JSON, a list of [recipe file, folder, deaths]. Each recipe runs to the end in folder/whole, then dies in
folder/killed once for each [signal, event, count]: the child sends itself the signal at the count-th event of its own.
Events: ``backward``; ``weights``, ``state`` and ``marker``, a file of a
checkpoint half written; ``rotation``, an old checkpoint half deleted; ``evaluated``, with the hold-out evaluated and no
checkpoint that knows it; ``fold``, with the result not yet in its place. A last run goes on to the end.
"""

from __future__ import annotations

import functools
import gc
import json
import os
import shutil
import sys
from pathlib import Path

import torch
import transformers.trainer
from forked import fork
from transformers import modeling_utils

import optkit.data.splits
import optkit.stages.plan
import optkit.stages.train  # noqa: F401 - so that the children need not
from optkit.adapters import best, checkpointing
from optkit.cli.app import main


class Death:
    """Counts one kind of event and kills this process at the right one."""

    def __init__(self, signal: int, count: int):
        self.signal, self.left = signal, count

    def comes(self, half_written: Path | None = None) -> None:
        self.left -= 1
        if self.left == 0:
            if half_written is not None:
                os.truncate(half_written, half_written.stat().st_size // 2)
            os.kill(os.getpid(), self.signal)


def arm(signal: int, event: str, count: int) -> None:
    """Puts the death behind the function that an event goes through."""
    death = Death(signal, count)
    places = {
        "backward": (torch.Tensor, "backward"),
        "weights": (modeling_utils, "safe_save_file"),
        "state": (torch, "save"),
        "marker": (Path, "write_text"),
        "rotation": (shutil, "rmtree"),
        "evaluated": (best.BestAtTarget, "on_evaluate"),
        "fold": (transformers.PreTrainedModel, "save_pretrained"),
    }
    owner, name = places[event]
    original = getattr(owner, name)

    @functools.wraps(original)  # optkit looks at the signature
    def dying(*args, **kwargs):
        if event == "rotation" and "checkpoint-" in str(args[0]):
            (Path(args[0]) / "model.safetensors").unlink()
            death.comes()
        result = original(*args, **kwargs)
        if event in ("backward", "evaluated"):
            death.comes()
        elif event in ("weights", "state"):
            death.comes(Path(args[1]))
        elif event == "marker" and args[0].name == checkpointing.MARKER:
            death.comes(args[0])
        elif event == "fold" and ".tmp-" in str(args[1]):
            death.comes()
        return result

    setattr(owner, name, dying)


def run(recipe: str, folder: str, death: list | None) -> int:
    """Forks, runs to the end or to the death, and returns the exit code, or minus the signal."""

    def begin() -> None:
        if death:
            arm(*death)
        os.dup2(2, 1)
        main(["run", recipe, "--output", folder, "--stop-after", "train", "--quiet"])

    return os.waitstatus_to_exitcode(os.waitpid(fork(begin), 0)[1])


if __name__ == "__main__":
    torch.set_num_threads(1)
    gc.freeze()  # so that no child walks, and copies, what was imported here
    ended = []
    for recipe, folder, deaths in json.loads(sys.argv[1]):
        codes, whole = [run(recipe, f"{folder}/whole", None)], []
        for death in [*deaths, None]:
            codes.append(run(recipe, f"{folder}/killed", death))
            whole.append([c.name for c in checkpointing.whole_checkpoints(Path(folder) / "killed" / "checkpoints")])
        ended.append({"codes": codes, "whole": whole})
    print(json.dumps(ended))
