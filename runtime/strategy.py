"""How a session runs a graph on several workers: chosen with the session, never in the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from graphc.ir.dims import symbol_name
from graphc.ir.errors import ShardError
from graphc.ir.graph import Tensor
from graphc.runtime.planned import ALGORITHMS


@dataclass(frozen=True)
class DataParallel:
    """Synchronous data parallelism: each worker computes the rows of a batch that it holds.

    Every worker holds all variables. What is fed with an open first size (``None``) is divided
    along it, and these sizes have to be equal in a step; all else follows from that. Sums over the
    batch are combined over the workers, so that a step is that of the whole batch: a mean divides
    by all of its rows, however many each worker has.

    If one worker has the session and the others ``join``, it feeds whole batches and fetches whole
    results. If every worker has a session, each feeds its own rows, and fetches those.

    Args:
        reproducible: divide the batch into so many logical shards, whatever the number of workers
            (of which there may be as many, or one), and combine their results in an order that
            this number alone decides: the bits are then the same for any number of workers. By
            default there is one shard a worker, and bits depend on their number.
        batch: for tensors that are fed, the axis along which they are divided; None: each worker
            has all of it. Others are divided as above.
        bucket_bytes: sums are combined in buckets of so many bytes, while the rest is computed.
        algorithm: ``"ring"``, ``"direct"``, ``"scattered"``; ``"shared"`` over memory that all
            workers see, if they are on one host; or ``"mpi"`` for what MPI itself has (where it
            has it: not for float16, bfloat16, or max and min of floats, which take the default).
            By default it is whatever is fastest for the size of a bucket.

    Raises:
        ShardError: an argument that is none of these.
    """

    reproducible: int | None = None
    batch: Mapping[Tensor, int | None] = field(default_factory=dict)
    bucket_bytes: int = 16 * 2**20
    algorithm: str = ""

    def __post_init__(self) -> None:
        if self.reproducible is not None and not _is_count(self.reproducible):
            raise ShardError(
                f"reproducible is the number of logical shards, not {self.reproducible!r}"
            )
        if not _is_count(self.bucket_bytes):
            raise ShardError(f"bucket_bytes is a number of bytes, not {self.bucket_bytes!r}")
        if self.algorithm and self.algorithm not in ALGORITHMS:
            known = ", ".join(sorted(ALGORITHMS))
            raise ShardError(f"there is no algorithm {self.algorithm!r}; there are {known}")
        if not isinstance(self.batch, Mapping) or not all(map(_is_entry, self.batch.items())):
            raise ShardError(f"batch is a mapping from tensors to axes or None, not {self.batch!r}")
        if self.algorithm and self.reproducible is not None:
            raise ShardError("reproducible decides how sums are combined: give no algorithm")

    def axis_of(self, fed: Tensor) -> int | None:
        """Along which axis a feed is divided, if it is.

        Raises:
            ShardError: an axis that it has not.
        """
        if fed not in self.batch:
            return 0 if fed.shape and symbol_name(fed.shape[0]) is not None else None
        axis = self.batch[fed]
        if axis is None:
            return None
        rank = len(fed.shape)
        if not -rank <= axis < rank:
            raise ShardError(fed.node.error(f"is to be split along axis {axis}, which it has not"))
        return axis % rank


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_entry(item: tuple[Any, Any]) -> bool:
    fed, axis = item
    whole = isinstance(axis, int) and not isinstance(axis, bool)
    return isinstance(fed, Tensor) and (axis is None or whole)
