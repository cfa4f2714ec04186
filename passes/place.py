"""Decides on which device each node runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from graphc.ir.device import Device
from graphc.ir.errors import DeviceError
from graphc.ir.graph import Graph, Node, Tensor
from graphc.passes.context import PassContext
from graphc.passes.rebuild import unused_name

_MEASURES = frozenset({"size", "shape"})
"""Ops that look at the sizes of their operand, and at none of its elements."""
_SHOWN = 8
"""An error lists so many devices at most."""

Places = Mapping[Node, tuple[str, ...]]
"""Where each node runs: one device, but for values that are made wherever they are read."""


@dataclass(frozen=True)
class Place:
    """Leaves every node with one of ``devices``, by the first of these rules that speaks of it.

    1. What touches a variable runs on the variable's device. That is one device for all nodes
       that bear the variable's name; what they say of it must not contradict.
    2. Inputs of the graph, and other placeholders, are on ``default``, where values are fed.
    3. A node with a device, which may be partial, runs on ``default`` if that matches, else on
       the first device of its task that does, else on the first of ``devices``.
    4. Constants without a device, and what is copied or exactly computed from them alone (zeros),
       are made on each device that reads them: a copy costs less than a transfer in each step.
    5. What asks for the sizes of a tensor runs where the tensor is made, which may be large.
    6. A gradient node runs where its forward node does.
    7. All else runs on ``default``.

    Needs: a graph that is pruned (rule 4 counts readers). Nodes in bodies stay as they are.
    Leaves: the same nodes, and copies by rule 4, all with full devices.

    Args:
        devices: every device there is, in full and in the cluster's order.
        default: the one of the session's target task.
        soft: a GPU that does not exist becomes a CPU of the same task, which is noted.

    Raises:
        DeviceError: a device that does not exist, contradicting devices of one variable, or
            ``devices`` that are not full or lack ``default``.
    """

    devices: tuple[str, ...]
    default: str
    soft: bool = False
    name: str = "place"

    def __post_init__(self) -> None:
        for text in self.devices:
            device = Device.parse(text)
            if not device.is_full or str(device) != text:
                raise DeviceError(f"{text!r} is not the full name of a device")
        if self.default not in self.devices:
            raise DeviceError(f"{self.default!r} is none of the devices: {_listed(self.devices)}")

    def run(self, graph: Graph, context: PassContext) -> Graph:
        places = find_places(graph, self, context.notes)
        if all(found == (node.device,) for node, found in places.items()):
            return graph
        return _placed(graph, places, self.default)


def find_places(graph: Graph, place: Place, notes: list[str]) -> Places:
    """Where ``place`` puts the nodes of ``graph``, which is left as it is."""
    own = _Own(graph, _Choice(place, notes))
    found: dict[Node, tuple[str, ...]] = {}
    free: set[Node] = set()
    ordering = {control for node in graph.nodes for control in node.controls}
    for node in graph.nodes:
        device = own.find(node)
        if device is None and node not in ordering and _is_free(node, free):
            free.add(node)
        elif device is None and node.op.name in _MEASURES:
            found[node] = found[node.inputs[0].node]
        else:
            found[node] = (device or own.of_forward(node) or place.default,)
    readers = _readers(graph, found, place.default)
    order = {device: i for i, device in enumerate(place.devices)}
    for node in free:
        found[node] = tuple(sorted(readers[node], key=order.__getitem__))
    return found


def _is_free(node: Node, free: set[Node]) -> bool:
    """Whether a node without a device is made of constants alone, with the same bits anywhere."""
    if not node.op.exact or node.op.stateful or node.controls:
        return False
    return all(t.node in free for t in node.inputs)


def _readers(graph: Graph, found: Places, default: str) -> dict[Node, set[str]]:
    """The devices that read each node; what nobody reads, and what is fetched, is on ``default``.

    Nodes that are not ``found`` are themselves wherever they are read.
    """
    readers: dict[Node, set[str]] = {node: set() for node in graph.nodes}
    for node in (*(t.node for t in graph.outputs), *graph.targets):
        readers[node].add(default)
    for node in reversed(graph.nodes):
        if not readers[node]:
            readers[node].add(default)
        for tensor in node.inputs:
            readers[tensor.node].update(found.get(node) or readers[node])
    return readers


class _Own:
    """The devices that follow from a node's variable, its kind, or what the user said of it."""

    def __init__(self, graph: Graph, choice: _Choice) -> None:
        self.graph, self.choice = graph, choice
        self.inputs = {tensor.node for tensor in graph.inputs}
        self.variables = {
            name: choice.device(node, specification)
            for name, (node, specification) in _variables(graph).items()
        }

    def find(self, node: Node) -> str | None:
        """By rules 1 to 3; None if these say nothing."""
        variable = _variable(node)
        if variable is not None:
            return self.variables[variable]
        if node in self.inputs or node.op.name == "placeholder":
            return self.choice.place.default
        return self.choice.device(node, Device.parse(node.device)) if node.device else None

    def of_forward(self, node: Node) -> str | None:
        """The device of the forward node, if there is one, and it has one by rules 1 to 3."""
        if node.forward is None or node.forward not in self.graph:
            return None
        return self.find(self.graph.node(node.forward))


def _variable(node: Node) -> str | None:
    """The name of the variable that ``node`` is, or touches."""
    if node.op.name == "variable":
        return str(node.attrs["shared_name"])
    handles = (t.node for t in node.inputs if t.type.resource)
    return next((str(handle.attrs["shared_name"]) for handle in handles), None)


def _variables(graph: Graph) -> dict[str, tuple[Node, Device]]:
    """For each variable its first node, and what all nodes that touch it say of its device.

    Raises:
        DeviceError: two of them contradict each other.
    """
    found: dict[str, tuple[Node, Device]] = {}
    for node in graph.nodes:
        name = _variable(node)
        if name is None:
            continue
        given = Device.parse(node.device)
        first, known = found.setdefault(name, (node, given))
        both = known.both(given)
        if both is None:
            what = f"is to run on {node.device!r}, but the variable {name!r} is on {str(known)!r}"
            raise DeviceError(node.error(f"{what}, by {first.name!r}"))
        found[name] = (first, both)
    return found


class _Choice:
    """Devices for specifications; remembers what it chose."""

    def __init__(self, place: Place, notes: list[str]) -> None:
        self.place, self.notes = place, notes
        self.chosen: dict[Device, str | None] = {}
        own = Device.parse(place.default)
        task = Device(own.job, own.task)
        known = [(text, Device.parse(text)) for text in place.devices]
        self.known = sorted(known, key=lambda d: (d[1] != own, not task.matches(d[1])))

    def device(self, node: Node, wanted: Device) -> str:
        """The device for ``node``, of which ``wanted`` is known."""
        found = self._first(wanted)
        if found is None and self.place.soft and wanted.kind == "gpu":
            found = self._first(replace(wanted, kind="cpu", index=None))
            if found is not None:
                self.notes.append(f"{node.name}: there is no {wanted}, it runs on {found}")
        if found is None:
            there_are = f"there are {_listed(self.place.devices)}"
            raise DeviceError(node.error(f"there is no device {str(wanted)!r}; {there_are}"))
        return found

    def _first(self, wanted: Device) -> str | None:
        if wanted not in self.chosen:
            allowed = (text for text, device in self.known if wanted.matches(device))
            self.chosen[wanted] = next(allowed, None)
        return self.chosen[wanted]


def _listed(devices: Iterable[str]) -> str:
    found = list(devices)
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(found[:_SHOWN]) + more


def _placed(graph: Graph, places: Places, default: str) -> Graph:
    """``graph`` with its nodes on their devices, and readers joined to the copies on theirs."""
    new = Graph()
    new.symbol_count = graph.symbol_count
    made: dict[Node, dict[str, Node]] = {}

    def at(tensor: Tensor, device: str) -> Tensor:
        copies = made[tensor.node]
        return (copies.get(device) or _only(copies)).outputs[tensor.index]

    for node in graph.nodes:
        made[node] = {}
        for device in places[node]:
            inputs = [at(tensor, device) for tensor in node.inputs]
            controls = [_only(made[control]) for control in node.controls]
            name = unused_name(f"{node.name}/copy", graph, new) if made[node] else node.name
            copied = new.copy_node(node, inputs, controls, name=name, device=device)
            made[node][device] = copied
    new.inputs = tuple(at(tensor, default) for tensor in graph.inputs)
    new.outputs = tuple(at(tensor, default) for tensor in graph.outputs)
    new.targets = tuple(made[node].get(default) or _only(made[node]) for node in graph.targets)
    return new


def _only(copies: Mapping[str, Node]) -> Node:
    (node,) = copies.values()
    return node
