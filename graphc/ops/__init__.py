"""Ops: one class for everything there is to know about each, and the functions users call.

The functions bear TensorFlow 1's names. Importing this package registers the ops and gives
Python's operators on tensors their meaning.
"""

from __future__ import annotations

from graphc.ir.operators import OPERATORS
from graphc.ops import (
    arithmetic,
    arrangement,
    coercion,
    collective,
    comparison,
    control,
    conversion,
    cross_entropy,
    custom,
    fused,
    gathering,
    indexing,
    initializers,
    joining,
    linear_algebra,
    normalization,
    partitioned,
    partitioners,
    random,
    reduction,
    sizes,
    source,
    state,
    transcendental,
    transfer,
    variable_store,
    variables,
    views,
)
from graphc.ops.arithmetic import *
from graphc.ops.arrangement import *
from graphc.ops.coercion import *
from graphc.ops.comparison import *
from graphc.ops.control import *
from graphc.ops.conversion import *
from graphc.ops.cross_entropy import *
from graphc.ops.custom import *
from graphc.ops.gathering import *
from graphc.ops.indexing import *
from graphc.ops.initializers import *
from graphc.ops.joining import *
from graphc.ops.linear_algebra import *
from graphc.ops.normalization import *
from graphc.ops.partitioned import *
from graphc.ops.partitioners import *
from graphc.ops.random import *
from graphc.ops.reduction import *
from graphc.ops.sizes import *
from graphc.ops.source import *
from graphc.ops.transcendental import *
from graphc.ops.variable_store import *
from graphc.ops.variables import *
from graphc.ops.views import *

sub, mul, divide = subtract, multiply, truediv

OPERATORS |= {
    "add": add,
    "sub": subtract,
    "mul": multiply,
    "truediv": truediv,
    "floordiv": floordiv,
    "mod": mod,
    "pow": pow,
    "matmul": matmul,
    "neg": negative,
    "abs": abs,
    "lt": less,
    "le": less_equal,
    "gt": greater,
    "ge": greater_equal,
    "and": logical_and,
    "or": logical_or,
    "xor": logical_xor,
    "invert": logical_not,
    "getitem": indexing.getitem,
}

__all__ = ["divide", "mul", "sub"]
__all__ += arithmetic.__all__
__all__ += arrangement.__all__
__all__ += coercion.__all__
__all__ += comparison.__all__
__all__ += control.__all__
__all__ += conversion.__all__
__all__ += cross_entropy.__all__
__all__ += custom.__all__
__all__ += gathering.__all__
__all__ += indexing.__all__
__all__ += initializers.__all__
__all__ += joining.__all__
__all__ += linear_algebra.__all__
__all__ += normalization.__all__
__all__ += partitioned.__all__
__all__ += partitioners.__all__
__all__ += random.__all__
__all__ += reduction.__all__
__all__ += sizes.__all__
__all__ += source.__all__
__all__ += transcendental.__all__
__all__ += variable_store.__all__
__all__ += variables.__all__
__all__ += views.__all__
