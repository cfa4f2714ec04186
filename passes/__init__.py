"""Passes: each takes a graph and returns a graph; one file per pass.

This folder is importable as ``graphc.passes`` only, through the link ``graphc/passes``: under
its own name every module in it would be loaded a second time, with registries and classes of
its own.
"""

if not __name__.startswith("graphc."):
    raise ImportError(
        f"{__name__!r} is a folder of the graphc checkout, not a package of its own: "
        "import graphc.passes instead",
        name=__name__,
    )
