"""Makes of a user's graph the one that every worker runs on its own rows of the batch.

``states`` says what a tensor can be to a worker, ``facts`` and ``stages`` follow rows through the
kernel of a node, ``analysis`` through a graph, and ``shard`` writes the graph anew.
"""

from graphc.passes.sharding.shard import Sharded, shard
from graphc.passes.sharding.states import Partial, Replicated, Split, State

__all__ = ["Partial", "Replicated", "Sharded", "Split", "State", "shard"]
