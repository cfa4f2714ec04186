"""Whether a node may join the group of its readers, and the reason if it may not.

Groups are asked from the outputs upwards, so a node that asks comes before all members. The
conditions are those under which one nest of loops computes the group (``backends.loops.plan``):
every stage of it reads an earlier one at its own place, or is written into its readers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from graphc.ir.compute.compose import CHEAP
from graphc.passes.fusion.group import Group, Joining, Kind
from graphc.passes.fusion.levels import Levels
from graphc.passes.fusion.roles import RANDOM, Facts, Frame, Place, Role
from graphc.passes.rules.application import frame

Answer = Joining | str
"""A string is the reason of a refusal."""


class Request:
    """Node ``n`` would like to join ``group``, whose members take it at ``uses``.

    ``exposed``: others need it as well. ``copied``: others compute it themselves. ``places``:
    where the members read it.
    """

    __slots__ = ("copied", "exposed", "facts", "group", "levels", "n", "places", "uses")

    def __init__(
        self,
        n: int,
        group: Group,
        uses: Sequence[tuple[int, int]],
        facts: Facts,
        levels: Levels,
        *,
        exposed: bool = False,
        copied: bool = False,
    ) -> None:
        self.n, self.group, self.uses = n, group, uses
        self.exposed, self.copied = exposed, copied
        self.facts, self.levels = facts, levels
        self.places = {facts.place(c, position) for c, position in uses}

    @property
    def feeds(self) -> int:
        """The topmost pass of the group that the node would lead to."""
        known = self.group.feeds
        return max([known.get(c, 0) for c, _ in self.uses]) if known else 0

    @property
    def own_root(self) -> int | None:
        """The matrix product that ``n`` should be computed with; a copy goes with its reader."""
        root = self.levels.own_root(self.n)
        return None if self.copied and root != self.group.root else root

    @property
    def own_frame(self) -> Frame:
        return self.facts.frame[self.n]


def ask(request: Request, limit: int) -> Answer:
    """How the node joins, or why it does not."""
    if len(request.group.members) >= limit:
        return f"a group has {limit} nodes at most"
    if request.facts.nodes[request.n].device != request.group.device:
        return "their devices differ"
    if Place.FAR in request.places:
        return "the reader takes elements from other places"
    role = request.facts.role[request.n]
    if any(c in request.group.small for c, _ in request.uses):
        return _small(request) if role is Role.POINTWISE else "its reader is repeated"
    return _ANSWERS[role, request.group.kind](request)


def _pointwise_to_map(r: Request) -> Answer:
    if r.own_frame == r.group.frame and r.places == {Place.SAME}:
        return _by_root(r)
    if r.places == {Place.ROW} and _continues_rows(r):
        if not r.group.exposed_depend_on(r.n, r.facts):
            return "not all that leaves the group depends on the row's value"
        return Joining(Kind.ROWS, r.facts.frame[r.n])
    return _small(r)


def _continues_rows(r: Request) -> bool:
    """Whether ``n`` is a row's value, and its reduction could still join."""
    levels = r.levels
    return levels.is_row[r.n] and not levels.is_free[r.n] and _has_no_root(r)


def _by_root(r: Request) -> Answer:
    """Elementwise work goes with the matrix product whose result it finishes."""
    own, wanted = r.own_root, r.group.root
    if own == wanted:
        return _unless_guarded(r) if wanted is not None else Joining()
    if own is not None:
        return "it is finished with its matrix product"
    if r.exposed:
        return "others need it before the matrix product of its reader is done"
    return _unless_guarded(r)


def _unless_guarded(r: Request) -> Answer:
    if r.facts.can_fail(r.n):
        return "matrix products are not followed by what can fail"
    return Joining()


def _has_no_root(r: Request) -> bool:
    return r.own_root is None and r.group.root is None


def _small(r: Request) -> Answer:
    """Few operations on fewer elements are repeated, if nobody else wants their result."""
    if r.exposed:
        return "it is repeated by its reader, and others need it as well"
    weights = [r.facts.weight(n) for n in (r.n, *r.group.small)]
    if weights[0] is None:
        return "it is repeated by its reader, and too dear to be computed each time"
    if sum(weight or 0 for weight in weights) > CHEAP:
        return "too much would be repeated"
    if r.own_root is not None:
        return "it is finished with its matrix product"
    before = r.group.before
    return Joining(
        is_small=True, is_before=any(c in before or c == r.group.anchor for c, _ in r.uses)
    )


def _is_finished_before(r: Request) -> bool:
    """Whether ``n`` goes with its matrix product, rather than with the reduction that reads it."""
    if r.own_root is None:
        return False
    return r.exposed or not r.levels.is_read_otherwise(r.n)


def _pointwise_to_rows(r: Request) -> Answer:
    if _is_finished_before(r):
        return "it is finished with its matrix product"
    rows, own = r.group.frame, r.own_frame
    is_row = own == rows and r.places <= {Place.SAME, Place.ROW}
    is_element = own[: len(rows)] == rows and r.places == {Place.SAME}
    if not is_row and not is_element:
        return _small(r)
    if r.exposed and (not r.feeds or r.feeds != r.group.passes):
        return "others need it, and the rows do not begin with it"
    if r.exposed and not r.levels.is_dear(r.n):
        return "others need it, and each pass over the rows would compute it again"
    return Joining()


def _pointwise_to_total(r: Request) -> Answer:
    if _is_finished_before(r):
        return "it is finished with its matrix product"
    if r.exposed:
        return "others need it, and the reduction is computed in another order"
    inside = [c == r.group.anchor or c in r.group.before for c, _ in r.uses]
    if all(inside):
        anchor = r.group.anchor
        assert anchor is not None
        if r.own_frame == r.facts.read_frame(anchor) and r.places == {Place.SAME}:
            return Joining(is_before=True)
        return _small(r)
    if any(inside):
        return "it is read before and behind the reduction"
    return _beside(r)


def _beside(r: Request) -> Answer:
    """An operand of what follows a reduction or product, and of nothing else."""
    if r.own_frame == r.group.frame and r.places == {Place.SAME}:
        return Joining()
    return _small(r)


def _pointwise_to_product(r: Request) -> Answer:
    if r.exposed:
        return "others need it, and it does not depend on the matrix product"
    if r.own_root is not None:
        return "it is finished with its own matrix product"
    if r.facts.can_fail(r.n):
        return "matrix products are not followed by what can fail"
    return _beside(r)


def _moved(then: Callable[[Request], Answer]) -> Callable[[Request], Answer]:
    """What gathers its elements from elsewhere is written into one nest, and never repeated."""

    def answer(r: Request) -> Answer:
        if r.exposed:
            return "elements that are moved are not stored by the way"
        if r.facts.nodes[r.n].op.name in RANDOM and len(r.uses) > 1:
            return "random numbers have several readers"
        if r.places != {Place.SAME}:
            return "elements that are moved are not repeated"
        found = then(r)
        return found if isinstance(found, str) or not found.is_small else "frames differ"

    return answer


def _rows_to_map(r: Request) -> Answer:
    """A reduction with rows, or a rowwise op, whose readers are elementwise."""
    if r.group.root is not None:
        return "its reader is finished with a matrix product"
    rows = r.facts.rows(r.n)
    for place, read in _reads(r):
        if place is Place.SAME and read != r.group.frame:
            return "its reader repeats the result"
        if place is Place.ROW and (read != rows or r.group.frame[: len(rows)] != rows):
            return "its reader repeats rows in another way"
    if r.group.frame[: len(rows)] != rows or Place.OTHER in r.places:
        return "its reader repeats rows in another way"
    if not r.group.exposed_depend_on(r.n, r.facts):
        return "not all that leaves the group depends on it"
    return Joining(Kind.ROWS, rows, reduces=True)


def _rows_to_rows(r: Request) -> Answer:
    rows = r.facts.rows(r.n)
    if rows != r.group.frame or Place.OTHER in r.places:
        return "rows differ"
    if any(place is Place.ROW and read != rows for place, read in _reads(r)):
        return "its reader repeats rows in another way"
    if r.feeds != r.group.passes:
        return "another pass over the same rows does not depend on it"
    if not r.group.exposed_depend_on(r.n, r.facts):
        return "not all that leaves the group depends on it"
    return Joining(reduces=True)


def _reads(r: Request) -> list[tuple[Place, Frame]]:
    """Where each use reads, and the frame of what it reads there."""
    nodes = r.facts.nodes
    return [
        (r.facts.place(c, position), frame(nodes[c].inputs[position].shape))
        for c, position in r.uses
    ]


def _reduction_to_map(r: Request) -> Answer:
    if r.facts.is_trailing(r.n):
        return _rows_to_map(r)
    if r.group.root is not None:
        return "its reader is finished with a matrix product"
    if r.own_frame != r.group.frame or r.places != {Place.SAME}:
        return "its reader repeats the result"
    if not r.group.exposed_depend_on(r.n, r.facts):
        return "not all that leaves the group depends on it"
    return Joining(Kind.TOTAL, r.facts.frame[r.n], is_anchor=True)


def _reduction_to_rows(r: Request) -> Answer:
    if not r.facts.is_trailing(r.n):
        return "it has no rows"
    return _rows_to_rows(r)


def _product_to_map(r: Request) -> Answer:
    if r.group.root != r.n:
        return "its reader is finished elsewhere"
    if r.own_frame != r.group.frame or r.places != {Place.SAME}:
        return "its reader repeats the result"
    if not r.group.exposed_depend_on(r.n, r.facts):
        return "not all that leaves the group depends on it"
    return Joining(Kind.PRODUCT, r.facts.frame[r.n], is_anchor=True)


def _never(reason: str) -> Callable[[Request], Answer]:
    def answer(_: Request) -> Answer:
        return reason

    return answer


_TWO_NESTS = _never("two reductions of this kind are two nests of loops")
_UPDATES = _never("updates of variables are computed when the step commits")
_ACROSS = _never("matrix products are not followed by reductions in one kernel")
_ANSWERS: Mapping[tuple[Role, Kind], Callable[[Request], Answer]] = {
    (Role.POINTWISE, Kind.MAP): _pointwise_to_map,
    (Role.POINTWISE, Kind.ROWS): _pointwise_to_rows,
    (Role.POINTWISE, Kind.TOTAL): _pointwise_to_total,
    (Role.POINTWISE, Kind.PRODUCT): _pointwise_to_product,
    (Role.MOVEMENT, Kind.MAP): _moved(_pointwise_to_map),
    (Role.MOVEMENT, Kind.ROWS): _never("each pass over a row would move the elements again"),
    (Role.MOVEMENT, Kind.TOTAL): _moved(_pointwise_to_total),
    (Role.MOVEMENT, Kind.PRODUCT): _moved(_pointwise_to_product),
    (Role.REDUCTION, Kind.MAP): _reduction_to_map,
    (Role.REDUCTION, Kind.ROWS): _reduction_to_rows,
    (Role.REDUCTION, Kind.TOTAL): _TWO_NESTS,
    (Role.REDUCTION, Kind.PRODUCT): _ACROSS,
    (Role.ROWWISE, Kind.MAP): _rows_to_map,
    (Role.ROWWISE, Kind.ROWS): _rows_to_rows,
    (Role.ROWWISE, Kind.TOTAL): _TWO_NESTS,
    (Role.ROWWISE, Kind.PRODUCT): _ACROSS,
    (Role.PRODUCT, Kind.MAP): _product_to_map,
    (Role.PRODUCT, Kind.ROWS): _ACROSS,
    (Role.PRODUCT, Kind.TOTAL): _ACROSS,
    (Role.PRODUCT, Kind.PRODUCT): _never("a group has one matrix product"),
    **{(role, Kind.UPDATE): _UPDATES for role in Role},
}  # fmt: skip
