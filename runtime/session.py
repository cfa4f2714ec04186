"""The session: where a graph meets feeds, variables live, and compiled programs are kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from graphc.compiler import CompileOptions, compile_graph, extract
from graphc.ir.errors import CompileError, FeedError, FetchError, GraphcError
from graphc.ir.graph import Graph, Node, Tensor
from graphc.ir.scope import get_default_graph, graph_scope
from graphc.ir.target import Target
from graphc.ir.types import TensorType
from graphc.ops.initialization import initialization_order
from graphc.ops.state import variables_of
from graphc.runtime.executor import Executor
from graphc.runtime.fetches import Fetches, as_tensor, parse_fetches
from graphc.runtime.place import check_local
from graphc.runtime.state import VariableStore

Signature = tuple[tuple[Tensor, ...], tuple[Node, ...], tuple[Tensor, ...]]


class Session:
    """Runs parts of a graph; holds the values of its variables until it is closed.

    Each combination of fetches and feeds is compiled once. As a context manager it makes its
    graph the default graph and closes itself.

    Args:
        target: the server to run on; the empty string is this process.
        graph: the default graph if left out.
        options: how to compile.

    Raises:
        GraphcError: a target that this process cannot reach.

    The first compilation raises CompileError for a processor that this machine is not.
    """

    def __init__(
        self,
        target: str = "",
        graph: Graph | None = None,
        options: CompileOptions | None = None,
    ) -> None:
        if target:
            raise GraphcError(f"there is no server {target!r}: a local session's target is ''")
        self.graph = get_default_graph() if graph is None else graph
        self._options = options or CompileOptions()
        self._store = VariableStore()
        self._executors: dict[Signature, Executor] = {}
        self._parsed: dict[Any, Fetches] = {}
        self._target: Target | None = None
        self._closed = False
        self._entered = ExitStack()

    def run(self, fetches: Any, feed_dict: Mapping[Any, Any] | None = None) -> Any:
        """One step: the values of ``fetches``, in the same structure, as fresh arrays.

        Args:
            fetches: a tensor, variable, operation (gives None), name, or nested lists, tuples and
                mappings of these.
            feed_dict: values for placeholders, or for any other tensor instead of computing it.

        Raises:
            FetchError, FeedError: a fetch or a feed that is not of this graph, does not fit, or
                is missing.
            DataError: an error in the data, with the op and the user's line; nothing has changed.
            StateError: two assigns to one variable that no control path orders.
        """
        parsed = self._parse(fetches)
        if feed_dict is not None and not isinstance(feed_dict, Mapping):
            raise FeedError(f"feeds are a dict of values by tensor, not {type(feed_dict).__name__}")
        feeds = feed_dict or {}
        executor = self._executor(parsed, self._feeds(tuple(feeds)))
        values = executor.run(list(feeds.values()))
        self._store.initialized |= executor.writes
        return parsed.build([value if value.shape else value[()] for value in values])

    def make_callable(self, fetches: Any, feed_list: Sequence[Any] = ()) -> Callable[..., Any]:
        """A function of one value for each of ``feed_list`` that does what ``run`` does, faster.

        Raises:
            FetchError, FeedError: as ``run``.
        """
        parsed = self._parse(fetches)
        executor = self._executor(parsed, self._feeds(feed_list))
        run, build, count = executor.run, parsed.build, len(executor.feeds)

        def call(*values: Any) -> Any:
            if len(values) != count:
                raise FeedError(f"{count} values are to be fed, not {len(values)}")
            if self._closed:
                raise GraphcError("the session is closed")
            fetched = run(values)
            self._store.initialized |= executor.writes
            return build([value if value.shape else value[()] for value in fetched])

        return call

    def close(self) -> None:
        """Free compiled programs and variables; nothing can be run any more."""
        self._closed = True
        self._executors.clear()
        self._store = VariableStore()

    def __enter__(self) -> Self:
        self._entered.enter_context(graph_scope(self.graph))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._entered.close()
        self.close()

    def parse(self, fetches: Any, feed_list: Sequence[Any]) -> tuple[Fetches, tuple[Tensor, ...]]:
        """Fetches and feeds of this session's graph, checked.

        Raises:
            FetchError, FeedError: as ``run``.
        """
        return self._parse(fetches), self._feeds(feed_list)

    def values_of(self, graph: Graph) -> dict[str, Any]:
        """The values of the variables that a part of this session's graph uses, not copied."""
        nodes = {n.attrs["shared_name"]: n for n in variables_of(graph)}
        for name, node in nodes.items():
            type_ = node.types[0]
            self._store.allocate(name, TensorType(type_.dtype, type_.shape))
        self._initialize(frozenset(nodes))
        return {name: self._store.arrays[name] for name in nodes}

    def executor(self, fetches: Any, feed_list: Sequence[Any] = ()) -> Executor:
        """The compiled program for these fetches and feeds, for reports."""
        return self._executor(self._parse(fetches), self._feeds(feed_list))

    def _parse(self, fetches: Any) -> Fetches:
        if self._closed:
            raise GraphcError("the session is closed")
        if not isinstance(fetches, Tensor):
            return parse_fetches(fetches, self.graph)
        if fetches not in self._parsed:
            self._parsed[fetches] = parse_fetches(fetches, self.graph)
        return self._parsed[fetches]

    def _feeds(self, keys: Sequence[Any]) -> tuple[Tensor, ...]:
        if not isinstance(keys, Sequence) or isinstance(keys, str):
            raise FeedError(f"what is fed is a list of tensors, not {type(keys).__name__}")
        tensors = tuple([self._feed(key) for key in keys])
        if len(set(tensors)) != len(tensors):
            raise FeedError("a tensor is fed twice, under two names")
        return tensors

    def _feed(self, key: Any) -> Tensor:
        if type(key) is Tensor:
            tensor: Tensor | None = key
        else:
            try:
                tensor = as_tensor(key, self.graph)
            except FetchError as error:
                raise FeedError(str(error).replace("fetch", "feed", 1)) from None
        if tensor is None:
            raise FeedError(f"cannot feed {key!r}: it is no tensor of the graph")
        if tensor.graph is not self.graph:
            raise FeedError(f"cannot feed {key!r}: it belongs to another graph than the session's")
        return tensor

    def _executor(self, parsed: Fetches, feeds: tuple[Tensor, ...]) -> Executor:
        signature = (parsed.tensors, parsed.targets, feeds)
        executor = self._executors.get(signature)
        if executor is None:
            executor = self._compile(signature)
            self._initialize(executor.reads)
            self._executors[signature] = executor
        return executor

    def _compile(self, signature: Signature) -> Executor:
        tensors, targets, feeds = signature
        if self._target is None:
            self._target = _target_here(self._options.target)
        extracted = extract(tensors, targets, feeds)
        check_local(extracted.graph)
        program = compile_graph(extracted, self._target, self._options)
        return Executor(program, feeds, self._target, self._store)

    def _initialize(self, names: frozenset[str]) -> None:
        """Give variables that have no value yet the one that they start with."""
        if names <= self._store.initialized:
            return
        nodes = {n.attrs["shared_name"]: n for n in variables_of(self.graph)}
        wanted = [nodes[name] for name in sorted(names)]
        for step in initialization_order(wanted, self._store.initialized):
            executor = self._compile(((), tuple(step), ()))
            executor.run(())
            self._store.initialized |= executor.writes


def _target_here(name: str) -> Target:
    from graphc.backends.cpu.targets import runs_here, target_named

    target = target_named(name)
    if not runs_here(target):
        raise CompileError(f"this machine does not run code for {name}: choose a lower level")
    return target
