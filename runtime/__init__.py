"""The runtime: session, master, worker, executor, transports, collectives.

This folder is importable as ``graphc.runtime`` only, through the link ``graphc/runtime``: under
its own name every module in it would be loaded a second time, with registries and classes of
its own.
"""

if not __name__.startswith("graphc."):
    raise ImportError(
        f"{__name__!r} is a folder of the graphc checkout, not a package of its own: "
        "import graphc.runtime instead",
        name=__name__,
    )
