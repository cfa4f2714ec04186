"""A session that every worker has, each feeding its own rows: as programs of MPI do it.

The sessions of all workers, the *members*, take steps together; none of them is the master. All
messages go from each member to each other one, and the n-th of two members answers the n-th. A
step that needs nothing of others and changes nothing, such as fetching a variable, is a member's
own.

    a. Turn tells what is about to be done: which graph, and on how many rows. Who cannot begin, for
       what it was fed, says Failed. If members are about to do different things, each says in
       Doing what it is, and all raise the same error. Before it hears the others, each computes
       what needs none of them, as if they had as many rows as the last time.
    b. Variables that are new to the session are given their first values by the first member, which
       says Computed, or Failed; they are then sent to all, in a step of its own.
    c. The step is computed; each says Computed or Failed. If all have computed, each writes its
       variables. Where the end of a step says as much (``joint_step``), only Failed is said.
    d. If any has failed, each stops, says in Aborted what it began to send, and brings to an end
       what all began; then all raise the same error, and no variable was written.

Who does not answer in time, or has closed its session, is named, and the session is broken. If that
leaves in doubt whether others have committed a step, their workers are asked (Doubt). Where one
has, all had computed, and so do those that ask; where none has, none will any more. So the members
that live end alike, if one dies; if a second one dies just then, or lives but does not answer that
question in time, they may not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, NamedTuple

import numpy.typing as npt

from graphc.compiler import CompileOptions
from graphc.ir.errors import ClusterError, GraphcError
from graphc.ir.types import TensorType
from graphc.runtime.broadcast import broadcast_plan
from graphc.runtime.circle import Circle
from graphc.runtime.effects import Role, Work
from graphc.runtime.engine import Engine, Loaded
from graphc.runtime.feeds import Feeding
from graphc.runtime.joint_step import joint_step
from graphc.runtime.master import Master, Prepared
from graphc.runtime.messages import (
    Computed,
    Doing,
    Message,
    Turn,
)
from graphc.runtime.part import Part
from graphc.runtime.planning import Planner, Signature
from graphc.runtime.sharded_master import rows_of
from graphc.runtime.sharded_order import check_shared
from graphc.runtime.sharding import Sharding
from graphc.runtime.step import Step
from graphc.runtime.tags import Tags
from graphc.runtime.turns import (
    check_sizes,
    described,
    rows_alone,
    rows_together,
    whole_digest,
)
from graphc.runtime.worker import failure

Array = npt.NDArray[Any]


class _Fed(NamedTuple):
    """What one member is fed: arrays, the sizes that they tell, its rows, and its ``Turn``."""

    arrays: Sequence[Array]
    named: Mapping[str, int]
    rows: int
    others: tuple[int, ...]
    whole: int


@dataclass
class Peer:
    """One member's side of a session; ``circle`` is how it talks to the others.

    ``tags`` are counted alike by all; ``home`` initialises the variables of this task.
    """

    circle: Circle
    engine: Engine
    options: CompileOptions
    tags: Tags
    planner: Planner
    home: Master
    _shared: set[str] = field(default_factory=set)
    """The variables that all members have from the first."""
    _agreed: dict[tuple[int, tuple[int, ...], tuple[int, ...]], tuple[int, ...]] = field(
        default_factory=dict
    )
    """The sizes of steps that keep all rules and are proved to end, by the number of the program,
    the rows of each member, and the other sizes."""
    _numbers: Iterator[int] = field(default_factory=count)
    _last: dict[int, tuple[Turn, tuple[int, ...]]] = field(default_factory=dict)
    """By program the sizes of its last step, and what this member said of it."""

    @property
    def broken(self) -> str:
        """Why no step can be run any more, if so."""
        return self.circle.broken

    @broken.setter
    def broken(self, reason: str) -> None:
        self.circle.broken = reason

    @property
    def _client(self) -> tuple[int, int]:
        """What the engine knows this session by."""
        return self.circle.rank, self.circle.box

    def prepare(self, signature: Signature) -> Role:
        """The program of this member; gives a ``Prepared``. Nothing is said to others.

        Raises:
            GraphcError: whatever is wrong with the graph.
        """
        target = self.engine.target
        plan = yield Work(
            lambda: self.planner(
                signature, self.circle.cluster, self.circle.rank, target, self.options
            ),
            about="plan",
        )
        part = plan.parts[self.circle.rank]
        own = yield from self._load(part)
        feeding = Feeding(plan.feeds, ())  # rules are for the sizes of the whole batch
        return Prepared(next(self._numbers), plan, own, self.circle.others, feeding, signature)

    def _load(self, part: Part) -> Role:
        """Compile a part; the worker here goes on meanwhile."""
        compiled = yield Work(lambda: self.engine.compiled(part), about="compile", aside=True)
        return self.engine.keep(part, compiled, self._client)

    def run(self, prepared: Prepared, values: Sequence[Any]) -> Role:
        """Steps a to d on a value for each feed; gives what is fetched, this member's rows of it.

        Raises:
            FeedError, DataError: as ``Session.run``, on all members; no variable was changed.
            ClusterError: members that take different steps, or one that does not answer.
        """
        if prepared.own.needs_nobody and prepared.own.variables.keys() <= self._shared:
            return (yield from self._run_own(prepared, values))
        self._check_whole()
        self.circle.turn += 1
        try:
            fed = self._fed(prepared, values)
            mine = Turn(self.circle.turn, prepared.plan.digest, fed.whole, fed.rows, fed.others)
        except GraphcError as error:
            yield from self.circle.say(failure(self.circle.turn, error))
            yield from self.circle.each("to begin")
            raise
        yield from self.circle.say(mine)
        ahead = yield from self._ahead(mine, prepared, fed.arrays)
        turns = yield from self._agree(mine, prepared)
        counts = tuple([turns[rank].rows for rank in self.circle.members])
        key = prepared.number, counts, fed.others
        sizes = self._agreed.get(key)
        if sizes is None:
            sizes = self._agreed[key] = yield from self._begin(prepared, fed, counts)
        self._last[prepared.number] = mine, sizes
        step = ahead if ahead and ahead.sizes == sizes else self._step(prepared.own, sizes)
        yield from self._take(step, fed.arrays)
        return step.fetched

    def _check_whole(self) -> None:
        if self.circle.broken:
            raise ClusterError(f"the session is broken: {self.circle.broken}; make a new one")

    def _begin(self, prepared: Prepared, fed: _Fed, counts: tuple[int, ...]) -> Role:
        """What is done before the first step on so many rows of each; gives the sizes."""
        yield from self._share(prepared)
        sharding = _sharding_of(prepared)
        rows = rows_together(counts, sharding)
        check_sizes(prepared.plan, fed.named, rows.total)
        sizes = sharding.sizes(fed.others, rows)
        check_shared(prepared.own, sizes)
        return sizes

    def _ahead(self, mine: Turn, prepared: Prepared, arrays: Sequence[Array]) -> Role:
        """The step, computed as far as it goes, if the others have as many rows as the last time.

        None if this one has not, for then no member's guess is right.
        """
        last, sizes = self._last.get(prepared.number, (None, ()))
        if last is None or (last.rows, last.sizes) != (mine.rows, mine.sizes):
            return None
        step = self._step(prepared.own, sizes)
        yield from step.ahead(arrays)
        return step

    def _run_own(self, prepared: Prepared, values: Sequence[Any]) -> Role:
        """A step of this member alone."""
        fed, sharding = self._fed(prepared, values), _sharding_of(prepared)
        check_sizes(prepared.plan, fed.named, fed.rows)
        sizes = sharding.sizes(fed.others, rows_alone(fed.rows, sharding))
        step = self._step(prepared.own, sizes)
        yield from step.compute(fed.arrays)
        return step.fetched

    def close(self) -> Role:
        """Tell the others that no step will be taken here any more."""
        yield from self.circle.leave()

    def _fed(self, prepared: Prepared, values: Sequence[Any]) -> _Fed:
        """What this member is fed."""
        plan = prepared.plan
        arrays, named = prepared.feeding.take(values)
        return _Fed(
            arrays, named, rows_of(plan.feeds, arrays, plan.axes),
            tuple([named[name] for name in plan.symbols]),
            whole_digest(_sharding_of(prepared), arrays),
        )  # fmt: skip

    def _agree(self, mine: Turn, prepared: Prepared) -> Role:
        """Step a; gives each member's Turn."""
        turns = yield from self.circle.each("to take a step")
        turns[self.circle.rank] = mine
        if all(isinstance(turn, Turn) and turn.is_like(mine) for turn in turns.values()):
            return turns
        self.circle.raise_first(turns)
        if len({turn.program for turn in turns.values()}) > 1:
            yield from self._differ(prepared)
        if len({turn.whole for turn in turns.values()}) > 1:
            plan = prepared.plan
            names = [t.name for t, a in zip(plan.feeds, plan.axes, strict=True) if a is None]
            raise ClusterError(
                f"workers that share a batch are fed different values of {', '.join(names)}, "
                "which is not divided over them"
            )
        if len({turn.sizes for turn in turns.values()}) > 1:
            lines = [
                f"  {self.circle.name(rank)}: {[*turns[rank].sizes]}"
                for rank in self.circle.members
            ]
            raise ClusterError(
                "workers that share a batch are fed arrays that differ in more than their rows, in "
                f"the sizes {', '.join(prepared.plan.symbols)}:\n" + "\n".join(lines)
            )
        return turns

    def _differ(self, prepared: Prepared) -> Role:
        """Members are about to do different things."""
        mine = Doing(self.circle.turn, described(prepared))
        yield from self.circle.say(mine)
        found = yield from self.circle.each("to say what it does")
        found[self.circle.rank] = mine
        lines = [f"  {self.circle.name(rank)}: {found[rank].text}" for rank in self.circle.members]
        raise ClusterError(
            "workers that share a batch are to take one step together, but they differ:\n"
            + "\n".join(lines)
        )

    def _share(self, prepared: Prepared) -> Role:
        """Step b."""
        program = prepared.own.program
        types = {program.storages[i].name: program.storages[i].type for i in program.variables}
        new = {name: type_ for name, type_ in types.items() if name not in self._shared}
        if not new:
            return
        first = self.circle.members[0]
        if self.circle.rank == first:
            yield from self._initialize(prepared)
        else:
            # who may itself wait for others before that
            limit = 2 * self.circle.seconds
            message = yield from self.circle.next_of(first, "to initialise", limit)
            self.circle.raise_first({first: message})
        if self.circle.others:
            yield from self._broadcast(new, first)
        self._shared.update(new)

    def _initialize(self, prepared: Prepared) -> Role:
        """Give the variables of this task, the first member's, the values they start with."""
        answer: Message = Computed(self.circle.turn)
        try:
            yield from self.home.initialize(prepared.signature, prepared, prepared.own.missing)
        except GraphcError as error:
            yield from self.circle.say(failure(self.circle.turn, error))
            raise
        yield from self.circle.say(answer)

    def _broadcast(self, variables: Mapping[str, TensorType], first: int) -> Role:
        others = [rank for rank in self.circle.members if rank != first]
        plan = yield Work(lambda: broadcast_plan(variables, self.circle.cluster, first, others))
        part = replace(plan.parts[self.circle.rank], writers=())
        own = yield from self._load(part)
        self.circle.turn += 1
        yield from self._take(self._step(own, ()), (), plan.edges)
        self._check_whole()  # it may have been committed although some member does not answer
        self.circle.turn += 1

    def _step(self, own: Loaded, sizes: tuple[int, ...]) -> Step:
        return Step(own, self.circle.turn, 0, sizes, self.circle.seconds)

    def _take(self, step: Step, arrays: Sequence[Array], edges: int = 0) -> Role:
        """Steps c and d; gives the step."""
        step.transfers.tag = self.tags.take(edges + step.loaded.numbers(step.sizes))
        yield from joint_step(self.circle, self.engine.decisions, step, arrays).take()
        return step


def _sharding_of(prepared: Prepared) -> Sharding:
    sharding = prepared.own.part.sharding
    assert sharding is not None, "a member's part is sharded"
    return sharding
