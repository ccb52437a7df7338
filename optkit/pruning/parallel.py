"""Pruning in several processes of torch.distributed, each with a copy of the model and batches of its own.

Every process works out the masks by itself, from what is the same in all: averaged gradients, averaged statistics. A
digest of each mask is compared whenever masks change, so that copies that drift apart are found at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor
from torch import distributed as dist

from optkit.errors import PruningError

#: Numbers that are averaged in one go, so that copies of them take little memory.
_BUCKET = 2**23


def processes() -> int:
    """How many processes train together; 1 outside of torch.distributed."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


@torch.no_grad()
def average(tensors: Sequence[Tensor]) -> None:
    """Replaces floating-point tensors in place by their means over all processes, which must all come here."""
    for bucket in _buckets(tensors):
        flat = torch.cat([tensor.reshape(-1) for tensor in bucket]) / processes()
        dist.all_reduce(flat)
        for tensor, mean in zip(bucket, flat.split([tensor.numel() for tensor in bucket]), strict=True):
            tensor.copy_(mean.view_as(tensor))


def _buckets(tensors: Sequence[Tensor]) -> Iterable[list[Tensor]]:
    """Neighbours of one type on one device, up to ``_BUCKET`` numbers or a single tensor."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        alike = bucket and (tensor.dtype, tensor.device) == (bucket[0].dtype, bucket[0].device)
        if bucket and not (alike and sum(t.numel() for t in bucket) + tensor.numel() <= _BUCKET):
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket


def digest(mask: Tensor) -> Tensor:
    """A 64-bit digest of a bool tensor, as a scalar on its device: masks that differ have, but for chance, others.

    Eight places at a time are mixed with where they stand (SplitMix64, https://doi.org/10.1145/2714064.2660195), and
    whole numbers that wrap around add up to one sum in any order, on any device.
    """
    flat = mask.reshape(-1)
    words = torch.nn.functional.pad(flat, (0, -flat.numel() % 8)).view(torch.int64)
    mixed = torch.arange(1, words.numel() + 1, device=words.device).mul_(-0x61C8864680B583EB).bitwise_xor_(words)
    for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)):
        mixed.bitwise_xor_(mixed >> shift).mul_(factor)
    return mixed.bitwise_xor_(mixed >> 31).sum()


def check_equal(masks: Mapping[tuple[str, str], Tensor]) -> None:
    """Compares masks over all processes, which must all come here with as many.

    Args:
        masks: bool tensors by the names of rule and layer.

    Raises:
        PruningError: in every process, if a mask differs in one of them.
    """
    ours = torch.stack([digest(mask) for mask in masks.values()])
    all_ranks = [torch.empty_like(ours) for _ in range(processes())]
    dist.all_gather(all_ranks, ours)
    for (rule, layer), digests in zip(masks, torch.stack(all_ranks, dim=1).tolist(), strict=True):
        if len(set(digests)) > 1:
            usual = max(digests, key=digests.count)
            others = ", ".join(str(rank) for rank, found in enumerate(digests) if found != usual)
            raise PruningError(
                f"rule '{rule}': the mask of {layer} differs between processes (rank {others} from the rest): give all "
                "the same model, seed and rules, and let DDP average the gradients"
            )
