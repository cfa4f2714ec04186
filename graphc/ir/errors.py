"""Every error a user can meet.

One hierarchy, so that a caller can catch what he can handle: ``GraphcError`` is the root; each
class below says which rule was broken. Messages name the op, the operands with the shapes the
user wrote, the rule, and the user's source line.
"""

from __future__ import annotations


class GraphcError(Exception):
    """The root of all errors raised on purpose by graphc."""


class GraphError(GraphcError, ValueError):
    """The graph itself is wrong: an unknown name, a tensor of another graph, a bad attribute."""


class ShapeError(GraphError):
    """Shapes that do not fit together, found while building the graph or when it is fed."""


class DTypeError(GraphError, TypeError):
    """A dtype an op does not take, or two operands whose dtypes differ."""


class FeedError(GraphcError, ValueError):
    """A feed that is missing, superfluous, or does not fit its placeholder."""


class FetchError(GraphcError, ValueError):
    """A fetch that is no tensor, operation, variable or name of the session's graph."""


class StateError(GraphcError, RuntimeError):
    """Variables used wrongly: unordered assigns, disagreeing clients, an unknown variable."""


class DeviceError(GraphcError, ValueError):
    """A device string that cannot be read, or a device that does not exist."""


class ClusterError(GraphcError, RuntimeError):
    """A cluster that is described or started wrongly, or a task that does not answer."""


class ShardError(GraphcError, ValueError):
    """A graph that cannot be divided among workers: a node needs what other workers hold."""


class PlanError(GraphcError, RuntimeError):
    """A plan in which tasks would wait for each other for ever: it is refused before it runs."""


class DataError(GraphcError, ArithmeticError):
    """An error in the data of a step: an index out of range, an integer division by zero."""


class ParseError(GraphcError, ValueError):
    """A text (graph, kernel, manifest) that was truncated, tampered with, or is no such text."""


class VerifyError(GraphcError, AssertionError):
    """A graph that breaks an invariant after a pass: a bug of graphc, with the pass's name."""


class ArtifactError(GraphcError, ValueError):
    """An artifact that cannot be loaded: version, instruction set, checksum, shape or dtype."""


class CompileError(GraphcError, RuntimeError):
    """Code generation failed, or the target cannot do what the graph asks for."""


class CacheWarning(UserWarning):
    """A kernel cache that cannot be used; compilation goes on without it."""
