"""The memory barrier that Python lacks: what is before it is seen by others before what follows."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any

_NAME = "graphc_fence"
_TEXT = f"""\
define void @{_NAME}() {{
  fence seq_cst
  ret void
}}
"""


@cache
def native_fence() -> Callable[[], Any]:
    """A full fence of this processor."""
    from graphc.backends.cpu.jit import compile_object, link
    from graphc.backends.cpu.targets import host_target

    library = link({_NAME: compile_object(_TEXT, host_target())})
    fence = ctypes.PYFUNCTYPE(None)(library.address(_NAME))
    fence.library = library  # type: ignore[attr-defined]  # alive as long as the function
    return fence
