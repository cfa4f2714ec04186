"""graphc: define a dataflow graph in Python, run it as machine code.

    import graphc as gx

    x = gx.placeholder(gx.float32, [None, 4])
    w = gx.Variable(gx.zeros([4, 2]))
    with gx.Session() as session:
        print(session.run(gx.matmul(x, w), {x: [[1, 2, 3, 4]]}))

Names and meanings follow TensorFlow 1. What runs graphs (``Session``, ``compile``, ``load``) is
imported when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from graphc import distribute, nn, ops, train
from graphc.autodiff import custom_gradient, gradients
from graphc.ir import errors
from graphc.ir.dtypes import (
    DType,
    as_dtype,
    bfloat16,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
)
from graphc.ir.dtypes import bool_ as bool
from graphc.ir.errors import (
    ArtifactError,
    CacheWarning,
    ClusterError,
    CompileError,
    DataError,
    DeviceError,
    DTypeError,
    FeedError,
    FetchError,
    GraphcError,
    GraphError,
    ParseError,
    PlanError,
    ShapeError,
    ShardError,
    StateError,
    VerifyError,
)
from graphc.ir.graph import Graph, Node, Tensor
from graphc.ir.scope import (
    control_dependencies,
    device,
    get_default_graph,
    name_scope,
    reset_default_graph,
)
from graphc.ops import *
from graphc.ops import convert as convert_to_tensor
from graphc.version import __version__

if TYPE_CHECKING:
    from graphc.compiler import CompileOptions
    from graphc.runtime.deploy import compile
    from graphc.runtime.model import load
    from graphc.runtime.session import Session

Operation = Node
newaxis = None

_LAZY = {
    "CompileOptions": "graphc.compiler",
    "Session": "graphc.runtime.session",
    "compile": "graphc.runtime.deploy",
    "load": "graphc.runtime.model",
}
"""What needs the compiler or the runtime, and the modules that have it."""


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'graphc' has no attribute {name!r}")
    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


__all__ = [
    "ArtifactError",
    "CacheWarning",
    "ClusterError",
    "CompileError",
    "CompileOptions",
    "DType",
    "DTypeError",
    "DataError",
    "DeviceError",
    "FeedError",
    "FetchError",
    "Graph",
    "GraphError",
    "GraphcError",
    "Node",
    "Operation",
    "ParseError",
    "PlanError",
    "Session",
    "ShapeError",
    "ShardError",
    "StateError",
    "Tensor",
    "VerifyError",
    "__version__",
    "as_dtype",
    "bfloat16",
    "bool",
    "compile",
    "control_dependencies",
    "convert_to_tensor",
    "custom_gradient",
    "device",
    "distribute",
    "errors",
    "float16",
    "float32",
    "float64",
    "get_default_graph",
    "gradients",
    "int16",
    "int32",
    "int64",
    "int8",
    "load",
    "name_scope",
    "newaxis",
    "nn",
    "reset_default_graph",
    "train",
    "uint16",
    "uint32",
    "uint64",
    "uint8",
]
__all__ += ops.__all__
