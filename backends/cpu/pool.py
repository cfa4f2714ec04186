"""The thread pool of this process, for compiled code.

Compiled kernels get two addresses: that of the pool and that of its ``parallel`` function (the C
interface is in ``pool_ir``). Fetch them anew for every call, as ``default_pool().address``, and
keep the ``ThreadPool`` while the call lasts: a pool may be replaced (``set_num_threads``), and a
child of ``fork``, which inherits memory but no threads, makes its own at first use.

The threads neither hold nor need Python's lock, and the process may end while they sleep.
"""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from dataclasses import dataclass
from functools import cache

from graphc.backends.cpu.host import host_cpu
from graphc.backends.cpu.pool_ir import CREATE, DESTROY, PARALLEL, pool_ir
from graphc.ir.errors import GraphcError

NUM_THREADS_VARIABLE = "GRAPHC_NUM_THREADS"


class ThreadPool:
    """Threads that share the tasks of one call; the calling thread is one of them.

    The other threads start when ``address`` is first read. Any thread may call at any time: a
    call that finds the pool busy (as one from within a task does) runs on its own thread alone.

    Args:
        threads: How many threads work on a call, at least 1.

    Raises:
        ValueError: ``threads`` is less than 1.
    """

    def __init__(self, threads: int) -> None:
        if threads < 1:
            raise ValueError(f"a thread pool needs at least 1 thread, not {threads}")
        self.threads = threads
        self._address: int | None = None
        self._closed = False
        self._destroy: weakref.finalize[[int], ThreadPool] | None = None
        _pools.add(self)

    @property
    def address(self) -> int:
        """The pool's address, ``void* pool`` in C; valid while this object lives, in this process.

        Raises:
            ValueError: the pool was closed.
            GraphcError: the system refused to start a thread.
        """
        return self._address or self._start()

    @property
    def parallel_address(self) -> int:
        """The address of ``void parallel(void* pool, body, void* env, int64_t tasks)``."""
        return _native().parallel_address

    def run(self, body: int, env: int, tasks: int) -> None:
        """Call ``void body(void* env, int64_t task)`` for 0..tasks-1, without Python's lock.

        Args:
            body: The function's address.
            env: The address that each call is given.
            tasks: How many calls; none if it is not positive.
        """
        _native().parallel(self.address, body, env, tasks)

    def close(self) -> None:
        """End the threads, now. No call may be under way. Closing twice is allowed."""
        with _lock:
            self._closed = True
            self._address = None
            if self._destroy is not None:
                self._destroy()

    def _start(self) -> int:
        with _lock:
            if self._closed:
                raise ValueError("this thread pool is closed")
            if self._address is None:
                native = _native()
                address = native.create(self.threads)
                if not address:
                    message = f"cannot start {self.threads - 1} threads: out of resources"
                    raise GraphcError(f"{message}; {NUM_THREADS_VARIABLE} sets their number")
                self._destroy = weakref.finalize(self, native.destroy, address)
                self._destroy.atexit = False  # threads of a process that ends need no farewell
                self._address = address
            return self._address

    def _forget(self) -> None:
        """In a forked child there is nothing to join, and the memory belongs to both."""
        self._address = None
        if self._destroy is not None:
            self._destroy.detach()


def default_pool() -> ThreadPool:
    """The pool of this process; ``available_threads()`` threads unless set otherwise.

    Raises:
        GraphcError: at first use, if ``GRAPHC_NUM_THREADS`` is no positive integer.
    """
    if _default is not None:
        return _default
    with _lock:
        return _default or set_num_threads(available_threads())


def set_num_threads(threads: int) -> ThreadPool:
    """Replace the default pool by one of ``threads`` threads, unless it has as many already.

    Calls that are under way finish with the pool they have.

    Raises:
        ValueError: ``threads`` is less than 1.
    """
    global _default  # noqa: PLW0603  one pool serves a process, on purpose
    with _lock:
        if _default is None or _default.threads != threads:
            _default = ThreadPool(threads)
        return _default


def available_threads() -> int:
    """``GRAPHC_NUM_THREADS`` if set, else the number of cores that this process may run on.

    Raises:
        GraphcError: the variable is no positive integer.
    """
    text = os.environ.get(NUM_THREADS_VARIABLE, "").strip()
    if not text:
        return len(os.sched_getaffinity(0))
    if not text.isdecimal() or int(text) < 1:
        raise GraphcError(f"{NUM_THREADS_VARIABLE}={text!r}: it must be a positive integer")
    return int(text)


@dataclass(frozen=True)
class _Native:
    """The compiled pool, as ctypes functions, which release Python's lock."""

    create: ctypes._CFunctionType
    destroy: ctypes._CFunctionType
    parallel: ctypes._CFunctionType
    parallel_address: int


@cache
def _native() -> _Native:
    """Compile the pool for this machine, once."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    host = host_cpu()
    machine = llvm.Target.from_triple(host.triple).create_target_machine(
        cpu=host.cpu, features=",".join(host.features), opt=2, reloc="pic", codemodel="jitdefault"
    )
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(pool_ir(host.triple)), machine)
    engine.finalize_object()
    address = engine.get_function_address
    functions = _Native(
        create=ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_int64)(address(CREATE)),
        destroy=ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address(DESTROY)),
        parallel=ctypes.CFUNCTYPE(
            None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64
        )(address(PARALLEL)),
        parallel_address=address(PARALLEL),
    )
    engine.detach()  # threads may be inside the code until the process ends: it is never freed
    return functions


def _after_fork_in_child() -> None:
    global _lock  # noqa: PLW0603  the thread that held it may not exist here
    _lock = threading.RLock()
    for pool in _pools:
        pool._forget()  # noqa: SLF001


_lock = threading.RLock()
_pools: weakref.WeakSet[ThreadPool] = weakref.WeakSet()
_default: ThreadPool | None = None
os.register_at_fork(after_in_child=_after_fork_in_child)
