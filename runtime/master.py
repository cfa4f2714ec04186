"""The master: what a session on a cluster does, as effects.

For fetches and feeds that are new to it, it makes a plan and registers each part with its task:

    a. Register goes to every other task of the plan; this task's part is compiled meanwhile.
    b. Registered comes back from each, with the order in which it communicates and the variables
       that have no value there. Refused ends it with the task's error. If the orders of all could
       make a step wait for ever, the plan is refused here (``checker``), before anything runs.
    c. The variables are initialised, each by whichever client comes first, by such a plan too.

A step:

    d. Run goes to every other task of the plan; this task's part begins.
    e. Computed comes from each. Where one task could write in a step that another does not, this is
       where the step is committed: this task's variables are written, and Commit goes to the other
       writers. Else each task has committed by itself.
    f. What variables were given comes, if it is fetched, and Committed from each writer: whoever
       reads from now on, reads what was written.
    g. Failed from any task, or silence for too long, aborts: Abort goes to all, Aborted comes back
       with what each began to send, Drain tells all of it, Drained comes from each. Then no message
       of the step is left, no variable was written, and the error is raised.

A task that does not answer in g, or in f, breaks the session: Close goes to all. Variables are
then those before the step, or those after it, on all tasks that live. If the client itself dies
between e and Commit, the writers find out among themselves (``agreement``); a writer that
misses a message asks the worker of this task what was decided.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy.typing as npt

from graphc.compiler import CompileOptions
from graphc.ir import errors
from graphc.ir.errors import ClusterError, GraphcError
from graphc.ir.graph import Graph, Node
from graphc.ops.initialization import initialization_order
from graphc.ops.state import variables_of
from graphc.runtime.checker import check_plan
from graphc.runtime.cluster_spec import ClusterSpec
from graphc.runtime.effects import WORKER_BOX, Hear, Overdue, Role, Spawn, Stop, Tell, Work
from graphc.runtime.engine import Engine, Loaded
from graphc.runtime.feeds import Feeding
from graphc.runtime.messages import (
    Abort,
    Aborted,
    Close,
    Commit,
    Committed,
    Computed,
    Drain,
    Drained,
    Failed,
    Message,
    Refused,
    Registered,
    Run,
)
from graphc.runtime.order import unpacked
from graphc.runtime.planning import Plan, Planner, Signature, make_plan
from graphc.runtime.rows import Rows
from graphc.runtime.step import Step
from graphc.runtime.tags import Tags
from graphc.runtime.worker import failure

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Prepared:
    """A plan that all its tasks have registered, and that is proved to end."""

    number: int
    plan: Plan
    own: Loaded
    others: tuple[int, ...]
    feeding: Feeding
    signature: Signature = ((), (), ())
    """What it was made for."""


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
    planner: Planner = make_plan
    planner_once: Planner = make_plan
    """Makes plans for steps that initialise."""
    _programs: dict[Signature, Prepared] = field(default_factory=dict)
    _initialized: set[str] = field(default_factory=set)
    _met: set[int] = field(default_factory=set)
    """The tasks that know this session."""
    broken: str = ""
    """Why no step can be run any more, if so."""
    _numbers: Iterator[int] = field(default_factory=count)
    _steps: Iterator[int] = field(default_factory=count)

    def prepare(self, signature: Signature) -> Role:
        """Steps a to c, unless that was done before; gives a ``Prepared``.

        Raises:
            GraphcError: whatever is wrong with the graph, here or for another task.
            PlanError: a step could wait for ever.
            ClusterError: a task that does not answer.
        """
        found = self._programs.get(signature)
        if found is None:
            plan = yield from self._plan(self.planner, signature)
            found, missing = yield from self._register(plan)
            yield from self.initialize(signature, found, missing)
            self._programs[signature] = found
        return found

    def run(self, prepared: Prepared, values: Sequence[Any]) -> Role:
        """Steps d to g on a value for each feed; gives the values fetched.

        Raises:
            FeedError, DataError: as ``Session.run``; no variable was changed anywhere.
            ClusterError: a task that does not answer; the step was committed everywhere or nowhere.
        """
        if self.broken:
            raise ClusterError(f"the session is broken: {self.broken}; make a new one")
        plan = prepared.plan
        arrays, named = prepared.feeding.take(values)
        sizes, rows = self._sizes(prepared, arrays, named)
        own = sizes[self.rank]
        number, tag = next(self._steps), self.tags.take(plan.edges + prepared.own.numbers(own))
        runs = {r: Run(self.box, prepared.number, number, tag, sizes[r]) for r in prepared.others}
        step = Step(prepared.own, number, tag, own, self.seconds, rows)
        self.engine.decisions.begin(self.box, number)
        try:
            yield from self._compute(prepared, runs, step, arrays)
            if plan.agree:
                yield from self._commit(plan, step)
        finally:
            self.engine.decisions.end(self.box)
        return step.fetched

    def close(self) -> Role:
        """Let the tasks forget the session's programs."""
        for rank in sorted(self._met):
            yield Tell(rank, WORKER_BOX, Close(self.box))

    def _sizes(
        self, prepared: Prepared, arrays: Sequence[Array], named: Mapping[str, int]
    ) -> tuple[Mapping[int, tuple[int, ...]], Rows | None]:
        """The sizes that each task is told, by rank, and how a batch is divided, if it is."""
        sizes = tuple([named[name] for name in prepared.plan.symbols])
        return dict.fromkeys((self.rank, *prepared.others), sizes), None

    def _compute(
        self, prepared: Prepared, runs: Mapping[int, Run], step: Step, feeds: Sequence[Array]
    ) -> Role:
        """Steps d and e up to the commit, or g."""
        for rank, begin in runs.items():
            yield Tell(rank, WORKER_BOX, begin)
        handle = yield Spawn(self._own(step, feeds, agree=prepared.plan.agree))
        try:
            everyone = (self.rank, *prepared.others)
            purpose = f"to compute step {step.number}"
            yield from self._answers(everyone, Computed, step.number, purpose)
        except GraphcError as error:
            yield Stop(handle)
            yield from step.stop()
            self.engine.decisions.end(self.box)
            yield from self._undo(runs, step, error)
            raise

    def _commit(self, plan: Plan, step: Step) -> Role:
        """The rest of e, and f: whatever happens now, the step is committed."""
        self.engine.decisions.commit(self.box, step.number)
        yield from step.write()
        for rank in plan.writers:
            yield Tell(rank, WORKER_BOX, Commit(self.box, step.number))
        try:
            yield from step.finish()
            purpose = f"to commit step {step.number}"
            yield from self._answers(plan.writers, Committed, step.number, purpose)
        except ClusterError as error:
            yield from self._break(f"the step was committed, but {error}")

    def _break(self, reason: str) -> Role:
        """No step can be run any more: a task does not answer."""
        self.broken = reason
        yield from self.close()
        raise ClusterError(reason) from None

    def _plan(self, planner: Planner, signature: Signature, *, once: bool = False) -> Role:
        target, options = self.engine.target, self.options
        return (
            yield Work(
                lambda: planner(signature, self.cluster, self.rank, target, options, once=once),
                about="plan",
            )
        )

    def _register(self, plan: Plan) -> Role:
        """Steps a and b; gives the plan as ``Prepared``, and the variables without a value."""
        number = next(self._numbers)
        others = tuple(sorted(plan.parts.keys() - {self.rank}))
        self._met.update(others)
        for rank in others:
            yield Tell(rank, WORKER_BOX, plan.parts[rank].message(self.box, number))
        client = self.rank, self.box
        part = plan.parts[self.rank]
        compiled = yield Work(lambda: self.engine.compiled(part), about="compile", aside=True)
        own = self.engine.keep(part, compiled, client)
        answers = yield from self._answers(others, Registered, number, "to register a program")
        missing = set(own.missing).union(*(answer.missing for answer in answers.values()))
        strands = {rank: unpacked(answer.order) for rank, answer in answers.items()}
        strands[self.rank] = own.strands
        yield Work(lambda: check_plan(plan, self.cluster, strands))
        return Prepared(number, plan, own, others, plan.feeding), missing

    def initialize(self, signature: Signature, prepared: Prepared, missing: Iterable[str]) -> Role:
        """Give variables that have no value yet the one that they start with."""
        names = set(missing) - self._initialized
        if not names:
            return
        graph = _graph_of(signature)
        nodes = {n.attrs["shared_name"]: n for n in variables_of(graph)}
        wanted = [nodes[name] for name in sorted(names)]
        for nodes_of_step in initialization_order(wanted, self._initialized):
            step = (), tuple(nodes_of_step), ()
            plan = yield from self._plan(self.planner_once, step, once=True)
            initializing, _ = yield from self._register(plan)
            yield from self.run(initializing, ())
            self._initialized.update(n.inputs[0].node.attrs["shared_name"] for n in nodes_of_step)

    def _own(self, step: Step, feeds: Sequence[Array], *, agree: bool) -> Role:
        """This task's part of a step, beside what the master hears."""
        answer: Message = Computed(step.number)
        try:
            yield from step.compute(feeds)
            if not agree:
                yield from step.commit()
        except Exception as error:  # noqa: BLE001, whatever it is, nobody must wait for it
            answer = failure(step.number, error)
        yield Tell(self.rank, self.box, answer)

    def _undo(self, runs: Mapping[int, Run], step: Step, error: GraphcError) -> Role:
        """Step g."""
        others, number, sent = tuple(runs), step.number, set(step.sent)
        try:
            for rank, run in runs.items():
                abort = Abort(run.session, run.program, number, run.tag, run.sizes)
                yield Tell(rank, WORKER_BOX, abort)
            stopped = yield from self._answers(others, Aborted, number, "to stop")
            for answer in stopped.values():
                sent.update(answer.sent)
            for rank in others:
                yield Tell(rank, WORKER_BOX, Drain(self.box, number, tuple(sorted(sent))))
            yield from step.drain(sent)
            yield from self._answers(others, Drained, number, "to stop")
        except ClusterError as broken:
            yield from self._break(f"{broken}\n  after {error}")

    def _answers(self, ranks: Iterable[int], kind: type[Any], number: int, purpose: str) -> Role:
        """What each of ``ranks`` answers about program or step ``number``; older ones are dropped.

        Raises:
            GraphcError: one of them tells of an error.
            ClusterError: one does not answer in time.
        """
        waiting, answers = set(ranks), {}
        message: Any
        while waiting:
            try:
                sender, message = yield Hear(self.box, self.seconds, kind.__name__, number)
            except Overdue:
                names = ", ".join(self._name(rank) for rank in sorted(waiting))
                raise ClusterError(
                    f"{self._name(self.rank)} waited {self.seconds:g} s for {names} {purpose}"
                ) from None
            if _number_of(message) != number or sender not in waiting:
                continue
            if type(message) is _REFUSALS.get(kind):
                raise raised(message.kind, f"{message.text}\n  {self._name(sender)}")
            if type(message) is kind:
                waiting.discard(sender)
                answers[sender] = message
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
    Committed: Failed,
    Drained: Failed,
}
"""What comes instead of an answer. While a step is stopped, tasks may still tell that it failed."""


def _number_of(message: Any) -> int:
    """The program or the step that an answer is about."""
    number: int = message.program if isinstance(message, (Registered, Refused)) else message.step
    return number


def raised(kind: str, text: str) -> GraphcError:
    """An error of another task, of the kind that it was there."""
    found = getattr(errors, kind, GraphcError)
    return found(text) if issubclass(found, GraphcError) else GraphcError(text)
