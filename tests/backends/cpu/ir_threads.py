"""Runs LLVM IR text on several threads in every order there is.

A model checker for small programs under sequential consistency: it explores all interleavings of
the threads, one access to shared memory at a time (plain accesses in a row count as one; what is
proved to be ordered needs no finer steps), and knows the futex. It reads the text that is shipped,
not a model of it. Only the few instructions that the thread pool uses are known; others raise.

Pointers into shared memory are plain numbers, and memory holds one value at each address whatever
its width. Functions in ``externals`` are not entered: a callback tells what they do.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

Value = int
Locals = tuple[tuple[str, Value], ...]

ARITHMETIC: Mapping[str, Callable[[int, int], int]] = {
    "add": operator.add,
    "sub": operator.sub,
    "and": operator.and_,
    "or": operator.or_,
}
COMPARE: Mapping[str, Callable[[int, int], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "slt": operator.lt,
    "sle": operator.le,
    "sgt": operator.gt,
    "sge": operator.ge,
}
LITERALS = {"null": 0, "true": 1, "false": 0}


class Instruction(NamedTuple):
    result: str
    opcode: str
    text: str

    @property
    def shared(self) -> str:
        """How it touches memory: ``atomic``, ``plain`` or not at all."""
        if self.opcode in {"atomicrmw", "cmpxchg"} or " atomic " in self.text:
            return "atomic"
        return "plain" if self.opcode in {"load", "store"} else ""


@dataclass(frozen=True)
class Function:
    name: str
    parameters: tuple[str, ...]
    blocks: Mapping[str, tuple[Instruction, ...]]

    @cached_property
    def entry(self) -> str:
        return next(iter(self.blocks))

    @cached_property
    def live(self) -> Mapping[tuple[str, int], frozenset[str]]:
        """The names that are needed before each instruction; others would only multiply states."""
        live: dict[tuple[str, int], frozenset[str]] = {}
        changed = True
        while changed:
            changed = False
            for label, block in self.blocks.items():
                for index in reversed(range(len(block))):
                    needed = self._needed(label, index, live)
                    changed |= live.get((label, index)) != needed
                    live[label, index] = needed
        return live

    def _needed(
        self, label: str, index: int, live: Mapping[tuple[str, int], frozenset[str]]
    ) -> frozenset[str]:
        instruction = self.blocks[label][index]
        after = live.get((label, index + 1), frozenset())
        for target in re.findall(r"label %([\w.]+)", instruction.text):
            after |= live.get((target, 0), frozenset())
            after |= {
                name
                for phi in self.blocks[target]
                if phi.opcode == "phi"
                for name, source in re.findall(r"\[ (\S+), %([\w.]+) \]", phi.text)
                if source == label
            }
        words = re.sub(r"label %[\w.]+", "", instruction.text)
        used = () if instruction.opcode == "phi" else re.findall(r"%[\w.]+", words)
        return (after - {instruction.result}) | frozenset(used)


class Frame(NamedTuple):
    function: str
    block: str
    position: int
    locals: Locals


class Thread(NamedTuple):
    """``sleeps_on`` is the futex it waits for, or 0."""

    frames: tuple[Frame, ...]
    sleeps_on: int = 0


@dataclass(frozen=True)
class State:
    """``notes`` belong to the callbacks."""

    memory: tuple[tuple[int, Value], ...]
    threads: tuple[Thread, ...]
    notes: tuple[Value, ...] = ()

    @property
    def cells(self) -> dict[int, Value]:
        return dict(self.memory)

    def with_memory(self, cells: Mapping[int, Value]) -> State:
        return replace(self, memory=tuple(sorted(cells.items())))

    def with_thread(self, index: int, thread: Thread) -> State:
        threads = (*self.threads[:index], thread, *self.threads[index + 1 :])
        return replace(self, threads=threads)


External = Callable[[State, int, tuple[Value, ...]], Iterator[tuple[State, Value]]]
"""From a state, the calling thread and its arguments: every next state, with the call's result. An
external that yields nothing blocks its caller until another thread has moved."""


def parse(text: str) -> dict[str, Function]:
    """All functions that ``text`` defines."""
    pattern = r"^define [^@]*@([\w.]+)\(([^)]*)\)[^{]*\{\n(.*?)^\}"
    found = re.findall(pattern, text, flags=re.MULTILINE | re.DOTALL)
    return {
        name: Function(name, tuple(re.findall(r"%[\w.]+", parameters)), _blocks(body))
        for name, parameters, body in found
    }


def _blocks(body: str) -> dict[str, tuple[Instruction, ...]]:
    blocks: dict[str, list[Instruction]] = {}
    label = "entry"
    for line in body.splitlines():
        code = line.partition(";")[0].strip()
        if code.endswith(":"):
            label = code[:-1]
        elif code:
            result, _, right = code.rpartition(" = ")
            blocks.setdefault(label, []).append(Instruction(result, right.split()[0], right))
    return {label: tuple(block) for label, block in blocks.items()}


@dataclass(frozen=True)
class Machine:
    """Executes functions whose calls to ``externals`` are answered by callbacks."""

    functions: Mapping[str, Function]
    externals: Mapping[str, External]

    def start(self, function: str, *arguments: Value) -> Thread:
        """A thread that is about to enter a function."""
        return Thread((self._enter(function, arguments),))

    def steps(self, state: State, index: int) -> Iterator[State]:
        """Every state after thread ``index`` has done one access to memory or one external."""
        if not state.threads[index].frames or state.threads[index].sleeps_on:
            return
        state = self.settle(state, index)  # it may have been woken by another thread just now
        if not state.threads[index].frames:
            yield state
            return
        instruction = self._at(state.threads[index])
        if instruction.opcode == "call":
            yield from self._external(state, index, instruction)
            return
        first = instruction.shared
        while first and instruction.shared == first:
            state = self._access(state, index, instruction)
            instruction = self._at(state.threads[index])
            if first == "atomic":
                break
        yield self.settle(state, index)

    def settle(self, state: State, index: int) -> State:
        """Run a thread up to its next access to memory or external."""
        while (thread := state.threads[index]).frames and not thread.sleeps_on:
            instruction = self._at(thread)
            name = _callee(instruction)
            if instruction.shared or (instruction.opcode == "call" and name in self._outside(name)):
                break
            state = state.with_thread(index, self._local(thread, instruction))
        return state

    def _outside(self, name: str) -> set[str]:
        return {name} - set(self.functions) | set(self.externals)

    def _at(self, thread: Thread) -> Instruction:
        frame = thread.frames[-1]
        return self.functions[frame.function].blocks[frame.block][frame.position]

    def _enter(self, function: str, arguments: tuple[Value, ...]) -> Frame:
        target = self.functions[function]
        values = dict(zip(target.parameters, arguments, strict=True))
        return self._frame(function, target.entry, 0, values)

    def _frame(self, function: str, block: str, index: int, values: Mapping[str, Value]) -> Frame:
        live = self.functions[function].live[block, index]
        kept = tuple(sorted((n, v) for n, v in values.items() if n in live))
        return Frame(function, block, index, kept)

    def _next(self, thread: Thread, result: str, value: Value) -> Thread:
        *outer, frame = thread.frames
        values = dict(frame.locals) | ({result: value} if result else {})
        moved = self._frame(frame.function, frame.block, frame.position + 1, values)
        return Thread((*outer, moved))

    def _external(self, state: State, index: int, call: Instruction) -> Iterator[State]:
        thread = state.threads[index]
        values = dict(thread.frames[-1].locals)
        name = _callee(call)
        arguments = _arguments(call, values)
        if name.startswith("%"):
            name, arguments = "indirect", (values[name], *arguments)
        for after, value in self.externals[name](state, index, arguments):
            sleeps_on = after.threads[index].sleeps_on
            moved = self._next(thread, call.result, value)._replace(sleeps_on=sleeps_on)
            yield self.settle(after.with_thread(index, moved), index)

    def _access(self, state: State, index: int, instruction: Instruction) -> State:
        thread = state.threads[index]
        values = dict(thread.frames[-1].locals)
        cells = state.cells
        result = _ACCESS[instruction.opcode](instruction.text, values, cells)
        moved = self._next(thread, instruction.result, result)
        return state.with_memory(cells).with_thread(index, moved)

    def _local(self, thread: Thread, instruction: Instruction) -> Thread:
        *outer, frame = thread.frames
        values = dict(frame.locals)
        if instruction.opcode == "call":
            entered = self._enter(_callee(instruction), _arguments(instruction, values))
            return Thread((*thread.frames, entered))
        if instruction.opcode == "br":
            return Thread((*outer, self._branch(frame, instruction, values)))
        if instruction.opcode == "ret":
            return self._return(thread, instruction, values)
        compute = _LOCAL.get(instruction.opcode, _arithmetic)
        return self._next(thread, instruction.result, compute(instruction.text, values))

    def _return(
        self, thread: Thread, instruction: Instruction, values: Mapping[str, Value]
    ) -> Thread:
        caller = Thread(thread.frames[:-1])
        if not caller.frames:
            return caller
        word = instruction.text.split()[-1]
        value = 0 if word == "void" else _value(word, values)
        return self._next(caller, self._at(caller).result, value)

    def _branch(self, frame: Frame, branch: Instruction, values: Mapping[str, Value]) -> Frame:
        labels = re.findall(r"label %([\w.]+)", branch.text)
        taken = labels[0]
        if len(labels) == 2 and not _value(branch.text.split()[2].rstrip(","), values):
            taken = labels[1]
        block = self.functions[frame.function].blocks[taken]
        phis = [instruction for instruction in block if instruction.opcode == "phi"]
        merged = dict(values)
        for phi in phis:
            sources = re.findall(r"\[ (\S+), %([\w.]+) \]", phi.text)
            merged[phi.result] = next(_value(v, values) for v, s in sources if s == frame.block)
        return self._frame(frame.function, taken, len(phis), merged)


def _value(word: str, values: Mapping[str, Value]) -> Value:
    if word.startswith("%"):
        return values[word]
    return LITERALS[word] if word in LITERALS else int(word)


def _callee(call: Instruction) -> str:
    found = re.search(r"[@%][\w.]+(?=\()", call.text)
    return found.group().removeprefix("@") if found else ""


def _arguments(call: Instruction, values: Mapping[str, Value]) -> tuple[Value, ...]:
    inside = call.text[call.text.index("(") + 1 : -1]
    return tuple(_value(part.split()[-1], values) for part in inside.split(",") if part)


def _operands(text: str, values: Mapping[str, Value]) -> list[Value]:
    """The operands of an instruction, which stand between its types and before its alignment."""
    plain = re.sub(r", align \d+$", "", text)
    parts = [part.split() for part in plain.split(",")]
    found = [
        word for part in parts for word in part if word[0] in "%-" or word.isdigit()
        or word in LITERALS
    ]  # fmt: skip
    return [_value(word, values) for word in found]


def _arithmetic(text: str, values: Mapping[str, Value]) -> Value:
    return ARITHMETIC[text.split(maxsplit=1)[0]](*_operands(text, values))


def _offset(text: str, values: Mapping[str, Value]) -> Value:
    base, index = _operands(text, values)
    return base + index * {"i8": 1, "i64": 8}[text.split()[1].rstrip(",")]


def _compare(text: str, values: Mapping[str, Value]) -> Value:
    return int(COMPARE[text.split()[1]](*_operands(text, values)))


def _select(text: str, values: Mapping[str, Value]) -> Value:
    condition, first, second = _operands(text, values)
    return first if condition else second


def _truncate(text: str, values: Mapping[str, Value]) -> Value:
    bits = int(text.rsplit(maxsplit=1)[-1][1:])
    (value,) = _operands(text, values)
    return value & 1 if bits == 1 else value


def _load(text: str, values: Mapping[str, Value], cells: dict[int, Value]) -> Value:
    (address,) = _operands(text, values)
    return cells[address]


def _store(text: str, values: Mapping[str, Value], cells: dict[int, Value]) -> Value:
    value, address = _operands(text, values)
    cells[address] = value
    return 0


def _modify(text: str, values: Mapping[str, Value], cells: dict[int, Value]) -> Value:
    address, operand = _operands(text, values)
    before = cells[address]
    cells[address] = ARITHMETIC[text.split()[1]](before, operand)
    return before


def _exchange(text: str, values: Mapping[str, Value], cells: dict[int, Value]) -> Value:
    """Gives whether it succeeded: the one part of the pair that the pool extracts."""
    address, expected, new = _operands(text, values)
    if cells[address] != expected:
        return 0
    cells[address] = new
    return 1


_LOCAL: Mapping[str, Callable[[str, Mapping[str, Value]], Value]] = {
    "getelementptr": _offset,
    "icmp": _compare,
    "select": _select,
    "trunc": _truncate,
    "zext": lambda text, values: _operands(text, values)[0],
    "extractvalue": lambda text, values: values[text.split()[-2].rstrip(",")],
}
_ACCESS: Mapping[str, Callable[[str, Mapping[str, Value], dict[int, Value]], Value]] = {
    "load": _load,
    "store": _store,
    "atomicrmw": _modify,
    "cmpxchg": _exchange,
}


def explore(machine: Machine, start: State) -> int:
    """Visit every state that can be reached; give their number.

    Raises:
        AssertionError: no thread can move, though one has not returned: a deadlock.
    """
    for index in range(len(start.threads)):
        start = machine.settle(start, index)
    seen, open_states = {start}, [start]
    while open_states:
        state = open_states.pop()

        after = [s for i in range(len(state.threads)) for s in machine.steps(state, i)]
        assert after or not any(thread.frames for thread in state.threads), f"deadlock: {state}"
        for new in after:
            if new not in seen:
                seen.add(new)
                open_states.append(new)
    return len(seen)
