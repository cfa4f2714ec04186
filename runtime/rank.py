"""What ``graphc launch`` starts as each rank: ``python -m graphc.runtime.rank SCRIPT ARGS...``.

The script runs as Python would run it: it is ``__main__``, ``sys.argv`` is its own, its folder is
first on ``sys.path``. Two things differ: its streams are those of the launcher (``Lines`` in
``graphc.runtime.job`` marks them with the task), and an exception or a ``sys.exit`` with another
code than 0 ends the whole job, as under ``python -m mpi4py``.

The protocol with the launcher, over a local socket of packets; hosts without it do without:

a. The rank connects and sends ``start RANK``.
b. The launcher answers ``go`` with three descriptors: standard output, standard error, and the
   lifeline, a pipe that nothing is ever written to.
c. The lifeline closes when the launcher is gone, however it went; the kernel then kills the rank.
d. The rank sends ``exit CODE`` when its script has ended.
"""

from __future__ import annotations

import fcntl
import importlib.machinery
import io
import os
import select
import signal
import socket
import sys
import threading
import types
from collections.abc import Sequence
from pathlib import Path

LAUNCHER_VARIABLE = "GRAPHC_LAUNCHER"
"""The environment variable with the name of the launcher's socket."""
_SECONDS_TO_END = 5.0
_LONGEST_ANSWER = 1 << 17
_INTERRUPTED = 128 + signal.SIGINT


def main(arguments: Sequence[str]) -> int:
    """Run a script in this process as one rank of a job; its exit code."""
    _replace(0, os.open(os.devnull, os.O_RDONLY))
    launcher = _connect()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)
    status = _run(arguments)
    _flush()
    if launcher is not None:
        tell(launcher, f"exit {status}")
    if status:
        _end_the_job(status)
    return status


def _connect() -> socket.socket | None:
    """Take the streams from the launcher, if it is on this host."""
    from graphc.runtime.cluster_spec import world_rank

    name, rank = os.environ.get(LAUNCHER_VARIABLE), world_rank()
    if not name or rank is None:
        return None
    connected = connect(name, rank)
    return connected[0] if connected else None


def connect(name: str, rank: int) -> tuple[socket.socket, bytes] | None:
    """Steps a to c with who listens at ``name``: the connection and the answer, if there is one."""
    launcher = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        launcher.connect("\0" + name)
        launcher.send(f"start {rank}".encode())
        answer, streams, _, _ = socket.recv_fds(launcher, _LONGEST_ANSWER, 3)
        output, errors, lifeline = streams
    except (OSError, ValueError):
        launcher.close()
        return None
    _replace(1, output)
    _replace(2, errors)
    _die_with(lifeline)
    return launcher, answer


def _replace(own: int, given: int) -> None:
    """Make ``given`` the standard stream ``own``."""
    os.dup(own)  # mpiexec takes a closed stream for the end of the rank
    os.dup2(given, own)
    os.close(given)


def _die_with(lifeline: int) -> None:
    """Have the kernel kill this process when the other end of a pipe closes."""
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, 10, signal.SIGKILL)  # F_SETSIG: which signal, in place of SIGIO
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([lifeline], [], [], 0)[0]:
        os.kill(os.getpid(), signal.SIGKILL)  # it had closed before


def _run(arguments: Sequence[str]) -> int:
    """Run a script as ``__main__``, and tell of its exceptions as Python does."""
    script = arguments[0]
    sys.argv[:] = arguments
    if not sys.flags.safe_path:
        sys.path[0] = str(Path(script).resolve().parent)
    module = types.ModuleType("__main__")
    module.__file__ = script
    module.__loader__ = importlib.machinery.SourceFileLoader("__main__", script)
    sys.modules["__main__"] = module
    try:
        with io.open_code(str(Path(script).absolute())) as file:
            code = compile(file.read(), script, "exec")
        exec(code, module.__dict__)  # noqa: S102, this is what a launcher does
    except SystemExit as stop:
        return _status(stop)
    except BaseException as error:  # noqa: BLE001, whatever it is, it is the script's
        trace = error.__traceback__
        error.__traceback__ = trace.tb_next if trace else None  # without this frame
        sys.excepthook(type(error), error, error.__traceback__)
        return _INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1
    return 0


def _status(stop: SystemExit) -> int:
    """The exit code that Python makes of ``sys.exit(...)``; what is no number is printed."""
    if stop.code is None or isinstance(stop.code, int):
        return (stop.code or 0) & 0xFF
    print(stop.code, file=sys.stderr)  # noqa: T201
    return 1


def _end_the_job(status: int) -> None:
    """Have MPI abort when Python ends; a thread that does not end is not waited for."""
    from mpi4py.run import set_abort_status

    set_abort_status(status)
    timer = threading.Timer(_SECONDS_TO_END, os._exit, [status])
    timer.daemon = True
    timer.start()


def tell(launcher: socket.socket, message: str) -> None:
    """Send a message of the protocol."""
    try:
        launcher.send(message.encode())
    except OSError:
        return  # the launcher is gone, and so will this rank be


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue  # nobody listens, or the script closed it


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
