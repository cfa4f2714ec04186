"""The programs of a session in one process: compiled, initialised, run here."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from graphc.compiler import CompileOptions, compile_graph, extract
from graphc.ir.graph import Graph
from graphc.ir.target import Target
from graphc.ir.types import TensorType
from graphc.ops.initialization import initialization_order
from graphc.ops.state import variables_of
from graphc.runtime.compiled import executable_of, target_here
from graphc.runtime.executor import Executor
from graphc.runtime.memory import out_of_memory
from graphc.runtime.place import check_local
from graphc.runtime.planning import Signature
from graphc.runtime.recording import recorder_here
from graphc.runtime.state import VariableStore


class LocalPrograms:
    """Compiles each signature of ``graph`` once, and holds the values of variables.

    Raises:
        GraphcError: a timeline is wanted that cannot be written.
    """

    def __init__(self, graph: Graph, options: CompileOptions) -> None:
        self.graph, self.options = graph, options
        self.store = VariableStore()
        self._recorder = recorder_here()
        self._executors: dict[Signature, Executor] = {}
        self._target: Target | None = None
        self._compiling = threading.RLock()

    def get(self, signature: Signature) -> Executor:
        """The compiled program for fetches, targets and feeds; its variables have values.

        Raises:
            StateError, CompileError, FeedError: as ``compile_graph``.
        """
        return self._executors.get(signature) or self._new(signature)

    def values_of(self, graph: Graph) -> Mapping[str, Any]:
        """The values of the variables that a part of the graph uses, not copied."""
        nodes = {n.attrs["shared_name"]: n for n in variables_of(graph)}
        for name, node in nodes.items():
            type_ = node.types[0]
            self.store.allocate(name, TensorType(type_.dtype, type_.shape))
        self._initialize(frozenset(nodes))
        return {name: self.store.arrays[name] for name in nodes}

    def close(self) -> None:
        """Free programs and variables."""
        self._executors.clear()
        self.store = VariableStore()

    def _new(self, signature: Signature) -> Executor:
        """Compiled by the first thread that asks; the others wait for it."""
        with self._compiling:
            executor = self._executors.get(signature)
            if executor is None:
                executor = self._compile(signature)
                self._initialize(executor.reads)
                self._executors[signature] = executor
            return executor

    def _compile(self, signature: Signature) -> Executor:
        if self._target is None:
            self._target = target_here(self.options.target)
        target, options = self._target, self.options
        extracted = extract(*signature)
        check_local(extracted.graph)
        executable = executable_of(
            lambda scheduled: compile_graph(extracted, target, options, scheduled), target
        )
        try:
            return Executor(executable, signature[2], self.store, self._recorder)
        except MemoryError as error:
            raise out_of_memory(error) from None

    def _initialize(self, names: frozenset[str]) -> None:
        """Give variables that have no value yet the one that they start with."""
        with self.store.lock:
            if names <= self.store.initialized:
                return
            nodes = {n.attrs["shared_name"]: n for n in variables_of(self.graph)}
            wanted = [nodes[name] for name in sorted(names)]
            for step in initialization_order(wanted, self.store.initialized):
                self._compile(((), tuple(step), ())).run(())
