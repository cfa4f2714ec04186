"""A session that every worker has, each feeding its own rows: as programs of MPI do it.

The sessions of all workers, the *members*, take steps together; none of them is the master. All
messages go from each member to each other one, and the n-th of two members answers the n-th.

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

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy.typing as npt

from graphc.compiler import CompileOptions
from graphc.ir.errors import ClusterError, GraphcError
from graphc.ir.types import TensorType
from graphc.runtime.broadcast import broadcast_plan
from graphc.runtime.cluster_spec import ClusterSpec
from graphc.runtime.decisions import State
from graphc.runtime.effects import WORKER_BOX, Hear, Overdue, Role, Spawn, Stop, Tell, Work
from graphc.runtime.engine import Engine, Loaded
from graphc.runtime.feeds import prepare, sizes_of
from graphc.runtime.master import Master, Prepared, raised
from graphc.runtime.messages import (
    Aborted,
    Close,
    Computed,
    Doing,
    Doubt,
    Failed,
    Meet,
    Message,
    Standing,
    Turn,
)
from graphc.runtime.planning import Planner, Signature
from graphc.runtime.sharded_master import rows_of
from graphc.runtime.step import Step
from graphc.runtime.tags import Tags
from graphc.runtime.turns import check_sizes, described, rows_together, whole_digest
from graphc.runtime.worker import failure

Array = npt.NDArray[Any]


@dataclass
class Peer:
    """One member's side of a session: in task ``rank``, hearing at ``box``, as all others do.

    ``tags`` are counted alike by all; ``home`` initialises the variables of this task.
    """

    cluster: ClusterSpec
    rank: int
    box: int
    engine: Engine
    options: CompileOptions
    seconds: float
    tags: Tags
    planner: Planner
    members: tuple[int, ...]
    home: Master
    broken: str = ""
    """Why no step can be run any more, if so."""
    _turn: int = 0
    _shared: set[str] = field(default_factory=set)
    """The variables that all members have from the first."""
    _heard: dict[int, deque[Message]] = field(default_factory=dict)
    """What was heard too early, by sender."""
    _answer: Message | None = None
    """What came of the step that is under way in this task, once it has ended."""
    _committed: int = 0
    """The last step that was committed here."""
    _standing: dict[int, int] = field(default_factory=dict)
    """The last step that a member is known to have committed."""
    _errors: dict[int, str] = field(default_factory=dict)
    """What went wrong in members since they last began a step."""

    @property
    def others(self) -> list[int]:
        """The other members."""
        return [rank for rank in self.members if rank != self.rank]

    def prepare(self, signature: Signature) -> Role:
        """The program of this member; gives a ``Prepared``. Nothing is said to others.

        Raises:
            GraphcError: whatever is wrong with the graph.
        """
        target = self.engine.target
        plan = yield Work(
            lambda: self.planner(signature, self.cluster, self.rank, target, self.options),
            about="plan",
        )
        part = plan.parts[self.rank]
        own = yield Work(lambda: self.engine.load(part, (self.rank, self.box)), about="compile")
        return Prepared(-1, plan, own, tuple(self.others), signature)

    def run(self, prepared: Prepared, values: Sequence[Any]) -> Role:
        """Steps a to d on a value for each feed; gives what is fetched, this member's rows of it.

        Raises:
            FeedError, DataError: as ``Session.run``, on all members; no variable was changed.
            ClusterError: members that take different steps, or one that does not answer.
        """
        if self.broken:
            raise ClusterError(f"the session is broken: {self.broken}; make a new one")
        self._turn += 1
        try:
            arrays, named, rows = self._fed(prepared, values)
            sharding = prepared.own.part.sharding
            assert sharding is not None, "a member's part is sharded"
            others = tuple(named[name] for name in prepared.plan.symbols)
            whole = whole_digest(sharding, arrays)
            mine = Turn(self._turn, prepared.plan.digest, whole, rows, others)
        except GraphcError as error:
            yield from self._say(failure(self._turn, error))
            yield from self._each("to begin")
            raise
        turns = yield from self._agree(mine, prepared)
        counts = [turns[rank].rows for rank in self.members]
        divided_ = rows_together(counts, sharding, [self._name(rank) for rank in self.members])
        check_sizes(prepared.plan, named, divided_.total)
        yield from self._share(prepared)
        sizes = sharding.sizes(others, divided_)
        step = yield from self._step(prepared.own, sizes, arrays)
        return step.fetched

    def close(self) -> Role:
        """Tell the others that no step will be taken here any more, and which was the last."""
        if self._committed:
            yield from self._say(Standing(self.rank, self.box, self._committed, State.COMMITTED))
        yield from self._say(Close(self.box))

    def hear(self, sender: int, message: Message) -> None:
        """Keep what a member said until it is its turn."""
        if isinstance(message, Meet):
            return  # it asked again
        if isinstance(message, Standing):
            if message.state == State.COMMITTED:
                self._standing[sender] = message.step
            return
        if isinstance(message, Failed):
            self._errors[sender] = message.text
        elif isinstance(message, Turn):
            self._errors.pop(sender, None)
        self._heard.setdefault(sender, deque()).append(message)

    def _fed(
        self, prepared: Prepared, values: Sequence[Any]
    ) -> tuple[list[Array], Mapping[str, int], int]:
        """The feeds, the sizes that they tell, and this member's number of rows."""
        plan = prepared.plan
        arrays = [prepare(t, value) for t, value in zip(plan.feeds, values, strict=True)]
        named = sizes_of((), plan.feeds, arrays)
        return arrays, named, rows_of(plan.feeds, arrays, plan.axes)

    def _agree(self, mine: Turn, prepared: Prepared) -> Role:
        """Step a; gives each member's Turn."""
        yield from self._say(mine)
        turns = yield from self._each("to take a step")
        turns[self.rank] = mine
        self._raise_first(turns)
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
            lines = [f"  {self._name(rank)}: {[*turns[rank].sizes]}" for rank in self.members]
            raise ClusterError(
                "workers that share a batch are fed arrays that differ in more than their rows, in "
                f"the sizes {', '.join(prepared.plan.symbols)}:\n" + "\n".join(lines)
            )
        return turns

    def _differ(self, prepared: Prepared) -> Role:
        """Members are about to do different things."""
        mine = Doing(self._turn, described(prepared))
        yield from self._say(mine)
        found = yield from self._each("to say what it does")
        found[self.rank] = mine
        lines = [f"  {self._name(rank)}: {found[rank].text}" for rank in self.members]
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
        first = self.members[0]
        if self.rank == first:
            yield from self._initialize(prepared)
        else:
            # who may itself wait for others before that
            message = yield from self._next(first, "to initialise", 2 * self.seconds)
            self._raise_first({first: message})
        if self.others:
            yield from self._broadcast(new, first)
        self._shared.update(new)

    def _initialize(self, prepared: Prepared) -> Role:
        """Give the variables of this task, the first member's, the values they start with."""
        answer: Message = Computed(self._turn)
        try:
            yield from self.home.initialize(prepared.signature, prepared, prepared.own.missing)
        except GraphcError as error:
            yield from self._say(failure(self._turn, error))
            raise
        yield from self._say(answer)

    def _broadcast(self, variables: Mapping[str, TensorType], first: int) -> Role:
        others = [rank for rank in self.members if rank != first]
        plan = yield Work(lambda: broadcast_plan(variables, self.cluster, first, others))
        part = replace(plan.parts[self.rank], writers=())
        own = yield Work(lambda: self.engine.load(part, (self.rank, self.box)), about="compile")
        self._turn += 1
        yield from self._step(own, (), (), plan.edges)
        self._turn += 1

    def _step(
        self, own: Loaded, sizes: Sequence[int], arrays: Sequence[Array], edges: int = 0
    ) -> Role:
        """Steps c and d; gives the step."""
        tag = self.tags.take(edges + own.numbers(sizes))
        step = Step(own, self._turn, tag, sizes, self.seconds)
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
            outcomes = dict.fromkeys(self.members, Computed(step.number))
        if all(isinstance(outcome, Computed) for outcome in outcomes.values()):
            self.engine.decisions.commit(self.box, step.number)
            self._committed = step.number
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
        while len(outcomes) < len(self.members):
            sender = yield from self._any(set(self.members) - outcomes.keys(), "to compute")
            outcomes[sender] = self._heard[sender].popleft()
            if not isinstance(outcomes[sender], Computed):
                return
        if self.engine.decisions.is_given_up(self.box, self._turn):
            raise self._break("another worker has given the step up")

    def _has_committed(self) -> Role:
        """Whether another member has committed the step that is under way; else none will."""
        self.engine.decisions.give_up(self.box, self._turn)
        for rank in self.others:
            yield Tell(rank, WORKER_BOX, Doubt(self.box, self._turn))
        waiting = set(self.others)
        while waiting and max(self._standing.values(), default=0) < self._turn:
            try:
                sender, message = yield Hear(self.box, self.seconds, "Standing", self._turn)
            except Overdue:
                break
            self._keep(sender, message)
            if isinstance(message, Standing) and message.step == self._turn:
                waiting.discard(sender)
        return max(self._standing.values(), default=0) >= self._turn

    def _compute(self, step: Step, arrays: Sequence[Array]) -> Role:
        answer: Message = Computed(step.number)
        try:
            yield from step.compute(arrays)
        except Exception as error:  # noqa: BLE001, whatever it is, nobody must wait for it
            answer = failure(step.number, error)
        self._answer = answer
        yield from self._say(answer)
        yield Tell(self.rank, self.box, answer)

    def _undo(self, step: Step, outcomes: dict[int, Message]) -> Role:
        """Step d; raises the error of the first member that has one."""
        mine = Aborted(step.number, step.sent)
        yield from self._say(mine)
        failed = {rank: m for rank, m in outcomes.items() if isinstance(m, Failed)}
        sent = set(mine.sent)
        stopped = {rank: m for rank, m in outcomes.items() if isinstance(m, Aborted)}
        while waiting := set(self.others) - stopped.keys():
            rank = yield from self._any(waiting, "to stop")
            message = self._heard[rank].popleft()
            if isinstance(message, Failed):
                failed[rank] = message
            elif isinstance(message, Aborted):
                stopped[rank] = message
        for message in stopped.values():
            sent.update(message.sent)
        self._heard.pop(self.rank, None)
        if isinstance(self._answer, Failed):
            failed[self.rank] = self._answer
        yield from step.drain(sent)
        self._raise_first(failed)

    def _raise_first(self, messages: Mapping[int, Message]) -> None:
        """Raise the error of the first member that tells of one."""
        for rank in self.members:
            message = messages.get(rank)
            if isinstance(message, Failed):
                raise raised(message.kind, f"{message.text}\n  {self._name(rank)}")

    def _say(self, message: Message) -> Role:
        for rank in self.others:
            yield Tell(rank, self.box, message)

    def _each(self, purpose: str) -> Role:
        """The next message of each other member."""
        found: dict[int, Message] = {}
        while waiting := set(self.others) - found.keys():
            sender = yield from self._any(waiting, purpose)
            found[sender] = self._heard[sender].popleft()
        return found

    def _next(self, rank: int, purpose: str, seconds: float | None = None) -> Role:
        """The next message of one member."""
        yield from self._any({rank}, purpose, seconds)
        return self._heard[rank].popleft()

    def _any(self, ranks: set[int], purpose: str, seconds: float | None = None) -> Role:
        """Which of ``ranks`` has said something that was not taken up yet.

        It is waited for as long as for a task, or ``seconds``.

        Raises:
            ClusterError: none says anything in time, or one has closed its session.
        """
        message: Any
        limit = self.seconds if seconds is None else seconds
        while True:
            for rank in sorted(ranks):
                if self._heard.get(rank):
                    if isinstance(self._heard[rank][0], Close):
                        why = self._errors.get(rank)
                        after = f", after an error there:\n{why}" if why else ""
                        raise self._break(f"{self._name(rank)} has closed its session{after}")
                    return rank
            try:
                sender, message = yield Hear(self.box, limit, purpose, self._turn)
            except Overdue:
                missing = sorted(ranks - {self.rank}) or [self.rank]
                names = ", ".join(self._name(rank) for rank in missing)
                waited = f"{self._name(self.rank)} waited {limit:g} s"
                error = self._break(f"{waited} for {names} {purpose}")
                yield from self._say(failure(self._turn, error))
                yield from self.close()
                raise error from None
            self._keep(sender, message)

    def _keep(self, sender: int, message: Any) -> None:
        """Hear a message, but for one of an own step that was stopped."""
        if sender != self.rank or message.step == self._turn:
            self.hear(sender, message)

    def _break(self, reason: str) -> ClusterError:
        """No step can be run any more; gives the error to raise."""
        self.broken = reason
        return ClusterError(reason)

    def _name(self, rank: int) -> str:
        return self.cluster.name_of(rank)
