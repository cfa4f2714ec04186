"""The parts of a session with a strategy, put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from graphc.compiler import CompileOptions
from graphc.runtime.circle import Circle
from graphc.runtime.cluster_spec import ClusterSpec
from graphc.runtime.engine import Engine
from graphc.runtime.groups import Groups
from graphc.runtime.master import Master
from graphc.runtime.meeting import MEETING_BOX, Meeting
from graphc.runtime.messages import Message
from graphc.runtime.peers import Peer
from graphc.runtime.sharded_master import ShardedMaster
from graphc.runtime.sharded_planning import ShardedPlanner
from graphc.runtime.sharding import EVERYONE
from graphc.runtime.strategy import DataParallel
from graphc.runtime.tags import MOST_TAGS, Tags, tags_of_peers
from graphc.runtime.worker import Worker


@dataclass(frozen=True)
class Parts:
    """What a session with ``strategy`` in task ``rank`` is made of; the ``number``-th there.

    The ``members`` share batches; a transfer has one of ``limit`` tags.
    """

    cluster: ClusterSpec
    rank: int
    engine: Engine
    options: CompileOptions
    seconds: float
    strategy: DataParallel
    members: tuple[int, ...]
    number: int
    limit: int = MOST_TAGS
    groups: Groups = field(default_factory=lambda: Groups(0))
    """Of the sessions of the task; by default there are no communicators to claim."""

    def meeting(self, worker: Worker, box: int, tags: Tags) -> Meeting:
        """The session; as a master it hears at ``box`` and takes ``tags``, those of its task."""
        return Meeting(
            self.cluster, self.rank, MEETING_BOX + self.number, worker, self.seconds, self.members,
            self.number, self.groups,
            lambda group: self._master(box, tags, group),
            lambda group, early: self._peer(box, tags, group, early),
        )  # fmt: skip

    def _planner(self, client: int, group: int) -> ShardedPlanner:
        shares = self.groups.share_memory
        return ShardedPlanner(self.strategy, self.members, client, group, shares)

    def _master(self, box: int, tags: Tags, group: int) -> ShardedMaster:
        client = self.members.index(self.rank)
        planner = self._planner(client, group)
        return ShardedMaster(
            self.cluster, self.rank, box, self.engine, self.options, self.seconds, tags, planner,
            members=self.members,
        )  # fmt: skip

    def _peer(self, box: int, tags: Tags, group: int, early: Sequence[tuple[int, Message]]) -> Peer:
        home = Master(self.cluster, self.rank, box, self.engine, self.options, self.seconds, tags)
        planner = self._planner(EVERYONE, group)
        where = MEETING_BOX + self.number
        circle = Circle(self.cluster, self.rank, where, self.members, self.seconds)
        for sender, message in early:
            circle.hear(sender, message)
        tags_ = tags_of_peers(self.number, self.limit)
        return Peer(circle, self.engine, self.options, tags_, planner, home)
