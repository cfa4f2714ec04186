"""``MonitoredTrainingSession``: a session with hooks around it and around each run.

As in TensorFlow 1, hooks count steps, stop, log. Variables initialise themselves, by whichever
client comes first, so that no client has to wait for the chief.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from graphc.ir.errors import GraphError
from graphc.ir.scope import get_default_graph
from graphc.ir.source import located, user_source
from graphc.train.steps import get_global_step

if TYPE_CHECKING:
    from graphc.runtime.session import Session
    from graphc.runtime.strategy import DataParallel


@dataclass(frozen=True)
class SessionRunArgs:
    """What a hook wants to be fetched, and fed, in a run besides what the user wants."""

    fetches: Any = None
    feed_dict: Mapping[Any, Any] | None = None


@dataclass(frozen=True)
class SessionRunValues:
    """What a run gave a hook."""

    results: Any


class SessionRunContext:
    """What hooks are told of a run, and where they ask to stop."""

    def __init__(self, original_args: SessionRunArgs, session: Session) -> None:
        self.original_args = original_args
        self.session = session
        self.stop_requested = False

    def request_stop(self) -> None:
        """End training after this run."""
        self.stop_requested = True


class SessionRunHook:
    """What can be done around runs; a subclass overrides what it needs."""

    def begin(self) -> None:
        """Before the session is made: the graph may still be added to."""

    def after_create_session(self, session: Session, coord: Any = None) -> None:
        """The session is there; nothing was run."""

    def before_run(self, run_context: SessionRunContext) -> SessionRunArgs | None:
        """What to fetch and to feed besides."""

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:
        """The run is over, its values are there."""

    def end(self, session: Session) -> None:
        """Training is over, without an error."""


class StopAtStepHook(SessionRunHook):
    """Stops when the global step is ``last_step``, or after ``num_steps`` more of it.

    Raises:
        GraphError: both or none of them are given, or the graph has no global step.
    """

    def __init__(self, num_steps: int | None = None, last_step: int | None = None) -> None:
        if (num_steps is None) == (last_step is None):
            raise _error("StopAtStepHook takes num_steps or last_step, one of them")
        self._more, self._last = num_steps, last_step

    def begin(self) -> None:
        self._step = get_global_step()
        if self._step is None:
            raise _error("StopAtStepHook needs a global step: create_global_step()")

    def after_create_session(self, session: Session, coord: Any = None) -> None:
        if self._more is not None:
            self._last = int(session.run(self._step)) + self._more

    def after_run(self, run_context: SessionRunContext, run_values: SessionRunValues) -> None:
        # A fetch in the run itself would see the step as it was before.
        if self._last is not None and int(run_context.session.run(self._step)) >= self._last:
            run_context.request_stop()


class MonitoredTrainingSession:
    """A session on ``master`` that hooks watch; a context manager.

    Args:
        master: the target of a server; the empty string is this process.
        is_chief: whether ``chief_only_hooks`` run here.
        hooks, chief_only_hooks: ``SessionRunHook``s, called in order.
        strategy: how the graph is run on several workers, as for ``Session``. If every worker has
            the session, all take the same steps: those that hooks take as well.

    Raises:
        ClusterError: a target that this process cannot reach.
    """

    def __init__(
        self,
        master: str = "",
        is_chief: bool = True,
        hooks: Sequence[SessionRunHook] = (),
        chief_only_hooks: Sequence[SessionRunHook] = (),
        strategy: DataParallel | None = None,
    ) -> None:
        from graphc.runtime.session import Session

        self._hooks = [*hooks, *(chief_only_hooks if is_chief else ())]
        self.graph = get_default_graph()
        for hook in self._hooks:
            hook.begin()
        self._session = Session(master, self.graph, strategy=strategy)
        self._stopped = False
        for hook in self._hooks:
            hook.after_create_session(self._session)

    def run(self, fetches: Any, feed_dict: Mapping[Any, Any] | None = None) -> Any:
        """``Session.run``, with the hooks around it.

        Raises:
            GraphError: a hook feeds what is fed already.
        """
        context = SessionRunContext(SessionRunArgs(fetches, feed_dict), self._session)
        wanted = [hook.before_run(context) or SessionRunArgs() for hook in self._hooks]
        feeds = dict(feed_dict or {})
        for hook, args in zip(self._hooks, wanted, strict=True):
            _add_feeds(feeds, args, hook)
        more = [[] if args.fetches is None else args.fetches for args in wanted]
        values, found = self._session.run([fetches, more], feeds)
        for hook, args, value in zip(self._hooks, wanted, found, strict=True):
            hook.after_run(context, SessionRunValues(None if args.fetches is None else value))
        self._stopped |= context.stop_requested
        return values

    def make_callable(self, fetches: Any, feed_list: Sequence[Any] = ()) -> Callable[..., Any]:
        """``Session.make_callable``: for tight loops, which no hook watches."""
        return self._session.make_callable(fetches, feed_list)

    def should_stop(self) -> bool:
        """Whether a hook asked to stop, or the session is closed."""
        return self._stopped

    def close(self) -> None:
        """Close the session; nothing can be run any more."""
        self._stopped = True
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                for hook in self._hooks:
                    hook.end(self._session)
        finally:
            self.close()


def _add_feeds(feeds: dict[Any, Any], args: SessionRunArgs, hook: SessionRunHook) -> None:
    for key, value in (args.feed_dict or {}).items():
        if key in feeds:
            raise _error(f"{type(hook).__name__} feeds {key!r}, which is fed already")
        feeds[key] = value


def _error(message: str) -> GraphError:
    return GraphError(located(message, user_source()))
