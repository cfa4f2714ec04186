"""What the task of a worker knows of a batch that is divided over several: who has which rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from graphc.passes.unroll import of_shard
from graphc.runtime.rows import Rows, blocks
from graphc.runtime.transfers import Peer

WHOLE = -1
"""In place of an axis: the tensor is not divided, every worker has all of it."""
EVERYONE = -1
"""In place of a client: every worker feeds its own rows, and fetches them."""


@dataclass(frozen=True)
class Sharding:
    """A program whose workers, its *members*, each compute some rows of one batch."""

    ranks: tuple[int, ...]
    names: tuple[str, ...]
    """The members' tasks, in the order of their rows."""
    member: int
    """Whose part this is."""
    client: int
    """The member that feeds and fetches for all."""
    shards: int
    """How many logical shards the batch has; each member has some."""
    rows: str
    all_rows: str
    first_row: str
    """The sizes of one shard, before it was numbered (``of_shard``), and of the batch."""
    feeds: tuple[int, ...]
    fetches: tuple[int, ...]
    """For each, along which axis it is divided."""
    algorithm: str
    """How reductions are done; the empty string: whatever is fastest."""
    same_bits: bool
    """Partial results are combined in an order that the number of shards alone decides."""
    group: int
    """Which communicator of the members reductions in one call are made on, or ``NO_GROUP``."""
    shares_memory: bool
    """The members can read each other's memory."""

    @property
    def blocks(self) -> tuple[range, ...]:
        """The logical shards of each member."""
        return blocks(self.shards, len(self.ranks))

    @cached_property
    def own(self) -> range:
        """The logical shards of this member."""
        return self.blocks[self.member]

    @cached_property
    def has_whole(self) -> bool:
        """Whether anything that is fed is not divided."""
        return WHOLE in self.feeds

    @property
    def is_client(self) -> bool:
        return self.client in (self.member, EVERYONE)

    def peer(self, member: int) -> Peer:
        """A member as the other end of a transfer."""
        return Peer(self.ranks[member], self.names[member])

    def symbols(self, others: Sequence[str]) -> tuple[str, ...]:
        """The sizes that a run is told, in order: ``others`` are those that no shard has."""
        local = [of_shard(name, k) for name in (self.rows, self.first_row)
                 for k in range(len(self.own))]  # fmt: skip
        return (*others, self.all_rows, *local)

    @property
    def of_batch(self) -> frozenset[str]:
        """The sizes that depend on the rows of other members."""
        first = (of_shard(self.first_row, k) for k in range(len(self.own)))
        return frozenset((self.all_rows, *first))

    def sizes(self, others: Sequence[int], rows: Rows) -> tuple[int, ...]:
        """The values of ``symbols`` for this member in a batch of these rows."""
        bounds = rows.bounds
        counts = [bounds[s + 1] - bounds[s] for s in self.own]
        return (*others, rows.total, *counts, *(bounds[s] for s in self.own))

    @property
    def exchanged(self) -> int:
        """How many numbers the transfers of feeds and fetches take in a step."""
        return len(self.feeds) * len(self.ranks) + len(self.fetches) * self.shards

    def encoded(self) -> tuple[Any, ...]:
        """What travels."""
        return tuple(getattr(self, field.name) for field in fields(self))
