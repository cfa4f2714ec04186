"""How the rows of a batch are divided over logical shards, and these over workers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise


@dataclass(frozen=True)
class Rows:
    """``bounds[s]`` is the first row of logical shard ``s``; one more ends the last."""

    bounds: tuple[int, ...]

    @property
    def total(self) -> int:
        return self.bounds[-1]

    def of(self, shards: range) -> tuple[int, int]:
        """The first row of a block of shards, and the one behind its last."""
        return self.bounds[shards.start], self.bounds[shards.stop]


@lru_cache(1024)
def divided(rows: int, shards: int) -> Rows:
    """``rows`` in as equal parts as they can be; some have none where there are fewer rows."""
    return Rows(tuple(s * rows // shards for s in range(shards + 1)))


@lru_cache(1024)
def joined(counts: tuple[int, ...]) -> Rows:
    """Shards of these numbers of rows, one behind the other."""
    return Rows((0, *accumulate(counts)))


@lru_cache(1024)
def blocks(shards: int, members: int) -> tuple[range, ...]:
    """The logical shards of each member: contiguous blocks, as equal as they can be."""
    ends = [m * shards // members for m in range(members + 1)]
    return tuple(range(first, last) for first, last in pairwise(ends))
