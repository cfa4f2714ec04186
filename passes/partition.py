"""Cuts a placed graph by device: one graph for each, joined by pairs of ``send`` and ``recv``.

First the analysis says what has to be transferred (``find_transfers``), then the graph is written
anew in parts. Nothing else changes: names, source lines, forward nodes and sizes are the whole
graph's.

The order of the whole graph is the plan of communication. Each part keeps it, so running every
part in its own order never waits in a circle: of all nodes that are waited for, the one that is
first in the whole graph can run. A ``recv`` is where a receive may be posted, which is at once; its
first reader waits for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from graphc.ir.device import Device
from graphc.ir.dtypes import bool_
from graphc.ir.errors import DeviceError
from graphc.ir.graph import Graph, Node, Tensor
from graphc.ir.types import TensorType
from graphc.ir.verify import verify
from graphc.passes.rebuild import unused_name

_SIGNAL = TensorType(bool_, (0,))


@dataclass(frozen=True, slots=True)
class Transfer:
    """Output ``index`` of ``node`` goes to ``destination``; None: only word that it has run."""

    node: Node
    index: int | None
    destination: str

    @property
    def edge(self) -> str:
        """What both ends call it: ``x:0->/job:ps/task:0/cpu:0``, or ``x->...`` without data."""
        what = self.node.name if self.index is None else self.node.outputs[self.index].name
        return f"{what}->{self.destination}"

    @property
    def type(self) -> TensorType:
        return _SIGNAL if self.index is None else self.node.outputs[self.index].type


def partition(graph: Graph, client: str) -> dict[str, Graph]:
    """The part of ``graph`` for each device: ``client`` first, then in the graph's order.

    A tensor is sent once to each device that reads it, right behind the node that makes it. What
    is ordered behind a node of another device waits for one of its tensors, if these come anyway,
    or for an empty one. Inputs and outputs are those of the client's part, to which fetches are
    sent; targets stay where they are, and sends are targets.

    Args:
        graph: every node has a full device (``place``); inputs are on ``client``.
        client: the device at which values are fed and fetched; its part may be empty.

    Raises:
        DeviceError: a node without a full device, an input elsewhere than on ``client``, or a
            variable that is touched from another device.
    """
    _check(graph, client)
    parts = _Parts(graph, client, find_transfers(graph, client)).written()
    for part in parts.values():
        verify(part)
    return parts


def find_transfers(graph: Graph, client: str) -> tuple[Transfer, ...]:
    """What has to go from one device to another, in the order in which it is made.

    Of one tensor, in the order of its readers; fetches go to ``client`` last.
    """
    data: dict[Tensor, dict[str, None]] = {}
    for node in graph.nodes:
        for tensor in node.inputs:
            if tensor.node.device != node.device:
                data.setdefault(tensor, {})[node.device] = None
    for tensor in graph.outputs:
        if tensor.node.device != client:
            data.setdefault(tensor, {})[client] = None
    words: dict[Node, dict[str, None]] = {}
    for node in graph.nodes:
        for control in node.controls:
            if control.device != node.device and not _arrives(control, node.device, data):
                words.setdefault(control, {})[node.device] = None
    found: list[Transfer] = []
    for node in graph.nodes:
        for index, tensor in enumerate(node.outputs):
            found += [Transfer(node, index, device) for device in data.get(tensor, ())]
        found += [Transfer(node, None, device) for device in words.get(node, ())]
    return tuple(found)


def _arrives(node: Node, device: str, data: Mapping[Tensor, Iterable[str]]) -> bool:
    """Whether a tensor of ``node`` is sent to ``device``."""
    return any(device in data.get(tensor, ()) for tensor in node.outputs)


def _check(graph: Graph, client: str) -> None:
    full = {text: Device.parse(text).is_full for text in {client, *(n.device for n in graph.nodes)}}
    if not full[client]:
        raise DeviceError(f"{client!r} is not the full name of a device")
    for node in graph.nodes:
        if not full[node.device]:
            raise DeviceError(node.error(f"is not placed: its device is {node.device!r}"))
        for tensor in node.inputs:
            if tensor.type.resource and tensor.node.device != node.device:
                what = f"runs on {node.device}, but its variable is on {tensor.node.device}"
                raise DeviceError(node.error(what))
    for tensor in graph.inputs:
        if tensor.node.device != client:
            what = f"is fed, so it has to be on {client}, not on {tensor.node.device}"
            raise DeviceError(tensor.node.error(what))


class _Parts:
    """The rewrite: receives first, then every node where it belongs, followed by its sends."""

    def __init__(self, graph: Graph, client: str, transfers: Sequence[Transfer]) -> None:
        self.graph, self.client, self.transfers = graph, client, transfers
        devices = dict.fromkeys((client, *(node.device for node in graph.nodes)))
        self.parts = {device: Graph() for device in devices}
        self.nodes: dict[Node, Node] = {}
        self.arrivals: dict[tuple[Node, int | None, str], Node] = {}
        """The ``recv`` of what a node sends to a device."""
        self.sends: dict[Node, list[Node]] = {}
        self.signals: dict[Node, Tensor] = {}

    def written(self) -> dict[str, Graph]:
        departures: dict[Node, list[Transfer]] = {}
        for transfer in self.transfers:
            departures.setdefault(transfer.node, []).append(transfer)
            key = (transfer.node, transfer.index, transfer.destination)
            self.arrivals[key] = self._receive(transfer)
        for node in self.graph.nodes:
            part = self.parts[node.device]
            inputs = [self._tensor(tensor, node.device) for tensor in node.inputs]
            controls = [self._control(control, node.device) for control in node.controls]
            self.nodes[node] = part.copy_node(node, inputs, controls, name=node.name)
            found = departures.get(node, ())
            self.sends[node] = [self._send(transfer, k) for k, transfer in enumerate(found)]
        self._set_ends()
        return self.parts

    def _tensor(self, tensor: Tensor, device: str) -> Tensor:
        """``tensor`` as nodes of ``device`` read it."""
        if tensor.node.device == device:
            return self.nodes[tensor.node].outputs[tensor.index]
        return self.arrivals[tensor.node, tensor.index, device].outputs[0]

    def _control(self, node: Node, device: str) -> Node:
        """What nodes of ``device`` wait for if they are to run after ``node``."""
        if node.device == device:
            return self.nodes[node]
        indices = (*range(len(node.outputs)), None)
        keys = ((node, index, device) for index in indices)
        return next(self.arrivals[key] for key in keys if key in self.arrivals)

    def _receive(self, transfer: Transfer) -> Node:
        part = self.parts[transfer.destination]
        node, type_ = transfer.node, transfer.type
        attrs = {
            "edge": transfer.edge, "source": node.device, "dtype": type_.dtype,
            "shape": type_.shape,
        }  # fmt: skip
        name = unused_name(_below(node, f"{transfer.index or ''}", "recv"), self.graph, part)
        return part.add(
            "recv", (), attrs, name=name,
            device=transfer.destination, source=node.source, forward=node.forward,
        )  # fmt: skip

    def _send(self, transfer: Transfer, count: int) -> Node:
        """The send of one transfer, the ``count``-th of its node."""
        node, part = transfer.node, self.parts[transfer.node.device]
        if transfer.index is None:
            value, controls = self._signal(node, part), [self.nodes[node]]
        else:
            value, controls = self.nodes[node].outputs[transfer.index], []
        attrs = {"edge": transfer.edge, "to": transfer.destination}
        name = unused_name(_below(node, "send", f"{count or ''}"), self.graph, part)
        return part.add(
            "send", [value], attrs, name=name, controls=controls,
            device=node.device, source=node.source, forward=node.forward,
        )  # fmt: skip

    def _signal(self, node: Node, part: Graph) -> Tensor:
        """The empty tensor that says that ``node`` has run; one for all who wait for that."""
        if node not in self.signals:
            self.signals[node] = part.add(
                "constant", (), {"value": np.zeros(0, _SIGNAL.dtype.numpy)},
                name=unused_name(_below(node, "done"), self.graph, part),
                device=node.device, source=node.source, forward=node.forward,
            ).outputs[0]  # fmt: skip
        return self.signals[node]

    def _set_ends(self) -> None:
        graph, client = self.graph, self.parts[self.client]
        client.inputs = tuple(self._tensor(tensor, self.client) for tensor in graph.inputs)
        client.outputs = tuple(self._tensor(tensor, self.client) for tensor in graph.outputs)
        targets: dict[str, list[Node]] = {device: [] for device in self.parts}
        for target in graph.targets:
            targets[target.device].append(self.nodes[target])
        for node in graph.nodes:
            targets[node.device] += self.sends[node]
        for device, part in self.parts.items():
            part.targets = tuple(targets[device])
            part.symbol_count = graph.symbol_count


def _below(node: Node, *parts: str) -> str:
    """A name below that of ``node``; empty parts are left out."""
    return "/".join([node.name, *filter(None, parts)])
