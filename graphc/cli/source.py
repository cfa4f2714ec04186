"""What a command is pointed at: a Python function, the text of a graph, or an artifact."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click

from graphc.ir.errors import GraphcError

if TYPE_CHECKING:
    from graphc.compiler import Extract
    from graphc.runtime.deployable import Arrays, Deployable

TEXT_SUFFIX = ".txt"


def is_python(source: str) -> bool:
    """Whether ``source`` is ``FILE.py:FUNCTION`` (or forgets the function)."""
    return source.endswith(".py") or source.rpartition(":")[0].endswith(".py")


def read_deployable(source: str, variables: Path | None) -> Deployable:
    """The graph and the values of its variables; ``variables`` is a safetensors file of others.

    Raises:
        ClickException: there is no such function or file.
        GraphcError: what was found is damaged, or a value is missing or does not fit.
    """
    from graphc.artifact import Artifact
    from graphc.runtime.deployable import from_artifact, from_text

    if is_python(source):
        found = _from_function(source)
    elif source.endswith(TEXT_SUFFIX):
        path = Path(source)
        values = _arrays(variables or path.with_name("variables.safetensors"), variables is None)
        return from_text(_read(path), _constants(path), values)
    else:
        found = from_artifact(Artifact(Path(source)))
    return found if variables is None else found.with_variables(_arrays(variables))


def read_extract(source: str) -> Extract:
    """The graph alone: values of variables need not be at hand."""
    from graphc.compiler import Extract
    from graphc.ir.parse import parse_graph

    if not source.endswith(TEXT_SUFFIX):
        return read_deployable(source, None).extracted
    path = Path(source)
    return Extract(parse_graph(_read(path), _constants(path)), ())


def _from_function(source: str) -> Deployable:
    """Call the function, which builds a graph and returns what to fetch and to feed."""
    from graphc.ir.graph import Graph
    from graphc.ir.scope import graph_scope
    from graphc.runtime.deployable import from_session
    from graphc.runtime.session import Session

    if source.endswith(".py"):
        raise click.UsageError(f"{source} needs the name of a function: {source}:FUNCTION")
    file, _, name = source.rpartition(":")
    with graph_scope(Graph()) as graph:
        result = _built(Path(file), name)
        fetches, feeds, session = _parts(result, source)
        if not isinstance(session, Session | None):
            raise click.ClickException(f"{source}: its session is {type(session).__name__}")
        return from_session(session or Session(graph=graph), fetches, feeds)


def _parts(result: Any, source: str) -> tuple[Any, Any, Any]:
    if isinstance(result, Mapping) and {"fetches", "feeds"} <= result.keys():
        return result["fetches"], result["feeds"], result.get("session")
    if isinstance(result, tuple) and len(result) == 2:
        return (*result, None)
    raise click.ClickException(
        f"{source} returned {type(result).__name__}: it must return (fetches, feeds), or a dict "
        "with 'fetches', 'feeds' and, if it has one, 'session'"
    )


def _built(path: Path, name: str) -> Any:
    """What the function ``name`` of a Python file returns; its errors name the user's line."""
    if not path.is_file():
        raise click.ClickException(f"there is no file {path}")
    try:
        return _function(_imported(path), name)()
    except (GraphcError, click.ClickException):
        raise
    except SystemExit as error:
        message = f"{_line_in(path, error)}: it ends the process: sys.exit({error.code!r})"
        raise click.ClickException(message) from error
    except Exception as error:  # whatever the user's own code raises
        place = _line_in(path, error)
        message = f"{place}: {type(error).__name__}: {error}"
        raise click.ClickException(message) from error


def _function(module: ModuleType, name: str) -> Callable[[], Any]:
    found: Callable[[], Any] | None = getattr(module, name, None)
    if not callable(found):
        raise click.ClickException(f"{module.__file__} has no function {name!r}")
    return found


def _imported(path: Path) -> ModuleType:
    """The file as a module, able to import its neighbours as a script would be.

    Its name is none that an import could mean: a file may well be called as a library is.
    """
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    name = f"__graphc__.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _line_in(path: Path, error: BaseException) -> str:
    """The innermost line of ``path`` that the error passed through."""
    place, trace = str(path), error.__traceback__
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename).resolve() == path.resolve():
            place = f"{path}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def _constants(path: Path) -> Arrays:
    return _arrays(path.with_name("graph-constants.safetensors"), optional=True)


def _arrays(path: Path, optional: bool = False) -> Arrays:
    from graphc.runtime.deployable import arrays_from

    if optional and not path.exists():
        return {}
    try:
        return arrays_from(path.read_bytes(), str(path))
    except OSError as error:
        raise click.ClickException(f"{path} cannot be read: {error.strerror}") from None


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{path} cannot be read: {error}") from None
