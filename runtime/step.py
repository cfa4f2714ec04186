"""One step of one task's part of a program: its instructions, carried out as effects.

    a. All receives are posted.
    b. Kernels run up to the next transfer; what they made is sent, what they need is waited for.
    c. All sends have ended: the step is *computed*. Nothing but temporaries was written.
    d. The variables are written, in one go: the step is *committed*. What they were given is sent.

An aborted step stops between a and c. It is *drained* once every transfer that was begun anywhere
has ended, and the receives that nothing was sent for are taken back: no message of it is left.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, ClassVar

import numpy.typing as npt

from graphc.backends.cpu.executable import Binding
from graphc.backends.loops.instructions import Commit, Receive, Run, Send, Wait
from graphc.backends.loops.program import Transfer
from graphc.ir.errors import ClusterError
from graphc.runtime.effects import Await, Effect, Overdue, Post, Role, Withdraw, Work
from graphc.runtime.engine import Loaded

Array = npt.NDArray[Any]


class Step:
    """A step of ``loaded``; transfer n of the step has tag ``tag + n``.

    ``seconds`` bounds each wait for another task.
    """

    def __init__(
        self, loaded: Loaded, number: int, tag: int, sizes: Sequence[int], seconds: float
    ) -> None:
        self.loaded, self.number = loaded, number
        self._tag, self._sizes, self._seconds = tag, tuple(sizes), seconds
        self._binding: Binding | None = None
        self._sends: dict[int, tuple[Transfer, Any]] = {}
        self._receives: dict[int, tuple[Transfer, Any]] = {}
        """The transfers that were begun, by number, with their tickets."""
        self.fetched: list[Array] = []
        self._instructions = iter(loaded.instructions)
        self._given: dict[int, bytes] = {}
        """What the commit gave variables that others may write before it is sent, by storage."""

    @property
    def sent(self) -> tuple[int, ...]:
        """The numbers of the transfers that were begun to be sent."""
        return tuple(sorted(self._sends))

    def compute(self, feeds: Sequence[int] = ()) -> Role:
        """Steps a to c, on the addresses of the feeds.

        Raises:
            DataError: an error in the data.
            ClusterError: a transfer that does not end in time, with the task that it waits for.
        """
        binding = self._binding = yield Work(
            lambda: self.loaded.bind(self._sizes), about="bind", step=self.number
        )
        self.fetched = binding.begin(feeds)
        yield from self._carry_out(binding)

    def commit(self) -> Role:
        """Step d, after ``compute``.

        Raises:
            ClusterError: a transfer that does not end in time.
        """
        binding = self._binding
        assert binding is not None, "a step is committed after it was computed"
        if self.loaded.commits:
            self._given = yield Work(
                lambda: self.loaded.commit(binding), 0.0, self.loaded.about_commit, self.number
            )
        yield from self._carry_out(binding)

    def drain(self, sent: Collection[int]) -> Role:
        """Bring all transfers to an end, of which those of ``sent`` were begun by their senders.

        Raises:
            ClusterError: one does not end in time.
        """
        yield from self._post_late(sent)
        for number, (transfer, ticket) in self._receives.items():
            if number in sent:
                yield from self._ended(transfer, ticket)
            else:
                yield Withdraw(ticket)
        for transfer, ticket in self._sends.values():
            yield from self._ended(transfer, ticket)

    def _post_late(self, sent: Collection[int]) -> Role:
        """Receive what was sent before this step came to post it, to nowhere."""
        sizes = dict(zip(self.loaded.part.symbols, self._sizes, strict=True))
        for transfer in self.loaded.program.receives:
            route = self.loaded.part.routes[transfer.edge]
            if route.number in sent and route.number not in self._receives:
                memory = bytearray(self.loaded.program.storages[transfer.storage].bytes(sizes))
                ticket = yield self._post(transfer, memory, sends=False)
                self._receives[route.number] = transfer, ticket

    def _carry_out(self, binding: Binding) -> Role:
        """The instructions up to the commit, or up to the end."""
        for instruction in self._instructions:
            if isinstance(instruction, Commit):
                return
            if isinstance(instruction, Run):
                yield self._run(binding, instruction)
                continue
            effect = self._rules[type(instruction)](self, binding, instruction)
            try:
                result = yield effect
            except Overdue:
                raise self._late(instruction.transfer) from None
            if isinstance(effect, Post):
                begun = self._sends if effect.sends else self._receives
                begun[effect.tag - self._tag] = instruction.transfer, result

    def _run(self, binding: Binding, instruction: Run) -> Work:
        first, last = instruction.first, instruction.last
        name = self.loaded.program.calls[first].name
        return Work(lambda: binding.run_calls(first, last), about=name, step=self.number)

    def _receive(self, binding: Binding, instruction: Receive) -> Effect:
        transfer = instruction.transfer
        return self._post(transfer, binding.memory(transfer.storage), sends=False)

    def _send(self, binding: Binding, instruction: Send) -> Effect:
        transfer = instruction.transfer
        given = self._given.get(transfer.storage)
        memory = self.loaded.memory(binding, transfer) if given is None else given
        return self._post(transfer, memory, sends=True)

    def _wait(self, binding: Binding, instruction: Wait) -> Effect:
        number = self.loaded.part.routes[instruction.transfer.edge].number
        _, ticket = self._receives.get(number) or self._sends[number]
        return Await(ticket, self._seconds)

    def _post(self, transfer: Transfer, memory: Any, *, sends: bool) -> Post:
        route = self.loaded.part.routes[transfer.edge]
        tag = self._tag + route.number
        return Post(route.peer, tag, memory, sends, transfer.edge, self.number)

    def _ended(self, transfer: Transfer, ticket: Any) -> Role:
        try:
            yield Await(ticket, self._seconds)
        except Overdue:
            raise self._late(transfer) from None

    def _late(self, transfer: Transfer) -> ClusterError:
        number = self.loaded.part.routes[transfer.edge].number
        way = "come from" if number in self._receives else "be taken by"
        tensor = transfer.edge.partition("->")[0]
        return ClusterError(
            f"step {self.number}: {tensor} did not {way} {transfer.peer} within {self._seconds:g} s"
        )

    _rules: ClassVar[dict[type, Callable[[Any, Binding, Any], Effect]]] = {
        Receive: _receive,
        Send: _send,
        Wait: _wait,
    }
