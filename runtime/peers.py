"""A session that every worker has, each feeding its own rows: as programs of MPI do it.

The sessions of all workers, the *members*, take steps together; none of them is the master. All
messages go from each member to each other one, and the n-th of two members answers the n-th. A
step that needs nothing of others and changes nothing, such as fetching a variable, is a member's
own.

    a. Turn tells what is about to be done: which graph, and on how many rows. Who cannot begin, for
       what it was fed, says Failed. If members are about to do different things, each says in
       Doing what it is, and all raise the same error.
    b. Variables that are new to the session are given their first values by the first member, which
       says Computed, or Failed; they are then sent to all, in a step of its own.
    c. The step is computed; each says Computed or Failed. If all have computed, each writes its
       variables.
    d. If any has failed, each stops, says in Aborted what it began to send, and brings to an end
       what all began; then all raise the same error, and no variable was written.

Who does not answer in time, or has closed its session, is named, and the session is broken. If that
leaves in doubt whether others have committed a step, their workers are asked (Doubt). Where one
has, all had computed, and so do those that ask; where none has, none will any more. So the members
that live end alike, if one dies; if a second one dies just then, they may not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import numpy.typing as npt

from graphc.compiler import CompileOptions
from graphc.ir.errors import ClusterError, GraphcError
from graphc.ir.types import TensorType
from graphc.runtime.broadcast import broadcast_plan
from graphc.runtime.circle import Circle
from graphc.runtime.effects import WORKER_BOX, Hear, Overdue, Role, Spawn, Stop, Tell, Work
from graphc.runtime.engine import Engine, Loaded
from graphc.runtime.feeds import Feeding
from graphc.runtime.master import Master, Prepared
from graphc.runtime.messages import (
    Aborted,
    Computed,
    Doing,
    Doubt,
    Failed,
    Message,
    Standing,
    Turn,
)
from graphc.runtime.part import Part
from graphc.runtime.planning import Planner, Signature
from graphc.runtime.sharded_master import rows_of
from graphc.runtime.sharded_order import check_shared
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
    _checked: set[tuple[int, tuple[int, ...]]] = field(default_factory=set)
    """The programs, by number, and sizes whose steps keep all rules and are proved to end."""
    _numbers: Iterator[int] = field(default_factory=count)
    _ready: set[int] = field(default_factory=set)
    """The programs whose variables are everywhere, by number."""
    _answer: Message | None = None
    """What came of the step that is under way in this task, once it has ended."""

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
        if self.circle.broken:
            raise ClusterError(f"the session is broken: {self.circle.broken}; make a new one")
        self.circle.turn += 1
        try:
            arrays, named, rows = self._fed(prepared, values)
            sharding = prepared.own.part.sharding
            assert sharding is not None, "a member's part is sharded"
            others = tuple(named[name] for name in prepared.plan.symbols)
            whole = whole_digest(sharding, arrays)
            mine = Turn(self.circle.turn, prepared.plan.digest, whole, rows, others)
        except GraphcError as error:
            yield from self.circle.say(failure(self.circle.turn, error))
            yield from self.circle.each("to begin")
            raise
        turns = yield from self._agree(mine, prepared)
        counts = tuple([turns[rank].rows for rank in self.circle.members])
        divided_ = rows_together(counts, sharding)
        if prepared.number not in self._ready:
            yield from self._share(prepared)
            self._ready.add(prepared.number)
        sizes = sharding.sizes(others, divided_)
        if (prepared.number, sizes) not in self._checked:
            check_sizes(prepared.plan, named, divided_.total)
            check_shared(prepared.own, sizes)
            self._checked.add((prepared.number, sizes))
        step = yield from self._step(prepared.own, sizes, arrays)
        return step.fetched

    def _run_own(self, prepared: Prepared, values: Sequence[Any]) -> Role:
        """A step of this member alone."""
        arrays, named, rows = self._fed(prepared, values)
        check_sizes(prepared.plan, named, rows)
        sharding = prepared.own.part.sharding
        assert sharding is not None, "a member's part is sharded"
        others = tuple(named[name] for name in prepared.plan.symbols)
        sizes = sharding.sizes(others, rows_alone(rows, sharding))
        step = Step(prepared.own, self.circle.turn, 0, sizes, self.circle.seconds)
        yield from step.compute(arrays)
        return step.fetched

    def close(self) -> Role:
        """Tell the others that no step will be taken here any more."""
        yield from self.circle.leave()

    def _fed(
        self, prepared: Prepared, values: Sequence[Any]
    ) -> tuple[list[Array], Mapping[str, int], int]:
        """The feeds, the sizes that they tell, and this member's number of rows."""
        plan = prepared.plan
        arrays, named = prepared.feeding.take(values)
        return arrays, named, rows_of(plan.feeds, arrays, plan.axes)

    def _agree(self, mine: Turn, prepared: Prepared) -> Role:
        """Step a; gives each member's Turn."""
        yield from self.circle.say(mine)
        turns = yield from self.circle.each("to take a step")
        turns[self.circle.rank] = mine
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
        yield from self._step(own, (), (), plan.edges)
        self.circle.turn += 1

    def _step(
        self, own: Loaded, sizes: Sequence[int], arrays: Sequence[Array], edges: int = 0
    ) -> Role:
        """Steps c and d; gives the step."""
        tag = self.tags.take(edges + own.numbers(sizes))
        step = Step(own, self.circle.turn, tag, sizes, self.circle.seconds)
        self._answer = None
        handle = yield Spawn(self._compute(step, arrays))
        outcomes: dict[int, Message] = {}
        try:
            yield from self._hear_outcomes(outcomes)
        except ClusterError:
            if not (yield from self._has_committed()):
                yield Stop(handle)
                yield from step.stop()
                raise
            outcomes = dict.fromkeys(self.circle.members, Computed(step.number))
        if all(isinstance(outcome, Computed) for outcome in outcomes.values()):
            self.engine.decisions.commit(self.circle.box, step.number)
            self.circle.committed = step.number
            yield from step.commit()
            return step
        yield Stop(handle)
        yield from step.stop()
        yield from self._undo(step, outcomes)

    def _hear_outcomes(self, outcomes: dict[int, Message]) -> Role:
        """Hear of all members, or up to the first that has not computed.

        Raises:
            ClusterError: as ``_any``; or another member was told that this one has not committed.
        """
        while len(outcomes) < len(self.circle.members):
            sender = yield from self.circle.whoever(
                set(self.circle.members) - outcomes.keys(), "to compute"
            )
            outcomes[sender] = self.circle.take(sender)
            if not isinstance(outcomes[sender], Computed):
                return
        if self.engine.decisions.is_given_up(self.circle.box, self.circle.turn):
            raise self.circle.break_off("another worker has given the step up")

    def _has_committed(self) -> Role:
        """Whether another member has committed the step that is under way; else none will."""
        circle, turn = self.circle, self.circle.turn
        self.engine.decisions.give_up(circle.box, turn)
        for rank in circle.others:
            yield Tell(rank, WORKER_BOX, Doubt(circle.box, turn))
        waiting = set(circle.others)
        while waiting and circle.last_committed < turn:
            try:
                sender, message = yield Hear(circle.box, circle.seconds, "Standing", turn)
            except Overdue:
                break
            circle.keep(sender, message)
            if isinstance(message, Standing) and message.step == turn:
                waiting.discard(sender)
        return circle.last_committed >= turn

    def _compute(self, step: Step, arrays: Sequence[Array]) -> Role:
        answer: Message = Computed(step.number)
        try:
            yield from step.compute(arrays)
        except Exception as error:  # noqa: BLE001, whatever it is, nobody must wait for it
            answer = failure(step.number, error)
        self._answer = answer
        yield from self.circle.say(answer)
        yield Tell(self.circle.rank, self.circle.box, answer)

    def _undo(self, step: Step, outcomes: dict[int, Message]) -> Role:
        """Step d; raises the error of the first member that has one."""
        mine = Aborted(step.number, step.sent)
        yield from self.circle.say(mine)
        failed = {rank: m for rank, m in outcomes.items() if isinstance(m, Failed)}
        sent = set(mine.sent)
        stopped = {rank: m for rank, m in outcomes.items() if isinstance(m, Aborted)}
        while waiting := set(self.circle.others) - stopped.keys():
            rank = yield from self.circle.whoever(waiting, "to stop")
            message = self.circle.take(rank)
            if isinstance(message, Failed):
                failed[rank] = message
            elif isinstance(message, Aborted):
                stopped[rank] = message
        for message in stopped.values():
            sent.update(message.sent)
        self.circle.forget_own()
        if isinstance(self._answer, Failed):
            failed[self.circle.rank] = self._answer
        try:
            yield from step.drain(sent)
        except ClusterError as error:
            raise self.circle.break_off(str(error)) from None
        self.circle.raise_first(failed)
