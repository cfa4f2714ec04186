"""Arrays that end where memory ends: to touch one element more is a crash."""

from __future__ import annotations

import ctypes
import mmap
from typing import Any

import numpy as np

_LIBC = ctypes.CDLL(None, use_errno=True)


def guarded(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A copy of `array` whose last byte is followed by a page that cannot be accessed."""
    page = mmap.PAGESIZE
    pages = -(-array.nbytes // page)
    memory = mmap.mmap(-1, (pages + 1) * page)
    whole = np.frombuffer(memory, np.uint8)
    last = ctypes.c_void_p(whole.ctypes.data + pages * page)
    if _LIBC.mprotect(last, ctypes.c_size_t(page), 0):
        raise OSError(ctypes.get_errno(), "mprotect")
    start = pages * page - array.nbytes
    copy = whole[start : pages * page].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy
