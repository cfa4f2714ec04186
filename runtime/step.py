"""One step of one task's part of a program: its instructions, carried out as effects.

    a. All receives are posted.
    b. Kernels run up to the next transfer; what they made is sent, what they need is waited for.
    c. All sends have ended: the step is *computed*. Nothing but temporaries was written.
    d. The variables are written, in one go: the step is *committed*.
    e. What they were given is sent to the client, which only now waits for it.

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
from graphc.runtime.effects import Await, Overdue, Post, Role, Withdraw, Work
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
        binding = self._binding = yield Work(lambda: self.loaded.bind(self._sizes))
        self.fetched = binding.begin(feeds)
        for instruction in self._instructions:
            if isinstance(instruction, Commit):
                return
            yield from self._rules[type(instruction)](self, binding, instruction)

    def commit(self) -> Role:
        """Steps d and e, after ``compute``.

        Raises:
            ClusterError: as ``finish``.
        """
        yield from self.write()
        yield from self.finish()

    def write(self) -> Role:
        """Step d: nothing fails here, and nobody is waited for."""
        binding = self._computed()
        self._given = yield Work(lambda: self.loaded.commit(binding))

    def finish(self) -> Role:
        """Step e.

        Raises:
            ClusterError: a transfer that does not end in time.
        """
        binding = self._computed()
        for instruction in self._instructions:
            yield from self._rules[type(instruction)](self, binding, instruction)

    def _computed(self) -> Binding:
        assert self._binding is not None, "a step is committed after it was computed"
        return self._binding

    def withdraw(self) -> Role:
        """Give up the receives; sends end when their receivers do."""
        while self._receives:
            _, (_, ticket) = self._receives.popitem()
            yield Withdraw(ticket)

    def drain(self, sent: Collection[int]) -> Role:
        """Bring all transfers to an end, of which those of ``sent`` were begun by their senders.

        Raises:
            ClusterError: one does not end in time.
        """
        yield from self._post_late(sent)
        for number in [n for n in self._receives if n in sent]:
            yield from self._ended(*self._receives[number], "come from")
        yield from self.withdraw()
        for transfer, ticket in self._sends.values():
            yield from self._ended(transfer, ticket, "be taken by")

    def _post_late(self, sent: Collection[int]) -> Role:
        """Receive what was sent before this step came to post it, to nowhere."""
        sizes = dict(zip(self.loaded.part.symbols, self._sizes, strict=True))
        for transfer in self.loaded.program.receives:
            route = self.loaded.part.routes[transfer.edge]
            if route.number in sent and route.number not in self._receives:
                memory = bytearray(self.loaded.program.storages[transfer.storage].bytes(sizes))
                ticket = yield Post(route.peer, self._tag + route.number, memory, sends=False)
                self._receives[route.number] = transfer, ticket

    def _run(self, binding: Binding, instruction: Run) -> Role:
        yield Work(lambda: binding.run_calls(instruction.first, instruction.last))

    def _receive(self, binding: Binding, instruction: Receive) -> Role:
        transfer = instruction.transfer
        route = self.loaded.part.routes[transfer.edge]
        memory = binding.memory(transfer.storage)
        ticket = yield Post(route.peer, self._tag + route.number, memory, sends=False)
        self._receives[route.number] = transfer, ticket

    def _send(self, binding: Binding, instruction: Send) -> Role:
        transfer = instruction.transfer
        route = self.loaded.part.routes[transfer.edge]
        given = self._given.get(transfer.storage)
        memory = self.loaded.memory(binding, transfer) if given is None else given
        ticket = yield Post(route.peer, self._tag + route.number, memory, sends=True)
        self._sends[route.number] = transfer, ticket

    def _wait(self, binding: Binding, instruction: Wait) -> Role:
        number = self.loaded.part.routes[instruction.transfer.edge].number
        if number in self._receives:
            yield from self._ended(*self._receives[number], "come from")
        else:
            yield from self._ended(*self._sends[number], "be taken by")

    def _ended(self, transfer: Transfer, ticket: Any, way: str) -> Role:
        try:
            yield Await(ticket, self._seconds)
        except Overdue:
            tensor = transfer.edge.partition("->")[0]
            raise ClusterError(
                f"step {self.number}: {tensor} did not {way} {transfer.peer} "
                f"within {self._seconds:g} s"
            ) from None

    _rules: ClassVar[dict[type, Callable[[Any, Binding, Any], Role]]] = {
        Run: _run,
        Receive: _receive,
        Send: _send,
        Wait: _wait,
    }
