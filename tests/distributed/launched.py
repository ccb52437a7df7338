"""Starts commands as torchrun does, once for each rank, and prints how each rank ended as JSON.

Not a test: tests/distributed/test_run.py starts it. It imports everything once and forks every rank, and it stays
without threads of its own, so a fork costs nothing and loses nothing. Ranks meet at a store that rank 0 holds.

Its argument is JSON, a list of {"processes", "arguments", "folder", "sabotage", "lock"}: ``arguments`` of `optkit`, or of
examples/accelerate_loop.py where the first is "accelerate_loop"; what each rank prints goes to ``folder``, and so do the
masks it ends with. ``sabotage`` is [rank, kind] or null, see ``SABOTAGE``; every rank suffers it where rank is null.
``lock`` is a run folder that another process holds, or null.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch
from forked import fork
from safetensors.torch import save_file
from transformers import Trainer

import optkit.data.splits
import optkit.stages.plan
import optkit.stages.train  # noqa: F401 - so that the children need not
from optkit.cli.app import main
from optkit.pipeline.run_folder import RunDir
from optkit.pruning.criteria.magnitude import MagnitudeCriterion
from optkit.pruning.pruner import Pruner

EXAMPLES = Path(__file__).parents[2] / "examples"
#: The batches after which a sabotage of training strikes: in the middle of the third optimizer step of two each.
BATCHES = 5
LONGEST = 60.0


def at_batch(strike: Callable[[], None]) -> None:
    step, seen = Trainer.training_step, []

    def training_step(self, *args, **kwargs):
        seen.append(self)
        if len(seen) == BATCHES and self.model.config.model_type == "bert":
            strike()
        return step(self, *args, **kwargs)

    Trainer.training_step = training_step


def other_scores() -> None:
    MagnitudeCriterion.score = lambda self, weight, state, index: -weight.abs()


def fail() -> None:
    raise ValueError("a bug\nin two lines")


def hang_after_failing_elsewhere() -> None:
    time.sleep(LONGEST)


SABOTAGE = {
    "scores": other_scores,
    "raise": lambda: at_batch(fail),
    "hang": lambda: at_batch(hang_after_failing_elsewhere),
    "kill": lambda: at_batch(lambda: os.kill(os.getpid(), signal.SIGKILL)),
    "interrupt": lambda: at_batch(lambda: os.kill(os.getpid(), signal.SIGINT)),
}


def keep_masks(file: Path) -> None:
    """Saves the masks of each training that ends, before they are folded: the last one stays."""
    fold = Pruner.fold

    def folding(self):
        masks = {name: buffer for name, buffer in self.model.named_buffers() if name.endswith(".mask")}
        save_file({name: mask.to(torch.uint8) for name, mask in masks.items()}, file)
        return fold(self)

    Pruner.fold = folding


def work(arguments: list[str]) -> None:
    if arguments[0] != "accelerate_loop":
        return main(arguments)
    sys.argv = arguments
    sys.path.insert(0, str(EXAMPLES))
    runpy.run_path(str(EXAMPLES / "accelerate_loop.py"), run_name="__main__")


def rank_of(job: dict, rank: int, port: int) -> int:
    """Forks one rank of a job and returns its process."""

    def begin() -> None:
        folder = Path(job["folder"])
        folder.mkdir(parents=True, exist_ok=True)
        for descriptor, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(folder / f"{name}-{rank}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
        if job["processes"] > 1:
            place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": job["processes"], "MASTER_PORT": port}
            os.environ |= {name: str(value) for name, value in place.items()} | {"MASTER_ADDR": "127.0.0.1"}
        if job["sabotage"] and job["sabotage"][0] in (rank, None):
            SABOTAGE[job["sabotage"][1]]()
        keep_masks(folder / f"masks-{rank}.safetensors")
        work(job["arguments"])

    return fork(begin)


def ended(children: list[int]) -> list[int | None]:
    """The exit code of each child, or minus its signal; None where it had to be stopped."""
    codes, until = {}, time.monotonic() + LONGEST
    while len(codes) < len(children) and time.monotonic() < until:
        for child in set(children) - codes.keys():
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                codes[child] = os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    for child in set(children) - codes.keys():
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return [codes.get(child) for child in children]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    torch.set_num_threads(1)
    gc.freeze()  # so that no child walks, and copies, what was imported here
    told = []
    for job in json.loads(sys.argv[1]):
        begun, port = time.monotonic(), free_port()
        with RunDir(Path(job["lock"]), "steady") if job["lock"] else nullcontext():
            codes = ended([rank_of(job, rank, port) for rank in range(job["processes"])])
        told.append({"codes": codes, "seconds": time.monotonic() - begun})
    print(json.dumps(told))
