"""The session: where a graph meets feeds, variables live, and compiled programs are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy.typing as npt

from graphc.compiler import CompileOptions
from graphc.ir.errors import FeedError, FetchError, GraphcError, GraphError
from graphc.ir.graph import Graph, Node, Tensor
from graphc.ir.scope import get_default_graph, graph_scope
from graphc.ir.source import located, user_source
from graphc.ops.variables import Variable
from graphc.runtime.executor import Executor
from graphc.runtime.fetches import Fetches, as_tensor, parse_fetches
from graphc.runtime.local import LocalPrograms
from graphc.runtime.planning import Signature

if TYPE_CHECKING:
    from graphc.runtime.meeting import Conductor
    from graphc.runtime.strategy import DataParallel


class Runner(Protocol):
    """A compiled program: one value for each feed in, one array for each fetch out."""

    @property
    def feeds(self) -> tuple[Tensor, ...]: ...
    def run(self, values: Sequence[Any]) -> Sequence[npt.NDArray[Any]]: ...


class Programs(Protocol):
    """Where a session's programs are compiled and its variables live."""

    def get(self, signature: Signature) -> Runner:
        """The program for fetches, targets and feeds; its variables have values."""

    def values_of(self, graph: Graph) -> Mapping[str, Any]:
        """The values of the variables that a part of the graph uses."""

    def close(self) -> None:
        """Free programs and variables."""


class Session:
    """Runs parts of a graph; holds the values of its variables until it is closed.

    Each combination of fetches and feeds is compiled once. Several threads may run steps; those
    that use variables take place one after the other. As a context manager it makes its graph the
    default graph and closes itself.

    Args:
        target: the server to run on; the empty string is this process.
        graph: the default graph if left out.
        options: how to compile.
        strategy: how the graph is run on several workers, such as ``gx.distribute.DataParallel()``;
            without a target, on this process as the only one. By default nodes run where the graph
            puts them.

    Raises:
        GraphError: something that is no graph, or no strategy.
        ClusterError: a target that this process cannot reach.

    The first compilation raises CompileError for a processor that this machine is not.
    """

    def __init__(
        self,
        target: str = "",
        graph: Graph | None = None,
        options: CompileOptions | None = None,
        strategy: DataParallel | None = None,
    ) -> None:
        if graph is not None and not isinstance(graph, Graph):
            raise GraphError(located(f"{graph!r} is no graph to run", user_source()))
        self.graph = get_default_graph() if graph is None else graph
        self._programs = _programs(target, self.graph, options or CompileOptions(), strategy)
        self._parsed: dict[Any, Fetches] = {}
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
        feeds = _mapping(feed_dict)
        signature = (parsed.tensors, parsed.targets, self._feeds(feeds))
        values = self._programs.get(signature).run([*feeds.values()])
        return parsed.build([value if value.shape else value[()] for value in values])

    def make_callable(self, fetches: Any, feed_list: Sequence[Any] = ()) -> Callable[..., Any]:
        """A function of one value for each of ``feed_list`` that does what ``run`` does, faster.

        Raises:
            FetchError, FeedError: as ``run``.
        """
        parsed = self._parse(fetches)
        runner = self._programs.get((parsed.tensors, parsed.targets, self._feeds(feed_list)))
        run, build, count = runner.run, parsed.build, len(runner.feeds)

        def call(*values: Any) -> Any:
            if len(values) != count:
                raise FeedError(f"{count} values are to be fed, not {len(values)}")
            if self._closed:
                raise GraphcError("the session is closed")
            fetched = run(values)
            return build([value if value.shape else value[()] for value in fetched])

        return call

    def close(self) -> None:
        """Free compiled programs and variables; nothing can be run any more."""
        if not self._closed:
            self._closed = True
            self._programs.close()

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

    def values_of(self, graph: Graph) -> Mapping[str, Any]:
        """The values of the variables that a part of this session's graph uses, not copied."""
        return self._programs.values_of(graph)

    def executor(self, fetches: Any, feed_list: Sequence[Any] = ()) -> Executor:
        """The compiled program for these fetches and feeds, for reports.

        Raises:
            GraphcError: the session's programs run on a cluster.
        """
        parsed = self._parse(fetches)
        runner = self._programs.get((parsed.tensors, parsed.targets, self._feeds(feed_list)))
        if not isinstance(runner, Executor):
            raise GraphcError("reports are of programs in one process, not of a cluster's")
        return runner

    def _parse(self, fetches: Any) -> Fetches:
        if self._closed:
            raise GraphcError("the session is closed")
        if not isinstance(fetches, Tensor):
            return parse_fetches(fetches, self.graph)
        if fetches not in self._parsed:
            self._parsed[fetches] = parse_fetches(fetches, self.graph)
        return self._parsed[fetches]

    def _feeds(self, keys: Iterable[Any]) -> tuple[Tensor, ...]:
        if not isinstance(keys, Iterable) or isinstance(keys, str | Tensor | Variable):
            what = type(keys).__name__
            raise _feed_error(f"what to feed is a list of tensors, not {what}")
        tensors = tuple([self._feed(key) for key in keys])
        if len(set(tensors)) != len(tensors):
            twice = next(t for n, t in enumerate(tensors) if t in tensors[:n])
            raise _feed_error(f"{twice!r} is fed twice")
        return tensors

    def _feed(self, key: Any) -> Tensor:
        if type(key) is Tensor and not key.type.resource:
            tensor: Tensor | None = key
        else:
            try:
                tensor = as_tensor(key, self.graph)
            except FetchError as error:
                raise FeedError(str(error).replace("fetch", "feed", 1)) from None
        if tensor is None:
            named = isinstance(key, str | Node)
            hint = "; an operation has none, its output 0 is NAME:0" if named else ""
            raise _feed_error(f"cannot feed {key!r}: it is no tensor of the graph{hint}")
        if tensor.graph is not self.graph:
            what = "it belongs to another graph than the session's"
            raise _feed_error(f"cannot feed {key!r}: {what}")
        return tensor


def _mapping(feeds: Any) -> Mapping[Any, Any]:
    if feeds is None:
        return {}
    if not isinstance(feeds, Mapping):
        what = type(feeds).__name__
        raise _feed_error(f"feeds are a dict of values by tensor, not {what}")
    return feeds


def _feed_error(message: str) -> FeedError:
    return FeedError(located(message, user_source()))


def _programs(
    target: str, graph: Graph, options: CompileOptions, strategy: DataParallel | None
) -> Programs:
    """The programs of a session on ``target``, the empty string being this process.

    Raises:
        GraphError: something that is no strategy.
        ClusterError: there is no such server here.
    """
    if strategy is not None:
        _check_strategy(strategy)
    elif not target:
        return LocalPrograms(graph, options)
    from graphc.runtime.remote import ClusterPrograms

    if strategy is not None and not target:
        from graphc.runtime.alone import alone

        return ClusterPrograms(graph, *alone(strategy, options))
    from graphc.runtime.server import server_at

    server = server_at(target)
    master: Conductor = (
        server.new_master(options) if strategy is None else server.new_meeting(strategy, options)
    )
    return ClusterPrograms(graph, server.driver, master)


def _check_strategy(strategy: object) -> None:
    from graphc.runtime.strategy import DataParallel

    if not isinstance(strategy, DataParallel):
        what = f"{strategy!r} is no strategy, as gx.distribute.DataParallel()"
        raise GraphError(located(what, user_source()))
