"""Where values have to be in memory, whatever the groups will be.

Two nodes can only be one kernel if no path between them leads through a third kernel. What comes
from another device is such a border. ``height`` counts these from the inputs, ``level`` from the
outputs; both are lower bounds that follow from the ops and devices alone.
"""

from __future__ import annotations

import math

from graphc.ir.compute.compose import CHEAP
from graphc.passes.fusion.roles import Facts, Place, Role

_FUSIBLE = frozenset({Role.POINTWISE, Role.MOVEMENT, Role.REDUCTION, Role.ROWWISE, Role.PRODUCT})
_ROWS = frozenset({Role.REDUCTION, Role.ROWWISE})
_ELEMENTS = frozenset({Role.POINTWISE, Role.MOVEMENT})


class Levels:
    """Four walks over the nodes of ``facts``, each linear.

    ``root[n]``: the matrix product whose result pointwise node ``n`` finishes, if it has one: the
    last one that a chain of reads at the same place leads to.

    ``is_free[n]``: whether all that pointwise node ``n`` is made of lies in memory when ``n`` is
    needed, so that any of its readers can compute it.
    """

    def __init__(self, facts: Facts, epilogues: bool) -> None:
        self.facts = facts
        count = len(facts.nodes)
        self._height = [0] * count
        self._level = [0] * count
        self.root: list[int | None] = [None] * count
        self.is_free = [False] * count
        self.is_row = [False] * count
        """Whether pointwise node ``n`` goes on with what a reduction made of each row."""
        for n in range(count):
            self._set_height(n, epilogues)
        for n in reversed(range(count)):
            self._set_level(n)
        self._weight: list[float] = [math.inf] * count
        for n in range(count):
            if facts.role[n] in _ELEMENTS:
                self._set_costs(n)

    def is_stored(self, operand: int, n: int) -> bool:
        """Whether ``operand`` certainly lies in memory when its reader ``n`` is computed."""
        role = self.facts.role[operand]
        return role in (Role.SOURCE, Role.ALONE) or self._level[operand] > self._level[n]

    def has_stored_operands(self, n: int) -> bool:
        return all(self.is_stored(o, n) for o in self.facts.operands[n])

    def is_read_otherwise(self, n: int) -> bool:
        """Whether what ``n`` is computed from has to be stored for other readers in any case."""
        uses = self.facts.uses
        return all(
            self.is_stored(o, n) or any(c != n for c, _ in uses[o]) for o in self.facts.operands[n]
        )

    def is_dear(self, n: int) -> bool:
        """Whether ``n``, with what is computed only for it, is too much to be computed twice."""
        return self._weight[n] > CHEAP

    def own_root(self, n: int) -> int | None:
        """The matrix product that ``n`` should be computed with."""
        return None if self.is_free[n] else self.root[n]

    def _set_height(self, n: int, epilogues: bool) -> None:
        facts = self.facts
        role, operands = facts.role[n], facts.operands[n]
        height, device = self._height, facts.nodes[n].device
        if role is Role.POINTWISE:
            if operands:
                height[n] = max([height[o] + (facts.nodes[o].device != device) for o in operands])
            self._set_origins(n, epilogues)
        elif role in _ROWS:
            height[n] = max([height[o] + (self.root[o] is not None) for o in operands])
        elif operands:
            height[n] = max([height[o] for o in operands]) + 1

    def _set_origins(self, n: int, epilogues: bool) -> None:
        facts = self.facts
        for position, o in enumerate(facts.operands[n]):
            role = facts.role[o]
            if role not in _FUSIBLE or facts.place(n, position) is not Place.SAME:
                continue
            if self.is_row[o] or (role is Role.REDUCTION and facts.is_trailing(o)):
                self.is_row[n] = True
            found = o if role is Role.PRODUCT else self.root[o]
            if epilogues and found is not None and self._height[o] == self._height[n]:
                self.root[n] = found if self.root[n] is None else max(found, self.root[n] or 0)

    def _set_costs(self, n: int) -> None:
        facts = self.facts
        computed = [o for o in facts.operands[n] if not self.is_stored(o, n)]
        self.is_free[n] = all(self.is_free[o] for o in computed)
        own = facts.weight(n)
        if own is not None:
            self._weight[n] = own + sum(self._weight[o] for o in computed)

    def _set_level(self, n: int) -> None:
        facts, level = self.facts, self._level
        role = facts.role[n]
        found = 0
        for consumer, _ in facts.uses[n]:
            after = facts.role[consumer]
            here = facts.nodes[consumer].device == facts.nodes[n].device
            joins = (
                here
                and role in _FUSIBLE
                and (
                    after is Role.POINTWISE
                    or (after in _ROWS and role is Role.POINTWISE and self.root[n] is None)
                )
            )
            found = max(found, level[consumer] + (not joins))
        level[n] = found
