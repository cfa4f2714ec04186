"""One step of one task's part of a program: its instructions, carried out as effects.

    a. All receives are posted.
    b. Kernels run up to the next transfer; what they made is sent, what they need is waited for.
       What is reduced over workers is reduced by a role beside them.
    c. All sends have ended: the step is *computed*. Nothing but temporaries was written.
    d. The variables are written, in one go: the step is *committed*.
    e. What they were given is sent to the client, which only now waits for it.

An aborted step stops between a and c. It is *drained* once every transfer that was begun anywhere
has ended, and the receives that nothing was sent for are taken back: no message of it is left.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from itertools import islice, pairwise
from typing import Any, ClassVar

import numpy.typing as npt

from graphc.backends.cpu.executable import Binding, address_of
from graphc.backends.loops.instructions import (
    Commit,
    Receive,
    Reduce,
    Reduced,
    Run,
    Send,
    Wait,
)
from graphc.runtime.effects import Join, Pause, Role, Spawn, Stop, Work
from graphc.runtime.engine import Loaded
from graphc.runtime.reduction import Planned, Reduction
from graphc.runtime.rows import Rows
from graphc.runtime.transfers import Collective, Expected, Transfers

Array = npt.NDArray[Any]


class Step:
    """A step of ``loaded``; transfer n of the step has tag ``tag + n``.

    ``seconds`` bounds each wait for another task. If a batch is divided, ``rows`` says how, where
    it is fed.
    """

    def __init__(
        self,
        loaded: Loaded,
        number: int,
        tag: int,
        sizes: Sequence[int],
        seconds: float,
        rows: Rows | None = None,
    ) -> None:
        self.loaded, self.number = loaded, number
        self.sizes = tuple(sizes)
        self.transfers = Transfers(number, tag, seconds)
        self.fetched: list[Array] = []
        self._exchange = loaded.exchange(self.sizes, rows)
        self._fed: Sequence[Array] = ()
        """What kernels read from where it is."""
        self._own: Sequence[Array] = ()
        """What is fetched here, which the commit may read, whoever is given it."""
        self._binding: Binding | None = None
        self._instructions = iter(loaded.instructions)
        self._failed: Exception | None = None
        """What went wrong ahead."""
        self._given: dict[int, bytes] = {}
        """What the commit gave variables that others may write before it is sent, by storage."""
        self._reducing: dict[int, Reduction] = {}
        """What is reduced now, by number."""
        self._handles: dict[int, Any] = {}
        """The roles that do, where there is more to be done than to wait."""

    @property
    def sent(self) -> tuple[int, ...]:
        """The numbers of the transfers that were begun to be sent, collectives included."""
        return self.transfers.sent

    @property
    def _planned(self) -> Sequence[Planned]:
        return self.loaded.reductions(self.sizes)

    @property
    def ends_together(self) -> bool:
        """Whether a member that has computed knows that all have."""
        return self.loaded.ends_together(self.sizes)

    def ahead(self, feeds: Sequence[Array]) -> Role:
        """Compute what comes before the first transfer; what goes wrong is raised by ``compute``.

        Nobody else has to know of the step yet, if feeds come from nobody else.
        """
        try:
            binding = yield from self._begin(feeds)
            for instruction in islice(self._instructions, self.loaded.compiled.ahead):
                yield from self._rules[type(instruction)](self, binding, instruction)
        except Exception as error:  # noqa: BLE001, raised later
            self._failed = error

    def compute(self, feeds: Sequence[Array] = ()) -> Role:
        """Steps a to c, on the feeds, or behind ``ahead``.

        Raises:
            DataError: an error in the data.
            ClusterError: a transfer that does not end in time, with the task that it waits for.
        """
        if self._failed is not None:
            raise self._failed
        binding = self._binding or (yield from self._begin(feeds))
        for instruction in self._instructions:
            if isinstance(instruction, Commit):
                break
            yield from self._rules[type(instruction)](self, binding, instruction)
        if self._exchange is not None:
            self.fetched = yield from self._exchange.fetch(self.fetched, self.transfers)

    def complete(self) -> Role:
        """End a step that ``ends_together`` after a wait was overdue: all others have computed it.

        Raises:
            ClusterError: as ``compute``.
        """
        for collective in self.collectives():
            yield from self.transfers.ended(collective.number)
        for instruction in self._instructions:
            if isinstance(instruction, Commit):
                break
            if isinstance(instruction, Run):
                yield from self._run(self._computed(), instruction)

    def _begin(self, feeds: Sequence[Array]) -> Role:
        """Get memory, and the feeds; gives the binding."""
        binding = self.loaded.bound(self.sizes)
        if binding is None:
            binding = yield Work(
                lambda: self.loaded.bind(self.sizes), about="bind", step=self.number
            )
        self._binding = binding
        if self._exchange is not None:
            feeds = yield from self._exchange.feed(feeds, self.transfers)
        self._fed = feeds
        self.fetched = self._own = binding.begin([address_of(array) for array in feeds])
        return binding

    def commit(self) -> Role:
        """Steps d and e, after ``compute``.

        Raises:
            ClusterError: as ``finish``.
        """
        yield from self.write()
        yield from self.finish()

    def write(self) -> Role:
        """Step d: nothing fails here, and nobody is waited for."""
        binding, compiled = self._computed(), self.loaded.compiled
        if compiled.commits:
            self._given = yield Work(
                lambda: self.loaded.commit(binding), 0.0, compiled.about_commit, self.number
            )

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

    def stop(self) -> Role:
        """Stop what was spawned for the step; its transfers stay as they are."""
        for handle in self._handles.values():
            yield Stop(handle)

    def withdraw(self) -> Role:
        """Give up the receives; sends end when their receivers do."""
        yield from self.transfers.withdraw()

    def drain(self, sent: Collection[int]) -> Role:
        """Bring all transfers to an end, of which those of ``sent`` were begun by their senders.

        Raises:
            ClusterError: one does not end in time.
        """
        yield from self.transfers.drain(sent, self.expected(), self.collectives())

    def expected(self) -> Iterator[Expected]:
        """All messages that other tasks may send to this one in the step."""
        program = self.loaded.program
        named = dict(zip(self.loaded.part.symbols, self.sizes, strict=True))
        for transfer in program.receives:
            number, peer = self.loaded.ends[transfer]
            size = program.storages[transfer.storage].bytes(named)
            yield Expected(number, peer, size, transfer.edge)
        if self._exchange is not None:
            yield from self._exchange.expected()
        for planned in self._planned:
            yield from planned.expected()

    def collectives(self) -> Iterator[Collective]:
        """All reductions of the step that MPI carries out, in the order of their numbers."""
        for planned in self._planned:
            yield from planned.collectives()

    def _run(self, binding: Binding, instruction: Run) -> Role:
        """Call by call while something is reduced, which goes on in between."""
        first, last = instruction.first, instruction.last
        cuts = [*range(first, last), last] if self._reducing else [first, last]
        for begin, end in pairwise(cuts):
            name = self.loaded.program.calls[begin].name
            run = partial(binding.run_calls, begin, end)
            yield Work(run, about=name, step=self.number)
            if self._reducing:
                yield Pause()

    def _receive(self, binding: Binding, instruction: Receive) -> Role:
        transfer = instruction.transfer
        number, peer = self.loaded.ends[transfer]
        memory = binding.memory(transfer.storage)
        return self.transfers.receive(number, peer, memory, transfer.edge)

    def _send(self, binding: Binding, instruction: Send) -> Role:
        transfer = instruction.transfer
        number, peer = self.loaded.ends[transfer]
        given = self._given.get(transfer.storage)
        memory = self.loaded.memory(binding, transfer) if given is None else given
        return self.transfers.send(number, peer, memory, transfer.edge)

    def _wait(self, binding: Binding, instruction: Wait) -> Role:
        number, _ = self.loaded.ends[instruction.transfer]
        return self.transfers.ended(number)

    def _reduce(self, binding: Binding, instruction: Reduce) -> Role:
        number = self.loaded.compiled.numbers[instruction.reduction]
        rows = self.loaded.rows(binding)[number]
        reduction = Reduction(self._planned[number], rows, self.transfers)
        yield from reduction.begin()
        self._reducing[number] = reduction
        if not reduction.only_waits:
            self._handles[number] = yield Spawn(reduction.run())

    def _reduced(self, binding: Binding, instruction: Reduced) -> Role:
        number = self.loaded.compiled.numbers[instruction.reduction]
        if number in self._handles:
            yield Join(self._handles[number])  # and is stopped with the step up to then
            del self._handles[number]
        else:
            yield from self._reducing[number].run()
        del self._reducing[number]

    _rules: ClassVar[dict[type, Callable[[Any, Binding, Any], Role]]] = {
        Run: _run,
        Receive: _receive,
        Send: _send,
        Wait: _wait,
        Reduce: _reduce,
        Reduced: _reduced,
    }
