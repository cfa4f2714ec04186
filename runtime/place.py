"""Which devices a session has."""

from __future__ import annotations

from graphc.ir.device import Device
from graphc.ir.errors import DeviceError
from graphc.ir.graph import Graph


def check_local(graph: Graph) -> None:
    """Refuse nodes on devices that a session of one process does not have.

    Raises:
        DeviceError: with the node and the user's line.
    """
    known: dict[str, bool] = {"": True}
    for node in graph.nodes:
        if node.device not in known:
            known[node.device] = _is_here(Device.parse(node.device))
        if not known[node.device]:
            raise DeviceError(
                node.error(
                    f"there is no device {node.device!r}: this session runs in one process, "
                    "on /job:localhost/task:0/cpu:0"
                )
            )


def _is_here(device: Device) -> bool:
    return (
        device.job in (None, "localhost")
        and device.task in (None, 0)
        and device.kind in (None, "cpu")
        and device.index in (None, 0)
    )
