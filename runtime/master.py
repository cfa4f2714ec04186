"""The master: what a session on a cluster does, as effects.

For fetches and feeds that are new to it, it makes a plan and registers each part with its task:

    a. Register goes to every other task of the plan; this task's part is compiled meanwhile.
    b. Registered comes back from each, with the variables that have no value there; these are
       initialised, each by whichever client comes first. Refused ends it with the task's error.

A step:

    c. Run goes to every other task of the plan; this task's part begins.
    d. Computed comes from each. Where a task could write in a step that fails elsewhere, Commit
       then goes to all; else each has committed by itself.
    e. Failed from any task, or silence for too long, aborts: Abort goes to all, Aborted comes back
       with what each began to send, Drain tells all of it, Drained comes from each. Then no message
       of the step is left, no variable was written, and the error is raised.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy.typing as npt

from graphc.backends.cpu.executable import address_of
from graphc.compiler import CompileOptions
from graphc.ir import errors
from graphc.ir.errors import ClusterError, GraphcError
from graphc.ir.graph import Graph, Node
from graphc.ops.initialization import initialization_order
from graphc.ops.state import variables_of
from graphc.runtime.cluster_spec import ClusterSpec
from graphc.runtime.effects import WORKER_BOX, Hear, Overdue, Role, Spawn, Stop, Tell, Work
from graphc.runtime.engine import Engine, Loaded
from graphc.runtime.feeds import prepare, sizes_of
from graphc.runtime.messages import (
    Abort,
    Aborted,
    Close,
    Commit,
    Computed,
    Drain,
    Drained,
    Failed,
    Message,
    Refused,
    Registered,
    Run,
)
from graphc.runtime.planning import Plan, Signature, make_plan
from graphc.runtime.step import Step
from graphc.runtime.worker import failure

Array = npt.NDArray[Any]
TAGS = 2**30
"""How many tags of transfers there are at least, with the usual MPI libraries."""


class Tags:
    """The tags that the sessions of one task give to transfers: each step's come after the last's.

    They begin anew after so many that no message with the same tag can be under way. ``number`` is
    how many there are for all tasks together, which depends on the MPI library.
    """

    def __init__(self, rank: int, tasks: int, number: int = TAGS) -> None:
        self._share = number // tasks
        self._first = rank * self._share
        self._used = 0

    def take(self, count: int) -> int:
        """The first of ``count`` tags.

        Raises:
            ClusterError: there are not so many.
        """
        if count > self._share:
            raise ClusterError(
                f"a step makes {count} transfers, but this MPI has only {self._share} tags for "
                "the sessions of a task"
            )
        if self._used + count > self._share:
            self._used = 0
        tag = self._first + self._used
        self._used += count
        return tag


@dataclass(frozen=True)
class Prepared:
    """A plan that all its tasks have registered."""

    number: int
    plan: Plan
    own: Loaded
    others: tuple[int, ...]


@dataclass
class Master:
    """The master of one session: in task ``rank``, hearing at ``box``.

    ``seconds`` bounds each wait for another task.
    """

    cluster: ClusterSpec
    rank: int
    box: int
    engine: Engine
    options: CompileOptions
    seconds: float
    tags: Tags
    """Those of all sessions of the task."""
    _programs: dict[Signature, Prepared] = field(default_factory=dict)
    _initialized: set[str] = field(default_factory=set)
    _met: set[int] = field(default_factory=set)
    """The tasks that know this session."""
    broken: str = ""
    """Why no step can be run any more, if so."""
    _numbers: Iterator[int] = field(default_factory=count)
    _steps: Iterator[int] = field(default_factory=count)

    def prepare(self, signature: Signature) -> Role:
        """Steps a and b, unless that was done before; gives a ``Prepared``.

        Raises:
            GraphcError: whatever is wrong with the graph, here or for another task.
            ClusterError: a task that does not answer.
        """
        found = self._programs.get(signature)
        if found is None:
            found, missing = yield from self._register(signature)
            yield from self._initialize(signature, missing)
            self._programs[signature] = found
        return found

    def run(self, prepared: Prepared, values: Sequence[Any]) -> Role:
        """Steps c to e on a value for each feed; gives the values fetched.

        Raises:
            FeedError, DataError: as ``Session.run``; no variable was changed anywhere.
            ClusterError: a task that does not answer.
        """
        if self.broken:
            raise ClusterError(f"the session is broken: {self.broken}; make a new one")
        plan = prepared.plan
        arrays = [prepare(t, value) for t, value in zip(plan.feeds, values, strict=True)]
        named = sizes_of(plan.checks, plan.feeds, arrays)
        sizes = tuple([named[name] for name in plan.symbols])
        number, tag = next(self._steps), self.tags.take(plan.edges)
        for rank in prepared.others:
            yield Tell(rank, WORKER_BOX, Run(self.box, prepared.number, number, tag, sizes))
        step = Step(prepared.own, number, tag, sizes, self.seconds)
        handle = yield Spawn(self._own(step, [address_of(array) for array in arrays]))
        try:
            everyone = (self.rank, *prepared.others)
            yield from self._answers(everyone, Computed, number, f"to compute step {number}")
        except GraphcError as error:
            yield Stop(handle)
            yield from self._undo(prepared, step, error)
            raise
        if plan.agree:
            for rank in prepared.others:
                yield Tell(rank, WORKER_BOX, Commit(self.box, number))
            yield from step.commit()
        return step.fetched

    def close(self) -> Role:
        """Let the tasks forget the session's programs."""
        for rank in sorted(self._met):
            yield Tell(rank, WORKER_BOX, Close(self.box))

    def _register(self, signature: Signature, *, once: bool = False) -> Role:
        plan = yield Work(
            lambda: make_plan(
                signature, self.cluster, self.rank, self.engine.target, self.options, once=once
            )
        )
        number = next(self._numbers)
        others = tuple(sorted(plan.parts.keys() - {self.rank}))
        self._met.update(others)
        for rank in others:
            yield Tell(rank, WORKER_BOX, plan.parts[rank].message(self.box, number))
        client = self.rank, self.box
        own = yield Work(lambda: self.engine.load(plan.parts[self.rank], client))
        answers = yield from self._answers(others, Registered, number, "to register a program")
        missing = set(own.missing).union(*(answer.missing for answer in answers))
        return Prepared(number, plan, own, others), missing

    def _initialize(self, signature: Signature, missing: Iterable[str]) -> Role:
        """Give variables that have no value yet the one that they start with."""
        names = set(missing) - self._initialized
        if not names:
            return
        graph = _graph_of(signature)
        nodes = {n.attrs["shared_name"]: n for n in variables_of(graph)}
        wanted = [nodes[name] for name in sorted(names)]
        for nodes_of_step in initialization_order(wanted, self._initialized):
            prepared, _ = yield from self._register(((), tuple(nodes_of_step), ()), once=True)
            yield from self.run(prepared, ())
            self._initialized.update(n.inputs[0].node.attrs["shared_name"] for n in nodes_of_step)

    def _own(self, step: Step, feeds: Sequence[int]) -> Role:
        """This task's part of a step, beside what the master hears."""
        answer: Message = Computed(step.number)
        try:
            yield from step.compute(feeds)
            if not step.loaded.part.agree:
                yield from step.commit()
        except Exception as error:  # noqa: BLE001, whatever it is, nobody must wait for it
            answer = failure(step.number, error)
        yield Tell(self.rank, self.box, answer)

    def _undo(self, prepared: Prepared, step: Step, error: GraphcError) -> Role:
        """Step e. A task that does not answer breaks the session."""
        others, number, sent = prepared.others, step.number, set(step.sent)
        try:
            for rank in others:
                yield Tell(rank, WORKER_BOX, Abort(self.box, number))
            for answer in (yield from self._answers(others, Aborted, number, "to stop")):
                sent.update(answer.sent)
            for rank in others:
                yield Tell(rank, WORKER_BOX, Drain(self.box, number, tuple(sorted(sent))))
            yield from step.drain(sent)
            yield from self._answers(others, Drained, number, "to stop")
        except ClusterError as broken:
            self.broken = str(broken)
            raise ClusterError(f"{error}\n  and then {broken}") from None

    def _answers(self, ranks: Iterable[int], kind: type[Any], number: int, purpose: str) -> Role:
        """What all ``ranks`` answer about program or step ``number``; older answers are dropped.

        Raises:
            GraphcError: one of them tells of an error.
            ClusterError: one does not answer in time.
        """
        waiting, answers = set(ranks), []
        message: Any
        while waiting:
            try:
                sender, message = yield Hear(self.box, self.seconds)
            except Overdue:
                names = ", ".join(self._name(rank) for rank in sorted(waiting))
                raise ClusterError(
                    f"{self._name(self.rank)} waited {self.seconds:g} s for {names} {purpose}"
                ) from None
            if _number_of(message) != number or sender not in waiting:
                continue
            if type(message) is _REFUSALS.get(kind):
                raise _raised(message.kind, f"{message.text}\n  {self._name(sender)}")
            if type(message) is kind:
                waiting.discard(sender)
                answers.append(message)
        return answers

    def _name(self, rank: int) -> str:
        return self.cluster.name_of(rank)


def _graph_of(signature: Signature) -> Graph:
    tensors, targets, feeds = signature
    nodes: list[Node] = [*(t.node for t in tensors), *targets, *(t.node for t in feeds)]
    return nodes[0].graph


_REFUSALS: dict[type[Any], type[Any]] = {
    Registered: Refused,
    Computed: Failed,
    Drained: Failed,
}
"""What comes instead of an answer. While a step is stopped, tasks may still tell that it failed."""


def _number_of(message: Any) -> int:
    """The program or the step that an answer is about."""
    number: int = message.program if isinstance(message, Registered | Refused) else message.step
    return number


def _raised(kind: str, text: str) -> GraphcError:
    """An error of another task, of the kind that it was there."""
    found = getattr(errors, kind, GraphcError)
    return found(text) if issubclass(found, GraphcError) else GraphcError(text)
