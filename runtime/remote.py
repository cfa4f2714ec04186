"""The programs of a session on a cluster: its master decides, the driver of its process runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy.typing as npt

from graphc.ir.graph import Graph, Tensor
from graphc.ops.state import read_of, variables_of
from graphc.runtime.effects import Role
from graphc.runtime.master import Prepared
from graphc.runtime.meeting import Conductor
from graphc.runtime.planning import Signature


class Driver(Protocol):
    """What runs the roles of this process."""

    @property
    def lost(self) -> str: ...
    def drive(self, role: Role) -> Any: ...


@dataclass(frozen=True)
class ClusterProgram:
    """A program whose parts all tasks have registered."""

    master: Conductor
    driver: Driver
    prepared: Prepared

    @property
    def feeds(self) -> tuple[Tensor, ...]:
        return self.prepared.plan.feeds

    def run(self, values: Sequence[Any]) -> list[npt.NDArray[Any]]:
        """One step; see ``Master.run``. A step that is interrupted breaks the session."""
        try:
            fetched: list[npt.NDArray[Any]] = self.driver.drive(
                self.master.run(self.prepared, values)
            )
        except KeyboardInterrupt:
            self.master.broken = "a step was interrupted, and may go on elsewhere"
            raise
        return fetched


class ClusterPrograms:
    """What a session runs whose steps ``master`` takes; variables live where it puts them."""

    def __init__(self, graph: Graph, driver: Driver, master: Conductor) -> None:
        self.graph = graph
        self._driver, self._master = driver, master
        self._found: dict[Signature, ClusterProgram] = {}

    def get(self, signature: Signature) -> ClusterProgram:
        """The program for fetches, targets and feeds; its variables have values.

        Raises:
            GraphcError: see ``Master.prepare``.
        """
        found = self._found.get(signature)
        if found is None:
            prepared = self._driver.drive(self._master.prepare(signature))
            found = self._found[signature] = ClusterProgram(self._master, self._driver, prepared)
        return found

    def values_of(self, graph: Graph) -> Mapping[str, Any]:
        """The values of the variables that a part of the graph uses, fetched from their tasks."""
        wanted = {n.attrs["shared_name"] for n in variables_of(graph)}
        mine = [n for n in variables_of(self.graph) if n.attrs["shared_name"] in wanted]
        reads = tuple(read_of(node.outputs[0]) for node in mine)
        values = self.get((reads, (), ())).run(())
        return {n.attrs["shared_name"]: v for n, v in zip(mine, values, strict=True)}

    def close(self) -> None:
        """Let all tasks forget the programs; the variables stay."""
        self._found.clear()
        if not self._driver.lost:
            self._driver.drive(self._master.close())
