"""accelerate: the process group of a launch, on the devices that the Trainer's arguments will find."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import torch
from accelerate import PartialState, init_empty_weights

from optkit.adapters import quiet
from optkit.ranks import world_size

#: Seconds that one collective operation may take: what the Trainer has by default.
_TIMEOUT = 1800
#: What accelerate takes for true in the environment.
_TRUE = ("1", "true", "True", "yes", "on")


def shares_cpu() -> bool:
    """Whether several processes have to share the CPU; accelerate would let each train for itself unless told so."""
    kind = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return world_size() > 1 and (kind is None or kind.type == "mps")


def connect(train: Mapping[str, Any]) -> None:
    """Makes one process group of this launch's processes.

    Args:
        train: the recipe's ``train``.
    """
    cpu = shares_cpu() or train.get("use_cpu", False) or os.environ.get("ACCELERATE_USE_CPU", "") in _TRUE
    with quiet():
        PartialState(
            cpu=cpu, backend=train.get("ddp_backend"), timeout=timedelta(seconds=train.get("ddp_timeout", _TIMEOUT))
        )


def without_weights() -> AbstractContextManager[None]:
    """Models made within have parameters on torch's meta device, and buffers, such as positions, as they are."""
    return init_empty_weights(include_buffers=False)
