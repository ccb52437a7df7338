"""What waits to be computed, and which of it goes together: inputs of similar length, the oldest first."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")

#: Inputs whose lengths differ by less than this lie in one bucket.
WIDTH = 8
#: Tokens of padding that a batch may have: this share of its own tokens, and as many as cost no more than a batch more.
_PADDING, _FREE = 0.25, 32


class LengthQueue(Generic[Item]):
    """Items in buckets by length, each first in, first out.

    A batch begins with the item that waits longest, whatever its length, so none is passed over for long: it takes part
    in one of the next batches at the latest when it has become the oldest.

    Args:
        max_items, max_tokens: of a batch, padding included.
    """

    def __init__(self, max_items: int, max_tokens: int):
        self.max_items, self.max_tokens = max_items, max_tokens
        self._buckets: dict[int, deque[tuple[int, int, Item]]] = {}
        self._count, self._arrived = 0, 0

    def __len__(self) -> int:
        return self._count

    def put(self, length: int, item: Item) -> None:
        self._buckets.setdefault(length // WIDTH, deque()).append((self._arrived, length, item))
        self._arrived += 1
        self._count += 1

    def take(self, most: int | None = None) -> list[Item]:
        """The next batch, at most ``most`` items; empty where nothing waits."""
        if not self._buckets:
            return []
        most = min(self.max_items, most or self.max_items)
        first = min(self._buckets, key=lambda bucket: self._buckets[bucket][0][0])
        batch: list[Item] = []
        longest, tokens = 0, 0
        for bucket in sorted(self._buckets, key=lambda bucket: abs(bucket - first)):
            waiting = self._buckets[bucket]
            while waiting and len(batch) < most:
                _, length, item = waiting[0]
                padded = max(longest, length) * (len(batch) + 1)
                padding = padded - tokens - length
                if batch and (padded > self.max_tokens or padding > _PADDING * (tokens + length) + _FREE):
                    break
                waiting.popleft()
                batch.append(item)
                longest, tokens = max(longest, length), tokens + length
            if not waiting:
                del self._buckets[bucket]
            if len(batch) == most or bucket != first and waiting:
                break
        self._count -= len(batch)
        return batch
